//! Core's side of the link: one method per call, in our own types.

use std::time::Duration;

use clm_types::{
    AuthorityId, AuthorityRecord, BatchedOutcome, CertificateId, CertificateSpec, ErrorCode,
    IssuedCertificate, Mandate, OperationId, OperationReference, OrganizationId, OwnerChange, Refusal,
    RequestId, RevocationBatch, RevocationRecord, RevocationSpec, SecureAuditEntry, SecureEvent, Time,
    UserId,
};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::TlsFiles;
use crate::codec::{document, id, id_bytes, optional_id_bytes, parse_document};
use crate::references::{OperationStream, OrphanStream, ReferenceStream, read_operation};
use crate::status::from_status;
use crate::v1::{self, secure_service_client::SecureServiceClient};

/// Longest wait for an answer to begin; a stream may take longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest answer in one message.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// A connection to Secure that opens on first use and opens again after a loss. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SecureClient {
    pub(crate) inner: SecureServiceClient<Channel>,
}

/// One event of Secure's outbox.
#[derive(Debug, Clone)]
pub struct SequencedEvent {
    /// Its place, from 1 without gaps.
    pub sequence: i64,
    /// The operation that caused it.
    pub operation_id: OperationId,
    /// What happened.
    pub event: SecureEvent,
}

/// A CRL as Secure published it.
#[derive(Debug, Clone)]
pub struct FetchedCrl {
    /// The whole CRL.
    pub der: Vec<u8>,
    /// Its number.
    pub crl_number: i64,
    /// When it was made.
    pub this_update: Time,
    /// When it is to be replaced.
    pub next_update: Time,
}

/// A signed OCSP answer.
#[derive(Debug, Clone)]
pub struct OcspAnswer {
    /// OCSPResponse, DER.
    pub der: Vec<u8>,
    /// Until when it may be kept; none when it may not.
    pub next_update: Option<Time>,
}

/// Which audit entries to read.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this organization.
    pub organization_id: Option<OrganizationId>,
    /// Of this operation.
    pub operation_id: Option<OperationId>,
    /// About this object.
    pub object_id: Option<Uuid>,
    /// Older than this entry.
    pub before: Option<Uuid>,
    /// 1 to 200.
    pub limit: u32,
}

impl SecureClient {
    /// Prepares the connection; nothing is dialled yet.
    ///
    /// # Errors
    /// When `endpoint` is no URI or a TLS file cannot be used.
    pub fn new(
        endpoint: &str,
        server_name: &str,
        files: &TlsFiles,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let endpoint = Endpoint::from_shared(endpoint.to_owned())?
            .tls_config(files.client(server_name)?)?
            .connect_timeout(Duration::from_secs(3))
            .timeout(CALL_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(4 * 1024 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024);
        Ok(Self {
            inner: SecureServiceClient::new(endpoint.connect_lazy())
                .max_decoding_message_size(LARGEST_ANSWER),
        })
    }

    /// Records a request that waits for approval.
    ///
    /// # Errors
    /// Secure's refusal, or `unavailable`.
    pub async fn submit_request(
        &self,
        operation_id: OperationId,
        spec: &CertificateSpec,
    ) -> Result<(), Refusal> {
        let call = v1::SubmitRequestCall {
            operation_id: id_bytes(operation_id).into(),
            spec: document(spec)?.into(),
        };
        self.inner.clone().submit_request(call).await.map(|_| ()).map_err(refusal)
    }

    /// Records that a waiting request was refused or withdrawn.
    ///
    /// # Errors
    /// Secure's refusal, or `unavailable`.
    pub async fn reject_request(
        &self,
        operation_id: OperationId,
        request_id: RequestId,
        organization_id: OrganizationId,
        decided_by: UserId,
        reason: &str,
    ) -> Result<(), Refusal> {
        let call = v1::RejectRequestCall {
            operation_id: id_bytes(operation_id).into(),
            request_id: id_bytes(request_id).into(),
            organization_id: id_bytes(organization_id).into(),
            decided_by: id_bytes(decided_by).into(),
            reason: reason.to_owned(),
        };
        self.inner.clone().reject_request(call).await.map(|_| ()).map_err(refusal)
    }

    /// Issues a certificate; the mandate's operation id makes it happen once.
    ///
    /// # Errors
    /// Secure's refusal, or `unavailable`.
    pub async fn issue(
        &self,
        spec: &CertificateSpec,
        mandate: &Mandate,
    ) -> Result<IssuedCertificate, Refusal> {
        let call = v1::IssueCall { spec: document(spec)?.into(), mandate: document(mandate)?.into() };
        let reply = self.inner.clone().issue(call).await.map_err(refusal)?;
        parse_document(&reply.get_ref().certificate, "the issued certificate")
    }

    /// Revokes a certificate, puts it on hold or releases it; once per operation id.
    ///
    /// # Errors
    /// Secure's refusal, or `unavailable`.
    pub async fn revoke(
        &self,
        spec: &RevocationSpec,
        mandate: &Mandate,
    ) -> Result<RevocationRecord, Refusal> {
        let call = v1::RevokeCall { spec: document(spec)?.into(), mandate: document(mandate)?.into() };
        let reply = self.inner.clone().revoke(call).await.map_err(refusal)?;
        parse_document(&reply.get_ref().record, "the revocation")
    }

    /// Revokes certificates of one authority, or puts them on hold, in one commit; each once per operation id.
    ///
    /// # Errors
    /// Secure's refusal of the whole batch, or `unavailable`.
    pub async fn revoke_batch(
        &self,
        batch: &RevocationBatch,
        mandate: &Mandate,
    ) -> Result<Vec<BatchedOutcome>, Refusal> {
        let call = v1::RevokeBatchCall { batch: document(batch)?.into(), mandate: document(mandate)?.into() };
        let reply = self.inner.clone().revoke_batch(call).await.map_err(refusal)?;
        reply.get_ref().outcomes.iter().map(|octets| parse_document(octets, "an outcome")).collect()
    }

    /// The other certificates of the organization with the same public key, at most 10,000.
    ///
    /// # Errors
    /// `certificate_not_found` or `unavailable`.
    pub async fn list_same_key(
        &self,
        certificate_id: CertificateId,
        organization_id: OrganizationId,
    ) -> Result<Vec<CertificateId>, Refusal> {
        let call = v1::ListSameKeyCall {
            certificate_id: id_bytes(certificate_id).into(),
            organization_id: id_bytes(organization_id).into(),
        };
        let reply = self.inner.clone().list_same_key(call).await.map_err(refusal)?;
        reply.get_ref().certificate_ids.iter().map(|octets| id(octets, "certificate_id")).collect()
    }

    /// Writes down who answers for a certificate, once per operation id; false when a later decision is there already.
    ///
    /// # Errors
    /// Secure's refusal, or `unavailable`.
    pub async fn change_owner(
        &self,
        operation_id: OperationId,
        change: &OwnerChange,
    ) -> Result<bool, Refusal> {
        let call = v1::ChangeOwnerCall {
            operation_id: id_bytes(operation_id).into(),
            change: document(change)?.into(),
        };
        self.inner.clone().change_owner(call).await.map(|reply| reply.get_ref().written).map_err(refusal)
    }

    /// One certificate with its encodings.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn find_certificate(
        &self,
        certificate_id: CertificateId,
    ) -> Result<Option<IssuedCertificate>, Refusal> {
        let call = v1::FindCertificateCall { certificate_id: id_bytes(certificate_id).into() };
        let reply = self.inner.clone().find_certificate(call).await.map_err(refusal)?.into_inner();
        if reply.certificate.is_empty() {
            return Ok(None);
        }
        parse_document(&reply.certificate, "the certificate").map(Some)
    }

    /// Every authority.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn list_authorities(&self) -> Result<Vec<AuthorityRecord>, Refusal> {
        let reply = self.inner.clone().list_authorities(v1::ListAuthoritiesCall {}).await.map_err(refusal)?;
        reply.get_ref().authorities.iter().map(|octets| parse_document(octets, "an authority")).collect()
    }

    /// The newest full list of a scope of an authority, or the delta to it.
    ///
    /// # Errors
    /// `authority_not_found`, `not_found` or `unavailable`.
    pub async fn fetch_crl(
        &self,
        authority_id: AuthorityId,
        shard: u16,
        delta: bool,
    ) -> Result<FetchedCrl, Refusal> {
        let call =
            v1::FetchCrlCall { authority_id: id_bytes(authority_id).into(), shard: shard.into(), delta };
        let mut chunks = self.inner.clone().fetch_crl(call).await.map_err(refusal)?.into_inner();
        let first = chunks.message().await.map_err(refusal)?.ok_or_else(broken_answer)?;
        let mut crl = FetchedCrl {
            der: first.der.to_vec(),
            crl_number: first.crl_number,
            this_update: time(first.this_update)?,
            next_update: time(first.next_update)?,
        };
        while let Some(chunk) = chunks.message().await.map_err(refusal)? {
            crl.der.extend_from_slice(&chunk.der);
        }
        // One that was cut off is no list.
        let whole = first.octets == 0 || i64::try_from(crl.der.len()) == Ok(first.octets);
        if whole { Ok(crl) } else { Err(broken_answer()) }
    }

    /// The signed answers to OCSP requests, in their order; each may be `authority_not_found`, `authority_locked` or
    /// `unavailable`.
    ///
    /// # Errors
    /// `unavailable` for all of them.
    pub async fn respond_ocsp(
        &self,
        questions: impl IntoIterator<Item = (AuthorityId, Vec<u8>)>,
    ) -> Result<Vec<Result<OcspAnswer, Refusal>>, Refusal> {
        let questions: Vec<_> = questions
            .into_iter()
            .map(|(authority_id, request)| v1::OcspQuestion {
                authority_id: id_bytes(authority_id).into(),
                request: request.into(),
            })
            .collect();
        let count = questions.len();
        let call = v1::RespondOcspCall { questions };
        let reply = self.inner.clone().respond_ocsp(call).await.map_err(refusal)?.into_inner();
        if reply.answers.len() != count {
            return Err(broken_answer());
        }
        Ok(reply.answers.iter().map(ocsp_answer).collect())
    }

    /// Events after `after_sequence` in order, `limit` (1 to 1000) at most.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn read_events(&self, after_sequence: i64, limit: u32) -> Result<Vec<SequencedEvent>, Refusal> {
        let call = v1::ReadEventsCall { after_sequence, limit };
        let reply = self.inner.clone().read_events(call).await.map_err(refusal)?;
        let events = reply.get_ref().events.iter().map(|event| {
            Ok(SequencedEvent {
                sequence: event.sequence,
                operation_id: id(&event.operation_id, "operation_id")?,
                event: parse_document(&event.event, "an event")?,
            })
        });
        events.collect()
    }

    /// Every certificate's references in the order of `certificate_id`.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn stream_references(&self, after: Option<CertificateId>) -> Result<ReferenceStream, Refusal> {
        let call = v1::StreamReferencesCall { after: optional_id_bytes(after).into() };
        let batches = self.inner.clone().stream_references(call).await.map_err(refusal)?;
        Ok(ReferenceStream::new(batches.into_inner()))
    }

    /// What every operation left behind, in the order of `operation_id`.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn stream_operations(&self) -> Result<OperationStream, Refusal> {
        let batches =
            self.inner.clone().stream_operations(v1::StreamOperationsCall {}).await.map_err(refusal)?;
        Ok(OperationStream::new(batches.into_inner()))
    }

    /// What one operation left behind.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn find_operation(
        &self,
        operation_id: OperationId,
    ) -> Result<Option<OperationReference>, Refusal> {
        let call = v1::FindOperationCall { operation_id: id_bytes(operation_id).into() };
        let reply = self.inner.clone().find_operation(call).await.map_err(refusal)?.into_inner();
        reply.operation.as_ref().map(read_operation).transpose()
    }

    /// Private keys and revocations whose certificate does not exist.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn stream_orphans(&self) -> Result<OrphanStream, Refusal> {
        let batches = self.inner.clone().stream_orphans(v1::StreamOrphansCall {}).await.map_err(refusal)?;
        Ok(OrphanStream::new(batches.into_inner()))
    }

    /// The chain hash of one audit entry of Secure; none when its log has no such entry.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn find_chain_hash(&self, sequence: i64) -> Result<Option<Vec<u8>>, Refusal> {
        let reply = self.inner.clone().find_chain_hash(v1::FindChainHashCall { sequence }).await;
        let hash = reply.map_err(refusal)?.into_inner().chain_hash;
        Ok((!hash.is_empty()).then(|| hash.to_vec()))
    }

    /// Audit entries of Secure, newest first.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn list_audit_entries(&self, filter: &AuditFilter) -> Result<Vec<SecureAuditEntry>, Refusal> {
        let call = v1::ListAuditEntriesCall {
            organization_id: optional_id_bytes(filter.organization_id).into(),
            operation_id: optional_id_bytes(filter.operation_id).into(),
            object_id: optional_id_bytes(filter.object_id).into(),
            before: optional_id_bytes(filter.before).into(),
            limit: filter.limit,
        };
        let reply = self.inner.clone().list_audit_entries(call).await.map_err(refusal)?;
        reply.get_ref().entries.iter().map(|octets| parse_document(octets, "an audit entry")).collect()
    }
}

fn time(seconds: i64) -> Result<Time, Refusal> {
    Time::from_timestamp(seconds, 0).ok_or_else(broken_answer)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(crate) fn refusal(status: Status) -> Refusal {
    from_status(&status)
}

fn ocsp_answer(answer: &v1::OcspAnswer) -> Result<OcspAnswer, Refusal> {
    if !answer.refusal_json.is_empty() {
        return Err(serde_json::from_slice(&answer.refusal_json).unwrap_or_else(|_| broken_answer()));
    }
    let next_update = if answer.next_update == 0 { None } else { Some(time(answer.next_update)?) };
    Ok(OcspAnswer { der: answer.response.to_vec(), next_update })
}

pub(crate) fn broken_answer() -> Refusal {
    Refusal::new(ErrorCode::Internal, "the Secure Service gave an answer that cannot be read")
}
