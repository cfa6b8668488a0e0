//! A certificate of the inventory as the API shows it.

use clm_api::certificates::Certificate;
use clm_core::certificates;

pub(crate) fn view(one: certificates::Certificate) -> Certificate {
    Certificate {
        id: one.id,
        organization_id: one.organization_id,
        owner_user_id: one.owner_user_id,
        owner: one.owner,
        request_id: one.request_id,
        operation_id: one.operation_id,
        policy_id: one.policy_id,
        policy_version: one.policy_version,
        authority_id: one.authority_id,
        profile: one.profile,
        category: one.labels.category.unwrap_or_default(),
        environment: one.labels.environment,
        serial_number: one.serial_number,
        fingerprint_sha256: one.fingerprint_sha256,
        subject: one.subject,
        issuer: one.issuer,
        common_name: one.common_name,
        sans: one.sans,
        key_algorithm: one.key_algorithm,
        key_source: one.key_source,
        not_before: one.not_before,
        not_after: one.not_after,
        status: one.status,
        revoked_at: one.revoked_at,
        revocation_reason: one.revocation_reason,
        renewal_of: one.renewal_of,
        renewed_by: one.renewed_by,
        tags: one.labels.tags,
        custom_fields: serde_json::Value::Object(one.labels.custom_fields),
        notes: one.notes,
        created_at: one.created_at,
        updated_at: one.updated_at,
        version: one.version,
    }
}
