//! The outbox as Core reads it.

use clm_types::{OperationId, SecureEvent};

use crate::{Secure, SecureError};

/// Octets of payload in one answer; a single larger event still goes.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// An event with its place.
#[derive(Debug, Clone)]
pub struct SequencedEvent {
    /// From 1 without gaps.
    pub sequence: i64,
    /// The operation that caused it.
    pub operation_id: OperationId,
    /// What happened.
    pub event: SecureEvent,
}

impl Secure {
    /// Events after a sequence in order, 1000 and about a mebibyte at most.
    ///
    /// # Errors
    /// When the database fails or an event is damaged.
    pub async fn read_events(
        &self,
        after_sequence: i64,
        limit: u32,
    ) -> Result<Vec<SequencedEvent>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let rows =
            clm_secure_db::events::list_after(&mut conn, after_sequence, limit.clamp(1, 1000).into()).await?;
        let mut octets = 0;
        let fitting = rows.into_iter().take_while(|row| {
            let first = octets == 0;
            octets += row.payload.to_string().len();
            first || octets < LARGEST_ANSWER
        });
        let events = fitting.map(|row| {
            let event = serde_json::from_value(row.payload)
                .map_err(|_| SecureError::Damaged(format!("event {}", row.sequence)))?;
            Ok(SequencedEvent { sequence: row.sequence, operation_id: row.operation_id.into(), event })
        });
        events.collect()
    }
}
