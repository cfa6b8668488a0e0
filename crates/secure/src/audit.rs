//! The audit chain: each entry's hash covers its payload, its place and the entry before.

use std::borrow::Cow;

use aws_lc_rs::digest::{Context, SHA256, digest};
use clm_secure_db::audit::{AuditQuery, AuditRow};
use clm_secure_db::chain_heads::Head;
use clm_types::ids::new_uuid;
use clm_types::{Entropy, OperationId, OrganizationId, SecureAuditEntry, Time, UserId};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Secure, SecureError};

/// Who acts in Secure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A person, through Core.
    User(UserId),
    /// Core on its own account.
    Core,
    /// Secure on its own account.
    Secure,
    /// Somebody at the operator's command line, by account name.
    Operator(String),
}

impl Actor {
    const fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Core => "service",
            Self::Secure => "system",
            Self::Operator(_) => "operator",
        }
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::Core => f.write_str("service:clm-core"),
            Self::Secure => f.write_str("service:clm-secure"),
            Self::Operator(name) => write!(f, "operator:{name}"),
        }
    }
}

/// An entry before it has its place in the chain.
#[derive(Debug, Clone)]
pub struct AuditDraft {
    /// When it happened.
    pub occurred_at: Time,
    /// Who did it.
    pub actor: Actor,
    /// Whose object.
    pub organization_id: Option<OrganizationId>,
    /// Of which operation.
    pub operation_id: Option<OperationId>,
    /// What was done, `noun.verb`.
    pub action: &'static str,
    /// Kind of object.
    pub object_type: &'static str,
    /// Which object.
    pub object_id: Option<Uuid>,
    /// Whether it was done.
    pub outcome: Outcome,
    /// Why, in words.
    pub reason: Option<String>,
    /// What else belongs to the proof: digests, numbers.
    pub detail: Value,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Allowed,
    /// Not done, by a rule.
    Refused,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
        }
    }
}

/// Gives each draft its place behind `head` and moves `head` on.
pub(crate) fn chain(
    drafts: &[AuditDraft],
    head: &mut Head,
    entropy: &Entropy,
) -> Result<Vec<AuditRow>, SecureError> {
    drafts.iter().map(|draft| append(draft, head, entropy)).collect()
}

fn append(draft: &AuditDraft, head: &mut Head, entropy: &Entropy) -> Result<AuditRow, SecureError> {
    let id = new_uuid(draft.occurred_at, entropy);
    let actor = draft.actor.to_string();
    let payload = json!({
        "v": 1,
        "id": id,
        "occurred_at": draft.occurred_at.timestamp_micros(),
        "actor": actor,
        "actor_type": draft.actor.kind(),
        "organization_id": draft.organization_id,
        "operation_id": draft.operation_id,
        "action": draft.action,
        "object_type": draft.object_type,
        "object_id": draft.object_id,
        "outcome": draft.outcome.as_str(),
        "reason": draft.reason,
        "detail": draft.detail,
    });
    let canonical_payload = clm_types::canonical_json(&payload)
        .map_err(|_| SecureError::Damaged("an audit entry has no JSON form".into()))?;
    let payload_sha256 = digest(&SHA256, canonical_payload.as_bytes()).as_ref().to_vec();
    let previous_hash = std::mem::take(&mut head.chain_hash);
    head.sequence += 1;
    head.chain_hash = chain_hash(&previous_hash, head.sequence, &payload_sha256);
    Ok(AuditRow {
        id,
        sequence: head.sequence,
        occurred_at: draft.occurred_at,
        actor,
        actor_type: draft.actor.kind().into(),
        organization_id: draft.organization_id.map(Into::into),
        operation_id: draft.operation_id.map(Into::into),
        action: draft.action.into(),
        object_type: draft.object_type.into(),
        object_id: draft.object_id,
        outcome: draft.outcome.as_str().into(),
        reason: draft.reason.clone(),
        canonical_payload,
        payload_sha256,
        previous_hash,
        chain_hash: head.chain_hash.clone(),
        created_at: draft.occurred_at,
    })
}

/// SHA-256 over the previous chain hash, the sequence (8 octets, big-endian) and the payload's SHA-256.
pub(crate) fn chain_hash(previous: &[u8], sequence: i64, payload_sha256: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(previous);
    context.update(&sequence.to_be_bytes());
    context.update(payload_sha256);
    context.finish().as_ref().to_vec()
}

/// Where the chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("audit entry {sequence}: {fault}")]
pub struct BrokenChain {
    /// The sequence at which it was found.
    pub sequence: i64,
    /// What is wrong.
    pub fault: String,
}

/// Recomputes `rows`, which follow `head`, and moves `head` on.
///
/// # Errors
/// The first fault: a gap, a changed payload, a column that differs from its payload, a wrong hash.
pub fn verify(rows: &[AuditRow], head: &mut Head) -> Result<(), BrokenChain> {
    for row in rows {
        let broken = |fault: &str| BrokenChain { sequence: head.sequence + 1, fault: fault.into() };
        if row.sequence == head.sequence {
            return Err(broken("another entry of the sequence before it stands in its place"));
        }
        if row.sequence != head.sequence + 1 {
            return Err(broken(&format!("missing; the next one there is {}", row.sequence)));
        }
        if row.previous_hash != head.chain_hash {
            return Err(broken("does not follow the entry before it"));
        }
        if digest(&SHA256, row.canonical_payload.as_bytes()).as_ref() != row.payload_sha256 {
            return Err(broken("its payload has been changed"));
        }
        if !columns_match(row) {
            return Err(broken("its columns differ from its payload"));
        }
        if chain_hash(&row.previous_hash, row.sequence, &row.payload_sha256) != row.chain_hash {
            return Err(broken("its chain hash is wrong"));
        }
        head.sequence = row.sequence;
        head.chain_hash.clone_from(&row.chain_hash);
    }
    Ok(())
}

/// The parts of a payload that have columns of their own.
#[derive(Deserialize)]
struct Columns<'a> {
    id: Uuid,
    occurred_at: i64,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    #[serde(borrow)]
    actor_type: Cow<'a, str>,
    organization_id: Option<Uuid>,
    operation_id: Option<Uuid>,
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    object_type: Cow<'a, str>,
    object_id: Option<Uuid>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    reason: Option<String>,
}

fn columns_match(row: &AuditRow) -> bool {
    let Ok(payload) = serde_json::from_str::<Columns<'_>>(&row.canonical_payload) else {
        return false;
    };
    payload.id == row.id
        && payload.occurred_at == row.occurred_at.timestamp_micros()
        && row.created_at == row.occurred_at
        && payload.actor == row.actor
        && payload.actor_type == row.actor_type
        && payload.organization_id == row.organization_id
        && payload.operation_id == row.operation_id
        && payload.action == row.action
        && payload.object_type == row.object_type
        && payload.object_id == row.object_id
        && payload.outcome == row.outcome
        && payload.reason == row.reason
}

impl Secure {
    /// Audit entries, newest first, 200 at most.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_audit_entries(&self, query: &AuditQuery) -> Result<Vec<SecureAuditEntry>, SecureError> {
        let query = AuditQuery { limit: query.limit.clamp(1, 200), ..query.clone() };
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let rows = clm_secure_db::audit::list(&mut conn, &query).await?;
        Ok(rows.into_iter().map(entry).collect())
    }
}

pub(crate) fn entry(row: AuditRow) -> SecureAuditEntry {
    SecureAuditEntry {
        id: row.id,
        sequence: row.sequence,
        occurred_at: row.occurred_at,
        actor: row.actor,
        action: row.action,
        object_type: row.object_type,
        object_id: row.object_id,
        organization_id: row.organization_id.map(Into::into),
        operation_id: row.operation_id.map(Into::into),
        outcome: row.outcome,
        reason: row.reason,
        chain_hash: hex::encode(row.chain_hash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Head {
        Head { sequence: 0, chain_hash: vec![0; 32] }
    }

    fn rows() -> Vec<AuditRow> {
        let draft = AuditDraft {
            occurred_at: Time::from_timestamp(1_800_000_000, 0).unwrap(),
            actor: Actor::Core,
            organization_id: None,
            operation_id: None,
            action: "certificate.issue",
            object_type: "certificate",
            object_id: Some(Uuid::nil()),
            outcome: Outcome::Allowed,
            reason: None,
            detail: json!({"serial": "01"}),
        };
        chain(&vec![draft; 5], &mut start(), &Entropy::seeded(2)).unwrap()
    }

    #[test]
    fn an_untouched_chain_verifies_in_pieces() {
        let rows = rows();
        let mut head = start();
        verify(&rows[..2], &mut head).unwrap();
        verify(&rows[2..], &mut head).unwrap();
        assert_eq!((head.sequence, &head.chain_hash), (5, &rows[4].chain_hash));
    }

    #[test]
    fn every_manipulation_is_found_where_it_is() {
        type Manipulation = fn(&mut Vec<AuditRow>);
        let cases: [(&str, i64, Manipulation); 6] = [
            ("delete", 3, |rows| drop(rows.remove(2))),
            ("swap", 2, |rows| rows.swap(1, 2)),
            ("edit", 4, |rows| {
                rows[3].canonical_payload = rows[3].canonical_payload.replace("01", "02");
            }),
            ("column", 4, |rows| rows[3].actor = "user:nobody".into()),
            ("duplicate", 3, |rows| rows.insert(1, rows[1].clone())),
            ("rehash", 2, |rows| rows[1].chain_hash[0] ^= 1),
        ];
        for (name, sequence, manipulate) in cases {
            let mut rows = rows();
            manipulate(&mut rows);
            assert_eq!(verify(&rows, &mut start()).unwrap_err().sequence, sequence, "{name}");
        }
    }
}
