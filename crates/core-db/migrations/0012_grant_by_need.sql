-- Each role gets what its work needs. The app role works within one organization and never sees a credential;
-- the system role signs people in, runs jobs and follows Secure.

GRANT EXECUTE ON FUNCTION uuid_generate_v7(), uuid_v7_floor(timestamptz) TO clm_core_app, clm_core_system, clm_core_ro;
-- Whoever writes tags computes the column of their names.
GRANT EXECUTE ON FUNCTION key_names(jsonb) TO clm_core_app, clm_core_system;
-- Within one organization.
GRANT SELECT, INSERT, UPDATE ON
    user_organizations, workflows, policies, workflow_instances, workflow_steps, certificate_metadata, notifications,
    idempotency_keys
TO clm_core_app;
-- A role made here is never a built-in one, and stays in its organization below its parent.
GRANT SELECT,
      INSERT (id, role_code, role_name, description, parent_role_id, permissions, organization_id, created_at, updated_at),
      UPDATE (role_name, description, permissions, updated_at, version)
    ON roles TO clm_core_app;
GRANT SELECT, INSERT, UPDATE (valid_until, revoked_at, revoked_by, revocation_reason, updated_at, version)
    ON user_roles TO clm_core_app;
-- Not its status, its subscription and its licence.
GRANT SELECT, UPDATE (org_name, settings, updated_at, version) ON organizations TO clm_core_app;
GRANT SELECT, INSERT ON workflow_decisions, audit_log, jobs TO clm_core_app;
GRANT SELECT ON integrity_findings, pending_approvals TO clm_core_app;
GRANT SELECT (id, username, email, display_name, password_changed_at, status, mfa_enabled, mfa_configuration, locked_until,
              last_login_at, created_at, updated_at, version, deleted_at)
    ON users TO clm_core_app;
GRANT SELECT (id, key_prefix, name, user_id, organization_id, scopes, allowed_addresses, expires_at, last_used_at, revoked_at,
              revoked_by, created_at, updated_at, version, deleted_at),
      INSERT,
      UPDATE (name, scopes, allowed_addresses, expires_at, revoked_at, revoked_by, updated_at, version, deleted_at)
    ON api_keys TO clm_core_app;
GRANT SELECT (id, user_id, organization_id, ip_address, user_agent, mfa_at, last_seen_at, expires_at, revoked_at,
              revocation_reason, created_at, updated_at, version)
    ON sessions TO clm_core_app;

-- For the whole installation.
GRANT SELECT, INSERT, UPDATE ON
    organizations, users, user_organizations, roles, user_roles, api_keys, sessions, bootstrap_tokens, workflows, policies,
    workflow_instances, workflow_steps, certificate_metadata, notifications, jobs, idempotency_keys, follower_positions,
    integrity_findings
TO clm_core_system;
GRANT SELECT, INSERT ON workflow_decisions, audit_log, secure_audit_checkpoints TO clm_core_system;
GRANT SELECT ON pending_approvals TO clm_core_system;
-- Done work and forgotten answers are the only rows ever deleted.
GRANT DELETE ON jobs, idempotency_keys TO clm_core_system;

-- Reports see everything but credentials and the answers kept for callers.
GRANT SELECT ON
    organizations, user_organizations, roles, user_roles, workflows, policies, workflow_instances, workflow_steps,
    workflow_decisions, certificate_metadata, notifications, audit_log, jobs, follower_positions, integrity_findings,
    secure_audit_checkpoints, pending_approvals
TO clm_core_ro;
GRANT SELECT (id, username, email, display_name, password_changed_at, status, mfa_enabled, failed_login_attempts,
              last_failed_login_at, locked_until, last_login_at, last_login_address, created_at, updated_at, version, deleted_at)
    ON users TO clm_core_ro;
GRANT SELECT (id, key_prefix, name, user_id, organization_id, scopes, allowed_addresses, expires_at, last_used_at, revoked_at,
              revoked_by, created_at, updated_at, version, deleted_at)
    ON api_keys TO clm_core_ro;
GRANT SELECT (id, user_id, organization_id, ip_address, user_agent, mfa_at, last_seen_at, expires_at, revoked_at,
              revocation_reason, created_at, updated_at, version)
    ON sessions TO clm_core_ro;
