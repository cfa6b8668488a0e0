-- Each role gets what its work needs. The app role works within one organization and never sees a credential;
-- the system role signs people in, runs jobs and follows Secure.

GRANT EXECUTE ON FUNCTION uuid_generate_v7(), uuid_v7_floor(timestamptz) TO clm_core_app, clm_core_system, clm_core_ro;
-- Whoever writes tags computes the column of their names.
GRANT EXECUTE ON FUNCTION key_names(jsonb) TO clm_core_app, clm_core_system;
-- Within one organization.
GRANT SELECT, INSERT ON
    user_organizations, workflows, policies, workflow_instances, workflow_steps, workflow_decisions, certificate_metadata,
    notifications, audit_log, jobs
TO clm_core_app;
GRANT SELECT ON idempotency_keys, integrity_findings, pending_approvals TO clm_core_app;
-- What was in force stays as it was: a version ends, and an active policy follows its workflow to the next version.
GRANT UPDATE (status, updated_at, version) ON workflows TO clm_core_app;
GRANT UPDATE (status, workflow_id, updated_at, version) ON policies TO clm_core_app;
-- What was asked, by whom and under which policy stays: decisions move an operation on, and what came of it is written by
-- the system role.
GRANT UPDATE (status, current_step, failure_code, failure_detail, due_at, decided_at, completed_at, updated_at, version)
    ON workflow_instances TO clm_core_app;
GRANT UPDATE (status, due_at, decided_at, updated_at, version) ON workflow_steps TO clm_core_app;
-- What people note on a certificate, not what it says or where it stands.
GRANT UPDATE (owner_user_id, environment, category, tags, custom_fields, notes, updated_at, version)
    ON certificate_metadata TO clm_core_app;
GRANT UPDATE (status, read_at, updated_at, version) ON notifications TO clm_core_app;
-- A role made here is never a built-in one, and stays in its organization below its parent.
GRANT SELECT,
      INSERT (id, role_code, role_name, description, parent_role_id, permissions, organization_id, created_at, updated_at),
      UPDATE (role_name, description, permissions, updated_at, version)
    ON roles TO clm_core_app;
GRANT SELECT, INSERT, UPDATE (revoked_at, revoked_by, revocation_reason, updated_at, version)
    ON user_roles TO clm_core_app;
-- Not its status, its subscription and its licence.
GRANT SELECT, UPDATE (org_name, settings, updated_at, version) ON organizations TO clm_core_app;
GRANT SELECT (id, username, email, display_name, password_changed_at, status, mfa_enabled, mfa_configuration, locked_until,
              last_login_at, created_at, updated_at, version, deleted_at)
    ON users TO clm_core_app;
GRANT SELECT (id, key_prefix, name, user_id, organization_id, scopes, allowed_addresses, expires_at, last_used_at, revoked_at,
              revoked_by, created_at, updated_at, version, deleted_at),
      INSERT,
      UPDATE (revoked_at, revoked_by, updated_at, version)
    ON api_keys TO clm_core_app;
GRANT SELECT (id, user_id, organization_id, ip_address, user_agent, mfa_at, last_seen_at, expires_at, revoked_at,
              revocation_reason, created_at, updated_at, version)
    ON sessions TO clm_core_app;

-- For the whole installation.
GRANT SELECT, INSERT ON
    organizations, users, user_organizations, roles, user_roles, api_keys, sessions, bootstrap_tokens, workflows, policies,
    workflow_instances, workflow_steps, workflow_decisions, certificate_metadata, notifications, audit_log, jobs,
    idempotency_keys, follower_positions, integrity_findings, secure_audit_checkpoints
TO clm_core_system;
-- Identities never change, nor what an assignment, a key or a session was given for.
GRANT UPDATE (org_name, status, subscription_plan, subscription_status, subscription_expires_at, license_max_certificates,
              license_max_users, license_max_authorities, settings, updated_at, version, deleted_at)
    ON organizations TO clm_core_system;
GRANT UPDATE (email, display_name, password_hash, password_salt, password_changed_at, status, mfa_enabled,
              mfa_secret_encrypted, mfa_configuration, failed_login_attempts, last_failed_login_at, locked_until,
              last_login_at, last_login_address, updated_at, version, deleted_at)
    ON users TO clm_core_system;
GRANT UPDATE (is_primary, status, joined_at, updated_at, version) ON user_organizations TO clm_core_system;
GRANT UPDATE (role_name, description, permissions, updated_at, version, deleted_at) ON roles TO clm_core_system;
GRANT UPDATE (revoked_at, revoked_by, revocation_reason, updated_at, version) ON user_roles TO clm_core_system;
GRANT UPDATE (last_used_at, revoked_at, revoked_by, updated_at, version) ON api_keys TO clm_core_system;
GRANT UPDATE (mfa_at, last_seen_at, expires_at, revoked_at, revocation_reason, updated_at, version) ON sessions TO clm_core_system;
GRANT UPDATE (used_at, used_by, updated_at) ON bootstrap_tokens TO clm_core_system;
-- What Secure did, and what the integrity job mends.
GRANT UPDATE (certificate_id, status, current_step, outcome, failure_code, failure_detail, due_at, decided_at, completed_at,
              updated_at, version)
    ON workflow_instances TO clm_core_system;
GRANT UPDATE (status, due_at, decided_at, updated_at, version) ON workflow_steps TO clm_core_system;
GRANT UPDATE (status, revoked_at, revocation_reason, renewal_of_certificate_id, renewed_by_certificate_id, updated_at, version,
              deleted_at)
    ON certificate_metadata TO clm_core_system;
GRANT UPDATE (status, attempts, last_error, delivered_at, read_at, updated_at, version) ON notifications TO clm_core_system;
GRANT UPDATE (run_id, side, detail, status, last_seen_at, resolved_at, updated_at) ON integrity_findings TO clm_core_system;
-- The queue, the answers kept for callers (an old one makes room for a new one) and the follower.
GRANT UPDATE (status, run_at, attempts, locked_by, locked_until, last_error, finished_at, updated_at) ON jobs TO clm_core_system;
GRANT UPDATE (id, organization_id, body_sha256, status, response_status, response_headers, response_body, expires_at, updated_at)
    ON idempotency_keys TO clm_core_system;
GRANT UPDATE (sequence, updated_at) ON follower_positions TO clm_core_system;
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
