//! What lies under an encryption key: private keys, and those of intents that are not signed yet.

use chrono::{DateTime, Utc};
use clm_pg::{DbError, expect_rows};
use sqlx::PgConnection;
use uuid::Uuid;

/// Where a wrapped private key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrappedIn {
    /// `private_keys`.
    PrivateKeys,
    /// `issuance_intents`, until its certificate is signed.
    Intents,
    /// `audit_keys`.
    AuditKeys,
}

impl WrappedIn {
    /// Every place; a key leaves an intent for `private_keys`, so that comes later.
    pub const ALL: [Self; 3] = [Self::Intents, Self::PrivateKeys, Self::AuditKeys];
}

/// One ciphertext.
#[derive(Debug, Clone)]
pub struct WrappedKeyRow {
    /// Its row.
    pub id: Uuid,
    /// The key, part of what the ciphertext is bound to.
    pub secret_id: Uuid,
    /// As stored.
    pub ciphertext: Vec<u8>,
}

/// A ciphertext made anew.
#[derive(Debug, Clone)]
pub struct RewrappedRow {
    /// Its row.
    pub id: Uuid,
    /// Under the old key.
    pub old: Vec<u8>,
    /// Under the new key.
    pub new: Vec<u8>,
}

/// Ciphertexts under a key in the order of their rows, after `after`.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut PgConnection,
    place: WrappedIn,
    encryption_key_id: Uuid,
    after: Uuid,
    limit: i64,
) -> Result<Vec<WrappedKeyRow>, DbError> {
    let rows = match place {
        WrappedIn::PrivateKeys => {
            sqlx::query_as!(
                WrappedKeyRow,
                r#"SELECT id, id AS secret_id, encrypted_key_material AS "ciphertext!"
                 FROM private_keys
                 WHERE encryption_key_id = $1 AND id > $2 AND encrypted_key_material IS NOT NULL ORDER BY id LIMIT $3"#,
                encryption_key_id,
                after,
                limit
            )
            .fetch_all(conn)
            .await?
        }
        WrappedIn::Intents => {
            sqlx::query_as!(
                WrappedKeyRow,
                r#"SELECT id, private_key_id AS "secret_id!", wrapped_private_key AS "ciphertext!"
                 FROM issuance_intents
                 WHERE encryption_key_id = $1 AND id > $2 AND wrapped_private_key IS NOT NULL ORDER BY id LIMIT $3"#,
                encryption_key_id,
                after,
                limit
            )
            .fetch_all(conn)
            .await?
        }
        WrappedIn::AuditKeys => {
            sqlx::query_as!(
                WrappedKeyRow,
                "SELECT id, id AS secret_id, encrypted_key_material AS ciphertext FROM audit_keys
                 WHERE encryption_key_id = $1 AND id > $2 ORDER BY id LIMIT $3",
                encryption_key_id,
                after,
                limit
            )
            .fetch_all(conn)
            .await?
        }
    };
    Ok(rows)
}

/// Puts ciphertexts under another key. Rows that changed since they were read stay as they are.
///
/// # Errors
/// When the database fails.
pub async fn rewrap(
    conn: &mut PgConnection,
    place: WrappedIn,
    rows: &[RewrappedRow],
    (from, to): (Uuid, Uuid),
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let old: Vec<_> = rows.iter().map(|row| row.old.clone()).collect();
    let new: Vec<_> = rows.iter().map(|row| row.new.clone()).collect();
    match place {
        WrappedIn::PrivateKeys => {
            sqlx::query!(
                "UPDATE private_keys SET encrypted_key_material = made.new, encryption_key_id = $5, updated_at = $6,
                     version = version + 1
                 FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS made (id, old, new)
                 WHERE private_keys.id = made.id AND encryption_key_id = $4 AND encrypted_key_material = made.old",
                &ids,
                &old,
                &new,
                from,
                to,
                now
            )
            .execute(conn)
            .await?
        }
        WrappedIn::Intents => {
            sqlx::query!(
                "UPDATE issuance_intents SET wrapped_private_key = made.new, encryption_key_id = $5, updated_at = $6,
                     version = version + 1
                 FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS made (id, old, new)
                 WHERE issuance_intents.id = made.id AND encryption_key_id = $4 AND wrapped_private_key = made.old",
                &ids,
                &old,
                &new,
                from,
                to,
                now
            )
            .execute(conn)
            .await?
        }
        WrappedIn::AuditKeys => {
            sqlx::query!(
                "UPDATE audit_keys SET encrypted_key_material = made.new, encryption_key_id = $5, updated_at = $6,
                     version = version + 1
                 FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS made (id, old, new)
                 WHERE audit_keys.id = made.id AND encryption_key_id = $4 AND encrypted_key_material = made.old",
                &ids,
                &old,
                &new,
                from,
                to,
                now
            )
            .execute(conn)
            .await?
        }
    };
    Ok(())
}

/// What an encryption key protects.
#[derive(Debug, Clone)]
pub struct BlastRadius {
    /// Private keys.
    pub private_keys: i64,
    /// Private keys of intents that are not signed yet.
    pub intents: i64,
    /// Keys that sign statements.
    pub audit_keys: i64,
    /// Organizations whose keys these are.
    pub organizations: i64,
    /// Names of the authorities whose keys these are, 100 at most.
    pub authorities: Vec<String>,
}

impl BlastRadius {
    /// Ciphertexts in all.
    pub const fn rows(&self) -> i64 {
        self.private_keys + self.intents + self.audit_keys
    }
}

/// What an encryption key protects.
///
/// # Errors
/// When the database fails.
pub async fn blast_radius(conn: &mut PgConnection, encryption_key_id: Uuid) -> Result<BlastRadius, DbError> {
    let radius = sqlx::query_as!(
        BlastRadius,
        r#"SELECT count(*) AS "private_keys!", count(DISTINCT k.organization_id) AS "organizations!",
             (SELECT count(*) FROM issuance_intents i
              WHERE i.encryption_key_id = $1 AND i.wrapped_private_key IS NOT NULL) AS "intents!",
             (SELECT count(*) FROM audit_keys s WHERE s.encryption_key_id = $1) AS "audit_keys!",
             ARRAY(SELECT a.name FROM certificate_authorities a JOIN private_keys p ON p.id = a.private_key_id
                   WHERE p.encryption_key_id = $1 AND p.encrypted_key_material IS NOT NULL ORDER BY a.name LIMIT 100)
                 AS "authorities!"
         FROM private_keys k WHERE k.encryption_key_id = $1 AND k.encrypted_key_material IS NOT NULL"#,
        encryption_key_id
    )
    .fetch_one(conn)
    .await?;
    Ok(radius)
}

/// Erases the material of an encryption key under which nothing is left.
///
/// # Errors
/// `RowCount` when something is under it, or it still wraps; or when the database fails.
pub async fn destroy_empty(
    conn: &mut PgConnection,
    encryption_key_id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE encryption_keys SET state = 'destroyed', wrapped_key_material = NULL, destroyed_at = $2, updated_at = $2,
             version = version + 1
         WHERE id = $1 AND state IN ('decrypt_only', 'compromised')
           AND NOT EXISTS (SELECT FROM private_keys k WHERE k.encryption_key_id = $1 AND k.encrypted_key_material IS NOT NULL)
           AND NOT EXISTS (SELECT FROM issuance_intents i WHERE i.encryption_key_id = $1 AND i.wrapped_private_key IS NOT NULL)
           AND NOT EXISTS (SELECT FROM audit_keys s WHERE s.encryption_key_id = $1)",
        encryption_key_id,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}
