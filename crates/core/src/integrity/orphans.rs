//! Rows of one side that lead nowhere, and operations that do not end.

use clm_core_db::DbError;
use clm_core_db::integrity::certificates::{self, NamingRow};
use clm_core_db::integrity::operations::{self, StuckOperationRow};
use clm_types::{Orphan, OrphanKind};
use serde_json::json;
use uuid::Uuid;

use super::{BATCH, Found, Run, STUCK_AFTER, Subject};
use crate::{Core, CoreError};

/// Messages looked at at once, few of which are handed on.
const MESSAGES: i64 = 10_000;

impl Core {
    pub(super) async fn find_orphans(&self, run: &mut Run) -> Result<(), CoreError> {
        self.find_orphans_of_secure(run).await?;
        self.find_orphaned_notifications(run).await?;
        self.find_stuck(run).await
    }

    /// Constraints forbid these: whoever made them has gone around PostgreSQL.
    async fn find_orphans_of_secure(&self, run: &mut Run) -> Result<(), CoreError> {
        let mut stream = self.secure.stream_orphans().await?;
        while let Some(batch) = stream.next_batch().await? {
            for orphan in batch {
                let (found, subject) = orphan_of_secure(&orphan);
                self.note(run, found, subject).await?;
            }
        }
        Ok(())
    }

    async fn find_orphaned_notifications(&self, run: &mut Run) -> Result<(), CoreError> {
        let mut after = Uuid::nil();
        loop {
            let mut conn = self.system.acquire().await.map_err(DbError::from)?;
            let rows = certificates::list_orphaned_notifications(&mut conn, after, MESSAGES).await?;
            drop(conn);
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = last.id;
            for row in rows.into_iter().filter(|row| row.orphan) {
                if !run.is_young(Some(row.created_at), self.clock.now()) {
                    let found = Found::open("notification_without_certificate", "core");
                    self.note(run, found, message(&row)).await?;
                }
            }
        }
    }

    async fn find_stuck(&self, run: &mut Run) -> Result<(), CoreError> {
        let since = run.report.started_at - STUCK_AFTER;
        let mut after = None;
        loop {
            let mut conn = self.system.acquire().await.map_err(DbError::from)?;
            let rows = operations::list_stuck(&mut conn, since, after, BATCH).await?;
            drop(conn);
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = Some(last.id);
            for row in &rows {
                self.note(run, Found::open("operation_stuck", "core"), stuck(row)).await?;
            }
        }
    }
}

fn orphan_of_secure(orphan: &Orphan) -> (Found, Subject) {
    let kind = match orphan.kind {
        OrphanKind::PrivateKey => "private_key_without_certificate",
        OrphanKind::Revocation => "revocation_without_certificate",
    };
    let subject = Subject {
        object_type: orphan.kind.as_str(),
        object_id: orphan.object_id,
        organization_id: None,
        detail: json!({"certificate_id": orphan.certificate_id}),
    };
    (Found::alarm(kind, "secure"), subject)
}

fn message(row: &NamingRow) -> Subject {
    Subject {
        object_type: "notification",
        object_id: row.id,
        organization_id: row.organization_id,
        detail: json!({"certificate_id": row.certificate_id}),
    }
}

fn stuck(row: &StuckOperationRow) -> Subject {
    Subject {
        object_type: "request",
        object_id: row.id,
        organization_id: Some(row.organization_id),
        detail: json!({"operation_id": row.operation_id, "kind": row.instance_type, "since": row.updated_at}),
    }
}
