-- Handing out a private key is an operation that needs approval, as issuing is.

ALTER TABLE workflow_instances DROP CONSTRAINT workflow_instances_instance_type_check;
ALTER TABLE workflow_instances ADD CONSTRAINT workflow_instances_instance_type_check
    CHECK (instance_type IN ('issuance', 'renewal', 'revocation', 'key_export'));
ALTER TABLE workflows DROP CONSTRAINT workflows_workflow_type_check;
ALTER TABLE workflows ADD CONSTRAINT workflows_workflow_type_check
    CHECK (workflow_type IN ('issuance', 'renewal', 'revocation', 'key_export'));

-- Who asks for certificates may ask for their keys; who runs an organization's PKI looks after them; auditors see who did what.
UPDATE roles SET permissions = permissions || '["key:read", "key:export"]', updated_at = now(), version = version + 1
WHERE id IN ('01900000-0000-7000-8000-000000000002', '01900000-0000-7000-8000-000000000006');
UPDATE roles SET permissions = permissions || '["key:read"]', updated_at = now(), version = version + 1
WHERE id = '01900000-0000-7000-8000-000000000004';
UPDATE roles SET permissions = permissions || '["key:read", "key:import", "key:export", "key:recover", "key:manage"]', updated_at = now(), version = version + 1
WHERE id = '01900000-0000-7000-8000-000000000005';
