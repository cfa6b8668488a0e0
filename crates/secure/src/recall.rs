//! What an earlier call with the same operation id left: the same id gives the same answer.

use clm_secure_db::intents::IntentRow;
use clm_secure_db::operations::OperationRow;
use clm_types::{CertificateId, ErrorCode, IssuedCertificate, PrivateKeyId, Refusal};
use clm_x509::PreparedCertificate;
use uuid::Uuid;

use crate::custody::WrappedKey;
use crate::issuance::Intended;
use crate::order::Order;
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
            return resume(order, &intent).map(|intended| Recalled::Intended(Box::new(intended)));
        }
        let issued = self.find_certificate(CertificateId(intent.certificate_id)).await?;
        let issued = issued
            .ok_or_else(|| SecureError::Damaged(format!("operation {operation_id} has no certificate")))?;
        Ok(Recalled::Issued(Box::new(issued)))
    }
}

/// The intent, ready to be signed: its octets must be those that were recorded, and still worth signing.
fn resume(order: &Order, intent: &IntentRow) -> Result<Intended, SecureError> {
    if clm_x509::sha256(&intent.tbs_der).as_slice() != intent.tbs_sha256 {
        return Err(SecureError::Damaged(format!("the intent of operation {}", intent.operation_id)));
    }
    let prepared =
        PreparedCertificate::resume(intent.tbs_der.clone(), &order.profile, &order.authority.issuer)?;
    let certificate_id = CertificateId(intent.certificate_id);
    Ok(Intended { certificate_id, prepared, wrapped: wrapped_of(intent) })
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
