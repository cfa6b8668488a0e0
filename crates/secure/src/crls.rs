//! Revocation lists: published after every revocation and before the old ones end.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use clm_pg::Tx;
use clm_secure_db::crls::{self, CrlRow, ScopeRow};
use clm_secure_db::{crl_parts, revocations};
use clm_types::ids::new_uuid;
use clm_types::{AuthorityId, ErrorCode, OperationId, Refusal, SecureEvent, Time};
use clm_x509::crl::CrlHeader;
use fail::fail_point;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use uuid::Uuid;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::authorities::Authority;
use crate::committer::{EventDraft, Write};
use crate::crl_rests::CrlRests;
use crate::{Secure, SecureError};

/// How often the publisher looks without being woken: for revocations by other processes, and lists that end.
const PATROL: Duration = Duration::from_secs(2);

/// How long the publisher waits after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// How long a list waits for further revocations.
const TOGETHER: Duration = Duration::from_millis(200);

/// Revocations that are noted as reflected by one statement.
const REFLECTED_AT_ONCE: usize = 5_000;

/// Superseded lists stay this long for those who are fetching them.
const FETCHED_WITHIN: TimeDelta = TimeDelta::hours(1);

/// A published CRL without its octets.
#[derive(Debug, Clone, Copy)]
pub struct PublishedCrl {
    /// Names its octets.
    pub id: Uuid,
    /// Its number.
    pub crl_number: i64,
    /// When it was made.
    pub this_update: Time,
    /// When it is to be replaced.
    pub next_update: Time,
    /// Its length; 0 for one from before lengths were kept.
    pub octets: i64,
}

/// A list about to be made. Holds the lock of its scope.
pub(crate) struct NewCrl {
    pub(crate) id: Uuid,
    pub(crate) authority: Arc<Authority>,
    pub(crate) scope: ScopeRow,
    pub(crate) header: CrlHeader,
    pub(crate) now: Time,
    operation_id: OperationId,
    lock: Tx,
}

impl Secure {
    /// The newest list of a scope: the full one, or the delta to it.
    ///
    /// # Errors
    /// `authority_not_found`; `not_found` when there is no such scope, or no delta; `unavailable` before the first list.
    pub async fn newest_crl(
        &self,
        authority_id: AuthorityId,
        shard: i16,
        delta: bool,
    ) -> Result<PublishedCrl, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let found = crls::find_newest(&mut conn, authority_id.into(), shard, delta).await?;
        if let Some(CrlRow { id, crl_number, this_update, next_update, octet_count, .. }) = found {
            let octets = octet_count.unwrap_or_default();
            return Ok(PublishedCrl { id, crl_number, this_update, next_update, octets });
        }
        let scope = crls::find_scope(&mut conn, authority_id.into(), shard).await?;
        drop(conn);
        let deltas = self.authority(authority_id).await?.envelope.delta_crls;
        if scope.is_none() || (delta && !deltas) {
            return Err(Refusal::new(ErrorCode::NotFound, "the authority has no such list").into());
        }
        Err(Refusal::new(ErrorCode::Unavailable, "the list is not made yet")
            .hint("try again in a moment")
            .into())
    }

    /// The part of a list that comes after a place in it (-1 at first), and its own place; none at the end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_crl_part(&self, id: Uuid, after: i32) -> Result<Option<(i32, Vec<u8>)>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(crl_parts::find_next(&mut conn, id, after).await?)
    }

    /// Publishes what is due, for ever: at once after a revocation in this process, else every two seconds; a long list
    /// after its rest.
    pub async fn publish_crls(&self) {
        let mut rests = CrlRests::default();
        loop {
            let pause = match self.publish_rested_crls(&mut rests).await {
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

    /// Makes the scopes that authorities lack because a program of the version before made them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ensure_crl_scopes(&self) -> Result<(), SecureError> {
        let mut tx = clm_pg::begin(&self.parts.pool).await?;
        crls::ensure_all_scopes(&mut tx, self.parts.clock.now()).await?;
        Ok(clm_pg::commit(tx).await?)
    }

    /// Publishes the lists that are due now.
    ///
    /// # Errors
    /// The first failure; what was published before stays.
    pub async fn publish_due_crls(&self) -> Result<(), SecureError> {
        self.publish_rested_crls(&mut CrlRests::default()).await
    }

    async fn publish_rested_crls(&self, rests: &mut CrlRests) -> Result<(), SecureError> {
        let clock = &self.parts.clock;
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let due = crls::list_due(&mut conn, clock.now()).await?;
        drop(conn);
        let mut outcome = Ok(());
        for scope in due {
            let (key, begun) = ((scope.authority_id, scope.shard), clock.now());
            if rests.is_resting(key, begun) {
                continue;
            }
            // One authority that cannot sign does not stop the others.
            if let Err(error) = self.publish_scope(scope.authority_id.into(), scope.shard, scope.full).await {
                tracing::warn!(authority_id = %scope.authority_id, shard = scope.shard,
                    error = &error as &dyn std::error::Error, "a CRL could not be published");
                outcome = outcome.and(Err(error));
            }
            rests.begin(key, begun, clock.now());
        }
        outcome
    }

    /// Publishes the full list of a scope if it is wanted, and the delta to it if the authority makes deltas. Does nothing
    /// when another process is at it.
    ///
    /// # Errors
    /// `authority_not_found`, `authority_locked`, or trouble of ours.
    pub async fn publish_scope(
        &self,
        authority_id: AuthorityId,
        shard: i16,
        full: bool,
    ) -> Result<(), SecureError> {
        let authority = self.authority(authority_id).await?;
        self.require_key(&authority).await?;
        if full {
            self.publish_crl(&authority, shard, false).await?;
        }
        if authority.envelope.delta_crls {
            self.publish_crl(&authority, shard, true).await?;
        }
        Ok(())
    }

    /// Makes, records, signs, checks and publishes one list.
    async fn publish_crl(
        &self,
        authority: &Arc<Authority>,
        shard: i16,
        delta: bool,
    ) -> Result<(), SecureError> {
        let Some(list) = self.begin_crl(authority, shard, delta).await? else {
            return Ok(());
        };
        let mut snapshot = clm_pg::begin_snapshot(&self.parts.pool).await?;
        clm_pg::lift_time_limits(&mut snapshot).await?;
        let publication = match self.make_crl(&list, &mut snapshot).await {
            Ok(publication) => publication,
            Err(error) => {
                // It is tried again soon, and a long list would leave much behind each time.
                let mut tx = clm_pg::begin(&self.parts.pool).await?;
                crl_parts::delete_unfinished(&mut tx, list.id).await?;
                clm_pg::commit(tx).await?;
                // Dropped, it would hold the scope until its connection is used again.
                list.lock.rollback().await.map_err(clm_pg::DbError::from)?;
                return Err(error);
            }
        };
        // If this fails, it may have been done: the octets stay.
        self.commit(publication).await?;
        self.parts.authorities.forget();
        self.note_reflected(&list, &mut snapshot).await?;
        clm_pg::commit(list.lock).await?;
        tracing::info!(authority = %authority.row.name, shard, number = list.header.number, delta, "published a CRL");
        Ok(())
    }

    /// Drafts, records, signs and checks a list; gives what publishes it.
    async fn make_crl(&self, list: &NewCrl, snapshot: &mut Tx) -> Result<Write, SecureError> {
        let draft = self.draft_crl(list, snapshot).await?;
        let detail = json!({
            "crl_number": list.header.number, "shard": list.scope.shard, "entries": draft.entries,
            "tbs_sha256": hex::encode(draft.tbs_sha256),
        });
        self.commit(Write { audit: vec![list.audit("crl.intend", detail)], ..Write::default() }).await?;
        fail_point!("secure_crl_after_intent");
        let signature = self.sign_content_by(&list.authority, &draft.to_be_signed).await?;
        self.complete_crl(list, &draft, &signature).await?;
        let checked = self.check_crl(list, &draft).await?;
        fail_point!("secure_crl_before_publish");
        Ok(list.publication(&draft, checked.octets, checked.sha256.as_ref()))
    }

    /// What the next list of a scope says of itself; none when another process is at it, or a delta has no full list.
    async fn begin_crl(
        &self,
        authority: &Arc<Authority>,
        shard: i16,
        delta: bool,
    ) -> Result<Option<NewCrl>, SecureError> {
        // The lock is held until the list is published: numbers rise one by one.
        let mut lock = clm_pg::begin(&self.parts.pool).await?;
        clm_pg::lift_time_limits(&mut lock).await?;
        if !crls::try_lock_scope(&mut lock, authority.row.id, shard).await? {
            return Ok(None);
        }
        let scope = crls::find_scope(&mut lock, authority.row.id, shard).await?;
        let scope =
            scope.ok_or_else(|| Refusal::new(ErrorCode::NotFound, "the authority has no such list"))?;
        let base = scope.base_crl_number.filter(|_| delta);
        if delta && base.is_none() {
            return Ok(None);
        }
        let now = self.parts.clock.now();
        let validity = TimeDelta::seconds(authority.envelope.crl_validity_seconds.into());
        let header = CrlHeader {
            number: (scope.crl_number + 1).unsigned_abs(),
            this_update: now,
            // A delta is of use as long as its full list.
            next_update: scope.next_crl_at.filter(|_| delta).unwrap_or(now + validity),
            base_number: base.map(i64::unsigned_abs),
            distribution_point: (shard > 0).then(|| authority.crl_url(shard)),
            freshest_crl: (!delta && authority.envelope.delta_crls).then(|| authority.delta_crl_url(shard)),
        };
        Ok(Some(NewCrl {
            id: new_uuid(now, &self.parts.entropy),
            authority: Arc::clone(authority),
            scope,
            header,
            now,
            operation_id: OperationId::generate(now, &self.parts.entropy),
            lock,
        }))
    }

    /// Notes what the list is the first to reflect, as of the snapshot that it was made from.
    async fn note_reflected(&self, list: &NewCrl, snapshot: &mut Tx) -> Result<(), SecureError> {
        let rows = revocations::stream_unreflected(snapshot, list.scope.authority_id, list.scope.shard);
        let mut chunks = rows.try_chunks(REFLECTED_AT_ONCE);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| clm_pg::DbError::from(error.1))?;
            let mut tx = clm_pg::begin(&self.parts.pool).await?;
            revocations::mark_reflected(&mut tx, &chunk, list.number()).await?;
            clm_pg::commit(tx).await?;
        }
        Ok(())
    }

    /// Deletes the octets of lists that are superseded, and not the last of their day, or older than `kept`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_superseded_crls(&self, kept: TimeDelta) -> Result<i64, SecureError> {
        let now = self.parts.clock.now();
        let kept_since = now.checked_sub_signed(kept).unwrap_or(DateTime::UNIX_EPOCH);
        let mut tx = clm_pg::begin(&self.parts.pool).await?;
        let deleted = crl_parts::delete_superseded(&mut tx, now - FETCHED_WITHIN, kept_since).await?;
        clm_pg::commit(tx).await?;
        Ok(deleted)
    }
}

impl NewCrl {
    pub(crate) const fn is_delta(&self) -> bool {
        self.header.base_number.is_some()
    }

    const fn number(&self) -> i64 {
        self.scope.crl_number + 1
    }

    /// When the last full list was made: what ended before it has been on one list after its end.
    pub(crate) fn previous_list(&self) -> Time {
        self.scope.last_crl_at.unwrap_or(self.now)
    }

    fn publication(&self, draft: &crate::crl_drafts::Draft, octets: i64, sha256: &[u8]) -> Write {
        let (authority_id, shard) = (self.authority.id(), self.scope.shard);
        let row = CrlRow {
            id: self.id,
            authority_id: authority_id.into(),
            shard,
            crl_number: self.number(),
            base_crl_number: self.scope.base_crl_number.filter(|_| self.is_delta()),
            this_update: self.header.this_update,
            next_update: self.header.next_update,
            entry_count: draft.entries,
            octet_count: Some(octets),
            sha256: sha256.to_vec(),
        };
        let detail = json!({
            "crl_number": self.number(), "shard": shard, "entries": draft.entries, "sha256": hex::encode(sha256),
        });
        let event = SecureEvent::CrlPublished { authority_id, crl_number: self.number() };
        let operation_id = self.operation_id;
        Write {
            crls: vec![row],
            audit: vec![self.audit("crl.publish", detail)],
            events: vec![EventDraft { operation_id, certificate_id: None, organization_id: None, event }],
            ..Write::default()
        }
    }

    fn audit(&self, action: &'static str, detail: serde_json::Value) -> AuditDraft {
        AuditDraft {
            occurred_at: self.now,
            actor: Actor::Secure,
            organization_id: None,
            operation_id: Some(self.operation_id),
            action,
            object_type: "authority",
            object_id: Some(self.authority.row.id),
            outcome: Outcome::Allowed,
            reason: None,
            detail,
        }
    }
}
