//! OCSP answers (RFC 6960), signed by the authority that issued the certificates.

use std::sync::Arc;

use chrono::TimeDelta;
use clm_types::{AuthorityId, RevocationReason, Time};
use clm_x509::ocsp::{self, CertId, CertStatus, OcspError, OcspRequest, ResponseData, SingleResponse};

use crate::authorities::Authority;
use crate::{Secure, SecureError};

/// Certificates that one request may ask about.
const MOST_CERTIFICATES: usize = 8;

/// A signed answer.
#[derive(Debug, Clone)]
pub struct OcspAnswer {
    /// OCSPResponse, DER.
    pub der: Vec<u8>,
    /// Until when it may be kept; none for errors and for answers to a nonce.
    pub next_update: Option<Time>,
}

impl Secure {
    /// The signed answer to `request`. Malformed requests get an unsigned error answer, as RFC 6960 §2.3 says.
    ///
    /// # Errors
    /// `authority_not_found`, `authority_locked`, or trouble of ours.
    pub async fn respond_ocsp(
        &self,
        authority_id: AuthorityId,
        request: &[u8],
    ) -> Result<OcspAnswer, SecureError> {
        let authority = self.authority(authority_id).await?;
        let Ok(request) = OcspRequest::parse(request) else {
            return Ok(error(OcspError::MalformedRequest));
        };
        if request.cert_ids.is_empty() || request.cert_ids.len() > MOST_CERTIFICATES {
            return Ok(error(OcspError::MalformedRequest));
        }
        if !request.cert_ids.iter().all(|id| id.matches(&authority.issuer)) {
            // Not about certificates of this authority (RFC 6960 §2.3).
            return Ok(error(OcspError::Unauthorized));
        }
        self.sign_ocsp(&authority, request).await
    }

    async fn sign_ocsp(
        &self,
        authority: &Arc<Authority>,
        request: OcspRequest,
    ) -> Result<OcspAnswer, SecureError> {
        let now = self.parts.clock.now();
        let next_update = now + TimeDelta::seconds(authority.envelope.ocsp_validity_seconds.into());
        let mut responses = Vec::with_capacity(request.cert_ids.len());
        for cert_id in request.cert_ids {
            let status = self.serial_status(authority, &cert_id).await?;
            responses.push(SingleResponse { cert_id, status, this_update: now, next_update });
        }
        let key = authority.issuer.public_key();
        let keep = request.nonce.is_none().then_some(next_update);
        let data = ResponseData { responder: key, produced_at: now, responses, nonce: request.nonce };
        let tbs = data.encode_tbs();
        let signature = self.sign_by(authority, &tbs).await?;
        Ok(OcspAnswer { der: ocsp::assemble(key, &tbs, &signature, None)?, next_update: keep })
    }

    async fn serial_status(&self, authority: &Authority, id: &CertId) -> Result<CertStatus, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let serial = id.serial().as_bytes();
        let found =
            clm_secure_db::certificates::find_serial_status(&mut conn, authority.row.id, serial).await?;
        let Some(found) = found else {
            return Ok(CertStatus::Unknown);
        };
        let damaged = || SecureError::Damaged(format!("the revocation of serial {}", id.serial()));
        match found.revoked_at {
            None => Ok(CertStatus::Good),
            Some(revoked_at) => {
                let reason = found.revocation_reason.ok_or_else(damaged)?;
                let reason: RevocationReason = reason.parse().map_err(|_| damaged())?;
                Ok(CertStatus::Revoked { revoked_at, reason: Some(reason) })
            }
        }
    }
}

fn error(error: OcspError) -> OcspAnswer {
    OcspAnswer { der: ocsp::error_response(error), next_update: None }
}
