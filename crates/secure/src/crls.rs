//! Full CRLs: made after every revocation and before the old one ends.

use std::time::Duration;

use chrono::TimeDelta;
use clm_secure_db::crls::{self, CrlRow, NewCrl, Reflected};
use clm_secure_db::revocations::CrlEntry;
use clm_types::ids::new_uuid;
use clm_types::{
    AuthorityId, ErrorCode, OperationId, Refusal, RevocationReason, SecureEvent, SerialNumber, Time,
};
use clm_x509::Crl;
use clm_x509::crl::{self, CrlHeader, RevokedEntry};
use fail::fail_point;
use futures::TryStreamExt;
use serde_json::json;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::authorities::Authority;
use crate::committer::{EventDraft, Write};
use crate::{Secure, SecureError};

/// How often the publisher looks without being woken: for revocations by other processes, and lists that end.
const PATROL: Duration = Duration::from_secs(2);

/// How long the publisher waits after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// How long a list waits for further revocations.
const TOGETHER: Duration = Duration::from_millis(200);

/// A published CRL.
#[derive(Debug, Clone)]
pub struct PublishedCrl {
    /// The CRL.
    pub der: Vec<u8>,
    /// Its number.
    pub crl_number: i64,
    /// When it was made.
    pub this_update: Time,
    /// When it is to be replaced.
    pub next_update: Time,
}

impl Secure {
    /// The newest CRL of an authority.
    ///
    /// # Errors
    /// `authority_not_found` when there is none, or the database fails.
    pub async fn newest_crl(&self, authority_id: AuthorityId) -> Result<PublishedCrl, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let row = crls::find_newest(&mut conn, authority_id.into()).await?;
        let row =
            row.ok_or_else(|| Refusal::new(ErrorCode::AuthorityNotFound, "there is no such authority"))?;
        let CrlRow { der, crl_number, this_update, next_update, .. } = row;
        Ok(PublishedCrl { der, crl_number, this_update, next_update })
    }

    /// Publishes what is due, for ever: at once after a revocation in this process, else every two seconds.
    pub async fn publish_crls(&self) {
        loop {
            let pause = match self.publish_due_crls().await {
                Ok(()) => PATROL,
                Err(error) => {
                    tracing::debug!(%error, "trying again later");
                    AFTER_FAILURE
                }
            };
            let _ = tokio::time::timeout(pause, self.parts.crl_due.notified()).await;
            // Revocations that come together share a list.
            tokio::time::sleep(TOGETHER).await;
        }
    }

    /// Publishes the lists that are due now.
    ///
    /// # Errors
    /// The first failure; what was published before stays.
    pub async fn publish_due_crls(&self) -> Result<(), SecureError> {
        let now = self.parts.clock.now();
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let due = crls::list_due(&mut conn, now).await?;
        drop(conn);
        let mut outcome = Ok(());
        for id in due {
            // One authority that cannot sign does not stop the others.
            if let Err(error) = self.publish_crl(id.into()).await {
                tracing::warn!(authority_id = %id, error = &error as &dyn std::error::Error, "a CRL could not be published");
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    /// Makes, records, signs and stores the next CRL of an authority. Does nothing when another process is at it.
    ///
    /// # Errors
    /// `authority_not_found`, `authority_locked`, or trouble of ours.
    pub async fn publish_crl(&self, authority_id: AuthorityId) -> Result<(), SecureError> {
        let authority = self.authority(authority_id).await?;
        self.require_key(&authority).await?;
        // The lock is held until the list is stored: numbers rise one by one.
        let mut guard = clm_pg::begin(&self.parts.pool).await?;
        let Some(number) = crls::lock_next_number(&mut guard, authority_id.into()).await? else {
            return Ok(());
        };
        let now = self.parts.clock.now();
        let validity = TimeDelta::seconds(authority.envelope.crl_validity_seconds.into());
        let header =
            CrlHeader { number: number.unsigned_abs(), this_update: now, next_update: now + validity };
        let Content { entries, reflected } = self.crl_content(&authority, now).await?;
        let entry_count = entries.len();
        let tbs = crl::encode_tbs(&authority.issuer, &header, entries.into_iter());
        let operation_id = OperationId::generate(now, &self.parts.entropy);
        let digest = hex::encode(clm_x509::sha256(&tbs));
        let detail = json!({ "crl_number": number, "entries": entry_count, "tbs_sha256": digest });
        self.commit(Write {
            audit: vec![audit("crl.intend", &authority, operation_id, now, detail)],
            ..Write::default()
        })
        .await?;
        fail_point!("secure_crl_after_intent");
        let signature = self.sign_by(&authority, &tbs).await?;
        let der = crl::assemble(&authority.issuer, &tbs, &signature)?;
        check_list(&der, &header, entry_count)?;
        let sha256 = clm_x509::sha256(&der).to_vec();
        let detail = json!({ "crl_number": number, "entries": entry_count, "sha256": hex::encode(&sha256) });
        let row = CrlRow {
            id: new_uuid(now, &self.parts.entropy),
            authority_id: authority_id.into(),
            crl_number: number,
            this_update: now,
            next_update: now + validity,
            entry_count: i64::try_from(entry_count).unwrap_or(i64::MAX),
            der,
            sha256,
        };
        let event = SecureEvent::CrlPublished { authority_id, crl_number: number };
        let events = vec![EventDraft { operation_id, certificate_id: None, organization_id: None, event }];
        let audit = vec![audit("crl.publish", &authority, operation_id, now, detail)];
        self.commit(Write { crls: vec![NewCrl { row, reflected }], audit, events, ..Write::default() })
            .await?;
        clm_pg::commit(guard).await?;
        self.parts.authorities.forget();
        tracing::info!(authority = %authority.row.name, number, entry_count, "published a CRL");
        Ok(())
    }

    async fn crl_content(&self, authority: &Authority, now: Time) -> Result<Content, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let previous_list = authority.row.last_crl_at.unwrap_or(now);
        let mut rows = clm_secure_db::revocations::stream_for_crl(&mut conn, authority.row.id, previous_list);
        let damaged = || SecureError::Damaged(format!("a revocation of authority {}", authority.row.id));
        let mut content = Content::default();
        while let Some(row) = rows.try_next().await.map_err(clm_pg::DbError::from)? {
            if !row.reflected {
                content.reflected.push(Reflected { id: row.id, version: row.version });
            }
            if row.in_force {
                content.entries.push(entry(&row).ok_or_else(damaged)?);
            }
        }
        Ok(content)
    }
}

/// What goes into a list, and what it reflects first.
#[derive(Default)]
struct Content {
    entries: Vec<RevokedEntry>,
    reflected: Vec<Reflected>,
}

/// Reads the list back before anybody else can.
fn check_list(der: &[u8], header: &CrlHeader, entry_count: usize) -> Result<(), SecureError> {
    let list = Crl::parse(der)?;
    if list.header.number == header.number && list.entries.len() == entry_count {
        Ok(())
    } else {
        Err(SecureError::Crypto("a new CRL does not read back as it was meant"))
    }
}

fn entry(row: &CrlEntry) -> Option<RevokedEntry> {
    let reason = u8::try_from(row.reason_code).ok().and_then(RevocationReason::from_code)?;
    Some(RevokedEntry {
        serial: SerialNumber::from_bytes(&[&[0], row.serial_number.as_slice()].concat()).ok()?,
        revoked_at: row.revocation_date,
        reason: Some(reason),
        invalidity_date: row.invalidity_date,
    })
}

fn audit(
    action: &'static str,
    authority: &Authority,
    operation_id: OperationId,
    now: Time,
    detail: serde_json::Value,
) -> AuditDraft {
    AuditDraft {
        occurred_at: now,
        actor: Actor::Secure,
        organization_id: None,
        operation_id: Some(operation_id),
        action,
        object_type: "authority",
        object_id: Some(authority.row.id),
        outcome: Outcome::Allowed,
        reason: None,
        detail,
    }
}
