//! `sessions`: sign-ins of people. Only the hashes of their tokens are stored.

use clm_pg::{DbError, expect_rows};
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// One session, without its token.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// Identity.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// `password`, `passkey` or `oidc`.
    pub sign_in_method: String,
    /// From where it was opened.
    pub ip_address: Option<String>,
    /// The program that opened it.
    pub user_agent: Option<String>,
    /// When a second factor was last given.
    pub mfa_at: Option<Time>,
    /// When it was last used, to about a minute.
    pub last_seen_at: Time,
    /// When it ends at the latest.
    pub expires_at: Time,
    /// When it was ended before.
    pub revoked_at: Option<Time>,
    /// When it was opened.
    pub created_at: Time,
    /// What signed in, if it was an OpenID provider that vouched.
    pub external_identity_id: Option<Uuid>,
    /// The provider's name for its own session.
    pub external_session: Option<String>,
}

/// A session as authentication needs it, with the state of its user.
#[derive(Debug, Clone)]
pub struct SessionCredentialRow {
    /// The session.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// When a second factor was last given.
    pub mfa_at: Option<Time>,
    /// When it was last used, to about a minute.
    pub last_seen_at: Time,
    /// When it ends at the latest.
    pub expires_at: Time,
    /// When it was opened.
    pub created_at: Time,
    /// When it was ended before.
    pub revoked_at: Option<Time>,
    /// `users.status`.
    pub user_status: String,
    /// Whether the user has a second factor.
    pub mfa_enabled: bool,
    /// Whether one of the user's organizations asks for one.
    pub factor_required: bool,
}

/// Adds a session.
pub async fn insert(conn: &mut PgConnection, row: &SessionRow, token_hash: &[u8; 32]) -> Result<(), DbError> {
    sqlx::query!(
        "INSERT INTO sessions (id, user_id, token_hash, sign_in_method, ip_address, user_agent, mfa_at, last_seen_at, expires_at,
             created_at, updated_at, external_identity_id, external_session)
         VALUES ($1, $2, $3, $4, $5::text::inet, $6, $7, $8, $9, $10, $10, $11, $12)",
        row.id,
        row.user_id,
        token_hash,
        row.sign_in_method,
        row.ip_address,
        row.user_agent,
        row.mfa_at,
        row.last_seen_at,
        row.expires_at,
        row.created_at,
        row.external_identity_id,
        row.external_session
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Finds what authentication needs, by the hash of the presented token.
pub async fn find_credential(
    conn: &mut PgConnection,
    token_hash: &[u8; 32],
) -> Result<Option<SessionCredentialRow>, DbError> {
    Ok(sqlx::query_as!(
        SessionCredentialRow,
        r#"SELECT s.id, s.user_id, s.mfa_at, s.last_seen_at, s.expires_at, s.created_at, s.revoked_at, u.status AS user_status, u.mfa_enabled,
                  EXISTS (SELECT FROM user_organizations m JOIN organizations o ON o.id = m.organization_id
                          WHERE m.user_id = s.user_id AND m.status = 'active'
                            AND o.settings @> '{"sign_in": {"second_factor": "required"}}') AS "factor_required!"
           FROM sessions s JOIN users u ON u.id = s.user_id
           WHERE s.token_hash = $1 AND u.deleted_at IS NULL"#,
        token_hash
    )
    .fetch_optional(conn)
    .await?)
}

/// Notes the use of a session.
pub async fn touch(conn: &mut PgConnection, id: Uuid, now: Time) -> Result<(), DbError> {
    sqlx::query!(
        "UPDATE sessions SET last_seen_at = $2, updated_at = $2 WHERE id = $1 AND last_seen_at < $2 AND revoked_at IS NULL",
        id,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives a session another token, because a second factor was shown.
///
/// # Errors
/// `RowCount` unless it is open.
pub async fn rotate(
    conn: &mut PgConnection,
    id: Uuid,
    token_hash: &[u8; 32],
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE sessions SET token_hash = $2, mfa_at = $3, wrong_codes = 0, last_seen_at = $3, updated_at = $3, version = version + 1
         WHERE id = $1 AND revoked_at IS NULL AND $3 < expires_at",
        id,
        token_hash,
        now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Counts a wrong code, and ends the session at the `most`-th. Whether it did.
pub async fn note_wrong_code(
    conn: &mut PgConnection,
    id: Uuid,
    most: i32,
    now: Time,
) -> Result<bool, DbError> {
    let ended = sqlx::query_scalar!(
        r#"UPDATE sessions
           SET wrong_codes = wrong_codes + 1, updated_at = $3::timestamptz, version = version + 1,
               revoked_at = CASE WHEN wrong_codes + 1 >= $2 THEN $3::timestamptz END,
               revocation_reason = CASE WHEN wrong_codes + 1 >= $2 THEN 'wrong_codes' END
           WHERE id = $1 AND revoked_at IS NULL
           RETURNING revoked_at IS NOT NULL AS "ended!""#,
        id,
        most,
        now
    )
    .fetch_optional(conn)
    .await?;
    Ok(ended.unwrap_or(true))
}

/// Finds a session.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<SessionRow>, DbError> {
    Ok(sqlx::query_as!(
        SessionRow,
        "SELECT id, user_id, sign_in_method, host(ip_address) AS ip_address, user_agent, mfa_at, last_seen_at, expires_at,
                revoked_at, created_at, external_identity_id, external_session
         FROM sessions WHERE id = $1",
        id
    )
    .fetch_optional(conn)
    .await?)
}

/// Open sessions of a user, newest first, below `before`.
pub async fn list_open(
    conn: &mut PgConnection,
    user_id: Uuid,
    (now, idle_since): (Time, Time),
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<SessionRow>, DbError> {
    Ok(sqlx::query_as!(
        SessionRow,
        "SELECT id, user_id, sign_in_method, host(ip_address) AS ip_address, user_agent, mfa_at, last_seen_at, expires_at,
                revoked_at, created_at, external_identity_id, external_session
         FROM sessions
         WHERE user_id = $1 AND revoked_at IS NULL AND $2 < expires_at AND $3 < last_seen_at AND ($4::uuid IS NULL OR id < $4)
         ORDER BY id DESC LIMIT $5",
        user_id,
        now,
        idle_since,
        before,
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// Why sessions end, and by whom.
#[derive(Debug, Clone, Copy)]
pub struct SessionEnd<'a> {
    /// `signed_out`, `password_changed`, `administrator`, …
    pub reason: &'a str,
    /// Who.
    pub by: Option<Uuid>,
    /// When.
    pub now: Time,
}

/// Ends a session.
///
/// # Errors
/// `RowCount` when it has ended already.
pub async fn revoke(conn: &mut PgConnection, id: Uuid, end: SessionEnd<'_>) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE sessions SET revoked_at = $4, revocation_reason = $2, revoked_by = $3, updated_at = $4, version = version + 1
         WHERE id = $1 AND revoked_at IS NULL",
        id,
        end.reason,
        end.by,
        end.now
    )
    .execute(conn)
    .await?;
    expect_rows(&result, 1)
}

/// Ends all open sessions of a user but one. How many they were.
pub async fn revoke_all(
    conn: &mut PgConnection,
    user_id: Uuid,
    except: Option<Uuid>,
    end: SessionEnd<'_>,
) -> Result<u64, DbError> {
    let result = sqlx::query!(
        "UPDATE sessions SET revoked_at = $5, revocation_reason = $3, revoked_by = $4, updated_at = $5, version = version + 1
         WHERE user_id = $1 AND revoked_at IS NULL AND $5 < expires_at AND ($2::uuid IS NULL OR id <> $2)",
        user_id,
        except,
        end.reason,
        end.by,
        end.now
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}

/// Ends the sessions that an OpenID provider vouched for: all of an identity, or that which the provider names. Their ids.
pub async fn revoke_external(
    conn: &mut PgConnection,
    identity_id: Option<Uuid>,
    external_session: Option<&str>,
    issuer: &str,
    end: SessionEnd<'_>,
) -> Result<Vec<Uuid>, DbError> {
    Ok(sqlx::query_scalar!(
        "UPDATE sessions s
         SET revoked_at = $6, revocation_reason = $4, revoked_by = $5, updated_at = $6, version = s.version + 1
         FROM external_identities e
         WHERE s.external_identity_id = e.id AND e.issuer = $3 AND s.revoked_at IS NULL AND $6 < s.expires_at
           AND ($1::uuid IS NULL OR e.id = $1) AND ($2::text IS NULL OR s.external_session = $2)
         RETURNING s.id",
        identity_id,
        external_session,
        issuer,
        end.reason,
        end.by,
        end.now
    )
    .fetch_all(conn)
    .await?)
}
