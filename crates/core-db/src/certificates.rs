//! `certificate_metadata`: the inventory.

use clm_pg::DbError;
use clm_types::{Change, Time};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// A certificate of the inventory.
#[derive(Debug, Clone)]
pub struct CertificateRow {
    /// Row id, by which pages are ordered.
    pub id: Uuid,
    /// Public identity.
    pub certificate_id: Uuid,
    /// Whose.
    pub organization_id: Uuid,
    /// Who answers for it.
    pub owner_user_id: Option<Uuid>,
    /// The owner's username; none when the reference leads nowhere.
    pub owner_username: Option<String>,
    /// The request it came of.
    pub request_id: Option<Uuid>,
    /// The operation that made it.
    pub operation_id: Option<Uuid>,
    /// The policy that governed it.
    pub policy_id: Option<Uuid>,
    /// That policy's version.
    pub policy_version: Option<i32>,
    /// Who signed it.
    pub authority_id: Option<Uuid>,
    /// Profile name.
    pub profile: String,
    /// The organization's own category.
    pub category: String,
    /// Where it is used.
    pub environment: Option<String>,
    /// Lower-case hexadecimal.
    pub serial_number: String,
    /// SHA-256 of the DER.
    pub fingerprint_sha256: Vec<u8>,
    /// RFC 4514.
    pub subject: String,
    /// RFC 4514.
    pub issuer: String,
    /// First common name.
    pub common_name: Option<String>,
    /// Typed texts.
    pub sans: Vec<String>,
    /// Of its key.
    pub key_algorithm: String,
    /// `csr`, `generated`, `reused`.
    pub key_source: Option<String>,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// Where it stands.
    pub status: String,
    /// When it was revoked or put on hold.
    pub revoked_at: Option<Time>,
    /// Why.
    pub revocation_reason: Option<String>,
    /// The certificate that it replaces.
    pub renewal_of_certificate_id: Option<Uuid>,
    /// The certificate that replaces it.
    pub renewed_by_certificate_id: Option<Uuid>,
    /// Names and values.
    pub tags: Value,
    /// The organization's own fields.
    pub custom_fields: Value,
    /// What its owners wrote.
    pub notes: Option<String>,
    /// When it came into the inventory.
    pub created_at: Time,
    /// When its metadata last changed.
    pub updated_at: Time,
    /// Counts the changes.
    pub version: i64,
}

/// Which certificates to list; what is none does not matter.
#[derive(Debug, Clone, Default)]
pub struct CertificateFilter {
    /// Only in this state at `now`: a certificate past its end is expired whether or not that is written down yet.
    pub status: Option<&'static str>,
    /// The moment that `status` is about.
    pub now: Time,
    /// Only of this owner.
    pub owner_user_id: Option<Uuid>,
    /// Only of this authority.
    pub authority_id: Option<Uuid>,
    /// Only those that end before this moment.
    pub expires_before: Option<Time>,
    /// Only those that end at this moment or after.
    pub expires_after: Option<Time>,
    /// Only those with this name (typed text).
    pub san: Option<String>,
    /// Only those with all these tags (a JSON object).
    pub tags: Option<Value>,
    /// Only those that have a tag with this name.
    pub tag_name: Option<String>,
    /// Only those whose common name or serial number begins so.
    pub prefix: Option<String>,
    /// Only with this fingerprint.
    pub fingerprint_sha256: Option<Vec<u8>>,
    /// Only with this serial number.
    pub serial_number: Option<String>,
    /// Only older than this row.
    pub before: Option<Uuid>,
    /// At most so many.
    pub limit: i64,
}

/// The last character in the order of code points: what sorts after everything that begins like a prefix.
const LAST_CHARACTER: char = '\u{10FFFF}';

/// The certificates that a filter names, in an order. The statement is compiled once for each order, so that each has
/// an index that gives it: rows are read in their order until the page is full.
macro_rules! page {
    ($conn:expr, $filter:expr, $order:tt) => {{
        let filter: &CertificateFilter = $filter;
        // Comparisons are leakproof and so may use an index under row-level security; LIKE may not.
        let prefix_end = filter.prefix.as_ref().map(|prefix| format!("{prefix}{LAST_CHARACTER}"));
        sqlx::query_as!(
            CertificateRow,
            r#"SELECT m.id, m.certificate_id, m.organization_id, m.owner_user_id, u.username AS "owner_username?", m.request_id,
             m.operation_id, m.policy_id, m.policy_version, m.authority_id, m.profile, m.category, m.environment,
             m.serial_number, m.fingerprint_sha256, m.subject, m.issuer, m.common_name, m.sans, m.key_algorithm, m.key_source,
             m.not_before, m.not_after, m.status, m.revoked_at, m.revocation_reason, m.renewal_of_certificate_id,
             m.renewed_by_certificate_id, m.tags, m.custom_fields, m.notes, m.created_at, m.updated_at, m.version
         FROM certificate_metadata m LEFT JOIN users u ON u.id = m.owner_user_id
         WHERE m.deleted_at IS NULL
           AND ($1::text IS NULL OR m.status = $1 OR ($1 = 'expired' AND m.status IN ('active', 'on_hold')))
           AND ($1 IS NULL OR $1 NOT IN ('active', 'on_hold') OR m.not_after >= $15)
           AND ($1 IS DISTINCT FROM 'expired' OR m.not_after < $15)
           AND ($2::uuid IS NULL OR m.owner_user_id = $2)
           AND ($3::uuid IS NULL OR m.authority_id = $3)
           AND ($4::timestamptz IS NULL OR m.not_after < $4)
           AND ($5::timestamptz IS NULL OR m.not_after >= $5)
           AND ($6::text IS NULL OR m.sans @> ARRAY[$6])
           AND ($7::jsonb IS NULL OR m.tags @> $7)
           AND ($8::text IS NULL OR m.tag_names @> ARRAY[$8])
           AND ($9::text IS NULL OR (m.common_name >= $9 AND m.common_name < $10)
                                 OR (m.serial_number >= $9 AND m.serial_number < $10))
           AND ($11::bytea IS NULL OR m.fingerprint_sha256 = $11)
           AND ($12::text IS NULL OR m.serial_number = $12)
           AND ($13::uuid IS NULL OR m.id < $13)"# + $order,
            filter.status,
            filter.owner_user_id,
            filter.authority_id,
            filter.expires_before,
            filter.expires_after,
            filter.san,
            filter.tags,
            filter.tag_name,
            filter.prefix,
            prefix_end,
            filter.fingerprint_sha256,
            filter.serial_number,
            filter.before,
            filter.limit,
            filter.now
        )
        .fetch_all($conn)
        .await?
    }};
}

/// A page of an organization's certificates, newest first.
pub async fn list(
    conn: &mut PgConnection,
    filter: &CertificateFilter,
) -> Result<Vec<CertificateRow>, DbError> {
    Ok(page!(conn, filter, " ORDER BY m.organization_id DESC, m.id DESC LIMIT $14"))
}

/// A page of the certificates of every organization, newest first: for connections that see all of them.
pub async fn list_everywhere(
    conn: &mut PgConnection,
    filter: &CertificateFilter,
) -> Result<Vec<CertificateRow>, DbError> {
    Ok(page!(conn, filter, " ORDER BY m.id DESC LIMIT $14"))
}

/// The certificate with this public identity.
pub async fn find(conn: &mut PgConnection, certificate_id: Uuid) -> Result<Option<CertificateRow>, DbError> {
    let row = sqlx::query_as!(
        CertificateRow,
        r#"SELECT m.id, m.certificate_id, m.organization_id, m.owner_user_id, u.username AS "owner_username?", m.request_id,
             m.operation_id, m.policy_id, m.policy_version, m.authority_id, m.profile, m.category, m.environment,
             m.serial_number, m.fingerprint_sha256, m.subject, m.issuer, m.common_name, m.sans, m.key_algorithm, m.key_source,
             m.not_before, m.not_after, m.status, m.revoked_at, m.revocation_reason, m.renewal_of_certificate_id,
             m.renewed_by_certificate_id, m.tags, m.custom_fields, m.notes, m.created_at, m.updated_at, m.version
         FROM certificate_metadata m LEFT JOIN users u ON u.id = m.owner_user_id
         WHERE m.certificate_id = $1 AND m.deleted_at IS NULL"#,
        certificate_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// New metadata; what is none, or `Keep`, stays.
#[derive(Debug, Clone, Default)]
pub struct MetadataChangeRow {
    /// The new owner.
    pub owner_user_id: Change<Uuid>,
    /// All tags.
    pub tags: Option<Value>,
    /// Where it is used.
    pub environment: Change<String>,
    /// The organization's own category.
    pub category: Option<String>,
    /// All custom fields.
    pub custom_fields: Option<Value>,
    /// Notes.
    pub notes: Change<String>,
}

/// Changes metadata that is still at `version`.
///
/// # Errors
/// `RowCount` when it is at another version.
pub async fn update_metadata(
    conn: &mut PgConnection,
    certificate_id: Uuid,
    version: i64,
    change: &MetadataChangeRow,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "UPDATE certificate_metadata SET owner_user_id = CASE WHEN $3 THEN owner_user_id ELSE $4 END,
             environment = CASE WHEN $5 THEN environment ELSE $6 END, notes = CASE WHEN $7 THEN notes ELSE $8 END,
             tags = COALESCE($9, tags), category = COALESCE($10, category), custom_fields = COALESCE($11, custom_fields),
             updated_at = $12, version = version + 1
         WHERE certificate_id = $1 AND version = $2 AND deleted_at IS NULL",
        certificate_id,
        version,
        change.owner_user_id.is_keep(),
        change.owner_user_id.value(),
        change.environment.is_keep(),
        change.environment.value(),
        change.notes.is_keep(),
        change.notes.value(),
        change.tags,
        change.category,
        change.custom_fields,
        now
    )
    .execute(conn)
    .await?;
    clm_pg::expect_rows(&result, 1)
}

/// Certificates that ended before `now` and are not marked so, the oldest end first.
pub async fn list_ended(conn: &mut PgConnection, now: Time, limit: i64) -> Result<Vec<Uuid>, DbError> {
    let ids = sqlx::query_scalar!(
        "SELECT certificate_id FROM certificate_metadata
         WHERE status IN ('active', 'on_hold') AND deleted_at IS NULL AND not_after < $1 ORDER BY not_after LIMIT $2",
        now,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(ids)
}

/// Marks those of these certificates whose time is over as expired, each with the audit entry of the same place; how many.
/// Those that another process holds are passed over.
pub async fn expire(
    conn: &mut PgConnection,
    certificate_ids: &[Uuid],
    audit_ids: &[Uuid],
    now: Time,
) -> Result<u64, DbError> {
    let expired = sqlx::query_scalar!(
        r#"WITH ended AS MATERIALIZED (
             SELECT m.id, m.status, new.audit_id FROM certificate_metadata m
             JOIN unnest($1::uuid[], $2::uuid[]) AS new (certificate_id, audit_id) ON new.certificate_id = m.certificate_id
             WHERE m.status IN ('active', 'on_hold') AND m.deleted_at IS NULL AND m.not_after < $3
             FOR UPDATE OF m SKIP LOCKED),
         expired AS (
             UPDATE certificate_metadata m SET status = 'expired', updated_at = $3, version = m.version + 1
             FROM ended WHERE m.id = ended.id
             RETURNING m.certificate_id, m.organization_id, m.not_after, ended.status AS before, ended.audit_id),
         audited AS (
             INSERT INTO audit_log (id, occurred_at, actor_type, organization_id, action, object_type, object_id, before_state,
                 after_state, outcome, created_at)
             SELECT e.audit_id, $3, 'system', e.organization_id, 'certificate.expire', 'certificate', e.certificate_id,
                 jsonb_build_object('status', e.before), jsonb_build_object('status', 'expired', 'not_after', e.not_after),
                 'allowed', $3
             FROM expired e)
         SELECT count(*) AS "expired!" FROM expired"#,
        certificate_ids,
        audit_ids,
        now
    )
    .fetch_one(conn)
    .await?;
    Ok(expired.unsigned_abs())
}
