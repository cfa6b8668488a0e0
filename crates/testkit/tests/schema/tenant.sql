-- One organization with a requester, an approver, a policy, a request that waits for the approver's role, a
-- certificate, and a row in every other tenant table. {n} is its number.

INSERT INTO organizations (id, org_code, org_name, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', 'org{n}', 'Organization {n}', now(), now());
INSERT INTO users (id, username, email, display_name, password_hash, password_salt, status, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000001', 'user{n}@example.com', 'user{n}@example.com', 'User {n}', 'h', 's', 'active', now(), now()),
       ('0190000{n}-0000-7000-8000-000000000002', 'approver{n}', 'approver{n}@example.com', 'Approver {n}', 'h', 's', 'active', now(), now());
INSERT INTO user_organizations (user_id, organization_id, is_primary, joined_at, created_at, updated_at)
SELECT ('0190000{n}-0000-7000-8000-00000000000' || i)::uuid, '0190000{n}-0000-7000-8000-000000000000', true, now(), now(), now()
FROM generate_series(1, 2) AS i;
INSERT INTO roles (id, role_code, role_name, organization_id, permissions, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000003', 'own', 'Own role', '0190000{n}-0000-7000-8000-000000000000', '["request:read"]', now(), now());
-- Both ask; both may approve.
INSERT INTO user_roles (user_id, role_id, organization_id, valid_from, created_at, updated_at)
SELECT ('0190000{n}-0000-7000-8000-00000000000' || i)::uuid, '01900000-0000-7000-8000-000000000003',
       '0190000{n}-0000-7000-8000-000000000000', now() - interval '1 day', now(), now()
FROM generate_series(1, 2) AS i;
INSERT INTO workflows (id, organization_id, workflow_code, workflow_version, workflow_name, workflow_type, definition, status, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000004', '0190000{n}-0000-7000-8000-000000000000', 'one', 1, 'One approval', 'issuance', '{}', 'active', now(), now());
INSERT INTO policies (id, organization_id, policy_code, policy_version, policy_name, policy_type, policy_rules, status, workflow_id, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000005', '0190000{n}-0000-7000-8000-000000000000', 'tls', 1, 'TLS', 'certificate', '{}', 'active',
        '0190000{n}-0000-7000-8000-000000000004', now(), now());
INSERT INTO workflow_instances (id, organization_id, operation_id, instance_type, workflow_id, policy_id, requester_user_id, status, current_step, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000006', '0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-00000000000a', 'issuance',
        '0190000{n}-0000-7000-8000-000000000004', '0190000{n}-0000-7000-8000-000000000005', '0190000{n}-0000-7000-8000-000000000001', 'pending', 1, now(), now());
INSERT INTO workflow_steps (id, organization_id, workflow_instance_id, step_number, step_name, assigned_to_role_id, status, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000007', '0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-000000000006', 1, 'Approval',
        '01900000-0000-7000-8000-000000000003', 'pending', now(), now());
INSERT INTO workflow_steps (id, organization_id, workflow_instance_id, step_number, step_name, assigned_to_role_id, status, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000008', '0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-000000000006', 2, 'Done',
        '0190000{n}-0000-7000-8000-000000000003', 'approved', now(), now());
INSERT INTO workflow_decisions (organization_id, workflow_step_id, user_id, decision, decided_at, created_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-000000000008', '0190000{n}-0000-7000-8000-000000000002', 'approved', now(), now());
INSERT INTO certificate_metadata (certificate_id, organization_id, owner_user_id, profile, serial_number, fingerprint_sha256, subject, issuer,
    common_name, sans, key_algorithm, not_before, not_after, status, tags, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-00000000000c', '0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-000000000001', 'tls-server', '0{n}',
    decode(repeat('0{n}', 32), 'hex'), 'CN=a', 'CN=b', 'a', '{dns:a.example}', 'ecdsa-p256', now(), now() + interval '1 day', 'active', '{"team": "a"}', now(), now());
INSERT INTO audit_log (organization_id, occurred_at, actor_type, action, object_type, outcome, created_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', now(), 'system', 'test.run', 'test', 'allowed', now());
INSERT INTO notifications (organization_id, user_id, kind, channel, title, status, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-000000000001', 'test', 'in_app', 't', 'delivered', now(), now());
INSERT INTO api_keys (organization_id, user_id, key_prefix, key_hash, name, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-000000000001', 'clm_{n}', decode(repeat('00', 32), 'hex'), 'k', now(), now());
INSERT INTO sessions (organization_id, user_id, token_hash, last_seen_at, expires_at, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-000000000001', decode(repeat('0{n}', 32), 'hex'), now(), now(), now(), now());
INSERT INTO jobs (organization_id, kind, operation_id, run_at, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', 'issue', '0190000{n}-0000-7000-8000-00000000000a', now(), now(), now());
INSERT INTO idempotency_keys (organization_id, principal_id, route, idempotency_key, body_sha256, status, expires_at, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-000000000001', 'POST /x', 'k', decode(repeat('00', 32), 'hex'), 'done', now(), now(), now());
INSERT INTO integrity_findings (organization_id, run_id, kind, side, object_type, object_id, status, found_at, last_seen_at, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-00000000000d', 'test', 'core', 'certificate', '0190000{n}-0000-7000-8000-00000000000c', 'open', now(), now(), now(), now());
INSERT INTO mass_revocations (id, organization_id, requester_user_id, selection, impact, reason, status, certificate_count, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-00000000000e', '0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-000000000001', '{}', '{}',
    'superseded', 'pending', 1, now(), now());
INSERT INTO mass_revocation_items (organization_id, mass_revocation_id, certificate_id, authority_id, operation_id, status, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-00000000000e', '0190000{n}-0000-7000-8000-00000000000c',
    '0190000{n}-0000-7000-8000-00000000000f', '0190000{n}-0000-7000-8000-0000000000aa', 'waiting', now(), now());
INSERT INTO groups (id, organization_id, display_name, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-00000000001a', '0190000{n}-0000-7000-8000-000000000000', 'Group', now(), now());
INSERT INTO group_members (organization_id, group_id, user_id, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-00000000001a', '0190000{n}-0000-7000-8000-000000000001', now(), now());
INSERT INTO group_roles (organization_id, group_id, role_id, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-00000000001a', '0190000{n}-0000-7000-8000-000000000003', now(), now());
INSERT INTO provisioned_users (organization_id, user_id, external_id, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', '0190000{n}-0000-7000-8000-000000000001', 'one', now(), now());
INSERT INTO workload_rules (id, organization_id, name, provider, issuer, audiences, required_claims, user_id, scopes, lifetime_seconds, enabled,
    vouched_by, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-00000000001b', '0190000{n}-0000-7000-8000-000000000000', 'Rule', 'ci', 'https://ci', '{a}', '{"sub": "a"}',
    '0190000{n}-0000-7000-8000-000000000001', '["request:read"]', 900, true, '0190000{n}-0000-7000-8000-000000000001', now(), now());
