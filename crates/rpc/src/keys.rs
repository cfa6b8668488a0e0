//! Calls about private keys. None carries one that Core could open.

use clm_types::{
    CertificateId, ExportedKey, KeyExportGrant, KeyExportSpec, KeyOrder, KeyRecord, Mandate, OperationId,
    OrganizationId, Refusal, SecureAuditEntry, TransportKey, UserId,
};
use uuid::Uuid;

use crate::client::{SecureClient, refusal};
use crate::codec::{document, id_bytes, optional_id_bytes, parse_document};
use crate::v1;

impl SecureClient {
    /// The public key that private keys are sealed to on their way to Secure.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn find_transport_key(&self) -> Result<TransportKey, Refusal> {
        let reply = self.inner.clone().find_transport_key(v1::FindTransportKeyCall {}).await;
        parse_document(&reply.map_err(refusal)?.get_ref().key, "the transport key")
    }

    /// What is known of a certificate's private key.
    ///
    /// # Errors
    /// Secure's refusal, or `unavailable`.
    pub async fn find_key(
        &self,
        certificate_id: CertificateId,
        organization_id: OrganizationId,
    ) -> Result<KeyRecord, Refusal> {
        let call = v1::FindKeyCall {
            certificate_id: id_bytes(certificate_id).into(),
            organization_id: id_bytes(organization_id).into(),
        };
        let reply = self.inner.clone().find_key(call).await.map_err(refusal)?;
        parse_document(&reply.get_ref().record, "what is known of the private key")
    }

    /// Changes a certificate's private key.
    ///
    /// # Errors
    /// Secure's refusal, or `unavailable`.
    pub async fn change_key(
        &self,
        operation_id: OperationId,
        order: &KeyOrder,
    ) -> Result<KeyRecord, Refusal> {
        let call =
            v1::ChangeKeyCall { operation_id: id_bytes(operation_id).into(), order: document(order)?.into() };
        let reply = self.inner.clone().change_key(call).await.map_err(refusal)?;
        parse_document(&reply.get_ref().record, "what is known of the private key")
    }

    /// Lets a private key be fetched.
    ///
    /// # Errors
    /// Secure's refusal, or `unavailable`.
    pub async fn grant_key_export(
        &self,
        spec: &KeyExportSpec,
        mandate: &Mandate,
    ) -> Result<KeyExportGrant, Refusal> {
        let call =
            v1::GrantKeyExportCall { spec: document(spec)?.into(), mandate: document(mandate)?.into() };
        let reply = self.inner.clone().grant_key_export(call).await.map_err(refusal)?;
        parse_document(&reply.get_ref().grant, "the grant")
    }

    /// A granted private key, sealed to its recipient.
    ///
    /// # Errors
    /// Secure's refusal, or `unavailable`.
    pub async fn fetch_key(
        &self,
        operation_id: OperationId,
        organization_id: OrganizationId,
        requested_by: UserId,
    ) -> Result<ExportedKey, Refusal> {
        let call = v1::FetchKeyCall {
            operation_id: id_bytes(operation_id).into(),
            organization_id: id_bytes(organization_id).into(),
            requested_by: id_bytes(requested_by).into(),
        };
        let reply = self.inner.clone().fetch_key(call).await.map_err(refusal)?;
        parse_document(&reply.get_ref().key, "the sealed key")
    }

    /// What was done, or refused, with a certificate's private key, newest first.
    ///
    /// # Errors
    /// Secure's refusal, or `unavailable`.
    pub async fn list_key_accesses(
        &self,
        certificate_id: CertificateId,
        organization_id: OrganizationId,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<SecureAuditEntry>, Refusal> {
        let call = v1::ListKeyAccessesCall {
            certificate_id: id_bytes(certificate_id).into(),
            organization_id: id_bytes(organization_id).into(),
            before: optional_id_bytes(before).into(),
            limit,
        };
        let reply = self.inner.clone().list_key_accesses(call).await.map_err(refusal)?;
        reply.get_ref().entries.iter().map(|octets| parse_document(octets, "an audit entry")).collect()
    }
}
