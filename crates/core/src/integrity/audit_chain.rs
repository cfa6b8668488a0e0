//! Secure's audit chain against the signed states of it that Core keeps.

use clm_core_db::{DbError, checkpoints};
use serde_json::json;

use super::{Found, Run, Subject};
use crate::{Core, CoreError};

/// Checkpoints that one run asks about: the newest, since a chain that was put back lacks those.
const NEWEST: i64 = 100;

impl Core {
    /// Each checkpoint must still be what Secure's log says.
    pub(super) async fn compare_audit_chain(&self, run: &mut Run) -> Result<(), CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let kept = checkpoints::list(&mut conn, None, NEWEST).await?;
        drop(conn);
        for checkpoint in kept {
            let there = self.secure.find_chain_hash(checkpoint.sequence).await?;
            if there.as_deref() == Some(checkpoint.chain_hash.as_slice()) {
                continue;
            }
            let subject = Subject {
                object_type: "audit_checkpoint",
                object_id: checkpoint.id,
                organization_id: None,
                detail: json!({
                    "sequence": checkpoint.sequence, "core": hex::encode(&checkpoint.chain_hash),
                    "secure": there.map(hex::encode), "signed_at": checkpoint.signed_at,
                }),
            };
            self.note(run, Found::alarm("audit_chain_differs", "secure"), subject).await?;
        }
        Ok(())
    }
}
