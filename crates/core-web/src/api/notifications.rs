//! `/api/v1/notifications`: messages to the caller.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::response::Response;
use clm_api::Page;
use clm_api::notifications::{Notification, NotificationQuery};
use clm_core::{Core, notifications};
use clm_types::NotificationId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::{Caller, Id, Query};
use crate::failure::Failure;
use crate::{Edge, paging};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(read))
}

/// Lists the caller's notifications in this organization, newest first.
#[utoipa::path(get, path = "/notifications", tag = "notifications", params(NotificationQuery),
    responses((status = 200, body = Page<Notification>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<NotificationQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_notifications(&ctx, query.unread, page).await?;
    Ok(paging::answer(&uri, found, view))
}

/// Marks a notification as read; again changes nothing.
#[utoipa::path(post, path = "/notifications/{id}/read", tag = "notifications", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn read(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<NotificationId>,
) -> Result<StatusCode, Failure> {
    core.mark_notification_read(&ctx, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn view(row: notifications::Notification) -> Notification {
    Notification {
        id: row.id.into(),
        kind: row.kind,
        priority: row.priority,
        title: row.title,
        body: row.body,
        certificate_id: row.related_certificate_id.map(Into::into),
        operation_id: row.related_operation_id.map(Into::into),
        read_at: row.read_at,
        created_at: row.created_at,
    }
}
