//! Revoking many certificates by one decision of two people.

use chrono::{DateTime, Utc};
use clm_types::{
    AuthorityId, CertificateId, MassRevocationId, OperationId, OrganizationId, RevocationReason, UserId,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::schema;

/// Which certificates to revoke: those that fit all that is said, are active or on hold, and have not ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RevocationSelection {
    /// Only of this authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub authority_id: Option<AuthorityId>,
    /// Only of this profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Only of this owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub owner_user_id: Option<UserId>,
    /// Only those issued at this moment or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_after: Option<DateTime<Utc>>,
    /// Only those issued before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<DateTime<Utc>>,
    /// Only those that end before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_before: Option<DateTime<Utc>>,
    /// Only with this name, typed (`dns:…`) or as a plain DNS name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub san: Option<String>,
    /// Only with this tag: `name` or `name=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Only those whose common name or serial number begins so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Only this certificate and those with the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub same_key_as: Option<CertificateId>,
    /// Only these, at most 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Uuid>>)]
    pub certificate_ids: Option<Vec<CertificateId>>,
    /// Really all of the organization; then nothing else may be said.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub everything: bool,
}

/// A mass revocation that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMassRevocation {
    /// Of which certificates.
    pub selection: RevocationSelection,
    /// RFC 5280 reason; `certificateHold` can be released.
    #[schema(schema_with = schema::revocation_reason)]
    pub reason: RevocationReason,
    /// Since when the keys are suspected (RFC 5280 §5.3.2); not in the future.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalidity_date: Option<DateTime<Utc>>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// What a mass revocation means: how many certificates it names, with the 50 largest authorities, profiles and owners.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RevocationImpact {
    /// Certificates.
    pub certificates: u64,
    /// By the authority's id.
    pub authorities: Vec<RevocationShare>,
    /// By profile.
    pub profiles: Vec<RevocationShare>,
    /// By the owner's username.
    pub owners: Vec<RevocationShare>,
}

/// How many certificates are of one authority, profile or owner.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RevocationShare {
    /// Which; absent when unknown.
    pub name: Option<String>,
    /// How many.
    pub certificates: u64,
}

/// A mass revocation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MassRevocation {
    /// Identity.
    #[schema(value_type = Uuid)]
    pub id: MassRevocationId,
    /// Whose.
    #[schema(value_type = Uuid)]
    pub organization_id: OrganizationId,
    /// Who selected the certificates.
    #[schema(value_type = Uuid)]
    pub requester_user_id: UserId,
    /// Who approved it.
    #[schema(value_type = Option<Uuid>)]
    pub approver_user_id: Option<UserId>,
    /// By what the certificates were selected, when it was asked for.
    pub selection: serde_json::Value,
    /// How many there are of each kind.
    pub impact: RevocationImpact,
    /// RFC 5280 reason.
    pub reason: String,
    /// Since when the keys are suspected.
    pub invalidity_date: Option<DateTime<Utc>>,
    /// Why, in words.
    pub comment: Option<String>,
    /// `pending` until somebody else approves it, `running`, `completed`, `cancelled`, `failed`.
    pub status: String,
    /// Certificates selected.
    pub certificates: u64,
    /// Certificates revoked so far.
    pub revoked: u64,
    /// Certificates that could not be revoked, most because they were before.
    pub refused: u64,
    /// Stable code of what ended it early.
    pub failure_code: Option<String>,
    /// The same in words.
    pub failure_detail: Option<String>,
    /// When it was approved or cancelled.
    pub decided_at: Option<DateTime<Utc>>,
    /// When nothing was left to do.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
}

/// A certificate of a mass revocation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MassRevocationCertificate {
    /// Which certificate.
    #[schema(value_type = Uuid)]
    pub certificate_id: CertificateId,
    /// The operation that revokes it, in both audit logs.
    #[schema(value_type = Uuid)]
    pub operation_id: OperationId,
    /// First common name of the subject.
    pub common_name: Option<String>,
    /// Serial number, lower-case hexadecimal.
    pub serial_number: Option<String>,
    /// `waiting`, `revoked` or `refused`.
    pub status: String,
    /// Why it was refused.
    pub failure_code: Option<String>,
}

/// Which certificates of a mass revocation to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MassRevocationCertificateQuery {
    /// Only with this status: `waiting`, `revoked`, `refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Items per page, 1 to 200; 50 unless told.
    #[param(minimum = 1, maximum = 200)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}
