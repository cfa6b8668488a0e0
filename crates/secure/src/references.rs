//! What Core's integrity job reads, batch by batch.

use clm_secure_db::references::{self, OperationTraceRow, ReferenceRow};
use clm_types::{CertificateReference, OperationId, OperationReference, Orphan, OrphanKind};
use uuid::Uuid;

use crate::{Secure, SecureError};

/// Rows per batch.
const BATCH: i64 = 1_000;
/// Rows looked at per batch, where few are handed on.
const ORPHAN_BATCH: i64 = 10_000;

impl Secure {
    /// References of certificates in the order of their ids, after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_references(&self, after: Uuid) -> Result<Vec<CertificateReference>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let rows = references::list_references(&mut conn, after, BATCH).await?;
        rows.iter().map(reference).collect()
    }

    /// What operations left behind, in the order of their ids, after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_operations(&self, after: Uuid) -> Result<Vec<OperationReference>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let rows = references::list_operations(&mut conn, after, BATCH).await?;
        rows.into_iter().map(operation).collect()
    }

    /// What one operation left behind.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_operation(
        &self,
        operation_id: OperationId,
    ) -> Result<Option<OperationReference>, SecureError> {
        // The first one after the id before: the same statement.
        let before = Uuid::from_u128(operation_id.0.as_u128().saturating_sub(1));
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let row = references::list_operations(&mut conn, before, 1).await?.pop();
        row.filter(|row| row.operation_id == operation_id.0).map(operation).transpose()
    }

    /// Some of the rows without their certificate, after `after`, and where to go on; none at the end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_orphans(
        &self,
        kind: OrphanKind,
        after: Uuid,
    ) -> Result<(Vec<Orphan>, Option<Uuid>), SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let rows = match kind {
            OrphanKind::PrivateKey => references::list_orphaned_keys(&mut conn, after, ORPHAN_BATCH).await?,
            OrphanKind::Revocation => {
                references::list_orphaned_revocations(&mut conn, after, ORPHAN_BATCH).await?
            }
        };
        let last = rows.last().map(|row| row.id);
        let orphans = rows.into_iter().filter(|row| row.orphan).map(|row| Orphan {
            kind,
            object_id: row.id,
            certificate_id: row.certificate_id.into(),
        });
        Ok((orphans.collect(), last))
    }
}

fn reference(row: &ReferenceRow) -> Result<CertificateReference, SecureError> {
    let damaged =
        |what: &str| SecureError::Damaged(format!("the {what} of certificate {}", row.certificate_id));
    let reason = row.revocation_reason.as_deref().map(str::parse).transpose();
    Ok(CertificateReference {
        certificate_id: row.certificate_id.into(),
        organization_id: row.organization_id.map(Into::into),
        owner_user_id: row.owner_user_id.map(Into::into),
        policy_id: row.policy_id.map(Into::into),
        operation_id: Some(row.operation_id.into()),
        status: row.status.parse().map_err(|_| damaged("status"))?,
        not_after: row.not_after,
        category: row.category.parse().map_err(|_| damaged("category"))?,
        revoked_at: row.revoked_at,
        revocation_reason: reason.map_err(|_| damaged("revocation reason"))?,
        renewal_of: row.renewal_of_certificate_id.map(Into::into),
        renewed_by: row.renewed_by_certificate_id.map(Into::into),
        explained: row.explained,
        revocation_recorded: row.revocation_recorded,
        key_fits: row.key_fits,
    })
}

fn operation(row: OperationTraceRow) -> Result<OperationReference, SecureError> {
    let damaged = |_| SecureError::Damaged(format!("the trace of operation {}", row.operation_id));
    Ok(OperationReference {
        operation_id: row.operation_id.into(),
        trace: row.trace.parse().map_err(damaged)?,
        object_id: row.object_id,
        workflow_instance_id: row.workflow_instance_id.map(Into::into),
        organization_id: row.organization_id.map(Into::into),
        owner_user_id: row.owner_user_id.map(Into::into),
        policy_id: row.policy_id.map(Into::into),
        certificate_id: row.certificate_id.map(Into::into),
        status: row.status,
        reason: row.reason,
        recorded_at: row.recorded_at,
    })
}
