//! `api_keys`: credentials of people and programs. Only their hashes are stored.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// One key, without its hash.
#[derive(Debug, Clone)]
pub struct ApiKeyRow {
    /// Identity.
    pub id: Uuid,
    /// How the key begins.
    pub key_prefix: String,
    /// Name to show.
    pub name: String,
    /// Whose.
    pub user_id: Uuid,
    /// Where it works; none: wherever its user may.
    pub organization_id: Option<Uuid>,
    /// Array of `noun:verb` texts; empty: all that its user may.
    pub scopes: Value,
    /// Networks it may be used from; empty: any.
    pub allowed_addresses: Vec<String>,
    /// When it ends.
    pub expires_at: Option<Time>,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<Time>,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
    /// When it was made.
    pub created_at: Time,
    /// Counts the row's changes.
    pub version: i64,
    /// The rule by which a workload got it for a token; none: it was made by a user or an operator.
    pub workload_rule_id: Option<Uuid>,
    /// Whom that token was about.
    pub workload_subject: Option<String>,
}

/// A key as authentication needs it, with the state of its user.
pub struct CredentialRow {
    /// The key.
    pub id: Uuid,
    /// SHA-256 of the whole key.
    pub key_hash: Vec<u8>,
    /// Whose.
    pub user_id: Uuid,
    /// Where it works; none: wherever its user may.
    pub organization_id: Option<Uuid>,
    /// Array of `noun:verb` texts.
    pub scopes: Value,
    /// When it was made.
    pub created_at: Time,
    /// When it ends.
    pub expires_at: Option<Time>,
    /// When it ends because another one has taken its place.
    pub replaced_at: Option<Time>,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
    /// `users.status`.
    pub user_status: String,
    /// Networks it may be used from; empty: any.
    pub allowed_addresses: Vec<String>,
    /// The rule by which a workload got it.
    pub workload_rule_id: Option<Uuid>,
}

/// Adds a key.
pub async fn insert(conn: &mut PgConnection, row: &ApiKeyRow, key_hash: &[u8; 32]) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO api_keys (id, key_prefix, key_hash, name, user_id, organization_id, scopes, allowed_addresses,
             expires_at, created_at, updated_at, workload_rule_id, workload_subject)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text[]::inet[], $9, $10, $10, $11, $12)",
        row.id,
        row.key_prefix,
        key_hash,
        row.name,
        row.user_id,
        row.organization_id,
        row.scopes,
        &row.allowed_addresses,
        row.expires_at,
        row.created_at,
        row.workload_rule_id,
        row.workload_subject
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Finds what authentication needs, by the start of the presented key.
pub async fn find_credential(
    conn: &mut PgConnection,
    key_prefix: &str,
) -> Result<Option<CredentialRow>, DbError> {
    Ok(sqlx::query_as!(
        CredentialRow,
        r#"SELECT k.id, k.key_hash, k.user_id, k.organization_id, k.scopes, k.created_at, k.expires_at, k.replaced_at, k.revoked_at,
                  u.status AS user_status, k.allowed_addresses::text[] AS "allowed_addresses!", k.workload_rule_id
           FROM api_keys k JOIN users u ON u.id = k.user_id
           WHERE k.key_prefix = $1 AND k.deleted_at IS NULL AND u.deleted_at IS NULL"#,
        key_prefix
    )
    .fetch_optional(conn)
    .await?)
}

/// Whether a user has a way to sign in: a password, a passkey, a provider that vouches for them, or a key, anywhere, that
/// works now.
pub async fn can_sign_in(conn: &mut PgConnection, user_id: Uuid, now: Time) -> Result<bool, DbError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM api_keys
                          WHERE user_id = $1 AND revoked_at IS NULL AND deleted_at IS NULL
                            AND (expires_at IS NULL OR $2 < expires_at))
                  OR EXISTS (SELECT FROM users WHERE id = $1 AND password_hash IS NOT NULL)
                  OR EXISTS (SELECT FROM passkeys WHERE user_id = $1 AND revoked_at IS NULL)
                  OR EXISTS (SELECT FROM external_identities WHERE user_id = $1 AND revoked_at IS NULL) AS "can!""#,
        user_id,
        now
    )
    .fetch_one(conn)
    .await?)
}

/// Finds a key of an organization, or one that works in all of a user's.
pub async fn find(
    conn: &mut PgConnection,
    id: Uuid,
    organization_id: Uuid,
    or_user_id: Option<Uuid>,
) -> Result<Option<ApiKeyRow>, DbError> {
    Ok(sqlx::query_as!(
        ApiKeyRow,
        r#"SELECT id, key_prefix, name, user_id, organization_id, scopes,
                  allowed_addresses::text[] AS "allowed_addresses!", LEAST(expires_at, replaced_at) AS expires_at, last_used_at, revoked_at, created_at, version,
                  workload_rule_id, workload_subject
           FROM api_keys
           WHERE id = $1 AND deleted_at IS NULL
             AND (organization_id = $2 OR (organization_id IS NULL AND user_id = $3))"#,
        id,
        organization_id,
        or_user_id
    )
    .fetch_optional(conn)
    .await?)
}

/// Keys of an organization, and those of `own_user_id` that work everywhere; of one user only if
/// `only_user_id` says so, by one rule only if `workload_rule_id` does, and one key only if `only_id` does; newest first, below `before`.
pub async fn list(
    conn: &mut PgConnection,
    organization_id: Uuid,
    own_user_id: Option<Uuid>,
    (only_user_id, workload_rule_id, only_id): (Option<Uuid>, Option<Uuid>, Option<Uuid>),
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ApiKeyRow>, DbError> {
    Ok(sqlx::query_as!(
        ApiKeyRow,
        r#"SELECT id, key_prefix, name, user_id, organization_id, scopes,
                  allowed_addresses::text[] AS "allowed_addresses!", LEAST(expires_at, replaced_at) AS expires_at, last_used_at, revoked_at, created_at, version,
                  workload_rule_id, workload_subject
           FROM api_keys
           WHERE deleted_at IS NULL
             AND (organization_id = $1 OR (organization_id IS NULL AND user_id = $2))
             AND ($3::uuid IS NULL OR user_id = $3)
             AND ($4::uuid IS NULL OR workload_rule_id = $4)
             AND ($5::uuid IS NULL OR id = $5)
             AND ($6::uuid IS NULL OR id < $6)
           ORDER BY id DESC LIMIT $7"#,
        organization_id,
        own_user_id,
        only_user_id,
        workload_rule_id,
        only_id,
        before,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// Ends a key at once.
///
/// # Errors
/// `RowCount` when it was revoked before.
pub async fn revoke(
    conn: &mut PgConnection,
    id: Uuid,
    revoked_by: Option<Uuid>,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE api_keys SET revoked_at = $3, revoked_by = $2, updated_at = $3, version = version + 1
         WHERE id = $1 AND revoked_at IS NULL",
        id,
        revoked_by,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Lets a key that works end at this time, because another one takes its place.
///
/// # Errors
/// `RowCount` when it does not work any more, or was replaced before.
pub async fn replace(conn: &mut PgConnection, id: Uuid, ends: Time, now: Time) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE api_keys SET replaced_at = $2, updated_at = $3, version = version + 1
         WHERE id = $1 AND revoked_at IS NULL AND replaced_at IS NULL AND (expires_at IS NULL OR $3 < expires_at)
           AND deleted_at IS NULL",
        id,
        ends,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Notes that a key was used; at most once a minute.
pub async fn touch(conn: &mut PgConnection, id: Uuid, now: Time) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE api_keys SET last_used_at = $2
         WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2::timestamptz - interval '1 minute')",
        id,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends all keys of a user, wherever they work.
pub async fn revoke_all(
    conn: &mut PgConnection,
    user_id: Uuid,
    by: Option<Uuid>,
    now: Time,
) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE api_keys SET revoked_at = $3, revoked_by = $2, updated_at = $3, version = version + 1
         WHERE user_id = $1 AND revoked_at IS NULL",
        user_id,
        by,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}
