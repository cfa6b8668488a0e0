//! Calls that are sent twice are done once: the edge asks before, and stores the answer after.

use chrono::TimeDelta;
use clm_core_db::idempotency::{self, CallRow, SeenRow};
use clm_types::{OrganizationId, UserId, ids};
use serde_json::json;
use uuid::Uuid;

use crate::{Core, CoreError, Ctx};

/// How long an answer is kept.
const KEPT: TimeDelta = TimeDelta::hours(24);
/// After this time a call that has not answered was lost with its process, and is run again.
const LOST_AFTER: TimeDelta = TimeDelta::seconds(60);

/// Answers deleted in one transaction.
const PURGED_AT_ONCE: i64 = 10_000;

/// A call with an `Idempotency-Key`.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Method and route.
    pub route: &'a str,
    /// What the caller chose.
    pub key: &'a str,
    /// SHA-256 of path and body.
    pub body_sha256: [u8; 32],
}

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// HTTP status.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// What is to be done with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Run it, then hand this id to [`Core::finish_call`], [`Core::abandon_call`] or [`Core::release_call`]. A call that
    /// was lost and is run again has the same id.
    New(Uuid),
    /// It was answered before.
    Replay(StoredResponse),
    /// It is being run right now.
    InFlight,
    /// The key was used for something else.
    Mismatch,
}

impl Core {
    /// Takes up a call of the actor.
    pub async fn begin_call(&self, ctx: &Ctx, call: Call<'_>) -> Result<Begun, CoreError> {
        let principal_id = ctx.actor.user_id.map_or(Uuid::nil(), |UserId(id)| id);
        let row = CallRow {
            id: ids::new_uuid(ctx.now, &self.entropy),
            principal_id,
            organization_id: Some(ctx.organization_id.0),
            route: call.route,
            idempotency_key: call.key,
            body_sha256: &call.body_sha256,
            expires_at: ctx.now + KEPT,
        };
        let mut tx = clm_pg::begin(&self.system).await?;
        if let Some(id) = idempotency::take(&mut tx, &row, ctx.now - LOST_AFTER, ctx.now).await? {
            clm_pg::commit(tx).await?;
            return Ok(Begun::New(id));
        }
        let seen = idempotency::find(&mut tx, principal_id, call.route, call.key).await?;
        // Gone between the two statements: whoever had it gave up just now.
        Ok(seen.map_or(Begun::InFlight, |seen| judge(seen, &call, ctx.organization_id)))
    }

    /// Stores the answer of a call that [`Core::begin_call`] let run.
    pub async fn finish_call(&self, id: Uuid, response: &StoredResponse) -> Result<(), CoreError> {
        let now = self.clock.now();
        let status = i16::try_from(response.status)
            .map_err(|error| CoreError::defect_of("a status is no HTTP status", error))?;
        let headers = json!(response.headers);
        let mut tx = clm_pg::begin(&self.system).await?;
        idempotency::finish(&mut tx, id, status, &headers, &response.body, now).await?;
        Ok(clm_pg::commit(tx).await?)
    }

    /// Lets a call that failed by an error of ours, and may have had its effect, be run again at once, under its id.
    pub async fn release_call(&self, id: Uuid) -> Result<(), CoreError> {
        let lost = self.clock.now() - LOST_AFTER;
        let mut tx = clm_pg::begin(&self.system).await?;
        idempotency::release(&mut tx, id, lost).await?;
        Ok(clm_pg::commit(tx).await?)
    }

    /// Forgets a call that was refused, without an effect: its key is free.
    pub async fn abandon_call(&self, id: Uuid) -> Result<(), CoreError> {
        let mut tx = clm_pg::begin(&self.system).await?;
        idempotency::abandon(&mut tx, id).await?;
        Ok(clm_pg::commit(tx).await?)
    }

    /// Deletes all answers whose time is over, a batch at a time; gives how many.
    pub async fn purge_calls(&self) -> Result<u64, CoreError> {
        let mut all = 0;
        loop {
            let mut tx = clm_pg::begin(&self.system).await?;
            let purged = idempotency::purge(&mut tx, self.clock.now(), PURGED_AT_ONCE).await?;
            clm_pg::commit(tx).await?;
            all += purged;
            if purged < PURGED_AT_ONCE.unsigned_abs() {
                return Ok(all);
            }
        }
    }
}

fn judge(seen: SeenRow, call: &Call<'_>, organization_id: OrganizationId) -> Begun {
    if seen.body_sha256 != call.body_sha256 || seen.organization_id != Some(organization_id.0) {
        return Begun::Mismatch;
    }
    match (seen.status.as_str(), seen.response_status) {
        ("done", Some(status)) => Begun::Replay(StoredResponse {
            status: u16::try_from(status).unwrap_or(500),
            headers: seen
                .response_headers
                .and_then(|headers| serde_json::from_value(headers).ok())
                .unwrap_or_default(),
            body: seen.response_body.unwrap_or_default(),
        }),
        _ => Begun::InFlight,
    }
}
