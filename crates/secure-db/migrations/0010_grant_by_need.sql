-- Each role gets what its work needs: issued certificates and audit rows are inserted and read, never rewritten,
-- and nothing is ever deleted.

GRANT EXECUTE ON FUNCTION uuid_generate_v7(), uuid_v7_floor(timestamptz) TO clm_secure_app, clm_secure_ro, clm_secure_auditor;
GRANT SELECT, INSERT ON
    encryption_keys, key_rotation_history, certificate_authorities, certificate_requests, certificates, private_keys,
    issuance_intents, operations, certificate_revocations, crls, secure_audit_log, events, audit_checkpoints
TO clm_secure_app;
GRANT SELECT ON chain_heads, expiring_certificates TO clm_secure_app;

GRANT UPDATE (state, use_count, rotated_at, updated_at, version) ON encryption_keys TO clm_secure_app;
GRANT UPDATE (status, rows_total, rows_reencrypted, rows_failed, last_row_id, failure_details, finished_at, updated_at, version)
    ON key_rotation_history TO clm_secure_app;
GRANT UPDATE (certificate_id, status, subject_key_id, envelope, crl_number, last_crl_at, next_crl_at, updated_at, version)
    ON certificate_authorities TO clm_secure_app;
GRANT UPDATE (public_key_sha256, status, rejection_reason, certificate_id, decided_at, issued_at, updated_at, version)
    ON certificate_requests TO clm_secure_app;
GRANT UPDATE (owner_user_id, owner_version, status, revoked_at, revocation_reason, renewed_by_certificate_id, updated_at,
              version)
    ON certificates TO clm_secure_app;
GRANT UPDATE (access_count, last_accessed_at, updated_at, version) ON private_keys TO clm_secure_app;
GRANT UPDATE (wrapped_private_key, state, signed_at, updated_at, version)
    ON issuance_intents TO clm_secure_app;
GRANT UPDATE (outcome, completed_at) ON operations TO clm_secure_app;
GRANT UPDATE (ocsp_status, hold_released_at, released_operation_id, crl_number, updated_at, version)
    ON certificate_revocations TO clm_secure_app;
GRANT UPDATE (sequence, chain_hash, updated_at) ON chain_heads TO clm_secure_app;

-- Reports see everything but key material.
GRANT SELECT ON
    key_rotation_history, certificate_authorities, certificate_requests, certificates, operations, certificate_revocations,
    crls, secure_audit_log, events, audit_checkpoints, chain_heads, expiring_certificates
TO clm_secure_ro;
GRANT SELECT (id, key_identifier, purpose, organization_id, key_version, algorithm, provider, state, use_count, max_uses,
              activated_at, expires_at, rotated_at, destroyed_at, created_at, updated_at, version)
    ON encryption_keys TO clm_secure_ro;
GRANT SELECT (id, certificate_id, organization_id, encryption_key_id, encryption_algorithm, key_algorithm, key_size,
              public_key_sha256, origin, exportable, access_count, last_accessed_at, destroyed_at, created_at, updated_at,
              version, deleted_at)
    ON private_keys TO clm_secure_ro;
GRANT SELECT (id, operation_id, request_id, authority_id, certificate_id, serial_number, tbs_sha256, profile, profile_hash,
              private_key_id, encryption_key_id, state, signed_at, created_at, updated_at, version)
    ON issuance_intents TO clm_secure_ro;

-- The auditor reads the audit log and what proves it, nothing else.
GRANT SELECT ON secure_audit_log, audit_checkpoints TO clm_secure_auditor;
