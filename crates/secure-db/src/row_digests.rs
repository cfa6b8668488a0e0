//! Digests of the rows that the audit log answers for.
//!
//! The digest of a row is the SHA-256 of its JSON text (`jsonb`, columns by name, those that are null left out), so that a
//! column that is added later, null at first, changes no digest. `certificate_revocations.crl_number` is left out: it only
//! notes which signed list was the first to show the row.

use clm_pg::DbError;
use sqlx::PgConnection;
use uuid::Uuid;

/// A kind of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKind {
    /// `audit_checkpoints`, by id.
    AuditCheckpoint,
    /// `audit_keys`, by id.
    AuditKey,
    /// `certificate_authorities`, by id.
    Authority,
    /// `blocked_keys`, by id.
    BlockedKey,
    /// `certificates`, by `certificate_id`.
    Certificate,
    /// `encryption_keys`, by id.
    EncryptionKey,
    /// `private_keys`, by id.
    PrivateKey,
    /// `certificate_revocations`, by id.
    Revocation,
}

impl RowKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::AuditCheckpoint,
        Self::AuditKey,
        Self::Authority,
        Self::BlockedKey,
        Self::Certificate,
        Self::EncryptionKey,
        Self::PrivateKey,
        Self::Revocation,
    ];

    /// The name that the audit log uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuditCheckpoint => "audit_checkpoint",
            Self::AuditKey => "audit_key",
            Self::Authority => "authority",
            Self::BlockedKey => "blocked_key",
            Self::Certificate => "certificate",
            Self::EncryptionKey => "encryption_key",
            Self::PrivateKey => "private_key",
            Self::Revocation => "revocation",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Which rows; the lists of one kind add up.
#[derive(Debug, Clone, Default)]
pub struct RowSelection {
    /// Checkpoints.
    pub audit_checkpoints: Vec<Uuid>,
    /// Audit keys.
    pub audit_keys: Vec<Uuid>,
    /// Authorities.
    pub authorities: Vec<Uuid>,
    /// Blocked keys.
    pub blocked_keys: Vec<Uuid>,
    /// Certificates, by their public identity.
    pub certificates: Vec<Uuid>,
    /// Encryption keys.
    pub encryption_keys: Vec<Uuid>,
    /// Private keys.
    pub private_keys: Vec<Uuid>,
    /// Private keys, by their certificate.
    pub private_keys_of: Vec<Uuid>,
    /// Revocations.
    pub revocations: Vec<Uuid>,
    /// Holds, by the operation that ended them.
    pub holds_ended_by: Vec<Uuid>,
}

impl RowSelection {
    /// Whether no row is named.
    pub const fn is_empty(&self) -> bool {
        self.audit_checkpoints.is_empty()
            && self.audit_keys.is_empty()
            && self.authorities.is_empty()
            && self.blocked_keys.is_empty()
            && self.certificates.is_empty()
            && self.encryption_keys.is_empty()
            && self.private_keys.is_empty()
            && self.private_keys_of.is_empty()
            && self.revocations.is_empty()
            && self.holds_ended_by.is_empty()
    }

    /// Rows of one kind.
    pub fn of_kind(kind: RowKind, ids: Vec<Uuid>) -> Self {
        let mut selection = Self::default();
        match kind {
            RowKind::AuditCheckpoint => selection.audit_checkpoints = ids,
            RowKind::AuditKey => selection.audit_keys = ids,
            RowKind::Authority => selection.authorities = ids,
            RowKind::BlockedKey => selection.blocked_keys = ids,
            RowKind::Certificate => selection.certificates = ids,
            RowKind::EncryptionKey => selection.encryption_keys = ids,
            RowKind::PrivateKey => selection.private_keys = ids,
            RowKind::Revocation => selection.revocations = ids,
        }
        selection
    }
}

/// A row as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowDigest {
    /// [`RowKind::as_str`].
    pub kind: String,
    /// Which row.
    pub id: Uuid,
    /// Of the row.
    pub sha256: Vec<u8>,
}

/// Digests of rows, each once, ordered by kind and id. A row that is not there is left out.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut PgConnection, rows: &RowSelection) -> Result<Vec<RowDigest>, DbError> {
    let digests = sqlx::query_as!(
        RowDigest,
        r#"SELECT kind AS "kind!", id AS "id!", sha256(convert_to(jsonb_strip_nulls(document)::text, 'UTF8')) AS "sha256!"
         FROM (SELECT 'audit_key' AS kind, id, to_jsonb(k) AS document FROM audit_keys k WHERE id = ANY ($1)
             UNION ALL SELECT 'authority', id, to_jsonb(a) FROM certificate_authorities a WHERE id = ANY ($2)
             UNION ALL SELECT 'certificate', certificate_id, to_jsonb(c) FROM certificates c WHERE certificate_id = ANY ($3)
             UNION ALL SELECT 'encryption_key', id, to_jsonb(e) FROM encryption_keys e WHERE id = ANY ($4)
             UNION ALL SELECT 'private_key', id, to_jsonb(p) FROM private_keys p
                 WHERE id = ANY ($5) OR certificate_id = ANY ($6)
             UNION ALL SELECT 'revocation', id, to_jsonb(r) - 'crl_number' FROM certificate_revocations r
                 WHERE id = ANY ($7) OR released_operation_id = ANY ($8)
             UNION ALL SELECT 'audit_checkpoint', id, to_jsonb(s) FROM audit_checkpoints s WHERE id = ANY ($9)
             UNION ALL SELECT 'blocked_key', id, to_jsonb(b) FROM blocked_keys b WHERE id = ANY ($10)) AS found
         ORDER BY kind, id"#,
        &rows.audit_keys,
        &rows.authorities,
        &rows.certificates,
        &rows.encryption_keys,
        &rows.private_keys,
        &rows.private_keys_of,
        &rows.revocations,
        &rows.holds_ended_by,
        &rows.audit_checkpoints,
        &rows.blocked_keys
    )
    .fetch_all(conn)
    .await?;
    Ok(digests)
}

/// Ids of the rows of one kind after `after`, in order.
///
/// # Errors
/// When the database fails.
pub async fn list_ids(
    conn: &mut PgConnection,
    kind: RowKind,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Uuid>, DbError> {
    let ids = sqlx::query_scalar!(
        r#"SELECT id AS "id!" FROM (
             (SELECT id FROM audit_checkpoints WHERE $1 = 'audit_checkpoint' AND id > $2 ORDER BY id LIMIT $3)
             UNION ALL (SELECT id FROM audit_keys WHERE $1 = 'audit_key' AND id > $2 ORDER BY id LIMIT $3)
             UNION ALL (SELECT id FROM certificate_authorities WHERE $1 = 'authority' AND id > $2 ORDER BY id LIMIT $3)
             UNION ALL (SELECT id FROM blocked_keys WHERE $1 = 'blocked_key' AND id > $2 ORDER BY id LIMIT $3)
             UNION ALL (SELECT certificate_id FROM certificates
                 WHERE $1 = 'certificate' AND certificate_id > $2 ORDER BY certificate_id LIMIT $3)
             UNION ALL (SELECT id FROM encryption_keys WHERE $1 = 'encryption_key' AND id > $2 ORDER BY id LIMIT $3)
             UNION ALL (SELECT id FROM private_keys WHERE $1 = 'private_key' AND id > $2 ORDER BY id LIMIT $3)
             UNION ALL (SELECT id FROM certificate_revocations WHERE $1 = 'revocation' AND id > $2 ORDER BY id LIMIT $3)
         ) AS found ORDER BY id"#,
        kind.as_str(),
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(ids)
}

/// Whether the audit log has a digest of any row.
///
/// # Errors
/// When the database fails.
pub async fn are_recorded(conn: &mut PgConnection, action: &str) -> Result<bool, DbError> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM secure_audit_log WHERE action = $1) AS "found!""#,
        action
    )
    .fetch_one(conn)
    .await?;
    Ok(found)
}
