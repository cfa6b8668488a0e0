//! `clm_secure_db`.

use clm_testkit::{TestDatabase, TestDatabases};
use sqlx::PgPool;

use crate::{
    FORBIDDEN, NO_SUCH_ROW, NOT_ALLOWED, NOT_UNIQUE, assert_none, catalog, count, refusal, run, texts,
    with_id,
};

const CERTIFICATE: &str = "01900000-0000-7000-8000-00000000000c";

/// An authority, a request, a certificate that ends in ten days, its key, and one audit entry.
const ONE_CERTIFICATE: &str = "
INSERT INTO certificate_authorities (id, name, status, key_algorithm, subject, envelope, crl_url, ocsp_url, issuer_url, created_at, updated_at)
VALUES ('01900000-0000-7000-8000-00000000000a', 'Test CA', 'pending', 'ecdsa-p256', 'CN=Test CA', '{}', 'http://c', 'http://o', 'http://i', now(), now());
INSERT INTO certificate_requests (id, operation_id, authority_id, profile, csr_pem, csr_der, key_source, key_algorithm, subject, status, submitted_at, created_at, updated_at)
VALUES ('01900000-0000-7000-8000-00000000000b', uuid_generate_v7(), '01900000-0000-7000-8000-00000000000a', 'tls-server', 'pem', '\\x00', 'csr', 'ecdsa-p256', 'CN=a',
        'issuing', now(), now(), now());
INSERT INTO certificates (certificate_id, authority_id, request_id, operation_id, profile, category, serial_number, subject, issuer, common_name, pem_encoded_cert,
    der_encoded_cert, fingerprint_sha256, signature_algorithm, key_algorithm, key_size, public_key_sha256, is_ca, not_before, not_after, status, created_at, updated_at)
VALUES ('01900000-0000-7000-8000-00000000000c', '01900000-0000-7000-8000-00000000000a', '01900000-0000-7000-8000-00000000000b', uuid_generate_v7(), 'tls-server', 'leaf',
    '\\x01', 'CN=a', 'CN=Test CA', 'a', 'pem', '\\x00', sha256('a'), 'ecdsa-with-SHA256', 'ecdsa-p256', 256, sha256('k'), false,
    now() - interval '1 day', now() + interval '10 days 1 hour', 'active', now(), now());
INSERT INTO encryption_keys (id, key_identifier, purpose, key_version, algorithm, provider, master_key_reference, wrapped_key_material, state, max_uses, expires_at, created_at, updated_at)
VALUES ('01900000-0000-7000-8000-00000000000d', 'private_keys/1', 'private_keys', 1, 'AES-256-GCM', 'sealed-file', 'master', '\\x00', 'active', 1000, now() + interval '1 day', now(), now());
INSERT INTO private_keys (certificate_id, encrypted_key_material, encryption_key_id, encryption_algorithm, key_algorithm, key_size, public_key_sha256, origin, created_at, updated_at)
VALUES ('01900000-0000-7000-8000-00000000000c', '\\x00', '01900000-0000-7000-8000-00000000000d', 'AES-256-GCM', 'ecdsa-p256', 256, sha256('k'), 'generated', now(), now());
INSERT INTO secure_audit_log (sequence, occurred_at, actor, actor_type, action, object_type, outcome, canonical_payload, payload_sha256, previous_hash, chain_hash, created_at)
VALUES (1, now(), 'clm-core', 'service', 'certificate.issue', 'certificate', 'allowed', '{}', sha256('{}'), decode(repeat('00', 32), 'hex'), sha256('x'), now());
";

async fn one_certificate() -> (TestDatabase, PgPool) {
    let database = TestDatabases::start().await.secure;
    let app = database.pool("clm_secure_app").await;
    run(&app, ONE_CERTIFICATE).await;
    (database, app)
}

#[tokio::test]
async fn the_schema_keeps_the_rules_of_every_table() {
    let pool = TestDatabases::start().await.secure.superuser().await;
    for rule in catalog::RULES {
        assert_none(&pool, rule).await;
    }
}

#[tokio::test]
async fn every_table_of_the_specification_is_there() {
    let pool = TestDatabases::start().await.secure.superuser().await;
    for table in [
        "encryption_keys",
        "certificates",
        "private_keys",
        "certificate_requests",
        "certificate_revocations",
        "key_rotation_history",
        "secure_audit_log",
        "expiring_certificates",
    ] {
        count(&pool, &format!("SELECT count(*) FROM {table}")).await;
    }
}

#[tokio::test]
async fn the_statements_of_the_specification_run_unchanged() {
    let (_database, app) = one_certificate().await;
    let certificate = "\
SELECT id, certificate_id, common_name, pem_encoded_cert, 
       not_before, not_after, status
FROM certificates
WHERE certificate_id = 'cert-uuid' AND deleted_at IS NULL;";
    let private_key = "\
SELECT encrypted_key_material, encryption_key_id, encryption_algorithm
FROM private_keys
WHERE certificate_id = 'cert-uuid' AND deleted_at IS NULL;";
    let expiring = "SELECT * FROM expiring_certificates; -- View";
    for statement in [certificate, private_key, expiring] {
        let statement = with_id(statement, CERTIFICATE);
        let found = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.as_str())).fetch_all(&app).await.unwrap();
        assert_eq!(found.len(), 1, "{statement}");
    }
}

#[tokio::test]
async fn the_service_changes_state_and_owner_of_a_certificate_and_nothing_else() {
    let (_database, app) = one_certificate().await;
    let columns = texts(
        &app,
        "SELECT attname::text FROM pg_attribute
         WHERE attrelid = 'certificates'::regclass AND attnum > 0 AND has_column_privilege(attrelid, attnum, 'UPDATE')
         ORDER BY 1",
    )
    .await;
    assert_eq!(
        columns,
        [
            "owner_user_id",
            "owner_version",
            "renewed_by_certificate_id",
            "revocation_reason",
            "revoked_at",
            "status",
            "updated_at",
            "version"
        ]
    );
    assert_eq!(refusal(&app, "UPDATE certificates SET der_encoded_cert = '\\x01'").await, FORBIDDEN);
    assert_eq!(refusal(&app, "UPDATE certificates SET status = 'revoked'").await, NOT_ALLOWED);
    run(
        &app,
        "UPDATE certificates SET status = 'revoked', revoked_at = now(), revocation_reason = 'keyCompromise'",
    )
    .await;
    assert_eq!(count(&app, "SELECT count(*) FROM expiring_certificates").await, 0);
}

#[tokio::test]
async fn no_role_can_delete_anything() {
    let pool = TestDatabases::start().await.secure.superuser().await;
    assert_eq!(texts(&pool, catalog::DELETABLE).await, [""; 0]);
}

#[tokio::test]
async fn audit_rows_are_written_and_never_changed() {
    let (database, app) = one_certificate().await;
    let superuser = database.superuser().await;
    let partition =
        texts(&superuser, "SELECT DISTINCT tableoid::regclass::text FROM secure_audit_log").await.remove(0);
    for table in ["secure_audit_log", &partition] {
        for change in ["UPDATE {} SET reason = 'x'", "DELETE FROM {}", "TRUNCATE {}"] {
            let statement = change.replace("{}", table);
            assert_eq!(refusal(&app, &statement).await, FORBIDDEN, "{statement}");
            assert_eq!(refusal(&superuser, &statement).await, FORBIDDEN, "{statement}");
            let as_replica = format!("SET session_replication_role = replica; {statement}");
            assert_eq!(refusal(&superuser, &as_replica).await, FORBIDDEN, "{as_replica}");
        }
    }
    assert_eq!(count(&superuser, "SELECT count(*) FROM secure_audit_log").await, 1);
}

#[tokio::test]
async fn the_auditor_reads_the_audit_log_alone() {
    let (database, _app) = one_certificate().await;
    let auditor = database.pool("clm_secure_auditor").await;
    assert_eq!(count(&auditor, "SELECT count(*) FROM secure_audit_log").await, 1);
    assert_eq!(
        texts(
            &auditor,
            "SELECT relname::text FROM pg_class
             WHERE relnamespace = 'clm'::regnamespace AND relkind IN ('r', 'p', 'v') AND relname <> '_sqlx_migrations'
               AND (has_table_privilege(oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
                    OR has_any_column_privilege(oid, 'SELECT, INSERT, UPDATE'))
             ORDER BY 1"
        )
        .await,
        ["audit_checkpoints", "audit_keys", "secure_audit_log"]
    );
    assert_eq!(refusal(&auditor, "SELECT encrypted_key_material FROM audit_keys").await, FORBIDDEN);
    assert_eq!(refusal(&auditor, "SELECT id FROM certificates").await, FORBIDDEN);
}

#[tokio::test]
async fn reports_see_no_key_material_and_write_nothing() {
    let (database, _app) = one_certificate().await;
    let reports = database.pool("clm_secure_ro").await;
    assert_eq!(count(&reports, "SELECT count(*) FROM expiring_certificates").await, 1);
    for statement in [
        "SELECT encrypted_key_material FROM private_keys",
        "SELECT wrapped_key_material FROM encryption_keys",
        "SELECT wrapped_private_key FROM issuance_intents",
        "SET transaction_read_only = off; UPDATE certificates SET version = 2",
    ] {
        assert_eq!(refusal(&reports, statement).await, FORBIDDEN, "{statement}");
    }
}

#[tokio::test]
async fn a_private_key_is_wrapped_or_in_a_module_and_belongs_to_one_certificate() {
    let (database, app) = one_certificate().await;
    let second = "INSERT INTO private_keys (certificate_id, hsm_provider, hsm_key_reference, key_algorithm, key_size, public_key_sha256, origin, created_at, updated_at)
         VALUES ('01900000-0000-7000-8000-00000000000c', 'softhsm', 'key', 'ecdsa-p256', 256, sha256('k'), 'hsm', now(), now())";
    assert_eq!(refusal(&app, second).await, NOT_UNIQUE);
    let superuser = database.superuser().await;
    let without = "UPDATE private_keys SET encrypted_key_material = NULL";
    assert_eq!(refusal(&app, without).await, NOT_ALLOWED);
    assert_eq!(refusal(&superuser, without).await, NOT_ALLOWED);
    run(&superuser, "UPDATE private_keys SET encrypted_key_material = NULL, destroyed_at = now()").await;
    let orphan = "INSERT INTO private_keys (certificate_id, hsm_provider, hsm_key_reference, key_algorithm, key_size, public_key_sha256, origin, created_at, updated_at)
         VALUES (uuid_generate_v7(), 'softhsm', 'key', 'ecdsa-p256', 256, sha256('k'), 'hsm', now(), now())";
    assert_eq!(refusal(&app, orphan).await, NO_SUCH_ROW);
}

#[tokio::test]
async fn serial_numbers_and_active_keys_are_unique() {
    let (_database, app) = one_certificate().await;
    let same_serial = "INSERT INTO issuance_intents (operation_id, authority_id, certificate_id, serial_number, tbs_der, tbs_sha256, profile, profile_hash, state, created_at, updated_at)
         VALUES (uuid_generate_v7(), '01900000-0000-7000-8000-00000000000a', uuid_generate_v7(), '\\x07', '\\x00', sha256('t'), 'p', sha256('p'), 'open', now(), now())";
    run(&app, same_serial).await;
    assert_eq!(refusal(&app, same_serial).await, NOT_UNIQUE);
    let second_active = "INSERT INTO encryption_keys (key_identifier, purpose, key_version, algorithm, provider, master_key_reference, wrapped_key_material, state, max_uses, expires_at, created_at, updated_at)
         VALUES ('private_keys/2', 'private_keys', 2, 'AES-256-GCM', 'sealed-file', 'master', '\\x00', 'active', 1000, now() + interval '1 day', now(), now())";
    assert_eq!(refusal(&app, second_active).await, NOT_UNIQUE);
}

#[tokio::test]
async fn a_certificate_has_one_open_revocation_at_a_time() {
    let (_database, app) = one_certificate().await;
    let hold = "INSERT INTO certificate_revocations (certificate_id, operation_id, authority_id, serial_number, reason_code, reason, revocation_date, ocsp_status, created_at, updated_at)
         VALUES ('01900000-0000-7000-8000-00000000000c', uuid_generate_v7(), '01900000-0000-7000-8000-00000000000a', '\\x01', 6, 'certificateHold', now(), 'revoked', now(), now())";
    run(&app, hold).await;
    assert_eq!(refusal(&app, hold).await, NOT_UNIQUE);
    assert_eq!(refusal(&app, "UPDATE certificate_revocations SET ocsp_status = 'good'").await, NOT_ALLOWED);
    run(
        &app,
        "UPDATE certificate_revocations SET ocsp_status = 'good', hold_released_at = now(), released_operation_id = uuid_generate_v7()",
    )
    .await;
    run(&app, hold).await;
    for reason in [7, 8, 11] {
        let statement = hold.replace(", 6, ", &format!(", {reason}, "));
        assert_eq!(refusal(&app, &statement).await, NOT_ALLOWED, "{statement}");
    }
}

#[tokio::test]
async fn both_sequences_start_empty() {
    let app = TestDatabases::start().await.secure.pool("clm_secure_app").await;
    assert_eq!(
        texts(&app, "SELECT name || ' ' || sequence FROM chain_heads ORDER BY name").await,
        ["audit 0", "events 0"]
    );
}
