//! `certificates.owner_user_id`, which follows Core's decisions.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// A new owner, unless a later decision is there.
#[derive(Debug, Clone)]
pub struct OwnerChangeRow {
    /// Which certificate.
    pub certificate_id: Uuid,
    /// The new owner.
    pub owner_user_id: Uuid,
    /// Core's version of the metadata that says so.
    pub version: i64,
}

/// Changes the owners of certificates.
///
/// # Errors
/// `RowCount` when a later decision on one came meanwhile, or when the database fails.
pub async fn change_owners(
    conn: &mut PgConnection,
    rows: &[OwnerChangeRow],
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE certificates SET owner_user_id = new.owner_user_id, owner_version = new.owner_version, updated_at = $4,
             version = version + 1
         FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS new (certificate_id, owner_user_id, owner_version)
         WHERE certificates.certificate_id = new.certificate_id AND certificates.owner_version <= new.owner_version
           AND certificates.deleted_at IS NULL",
        &rows.iter().map(|r| r.certificate_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.owner_user_id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.version).collect::<Vec<_>>(),
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, rows.len() as u64)
}
