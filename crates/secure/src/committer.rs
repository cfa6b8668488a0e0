//! The one place that writes: what has queued up is committed as one transaction, with its audit entries and events.
//!
//! The heads of both chains are locked once per batch, not per operation. A batch that fails for any reason but a lost
//! database is committed again write by write, so that one bad write fails alone.

mod write;

use clm_pg::{DbError, PgPool, Tx};
use clm_secure_db::chain_heads::Head;
use clm_secure_db::events::EventRow;
use clm_types::ids::new_uuid;
use clm_types::{Clock, Entropy, Time};
use fail::fail_point;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::SecureError;
use crate::audit;
use crate::row_digests;

pub(crate) use write::{AuthorityChange, AuthorityRenewal, EventDraft, Rejection, Write};

/// Writes that wait at most; more are held back at the caller.
const QUEUE: usize = 1024;

/// Writes of one transaction at most.
const LARGEST_BATCH: usize = 256;

impl Write {
    async fn store(&self, tx: &mut Tx, now: Time, entropy: &Entropy) -> Result<(), DbError> {
        self.store_authorities_and_keys(tx, now).await?;
        self.store_requests(tx, now).await?;
        self.store_certificates(tx, now).await?;
        self.store_revocations(tx, now).await?;
        self.store_rotations(tx, now, entropy).await?;
        if !self.operations.is_empty() {
            clm_secure_db::operations::insert_all(tx, &self.operations).await?;
        }
        if !self.completions.is_empty() {
            clm_secure_db::operations::complete_all(tx, &self.completions, now).await?;
        }
        Ok(())
    }

    /// Rare rows, one statement each.
    async fn store_authorities_and_keys(&self, tx: &mut Tx, now: Time) -> Result<(), DbError> {
        for row in &self.new_authorities {
            clm_secure_db::authorities::insert(tx, row).await?;
        }
        for (id, envelope) in &self.envelopes {
            clm_secure_db::authorities::set_envelope(tx, *id, envelope, now).await?;
        }
        for row in &self.authority_changes {
            clm_secure_db::authorities::set_status(tx, row.authority, (row.from, row.to), now).await?;
        }
        for row in &self.ceremonies {
            clm_secure_db::ceremonies::insert(tx, row).await?;
        }
        for id in &self.retired_encryption_keys {
            clm_secure_db::encryption_keys::retire(tx, *id, now).await?;
        }
        for row in &self.new_encryption_keys {
            clm_secure_db::encryption_keys::insert(tx, row).await?;
        }
        for row in &self.checkpoints {
            clm_secure_db::audit_checkpoints::insert(tx, row).await?;
        }
        for row in &self.audit_keys {
            clm_secure_db::audit_keys::insert(tx, row).await?;
            clm_secure_db::encryption_keys::count_uses(tx, &[row.encryption_key_id], &[1], now).await?;
        }
        for id in &self.activated_encryption_keys {
            clm_secure_db::encryption_keys::activate(tx, *id, now).await?;
        }
        for id in &self.compromised_encryption_keys {
            clm_secure_db::encryption_keys::mark_compromised(tx, *id, now).await?;
        }
        Ok(())
    }

    async fn store_rotations(&self, tx: &mut Tx, now: Time, entropy: &Entropy) -> Result<(), DbError> {
        for row in &self.rotations {
            clm_secure_db::rotations::begin(tx, new_uuid(now, entropy), row).await?;
        }
        for row in &self.rotation_batches {
            clm_secure_db::rotations::record_batch(tx, row).await?;
        }
        for moved in &self.rewraps {
            let keys = (moved.from, moved.to);
            clm_secure_db::wrapped_keys::rewrap(tx, moved.place, &moved.rows, keys, now).await?;
            let uses = i64::try_from(moved.rows.len()).unwrap_or(i64::MAX);
            clm_secure_db::encryption_keys::count_uses(tx, &[moved.to], &[uses], now).await?;
        }
        for row in &self.rewrapped_encryption_keys {
            clm_secure_db::encryption_keys::rewrap(tx, row, now).await?;
        }
        for id in &self.destroyed_encryption_keys {
            clm_secure_db::wrapped_keys::destroy_empty(tx, *id, now).await?;
        }
        for row in &self.rotation_ends {
            clm_secure_db::rotations::finish(tx, row).await?;
        }
        Ok(())
    }

    async fn store_requests(&self, tx: &mut Tx, now: Time) -> Result<(), DbError> {
        if !self.pending_requests.is_empty() {
            clm_secure_db::requests::record_all(tx, &self.pending_requests, "pending").await?;
        }
        if !self.issuing_requests.is_empty() {
            clm_secure_db::requests::record_all(tx, &self.issuing_requests, "issuing").await?;
        }
        for rejection in &self.rejections {
            clm_secure_db::requests::reject(tx, rejection.request_id, &rejection.reason, now).await?;
        }
        if !self.intents.is_empty() {
            clm_secure_db::intents::insert_all(tx, &self.intents).await?;
            self.count_key_uses(tx, now).await?;
        }
        Ok(())
    }

    /// Every wrapped key in an intent is one use of the key that wrapped it.
    async fn count_key_uses(&self, tx: &mut Tx, now: Time) -> Result<(), DbError> {
        let mut uses = std::collections::BTreeMap::<Uuid, i64>::new();
        for id in self.intents.iter().filter_map(|intent| intent.encryption_key_id) {
            *uses.entry(id).or_default() += 1;
        }
        if uses.is_empty() {
            return Ok(());
        }
        let (ids, counts): (Vec<_>, Vec<_>) = uses.into_iter().unzip();
        clm_secure_db::encryption_keys::count_uses(tx, &ids, &counts, now).await
    }

    async fn store_certificates(&self, tx: &mut Tx, now: Time) -> Result<(), DbError> {
        if !self.certificates.is_empty() {
            clm_secure_db::certificates::insert_all(tx, &self.certificates).await?;
            if !self.private_keys.is_empty() {
                clm_secure_db::private_keys::take_from_intents(tx, &self.private_keys).await?;
            }
            let operations: Vec<_> = self.certificates.iter().map(|row| row.operation_id).collect();
            clm_secure_db::intents::mark_signed(tx, &operations, now).await?;
            self.close_requests(tx, now).await?;
            self.link_renewals(tx, now).await?;
        }
        if !self.imported_certificates.is_empty() {
            clm_secure_db::certificates::insert_all(tx, &self.imported_certificates).await?;
        }
        for (certificate, authority) in &self.adopted_certificates {
            clm_secure_db::imports::adopt_certificate(tx, *certificate, *authority, now).await?;
        }
        for (revocation, certificate) in &self.adopted_revocations {
            clm_secure_db::imports::adopt_revocation(tx, *revocation, *certificate, now).await?;
        }
        if !self.owner_changes.is_empty() {
            clm_secure_db::owners::change_owners(tx, &self.owner_changes, now).await?;
        }
        self.store_keys(tx, now).await?;
        self.store_authority_certificates(tx, now).await
    }

    /// Rare rows, one statement each.
    async fn store_authority_certificates(&self, tx: &mut Tx, now: Time) -> Result<(), DbError> {
        for row in &self.activations {
            clm_secure_db::authorities::activate(tx, row, now).await?;
        }
        for row in &self.authority_renewals {
            clm_secure_db::authorities::renew(
                tx,
                row.authority,
                (row.old, row.new),
                row.issuer_chain_pem.as_deref(),
                now,
            )
            .await?;
        }
        for (authority, certificate) in &self.cross_certificates {
            clm_secure_db::authorities::link_certificate(tx, *authority, *certificate, "cross", now).await?;
        }
        for (authority, successor) in &self.successors {
            clm_secure_db::authorities::set_successor(tx, *authority, *successor, now).await?;
        }
        Ok(())
    }

    /// Rare rows, one statement each.
    async fn store_keys(&self, tx: &mut Tx, now: Time) -> Result<(), DbError> {
        for row in &self.token_keys {
            clm_secure_db::private_keys::insert_in_token(tx, row).await?;
        }
        for row in &self.imported_keys {
            clm_secure_db::private_keys::insert_imported(tx, row).await?;
            clm_secure_db::encryption_keys::count_uses(tx, &[row.encryption_key_id], &[1], now).await?;
        }
        for row in &self.key_changes {
            clm_secure_db::private_keys::change_access(tx, row, now).await?;
        }
        if !self.erased_keys.is_empty() {
            clm_secure_db::private_keys::erase(tx, &self.erased_keys, now).await?;
        }
        for id in &self.key_accesses {
            clm_secure_db::private_keys::count_access(tx, *id, now).await?;
        }
        Ok(())
    }

    async fn close_requests(&self, tx: &mut Tx, now: Time) -> Result<(), DbError> {
        let issued = self.certificates.iter().filter_map(|row| Some((row.request_id?, row.certificate_id)));
        let (requests, certificates): (Vec<_>, Vec<_>) = issued.unzip();
        if requests.is_empty() {
            return Ok(());
        }
        clm_secure_db::requests::mark_issued(tx, &requests, &certificates, now).await
    }

    async fn link_renewals(&self, tx: &mut Tx, now: Time) -> Result<(), DbError> {
        let renewed = self
            .certificates
            .iter()
            .filter_map(|row| Some((row.renewal_of_certificate_id?, row.certificate_id)));
        let (old, new): (Vec<_>, Vec<_>) = renewed.unzip();
        if old.is_empty() {
            return Ok(());
        }
        clm_secure_db::certificates::link_renewals(tx, &old, &new, now).await
    }

    async fn store_revocations(&self, tx: &mut Tx, now: Time) -> Result<(), DbError> {
        if !self.status_changes.is_empty() {
            clm_secure_db::certificates::change_status(tx, &self.status_changes, now).await?;
        }
        if !self.hold_ends.is_empty() {
            clm_secure_db::revocations::end_holds(tx, &self.hold_ends, now).await?;
        }
        if !self.revocations.is_empty() {
            clm_secure_db::revocations::insert_all(tx, &self.revocations, now).await?;
        }
        for row in &self.blocked_keys {
            clm_secure_db::blocked_keys::insert(tx, row).await?;
        }
        for (authority, list) in &self.continued_crls {
            clm_secure_db::imports::continue_crls(tx, *authority, *list).await?;
        }
        for row in &self.crls {
            clm_secure_db::crls::insert(tx, row).await?;
        }
        Ok(())
    }

    fn event_rows(
        &self,
        head: &mut Head,
        now: Time,
        entropy: &Entropy,
    ) -> Result<Vec<EventRow>, SecureError> {
        let rows = self.events.iter().map(|draft| {
            head.sequence += 1;
            let payload = serde_json::to_value(&draft.event)
                .map_err(|_| SecureError::Damaged("an event has no JSON form".into()))?;
            Ok(EventRow {
                id: new_uuid(now, entropy),
                sequence: head.sequence,
                kind: draft.event.kind().into(),
                operation_id: draft.operation_id.into(),
                certificate_id: draft.certificate_id.map(Into::into),
                organization_id: draft.organization_id.map(Into::into),
                payload,
                created_at: now,
            })
        });
        rows.collect()
    }
}

/// The queue's entrance.
pub(crate) struct Committer {
    queue: mpsc::Sender<Queued>,
}

struct Queued {
    write: Write,
    done: oneshot::Sender<Result<(), SecureError>>,
}

impl Queued {
    fn answer(self, outcome: Result<(), SecureError>) {
        // A caller that has gone away does not care.
        let _ = self.done.send(outcome);
    }
}

impl Committer {
    /// Starts the task that commits; it ends when the last entrance is dropped.
    pub(crate) fn start(pool: PgPool, clock: Clock, entropy: Entropy) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(Worker { pool, clock, entropy }.run(waiting));
        Self { queue }
    }

    /// Commits `write` with whatever else is waiting; returns when it is durable, or was not done.
    pub(crate) async fn commit(&self, write: Write) -> Result<(), SecureError> {
        let (done, outcome) = oneshot::channel();
        self.queue.send(Queued { write, done }).await.map_err(|_| SecureError::ShuttingDown)?;
        outcome.await.map_err(|_| SecureError::ShuttingDown)?
    }
}

struct Worker {
    pool: PgPool,
    clock: Clock,
    entropy: Entropy,
}

impl Worker {
    async fn run(self, mut waiting: mpsc::Receiver<Queued>) {
        let mut batch = Vec::with_capacity(LARGEST_BATCH);
        while waiting.recv_many(&mut batch, LARGEST_BATCH).await > 0 {
            self.commit_batch(&mut batch).await;
        }
    }

    async fn commit_batch(&self, batch: &mut Vec<Queued>) {
        if batch.len() == 1 {
            return self.commit_singly(batch).await;
        }
        let mut merged = Write::default();
        for queued in batch.iter() {
            merged.append(&queued.write);
        }
        match self.commit_one(&merged).await {
            Ok(()) => batch.drain(..).for_each(|queued| queued.answer(Ok(()))),
            Err(SecureError::Database(DbError::Unavailable(_))) => {
                batch.drain(..).for_each(|queued| queued.answer(Err(unavailable())));
            }
            Err(error) => {
                tracing::debug!(%error, writes = batch.len(), "batch refused, committing one by one");
                self.commit_singly(batch).await;
            }
        }
    }

    async fn commit_singly(&self, batch: &mut Vec<Queued>) {
        for queued in batch.drain(..) {
            let outcome = self.commit_one(&queued.write).await;
            queued.answer(outcome);
        }
    }

    async fn commit_one(&self, write: &Write) -> Result<(), SecureError> {
        clm_pg::transaction(&self.pool, "secure_batch", |mut tx| async move {
            let now = self.clock.now();
            let mut heads = clm_secure_db::chain_heads::lock(&mut tx).await?;
            require_end_of_log(&mut tx, &heads.audit).await?;
            write.store(&mut tx, now, &self.entropy).await?;
            let mut audit = audit::chain(&write.audit, &mut heads.audit, &self.entropy)?;
            let rows = row_digests::record(&mut tx, write, now).await?;
            audit.extend(audit::chain(&rows, &mut heads.audit, &self.entropy)?);
            clm_secure_db::audit::insert_all(&mut tx, &audit).await?;
            let events = write.event_rows(&mut heads.events, now, &self.entropy)?;
            if !events.is_empty() {
                clm_secure_db::events::insert_all(&mut tx, &events).await?;
            }
            clm_secure_db::chain_heads::store(&mut tx, &heads, now).await?;
            fail_point!("secure_before_commit");
            Ok::<_, SecureError>((tx, ()))
        })
        .await?;
        fail_point!("secure_after_commit");
        Ok(())
    }
}

/// Nothing is appended to a log whose end is not where the head says: what was done would not be provable.
async fn require_end_of_log(tx: &mut Tx, head: &Head) -> Result<(), SecureError> {
    let last = clm_secure_db::audit::find_last(tx).await?;
    let fits = last.map_or(head.sequence == 0, |last| last == *head);
    let broken = || SecureError::Damaged("the audit log does not end where its head says".into());
    if fits { Ok(()) } else { Err(broken()) }
}

fn unavailable() -> SecureError {
    let detail = "the Secure Service's database cannot be reached now";
    clm_types::Refusal::new(clm_types::ErrorCode::Unavailable, detail).hint("try again in a moment").into()
}
