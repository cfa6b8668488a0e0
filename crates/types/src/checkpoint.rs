//! Signed states of Secure's audit chain: what Core and others keep so that the chain cannot be rewritten unseen.

use serde::{Deserialize, Serialize};

use crate::Time;

/// A state of the chain, signed by Secure's audit key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditCheckpoint {
    /// The last entry that it covers.
    pub sequence: i64,
    /// That entry's chain hash, hexadecimal.
    pub chain_hash: String,
    /// Entries up to it.
    pub entry_count: i64,
    /// When it was signed.
    pub signed_at: Time,
    /// ECDSA with SHA-256 under the canonical JSON of [`Self::statement`], Ecdsa-Sig-Value, base64.
    pub signature: String,
    /// Which audit key signed.
    pub key_reference: String,
    /// That key's SubjectPublicKeyInfo, DER in base64.
    pub public_key: String,
}

impl AuditCheckpoint {
    /// What was signed.
    pub fn statement(&self) -> serde_json::Value {
        statement(self.sequence, &self.chain_hash, self.entry_count, self.signed_at)
    }
}

/// The statement that a checkpoint's signature stands under.
pub fn statement(sequence: i64, chain_hash: &str, entry_count: i64, signed_at: Time) -> serde_json::Value {
    serde_json::json!({
        "what": "the audit chain stood here", "sequence": sequence, "chain_hash": chain_hash,
        "entry_count": entry_count, "signed_at": signed_at.timestamp_micros(),
    })
}
