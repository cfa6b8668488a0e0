//! The follower: what Secure did is reflected in Core, whoever ordered it and whatever died in between.

use std::sync::Arc;
use std::time::Duration;

use clm_core_db::{DbError, PgConnection, follower, records};
use clm_rpc::client::SequencedEvent;
use clm_types::{OperationId, SecureEvent, Time, ids};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::checkpoints;
use crate::imports::apply_imported;
use crate::records::{apply_issued_in, apply_revoked_in};
use crate::validation::Notice;
use crate::{Core, CoreError};

/// `follower_positions.source`.
const SOURCE: &str = "secure.events";
/// Events read at once.
const BATCH: u32 = 500;
/// How long Secure is left alone when there is nothing new, or when something is wrong.
const IDLE: Duration = Duration::from_millis(500);
const AFTER_TROUBLE: Duration = Duration::from_secs(2);

impl Core {
    /// Follows Secure until told to stop. Every process may: one at a time gets through.
    pub async fn run_follower(self: Arc<Self>, shutdown: CancellationToken) {
        let mut in_trouble = false;
        while !shutdown.is_cancelled() {
            let wait = match self.follow().await {
                Ok(reflected) => {
                    in_trouble = false;
                    if reflected == BATCH as usize {
                        continue;
                    }
                    IDLE
                }
                Err(error) => {
                    if !in_trouble {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "Secure cannot be followed now"
                        );
                    }
                    in_trouble = true;
                    AFTER_TROUBLE
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Reflects the next events; how many. None of them when another process is at it.
    ///
    /// # Errors
    /// When Secure or the database cannot be reached.
    pub async fn follow(&self) -> Result<usize, CoreError> {
        let position = self.follower_position().await?;
        let events = self.secure.read_events(position, BATCH).await?;
        if events.is_empty() {
            return Ok(0);
        }
        report_gaps(position, &events);
        match self.reflect(position, &events).await {
            Err(error) if !error.is_retryable() => self.reflect_one_by_one(position, &events).await,
            Ok(false) => Ok(0),
            outcome => outcome.map(|_| events.len()),
        }
    }

    async fn follower_position(&self) -> Result<i64, CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        if let Some(position) = follower::find_position(&mut conn, SOURCE).await? {
            return Ok(position);
        }
        let now = self.clock.now();
        follower::ensure_position(&mut conn, ids::new_uuid(now, &self.entropy), SOURCE, now).await?;
        Ok(0)
    }

    /// Applies events and moves the position in one commit. False, and nothing happens, when another
    /// process holds the position or has moved it.
    async fn reflect(&self, position: i64, events: &[SequencedEvent]) -> Result<bool, CoreError> {
        let now = self.clock.now();
        let reflected = self.in_system("follow_secure", |mut tx| async move {
            if follower::lock_position(&mut tx, SOURCE).await? != Some(position) {
                return Ok((tx, false));
            }
            self.apply_events(&mut tx, events, now).await?;
            let last = events.last().map_or(position, |event| event.sequence);
            follower::advance(&mut tx, SOURCE, last, now).await?;
            fail::fail_point!("core_follower_before_commit");
            Ok((tx, true))
        });
        if !reflected.await? {
            return Ok(false);
        }
        fail::fail_point!("core_follower_after_commit");
        for event in events {
            if let Some(notice) = notice_of(&event.event) {
                self.validation.forget(&notice);
            }
        }
        Ok(true)
    }

    /// One event that cannot be reflected must not hold up those behind it: it is reported and
    /// passed over, and the integrity job will find what it left behind.
    async fn reflect_one_by_one(
        &self,
        mut position: i64,
        events: &[SequencedEvent],
    ) -> Result<usize, CoreError> {
        for (passed, event) in events.iter().enumerate() {
            match self.reflect(position, std::slice::from_ref(event)).await {
                Err(error) if !error.is_retryable() => {
                    tracing::error!(sequence = event.sequence, operation_id = %event.operation_id,
                        error = &error as &dyn std::error::Error, "an event of Secure cannot be reflected");
                    let mut conn = self.system.acquire().await.map_err(DbError::from)?;
                    follower::advance(&mut conn, SOURCE, event.sequence, self.clock.now()).await?;
                }
                Ok(false) => return Ok(passed),
                outcome => {
                    outcome?;
                }
            }
            position = event.sequence;
        }
        Ok(events.len())
    }

    async fn apply_events(
        &self,
        conn: &mut PgConnection,
        events: &[SequencedEvent],
        now: Time,
    ) -> Result<(), CoreError> {
        let ordered: Vec<Uuid> = events
            .iter()
            .filter(|event| is_of_an_organization(&event.event))
            .map(|event| event.operation_id.into())
            .collect();
        // Most events were applied by the sagas that caused them: one query sorts them out.
        let unapplied = records::list_unapplied(conn, &ordered).await?;
        apply_imported(conn, events, now, &self.entropy).await?;
        for event in events {
            if let SecureEvent::CrlPublished { authority_id, .. } = event.event {
                follower::announce(conn, &Notice::Crl(authority_id).to_string()).await?;
            } else if let SecureEvent::AuditCheckpoint(checkpoint) = &event.event {
                checkpoints::keep(conn, checkpoint, now, &self.entropy).await?;
            } else if unapplied.contains(&event.operation_id.into()) {
                self.apply_event(conn, event, now).await?;
            }
        }
        Ok(())
    }

    async fn apply_event(
        &self,
        conn: &mut PgConnection,
        event: &SequencedEvent,
        now: Time,
    ) -> Result<(), CoreError> {
        let applied = match &event.event {
            SecureEvent::CertificateIssued(record) => {
                apply_issued_in(conn, record, false, now, &self.entropy).await?
            }
            SecureEvent::CertificateRevoked(record) => {
                apply_revoked_in(conn, record, now, &self.entropy).await?
            }
            SecureEvent::CertificateImported(_)
            | SecureEvent::OwnerChanged(_)
            | SecureEvent::CertificateExpired { .. }
            | SecureEvent::AuditCheckpoint(_)
            | SecureEvent::CrlPublished { .. } => return Ok(()),
        };
        if applied {
            tracing::info!(operation_id = %event.operation_id, sequence = event.sequence, kind = event.event.kind(),
                "reflected what Secure did");
        } else {
            report_unordered(conn, event.operation_id, event).await?;
        }
        Ok(())
    }
}

/// Certificates of authorities belong to Secure alone. Owners are Core's own decision, and ends are in the dates.
fn is_of_an_organization(event: &SecureEvent) -> bool {
    match event {
        SecureEvent::CertificateIssued(record) => record.organization_id.is_some(),
        SecureEvent::CertificateRevoked(record) => record.organization_id.is_some(),
        SecureEvent::CertificateImported(_)
        | SecureEvent::OwnerChanged(_)
        | SecureEvent::CertificateExpired { .. }
        | SecureEvent::AuditCheckpoint(_)
        | SecureEvent::CrlPublished { .. } => false,
    }
}

fn notice_of(event: &SecureEvent) -> Option<Notice> {
    match event {
        SecureEvent::CertificateIssued(_)
        | SecureEvent::CertificateImported(_)
        | SecureEvent::OwnerChanged(_)
        | SecureEvent::AuditCheckpoint(_)
        | SecureEvent::CertificateExpired { .. } => None,
        SecureEvent::CertificateRevoked(record) => Some(Notice::of_revocation(record)),
        SecureEvent::CrlPublished { authority_id, .. } => Some(Notice::Crl(*authority_id)),
    }
}

/// Not applied: done meanwhile by its saga, or a certificate that no operation of Core ordered.
async fn report_unordered(
    conn: &mut PgConnection,
    operation_id: OperationId,
    event: &SequencedEvent,
) -> Result<(), CoreError> {
    if !records::is_known(conn, operation_id.into()).await? {
        tracing::error!(%operation_id, sequence = event.sequence, kind = event.event.kind(),
            "Secure did what no operation of Core ordered: run the integrity job and look");
    }
    Ok(())
}

/// The sequence has no gaps; one means that events were lost (a restored backup, a dropped partition).
fn report_gaps(position: i64, events: &[SequencedEvent]) {
    for (event, expected) in events.iter().zip(position + 1..) {
        if event.sequence != expected {
            tracing::error!(
                expected,
                found = event.sequence,
                "events of Secure are missing: run the integrity job"
            );
            return;
        }
    }
}
