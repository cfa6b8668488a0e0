//! `notifications`: what users are told, in the commit of what happened.

use clm_pg::DbError;
use clm_types::Time;
use sqlx::PgConnection;
use uuid::Uuid;

/// A message for one user, shown in the console and by the API.
#[derive(Debug, Clone)]
pub struct NewNotificationRow {
    /// UUIDv7 of the current month.
    pub id: Uuid,
    /// For whom.
    pub user_id: Uuid,
    /// `noun.verb`.
    pub kind: &'static str,
    /// `low`, `normal`, `high`, `critical`.
    pub priority: &'static str,
    /// One line.
    pub title: String,
    /// The rest.
    pub body: String,
}

/// A message as its reader sees it.
#[derive(Debug, Clone)]
pub struct NotificationRow {
    /// Identity.
    pub id: Uuid,
    /// `noun.verb`.
    pub kind: String,
    /// `low`, `normal`, `high`, `critical`.
    pub priority: String,
    /// One line.
    pub title: String,
    /// The rest.
    pub body: String,
    /// The certificate it is about.
    pub related_certificate_id: Option<Uuid>,
    /// The operation it is about.
    pub related_operation_id: Option<Uuid>,
    /// When it was read.
    pub read_at: Option<Time>,
    /// When it was made.
    pub created_at: Time,
}

/// What a batch of messages is about.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// The organization.
    pub organization_id: Uuid,
    /// The certificate.
    pub certificate_id: Option<Uuid>,
    /// The operation.
    pub operation_id: Option<Uuid>,
}

/// Adds messages about one thing.
pub async fn insert_all(
    conn: &mut PgConnection,
    rows: &[NewNotificationRow],
    about: About,
    now: Time,
) -> Result<(), DbError> {
    let result = sqlx::query!(
        "INSERT INTO notifications (id, user_id, organization_id, kind, channel, priority, title, body,
             related_certificate_id, related_operation_id, status, delivered_at, created_at, updated_at)
         SELECT id, user_id, $7, kind, 'in_app', priority, title, body, $8, $9, 'delivered', $10, $10, $10
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[])
             AS new (id, user_id, kind, priority, title, body)",
        &rows.iter().map(|n| n.id).collect::<Vec<_>>(),
        &rows.iter().map(|n| n.user_id).collect::<Vec<_>>(),
        &rows.iter().map(|n| n.kind.to_owned()).collect::<Vec<_>>(),
        &rows.iter().map(|n| n.priority.to_owned()).collect::<Vec<_>>(),
        &rows.iter().map(|n| n.title.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|n| n.body.clone()).collect::<Vec<_>>(),
        about.organization_id,
        about.certificate_id,
        about.operation_id,
        now
    )
    .execute(conn)
    .await?;
    clm_pg::expect_rows(&result, rows.len() as u64)
}

/// A page of a user's messages, newest first.
pub async fn list(
    conn: &mut PgConnection,
    user_id: Uuid,
    unread_only: bool,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<NotificationRow>, DbError> {
    let rows = sqlx::query_as!(
        NotificationRow,
        "SELECT id, kind, priority, title, body, related_certificate_id, related_operation_id, read_at, created_at
         FROM notifications
         WHERE user_id = $1 AND channel = 'in_app'
           AND (NOT $2 OR status <> 'read')
           AND ($3::uuid IS NULL OR id < $3)
         ORDER BY id DESC LIMIT $4",
        user_id,
        unread_only,
        before,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Marks a user's message as read; true if there is such a message.
pub async fn mark_read(conn: &mut PgConnection, id: Uuid, user_id: Uuid, now: Time) -> Result<bool, DbError> {
    let result = sqlx::query!(
        "UPDATE notifications SET status = 'read', read_at = COALESCE(read_at, $3), updated_at = $3, version = version + 1
         WHERE id = $1 AND user_id = $2 AND channel = 'in_app'",
        id,
        user_id,
        now
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}
