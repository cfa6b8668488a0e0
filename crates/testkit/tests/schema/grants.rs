//! What each role of the service may change, column by column.

use clm_testkit::TestDatabases;

use crate::tenancy::{ORG1, app_for, two_tenants};
use crate::{FORBIDDEN, assert_none, refusal, run, texts};

/// Tables that some runtime role may change as a whole: each column must be named.
const WHOLE_TABLES: &str = "
    SELECT c.relname || ': ' || r.rolname
    FROM pg_class c CROSS JOIN pg_roles r
    WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> '_sqlx_migrations'
      AND r.rolname ~ '^clm_' AND r.rolname !~ '_(owner|migrator)$' AND has_table_privilege(r.oid, c.oid, 'UPDATE')";

/// Identities, tenants and times of creation that some runtime role may change. A forgotten answer makes room for a new
/// one, which is another row in the same place.
const IDENTITIES: &str = "
    SELECT c.relname || '.' || a.attname || ': ' || r.rolname
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('id', 'organization_id', 'operation_id', 'user_id', 'created_at')
    CROSS JOIN pg_roles r
    WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p')
      AND r.rolname ~ '^clm_' AND r.rolname !~ '_(owner|migrator)$'
      AND has_column_privilege(r.oid, c.oid, a.attnum, 'UPDATE')
      AND c.relname <> 'idempotency_keys'";

/// What a role may change.
const CHANGEABLE: &str = "
    SELECT c.relname || ': ' || string_agg(a.attname, ' ' ORDER BY a.attname)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p')
      AND has_column_privilege('ROLE', c.oid, a.attnum, 'UPDATE')
    GROUP BY c.relname ORDER BY 1";

#[tokio::test]
async fn no_role_changes_whole_rows_nor_identities() {
    let databases = TestDatabases::start().await;
    for pool in [databases.core.superuser().await, databases.secure.superuser().await] {
        assert_none(&pool, WHOLE_TABLES).await;
        assert_none(&pool, IDENTITIES).await;
    }
}

#[tokio::test]
async fn the_app_role_changes_these_columns_alone() {
    let pool = TestDatabases::start().await.core.superuser().await;
    assert_eq!(
        texts(&pool, &CHANGEABLE.replace("ROLE", "clm_core_app")).await,
        [
            "api_keys: revoked_at revoked_by updated_at version",
            "certificate_metadata: category custom_fields environment notes owner_user_id tags updated_at version",
            "mass_revocations: approver_user_id decided_at status updated_at version",
            "notifications: read_at status updated_at version",
            "organizations: org_name settings updated_at version",
            "policies: status updated_at version workflow_id",
            "roles: description permissions role_name updated_at version",
            "user_roles: revocation_reason revoked_at revoked_by updated_at version",
            "workflow_instances: completed_at current_step decided_at due_at failure_code failure_detail status updated_at version",
            "workflow_steps: decided_at due_at status updated_at version",
            "workflows: status updated_at version",
        ]
    );
}

#[tokio::test]
async fn the_role_of_secure_changes_these_columns_alone() {
    let pool = TestDatabases::start().await.secure.superuser().await;
    assert_eq!(
        texts(&pool, &CHANGEABLE.replace("ROLE", "clm_secure_app")).await,
        [
            "audit_keys: encrypted_key_material encryption_key_id updated_at version",
            "certificate_authorities: certificate_id crl_number envelope issuer_chain_pem last_crl_at next_crl_at private_key_id status subject_key_id successor_authority_id updated_at version",
            "certificate_requests: certificate_id decided_at issued_at public_key_sha256 rejection_reason status updated_at version",
            "certificate_revocations: crl_number hold_released_at ocsp_status released_operation_id updated_at version",
            "certificates: owner_user_id owner_version renewed_by_certificate_id revocation_reason revoked_at status updated_at version",
            "chain_heads: chain_hash sequence updated_at",
            "crl_scopes: base_crl_number crl_number delta_crl_id full_crl_id last_crl_at next_crl_at updated_at version",
            "encryption_keys: activated_at destroyed_at master_key_reference provider rotated_at state updated_at use_count version wrapped_key_material",
            "issuance_intents: encryption_key_id signed_at state updated_at version wrapped_private_key",
            "key_rotation_history: failure_details finished_at last_row_id receipt rows_failed rows_reencrypted rows_total status updated_at version",
            "operations: completed_at outcome",
            "presigned_ocsp_answers: der next_update revocation_reason revoked_at updated_at version",
            "private_keys: access_control access_count deleted_at destroyed_at encrypted_key_material encryption_algorithm encryption_key_id exportable last_accessed_at updated_at version",
        ]
    );
}

#[tokio::test]
async fn what_was_in_force_or_asked_for_is_not_rewritten() {
    let (database, system) = two_tenants().await;
    let app = app_for(&database, ORG1).await;
    for statement in [
        "UPDATE policies SET policy_rules = '{}'",
        "UPDATE policies SET policy_version = 9",
        "UPDATE policies SET effective_from = now()",
        "UPDATE workflows SET definition = '{}'",
        "UPDATE workflows SET auto_approval_conditions = '[]'",
        "UPDATE workflow_instances SET requester_user_id = owner_user_id",
        "UPDATE workflow_instances SET context = '{}'",
        "UPDATE workflow_instances SET policy_id = NULL",
        "UPDATE workflow_steps SET quorum = 1",
        "UPDATE workflow_steps SET assigned_to_user_id = NULL",
        "UPDATE workflow_decisions SET decision = 'approved'",
        "UPDATE certificate_metadata SET fingerprint_sha256 = sha256('x')",
        "UPDATE certificate_metadata SET serial_number = '01'",
        "UPDATE notifications SET body = 'x'",
    ] {
        assert_eq!(refusal(&app, statement).await, FORBIDDEN, "{statement}");
        assert_eq!(refusal(&system, statement).await, FORBIDDEN, "{statement}");
    }
    // Where a certificate stands is what Secure says, not what a tenant says.
    for statement in [
        "UPDATE certificate_metadata SET status = 'active'",
        "UPDATE certificate_metadata SET revoked_at = NULL",
        "UPDATE workflow_instances SET certificate_id = NULL",
        "UPDATE workflow_instances SET outcome = '{}'",
        "UPDATE user_organizations SET status = 'active'",
    ] {
        assert_eq!(refusal(&app, statement).await, FORBIDDEN, "{statement}");
    }
    run(&app, "UPDATE policies SET status = 'superseded', updated_at = now(), version = version + 1").await;
    run(&app, "UPDATE certificate_metadata SET notes = 'x', updated_at = now(), version = version + 1").await;
}
