//! Schemas of the enumerations that `clm-types` declares.

use clm_types::{
    CertificateStatus, KeyAlgorithm, KeyExportPurpose, KeySource, Permission, RevocationReason, StepStatus,
    SubscriptionStatus, WorkflowKind, WorkflowStatus,
};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

macro_rules! enum_schemas {
    ($($(#[$meta:meta])* $function:ident => $enum:ty,)+) => {$(
        $(#[$meta])*
        pub fn $function() -> Object {
            texts(<$enum>::ALL.iter().map(|value| value.as_str()))
        }
    )+};
}

enum_schemas! {
    /// `active`, `revoked`, …
    certificate_status => CertificateStatus,
    /// `ecdsa-p256`, …
    key_algorithm => KeyAlgorithm,
    /// `export`, `recovery`.
    key_export_purpose => KeyExportPurpose,
    /// `csr`, `generated`, `reused`.
    key_source => KeySource,
    /// `noun:verb`.
    permission => Permission,
    /// The words of RFC 5280 §5.3.1.
    revocation_reason => RevocationReason,
    /// `pending`, `approved`, …
    step_status => StepStatus,
    /// `issuance`, `renewal`, `revocation`, `key_export`.
    workflow_kind => WorkflowKind,
    /// `trial`, `active`, `past_due`, `cancelled`, `expired`.
    subscription_status => SubscriptionStatus,
    /// `pending`, `executing`, …
    workflow_status => WorkflowStatus,
}

fn texts(values: impl Iterator<Item = &'static str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(values)).build()
}
