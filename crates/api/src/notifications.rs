//! Notifications to the caller.

use chrono::{DateTime, Utc};
use clm_types::{CertificateId, NotificationId, OperationId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
