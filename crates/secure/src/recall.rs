//! What an earlier call with the same operation id left: the same id gives the same answer.

use clm_secure_db::intents::IntentRow;
use clm_secure_db::operations::OperationRow;
use clm_types::{
    CertificateId, ErrorCode, IssuedCertificate, OperationId, PrivateKeyId, Refusal, SerialNumber,
};
use clm_x509::{Certificate, PublicKey};
use uuid::Uuid;

use crate::custody::WrappedKey;
use crate::issuance::Intended;
use crate::order::Order;
use crate::requests::check_csr;
use crate::{Secure, SecureError};

/// What there is.
pub(crate) enum Recalled {
    /// The certificate: the first answer.
    Issued(Box<IssuedCertificate>),
    /// The intent: what was going to be signed.
    Intended(Box<Intended>),
    /// No trace of the operation.
    Nothing,
}

impl Secure {
    /// Looks for an earlier call with the order's operation id.
    ///
    /// # Errors
    /// `operation_id_reused` when it was for something else; `request_not_pending` when its request was decided.
    pub(crate) async fn recall(&self, order: &Order) -> Result<Recalled, SecureError> {
        let operation_id: Uuid = order.mandate.operation_id.into();
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let Some(operation) = clm_secure_db::operations::find(&mut conn, operation_id).await? else {
            let request =
                clm_secure_db::requests::find_state(&mut conn, order.spec.request_id.into()).await?;
            return match request {
                Some(request) if request.status != "pending" => {
                    Err(crate::requests::refuse_repeat(&request, &order.request_sha256))
                }
                _ => Ok(Recalled::Nothing),
            };
        };
        same_request(&operation, "issue", &order.request_sha256)?;
        let Some(intent) = clm_secure_db::intents::find(&mut conn, operation_id).await? else {
            return Err(SecureError::Damaged(format!("operation {operation_id} has no intent")));
        };
        drop(conn);
        if operation.outcome.is_none() {
            return Ok(Recalled::Intended(Box::new(self.resume(order, &intent).await?)));
        }
        let issued = self.find_certificate(CertificateId(intent.certificate_id)).await?;
        let issued = issued
            .ok_or_else(|| SecureError::Damaged(format!("operation {operation_id} has no certificate")))?;
        Ok(Recalled::Issued(Box::new(issued)))
    }
}

impl Secure {
    /// The intent, ready to be signed. The order must give the very octets that were recorded: who can write to the
    /// database cannot choose what is signed.
    async fn resume(&self, order: &Order, intent: &IntentRow) -> Result<Intended, SecureError> {
        let damaged = || SecureError::Damaged(format!("the intent of operation {}", intent.operation_id));
        let wrapped = wrapped_of(intent);
        let public = self.intended_key(order, wrapped.as_ref()).await?;
        let serial = SerialNumber::from_unsigned(&intent.serial_number);
        let serial = serial.map_err(|_| damaged())?;
        // The authority may divide its lists otherwise by now.
        let shard = order.authority.shard_of(&intent.tbs_der);
        let prepared = order.prepare(&serial, &public, intent.created_at, shard)?;
        if prepared.tbs_der() != intent.tbs_der {
            return Err(damaged());
        }
        Ok(Intended { certificate_id: CertificateId(intent.certificate_id), prepared, wrapped })
    }

    async fn intended_key(
        &self,
        order: &Order,
        wrapped: Option<&WrappedKey>,
    ) -> Result<PublicKey, SecureError> {
        let spec = &order.spec;
        let Some(wrapped) = wrapped else {
            return Ok(self.subject_key(spec, check_csr(spec)?.as_ref()).await?.public);
        };
        let algorithm = match (spec.key_algorithm, spec.renewal_of) {
            (Some(algorithm), _) => algorithm,
            (None, Some(old)) => {
                let old = self.certificate_of(old, spec.organization_id).await?;
                Certificate::parse(&old.der_encoded_cert)?.public_key().algorithm()
            }
            (None, None) => return Err(SecureError::Damaged("an intent with a key of no algorithm".into())),
        };
        Ok(self.open_wrapped(wrapped, algorithm).await?.public().clone())
    }
}

impl Secure {
    /// Whether this very operation was done already.
    ///
    /// # Errors
    /// `operation_id_reused` when its id stands for another one.
    pub(crate) async fn done_before(
        &self,
        operation_id: OperationId,
        kind: &str,
        request_sha256: &[u8],
    ) -> Result<bool, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let operation = clm_secure_db::operations::find(&mut conn, operation_id.into()).await?;
        let Some(operation) = operation else { return Ok(false) };
        same_request(&operation, kind, request_sha256)?;
        Ok(true)
    }
}

/// The wrapped key that an intent holds until it is signed.
pub(crate) fn wrapped_of(intent: &IntentRow) -> Option<WrappedKey> {
    Some(WrappedKey {
        private_key_id: PrivateKeyId(intent.private_key_id?),
        encryption_key_id: intent.encryption_key_id?,
        ciphertext: intent.wrapped_private_key.clone()?,
    })
}

/// An operation id stands for one request.
pub(crate) fn same_request(
    operation: &OperationRow,
    kind: &str,
    request_sha256: &[u8],
) -> Result<(), Refusal> {
    if operation.kind == kind && operation.request_sha256 == request_sha256 { Ok(()) } else { Err(reused()) }
}

pub(crate) fn reused() -> Refusal {
    Refusal::new(ErrorCode::OperationIdReused, "this operation id was used for another request")
}

/// The same order has the same operation: one that was cut off is found again.
pub(crate) fn operation_named(order: &str) -> OperationId {
    OperationId::of_digest(clm_x509::sha256(order.as_bytes()))
}
