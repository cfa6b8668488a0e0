//! OCSP answers (RFC 6960), signed on demand or ahead, by a responder of the authority or the authority itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clm_secure_db::ocsp::{self as rows, PresignedRow, SerialStatus, Unanswered};
use clm_types::ids::new_uuid;
use clm_types::{AuthorityId, RevocationReason, SerialNumber, Time};
use clm_x509::ocsp::{self, CertId, CertStatus, OcspError, OcspRequest, ResponseData, SingleResponse};
use uuid::Uuid;

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

/// A question of a relying party.
#[derive(Debug, Clone)]
pub struct OcspQuestion {
    /// Whose certificates it is about.
    pub authority_id: AuthorityId,
    /// OCSPRequest, DER.
    pub request: Vec<u8>,
}

/// A question once it was read.
enum Read {
    /// There is nothing to look up.
    Answered(OcspAnswer),
    Asks(Arc<Authority>, OcspRequest),
}

impl Secure {
    /// The signed answers to questions, in their order, with one look at the database for all of them. Malformed requests
    /// get an unsigned error answer, as RFC 6960 §2.3 says.
    ///
    /// Each answer may be `authority_not_found`, `authority_locked`, or trouble of ours.
    pub async fn respond_ocsp(&self, questions: &[OcspQuestion]) -> Vec<Result<OcspAnswer, SecureError>> {
        let now = self.parts.clock.now();
        let mut read = Vec::with_capacity(questions.len());
        let (mut authorities, mut serials) = (Vec::new(), Vec::new());
        for question in questions {
            let question = self.read_question(question).await;
            if let Ok(Read::Asks(authority, request)) = &question {
                for cert_id in &request.cert_ids {
                    authorities.push(authority.row.id);
                    serials.push(cert_id.serial().as_bytes().to_vec());
                }
            }
            read.push(question);
        }
        let found = self.find_statuses(&authorities, &serials, now).await;
        let mut next = 0;
        let answers = read.into_iter().map(|question| {
            let first = next;
            if let Ok(Read::Asks(_, request)) = &question {
                next += request.cert_ids.len();
            }
            let found = &found;
            async move {
                match (question?, found) {
                    (Read::Answered(answer), _) => Ok(answer),
                    (Read::Asks(..), Err(error)) => Err(error.to_refusal().into()),
                    (Read::Asks(authority, request), Ok(found)) => {
                        self.answer(&authority, request, (found, first), now).await
                    }
                }
            }
        });
        // A token signs several at once.
        let answers: Vec<_> = answers.collect();
        futures::future::join_all(answers).await
    }

    async fn read_question(&self, question: &OcspQuestion) -> Result<Read, SecureError> {
        let authority = self.authority(question.authority_id).await?;
        let refuse = |with: OcspError| Ok(Read::Answered(error(with)));
        let Ok(request) = OcspRequest::parse(&question.request) else {
            return refuse(OcspError::MalformedRequest);
        };
        if request.cert_ids.is_empty() || request.cert_ids.len() > MOST_CERTIFICATES {
            return refuse(OcspError::MalformedRequest);
        }
        if !request.cert_ids.iter().all(|id| id.matches(&authority.issuer)) {
            // Not about certificates of this authority (RFC 6960 §2.3).
            return refuse(OcspError::Unauthorized);
        }
        Ok(Read::Asks(authority, request))
    }

    /// What is known of serial numbers, by their place in the list.
    async fn find_statuses(
        &self,
        authorities: &[Uuid],
        serials: &[Vec<u8>],
        now: Time,
    ) -> Result<HashMap<usize, SerialStatus>, SecureError> {
        if serials.is_empty() {
            return Ok(HashMap::new());
        }
        let mut conn = self.parts.pool.acquire().await.map_err(clm_pg::DbError::from)?;
        let mut found = rows::list_statuses(&mut conn, authorities, serials, now).await?;
        if found.len() < serials.len() {
            // A certificate that came after its revocation has it: the first one found counts.
            found.extend(rows::list_revoked_alone(&mut conn, authorities, serials).await?);
        }
        let mut by_place = HashMap::with_capacity(found.len());
        for status in found {
            let place = usize::try_from(status.place - 1).unwrap_or_default();
            by_place.entry(place).or_insert(status);
        }
        Ok(by_place)
    }

    async fn answer(
        &self,
        authority: &Authority,
        request: OcspRequest,
        (found, first): (&HashMap<usize, SerialStatus>, usize),
        now: Time,
    ) -> Result<OcspAnswer, SecureError> {
        let single = request.cert_ids.len() == 1 && request.nonce.is_none();
        let mut statuses = Vec::with_capacity(request.cert_ids.len());
        for (place, cert_id) in (first..).zip(request.cert_ids) {
            let Some(found) = found.get(&place) else {
                statuses.push((cert_id, CertStatus::Unknown));
                continue;
            };
            if single
                && let (Some(der), next_update) = (&found.presigned, found.next_update)
                && cert_id == CertId::under_sha1(&authority.issuer, cert_id.serial())
            {
                return Ok(OcspAnswer { der: der.clone(), next_update });
            }
            let status = status(cert_id.serial(), found.revoked_at, found.revocation_reason.as_deref())?;
            statuses.push((cert_id, status));
        }
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
