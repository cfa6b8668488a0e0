-- Every installation has these roles; their ids are fixed so that definitions and programs can name them.

INSERT INTO roles (id, role_code, role_name, description, permissions, is_system, created_at, updated_at)
SELECT seed.id::uuid, seed.role_code, seed.role_name, seed.description, seed.permissions::jsonb, true, now(), now()
FROM (VALUES
    ('01900000-0000-7000-8000-000000000001', 'administrator', 'Administrator', 'Everything, in every organization it is assigned for.',
     '["*"]'),
    ('01900000-0000-7000-8000-000000000002', 'requester', 'Requester', 'Asks for, renews and revokes certificates.',
     '["request:create", "request:read", "certificate:read", "certificate:renew", "certificate:revoke", "authority:read", "policy:read", "workflow:read", "notification:read"]'),
    ('01900000-0000-7000-8000-000000000003', 'approver', 'Approver', 'Decides on requests.',
     '["request:read", "request:approve", "certificate:read", "authority:read", "policy:read", "workflow:read", "notification:read"]'),
    ('01900000-0000-7000-8000-000000000004', 'auditor', 'Auditor', 'Reads everything, changes nothing.',
     '["request:read", "certificate:read", "authority:read", "policy:read", "workflow:read", "organization:read", "user:read", "api_key:read", "audit:read", "notification:read", "integrity:run"]'),
    ('01900000-0000-7000-8000-000000000005', 'pki_administrator', 'PKI administrator', 'Runs policies, workflows and the inventory of an organization.',
     '["request:create", "request:read", "certificate:read", "certificate:renew", "certificate:revoke", "authority:read", "policy:read", "workflow:read", "notification:read", "request:approve", "certificate:update", "policy:write", "workflow:write", "organization:read", "user:read", "audit:read", "integrity:run"]'),
    ('01900000-0000-7000-8000-000000000006', 'service', 'Service', 'Programs that ask for and renew certificates.',
     '["request:create", "request:read", "certificate:read", "certificate:renew", "certificate:revoke", "authority:read", "policy:read"]')
) AS seed (id, role_code, role_name, description, permissions);
