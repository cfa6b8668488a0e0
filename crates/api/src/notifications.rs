//! Notifications to the caller.

use chrono::{DateTime, Utc};
use clm_types::{CertificateId, NotificationId, OperationId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A notification.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Notification {
    /// Identity.
    #[schema(value_type = Uuid)]
    pub id: NotificationId,
    /// What sort of thing happened.
    pub kind: String,
    /// `low`, `normal`, `high`, `critical`.
    pub priority: String,
    /// In a few words.
    pub title: String,
    /// In more words.
    pub body: String,
    /// The certificate it is about.
    #[schema(value_type = Option<Uuid>)]
    pub certificate_id: Option<CertificateId>,
    /// The operation it is about.
    #[schema(value_type = Option<Uuid>)]
    pub operation_id: Option<OperationId>,
    /// When it was read.
    pub read_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Which notifications to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NotificationQuery {
    /// Only those that were not read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
    /// Items per page, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
