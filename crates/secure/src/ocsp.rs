//! OCSP answers (RFC 6960), signed on demand or ahead, by a responder of the authority or the authority itself.

use std::time::Duration;

use chrono::TimeDelta;
use clm_secure_db::ocsp::{self as rows, PresignedRow, Unanswered};
use clm_types::ids::new_uuid;
use clm_types::{AuthorityId, RevocationReason, SerialNumber, Time};
use clm_x509::ocsp::{self, CertId, CertStatus, OcspError, OcspRequest, ResponseData, SingleResponse};

use crate::authorities::Authority;
use crate::{Secure, SecureError};

/// Certificates that one request may ask about.
const MOST_CERTIFICATES: usize = 8;

/// Certificates whose answers are signed ahead at once.
const AHEAD_AT_ONCE: i64 = 500;

/// How often it is looked for certificates without an answer.
const PATROL: Duration = Duration::from_secs(30);

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
        self.answer(&authority, request).await
    }

    async fn answer(&self, authority: &Authority, request: OcspRequest) -> Result<OcspAnswer, SecureError> {
        let now = self.parts.clock.now();
        let single = request.cert_ids.len() == 1 && request.nonce.is_none();
        let mut statuses = Vec::with_capacity(request.cert_ids.len());
        let mut conn = self.parts.pool.acquire().await.map_err(clm_pg::DbError::from)?;
        for cert_id in request.cert_ids {
            let serial = cert_id.serial().as_bytes();
            let found = match rows::find_status(&mut conn, authority.row.id, serial, now).await? {
                None => rows::find_revoked_alone(&mut conn, authority.row.id, serial).await?,
                found => found,
            };
            let Some(found) = found else {
                statuses.push((cert_id, CertStatus::Unknown));
                continue;
            };
            if single
                && let (Some(der), next_update) = (found.presigned, found.next_update)
                && cert_id == CertId::under_sha1(&authority.issuer, cert_id.serial())
            {
                return Ok(OcspAnswer { der, next_update });
            }
            let status = status(cert_id.serial(), found.revoked_at, found.revocation_reason.as_deref())?;
            statuses.push((cert_id, status));
        }
        drop(conn);
        self.sign_ocsp(authority, statuses, request.nonce, now).await
    }

    async fn sign_ocsp(
        &self,
        authority: &Authority,
        statuses: Vec<(CertId, CertStatus)>,
        nonce: Option<Vec<u8>>,
        now: Time,
    ) -> Result<OcspAnswer, SecureError> {
        let responder = self.responder(authority).await?;
        let certificate = responder.as_ref().map(|responder| &responder.certificate);
        let end = now + TimeDelta::seconds(authority.envelope.ocsp_validity_seconds.into());
        // No answer outlives who signed it.
        let next_update = certificate.map_or(end, |certificate| end.min(certificate.not_after()));
        let single = |(cert_id, status)| SingleResponse { cert_id, status, this_update: now, next_update };
        let responses = statuses.into_iter().map(single).collect();
        let key = certificate.map_or(authority.issuer.public_key(), |certificate| certificate.public_key());
        let keep = nonce.is_none().then_some(next_update);
        let tbs = ResponseData { responder: key, produced_at: now, responses, nonce }.encode_tbs();
        let signature = match &responder {
            Some(responder) => responder.sign(&tbs)?,
            None => self.sign_by(authority, &tbs).await?,
        };
        Ok(OcspAnswer { der: ocsp::assemble(key, &tbs, &signature, certificate)?, next_update: keep })
    }

    /// Signs answers ahead, for ever.
    pub async fn run_ocsp_presigning(&self) {
        loop {
            if let Err(error) = self.presign_ocsp().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "OCSP answers could not be signed ahead"
                );
            }
            tokio::time::sleep(PATROL).await;
        }
    }

    /// Signs the answers that are missing, or have half of their life behind them, for authorities that want it. How many.
    ///
    /// # Errors
    /// When the database fails; what was stored before stays.
    pub async fn presign_ocsp(&self) -> Result<usize, SecureError> {
        let mut signed = 0;
        for record in self.list_authorities().await? {
            let authority = self.authority(record.authority_id).await?;
            if !authority.envelope.presigned_ocsp {
                continue;
            }
            // One authority that cannot sign does not stop the others.
            match self.presign_of(&authority).await {
                Ok(count) => signed += count,
                Err(error) => {
                    tracing::warn!(authority = %authority.row.name, error = &error as &dyn std::error::Error,
                        "OCSP answers could not be signed ahead");
                }
            }
        }
        Ok(signed)
    }

    async fn presign_of(&self, authority: &Authority) -> Result<usize, SecureError> {
        let (mut signed, mut after) = (0, Vec::new());
        let half = TimeDelta::seconds(i64::from(authority.envelope.ocsp_validity_seconds) / 2);
        loop {
            let now = self.parts.clock.now();
            let mut conn = clm_pg::begin(&self.parts.pool).await?;
            let times = (now, now + half);
            let page =
                rows::list_unanswered(&mut conn, authority.row.id, &after, times, AHEAD_AT_ONCE).await?;
            drop(conn);
            let Some(last) = page.last() else { return Ok(signed) };
            after = last.serial_number.clone();
            let mut answers = Vec::new();
            for row in page.into_iter().filter(|row| row.due) {
                answers.push(self.presigned(authority, row, now).await?);
            }
            if !answers.is_empty() {
                let mut tx = clm_pg::begin(&self.parts.pool).await?;
                rows::store_presigned(&mut tx, &answers, now).await?;
                clm_pg::commit(tx).await?;
                signed += answers.len();
            }
        }
    }

    async fn presigned(
        &self,
        authority: &Authority,
        row: Unanswered,
        now: Time,
    ) -> Result<PresignedRow, SecureError> {
        let serial = SerialNumber::from_unsigned(&row.serial_number)
            .map_err(|_| SecureError::Damaged(format!("the serial of certificate {}", row.certificate_id)))?;
        let status = status(&serial, row.revoked_at, row.revocation_reason.as_deref())?;
        let cert_id = CertId::under_sha1(&authority.issuer, &serial);
        let answer = self.sign_ocsp(authority, vec![(cert_id, status)], None, now).await?;
        Ok(PresignedRow {
            id: new_uuid(now, &self.parts.entropy),
            certificate_id: row.certificate_id,
            revoked_at: row.revoked_at,
            revocation_reason: row.revocation_reason,
            der: answer.der,
            next_update: answer.next_update.unwrap_or(now),
        })
    }
}

fn status(
    serial: &SerialNumber,
    revoked_at: Option<Time>,
    reason: Option<&str>,
) -> Result<CertStatus, SecureError> {
    let Some(revoked_at) = revoked_at else { return Ok(CertStatus::Good) };
    let damaged = || SecureError::Damaged(format!("the revocation of serial {serial}"));
    let reason: RevocationReason = reason.ok_or_else(damaged)?.parse().map_err(|_| damaged())?;
    Ok(CertStatus::Revoked { revoked_at, reason: Some(reason) })
}

fn error(error: OcspError) -> OcspAnswer {
    OcspAnswer { der: ocsp::error_response(error), next_update: None }
}
