//! Orphans and differences of every kind, made with SQL as only a superuser can, and taken away again.

use std::collections::BTreeSet;

use clm_local::cluster::Database;
use serde_json::json;
use uuid::Uuid;

use crate::house::{House, logged_since};
use crate::integrity::findings;

/// Certificates by what will be wrong with them; each is the one for `<name>.example.com`.
const NAMES: [&str; 16] = [
    "dated",
    "linked",
    "lost",
    "nobodys",
    "operation-differs",
    "organization-deleted",
    "organization-unknown",
    "owner-deleted",
    "owner-forged",
    "owner-unknown",
    "policy-deleted",
    "policy-unknown",
    "request-differs",
    "revoked-in-core",
    "revoked-in-secure",
    "stuck",
];

/// What each statement may use.
const PRELUDE: &str = "SET session_replication_role = replica;
    CREATE OR REPLACE FUNCTION aged(id uuid) RETURNS uuid LANGUAGE sql AS
        $$ SELECT overlay(id::text placing '0190' from 1 for 4)::uuid $$;";
const PRELUDE_OF_CORE: &str = "CREATE OR REPLACE FUNCTION named(name text) RETURNS uuid LANGUAGE sql AS
    $$ SELECT certificate_id FROM certificate_metadata WHERE sans[1] = 'dns:' || name || '.example.com' $$;";
const PRELUDE_OF_SECURE: &str = "CREATE OR REPLACE FUNCTION named(name text) RETURNS uuid LANGUAGE sql AS
    $$ SELECT certificate_id FROM certificates WHERE sans ->> 0 = 'dns:' || name || '.example.com'
       ORDER BY request_id NULLS LAST LIMIT 1 $$;";

/// Makes everything look older than the moment that operations are given to reach the other side.
const AGE_CORE: &str = "
    UPDATE certificate_metadata SET certificate_id = aged(certificate_id), updated_at = updated_at - interval '1 minute';
    UPDATE workflow_instances SET certificate_id = aged(certificate_id), updated_at = updated_at - interval '1 minute';
    UPDATE notifications SET related_certificate_id = aged(related_certificate_id), created_at = created_at - interval '1 minute'";
const AGE_SECURE: &str = "
    UPDATE certificates SET certificate_id = aged(certificate_id) WHERE category = 'leaf';
    UPDATE private_keys SET certificate_id = aged(certificate_id)
        WHERE certificate_id NOT IN (SELECT certificate_id FROM certificates);
    UPDATE certificate_requests SET certificate_id = aged(certificate_id), updated_at = updated_at - interval '1 minute';
    UPDATE certificate_revocations SET certificate_id = aged(certificate_id), updated_at = updated_at - interval '1 minute'";

const IN_CORE: &str = "
    INSERT INTO certificate_metadata (certificate_id, operation_id, organization_id, owner_user_id, policy_id, profile,
        serial_number, fingerprint_sha256, subject, issuer, key_algorithm, not_before, not_after, status, created_at, updated_at)
        SELECT '01900000-0000-7000-8000-00000000cdef', gen_random_uuid(), organization_id, owner_user_id, policy_id, profile,
        '0102', fingerprint_sha256, subject, issuer, key_algorithm, not_before, not_after, status, created_at, updated_at
        FROM certificate_metadata WHERE certificate_id = named('lost');
    DELETE FROM certificate_metadata WHERE certificate_id = named('lost');
    UPDATE certificate_metadata SET status = 'revoked', revoked_at = now(), revocation_reason = 'superseded'
        WHERE certificate_id = named('revoked-in-core');
    UPDATE certificate_metadata SET revoked_at = now() WHERE certificate_id = named('dated');
    UPDATE certificate_metadata SET renewal_of_certificate_id = certificate_id WHERE certificate_id = named('linked');
    INSERT INTO users SELECT (jsonb_populate_record(u, jsonb_build_object('id', gen_random_uuid(), 'username', 'gone',
        'email', 'gone@example.org', 'deleted_at', now()))).* FROM users u WHERE username = 'robot';
    UPDATE certificate_metadata SET owner_user_id = (SELECT id FROM users WHERE username = 'gone')
        WHERE certificate_id = named('owner-deleted');
    UPDATE certificate_metadata SET owner_user_id = NULL WHERE certificate_id = named('owner-unknown');
    INSERT INTO policies SELECT (jsonb_populate_record(p, jsonb_build_object('id', gen_random_uuid(),
        'policy_code', 'gone', 'deleted_at', now()))).* FROM policies p WHERE policy_code = 'tls-server';
    UPDATE certificate_metadata SET policy_id = (SELECT id FROM policies WHERE policy_code = 'gone')
        WHERE certificate_id = named('policy-deleted');
    INSERT INTO organizations SELECT (jsonb_populate_record(o, jsonb_build_object('id', gen_random_uuid(),
        'org_code', 'gone', 'deleted_at', now()))).* FROM organizations o WHERE org_code = 'example';
    UPDATE certificate_metadata SET policy_id = NULL, organization_id = (SELECT id FROM organizations WHERE org_code = 'gone')
        WHERE certificate_id = named('organization-deleted');
    UPDATE workflow_instances SET status = 'executing', completed_at = NULL, updated_at = now() - interval '1 hour'
        WHERE certificate_id = named('stuck');
    UPDATE workflow_instances SET policy_id = NULL WHERE certificate_id = named('request-differs');
    -- Completed, and Secure has no trace of them; the certificate of the first is nowhere either.
    INSERT INTO workflow_instances SELECT (jsonb_populate_record(i, jsonb_build_object('id', gen_random_uuid(),
        'operation_id', gen_random_uuid(), 'certificate_id', gen_random_uuid(), 'failure_detail', 'made up'))).*
        FROM workflow_instances i WHERE certificate_id = named('linked');
    INSERT INTO workflow_instances SELECT (jsonb_populate_record(i, jsonb_build_object('id', gen_random_uuid(),
        'operation_id', gen_random_uuid(), 'failure_detail', 'made up'))).*
        FROM workflow_instances i WHERE instance_type = 'revocation' LIMIT 1;
    INSERT INTO notifications SELECT (jsonb_populate_record(n, jsonb_build_object('id', uuid_generate_v7(),
        'related_certificate_id', gen_random_uuid(), 'body', 'made up'))).* FROM notifications n LIMIT 1";

const IN_SECURE: &str = r"
    INSERT INTO certificates SELECT (jsonb_populate_record(c, jsonb_build_object('id', gen_random_uuid(),
        'certificate_id', '01900000-0000-7000-8000-00000000abcd', 'operation_id', gen_random_uuid(), 'request_id', NULL,
        'serial_number', '\x0102', 'fingerprint_sha256', '\x' || repeat('ab', 32), 'common_name', 'made up'))).*
        FROM certificates c WHERE certificate_id = named('lost');
    UPDATE certificates SET status = 'revoked', revoked_at = now(), revocation_reason = 'superseded'
        WHERE certificate_id = named('revoked-in-secure');
    UPDATE certificates SET owner_user_id = 'GONE' WHERE certificate_id = named('owner-deleted');
    UPDATE certificates SET owner_user_id = 'ALICE' WHERE certificate_id = named('owner-forged');
    UPDATE certificates SET owner_user_id = gen_random_uuid() WHERE certificate_id = named('owner-unknown');
    UPDATE certificates SET policy_id = gen_random_uuid() WHERE certificate_id = named('policy-unknown');
    UPDATE certificates SET organization_id = gen_random_uuid() WHERE certificate_id = named('organization-unknown');
    UPDATE certificates SET organization_id = NULL WHERE certificate_id = named('nobodys');
    UPDATE certificates SET operation_id = gen_random_uuid() WHERE certificate_id = named('operation-differs');
    UPDATE certificate_requests SET status = 'rejected', certificate_id = NULL WHERE certificate_id = named('linked');
    INSERT INTO certificates SELECT (jsonb_populate_record(c, jsonb_build_object('id', gen_random_uuid(),
        'certificate_id', gen_random_uuid(), 'operation_id', gen_random_uuid(), 'serial_number', '\x0103',
        'fingerprint_sha256', '\x' || repeat('cd', 32), 'common_name', 'made up'))).*
        FROM certificates c WHERE category = 'authority' LIMIT 1;
    INSERT INTO private_keys SELECT (jsonb_populate_record(k, jsonb_build_object('id', gen_random_uuid(),
        'certificate_id', gen_random_uuid(), 'access_count', 4711))).* FROM private_keys k LIMIT 1;
    -- One of no certificate, one that its certificate does not show; nobody ordered either.
    INSERT INTO certificate_revocations SELECT (jsonb_populate_record(r, jsonb_build_object('id', gen_random_uuid(),
        'certificate_id', new.id, 'operation_id', gen_random_uuid(), 'comment', 'made up'))).*
        FROM certificate_revocations r, (VALUES (gen_random_uuid()), (named('request-differs'))) AS new (id)
        WHERE r.certificate_id = named('dated');
    INSERT INTO certificate_requests SELECT (jsonb_populate_record(r, jsonb_build_object('id', gen_random_uuid(),
        'operation_id', gen_random_uuid(), 'rejection_reason', 'made up'))).*
        FROM certificate_requests r WHERE certificate_id = named('dated')";

const NOT_IN_CORE: &str = "
    DELETE FROM certificate_metadata WHERE certificate_id = '01900000-0000-7000-8000-00000000cdef';
    UPDATE certificate_metadata SET status = 'active', revoked_at = NULL, revocation_reason = NULL
        WHERE certificate_id IN (named('revoked-in-core'), named('revoked-in-secure'));
    UPDATE users SET deleted_at = NULL;
    UPDATE policies SET deleted_at = NULL;
    UPDATE organizations SET deleted_at = NULL;
    UPDATE certificate_metadata SET policy_id = (SELECT id FROM policies WHERE policy_code = 'tls-server'),
        organization_id = (SELECT id FROM organizations WHERE org_code = 'example'),
        owner_user_id = (SELECT id FROM users WHERE username = 'robot');
    UPDATE workflow_instances SET status = 'completed', completed_at = now() WHERE certificate_id = named('stuck');
    DELETE FROM workflow_instances WHERE failure_detail = 'made up';
    UPDATE workflow_instances SET policy_id = (SELECT id FROM policies WHERE policy_code = 'tls-server');
    DELETE FROM notifications WHERE body = 'made up'";

const NOT_IN_SECURE: &str = "
    DELETE FROM certificates WHERE common_name = 'made up';
    DELETE FROM private_keys WHERE access_count = 4711;
    DELETE FROM certificate_revocations WHERE comment = 'made up';
    DELETE FROM certificate_requests WHERE rejection_reason = 'made up';
    UPDATE certificates SET status = 'active', revoked_at = NULL, revocation_reason = NULL
        WHERE certificate_id = named('revoked-in-secure');
    UPDATE certificates SET owner_user_id = 'OWNER', policy_id = 'POLICY', organization_id = 'ORGANIZATION'
        WHERE category = 'leaf';
    UPDATE certificate_requests SET status = 'issued', certificate_id = named('linked') WHERE status = 'rejected';
    UPDATE certificates c SET operation_id = r.operation_id FROM certificate_requests r WHERE r.id = c.request_id";

/// Plants all of it.
pub(crate) async fn plant(house: &House) {
    for name in NAMES {
        let id = house.issue(name).await;
        if name == "dated" {
            let path = format!("/certificates/{id}/revoke");
            house.robot.post(&path, &json!({"reason": "superseded"})).await;
        }
    }
    house.follow().await;
    house.sql(Database::Secure, &format!("{PRELUDE} {PRELUDE_OF_SECURE} {AGE_SECURE}"));
    house.sql(Database::Core, &format!("{PRELUDE} {PRELUDE_OF_CORE} {AGE_CORE}; {IN_CORE}"));
    let user = |name| house.sql(Database::Core, &format!("SELECT id FROM users WHERE username = '{name}'"));
    let in_secure = IN_SECURE.replace("GONE", &user("gone")).replace("ALICE", &user("alice"));
    house.sql(Database::Secure, &format!("{PRELUDE} {in_secure}"));
}

/// What has one right answer is as Secure says; a revocation is never taken back; the owner is as Core says.
pub(crate) async fn check_repairs(house: &House) {
    let id = |name| house.sql(Database::Secure, &format!("SELECT named('{name}')"));
    let states = [("lost", "active"), ("revoked-in-secure", "revoked"), ("revoked-in-core", "revoked")];
    for (name, state) in states {
        let certificate = house.robot.get(&format!("/certificates/{}", id(name))).await;
        assert_eq!(certificate.text("status"), state, "{certificate:?}");
    }
    let repaired = findings(house, Some("repaired")).await;
    let ids: BTreeSet<_> = repaired.iter().map(|it| it["object_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, ["lost", "revoked-in-secure", "dated", "linked", "owner-forged"].map(id).into());
    let owner = house.sql(
        Database::Secure,
        "SELECT owner_user_id FROM certificates WHERE certificate_id = named('owner-forged')",
    );
    assert_eq!(owner, house.robot.id);
}

/// A certificate that nobody ordered is an error in the log, with its id.
pub(crate) fn check_alarms(house: &House) {
    let log = logged_since(&house.installation.core.log_file(), 0);
    let rogue = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_abcd).to_string();
    assert!(log.lines().any(|line| line.contains(r#""level":"ERROR""#) && line.contains(&rogue)), "{log}");
}

/// Takes every cause away.
pub(crate) fn uproot(house: &House) {
    house.sql(Database::Core, &format!("{PRELUDE} {NOT_IN_CORE}"));
    let of = |what| house.sql(Database::Core, &format!("SELECT id FROM {what}"));
    let in_secure = NOT_IN_SECURE
        .replace("OWNER", &house.robot.id)
        .replace("POLICY", &of("policies WHERE policy_code = 'tls-server'"))
        .replace("ORGANIZATION", &of("organizations WHERE org_code = 'example'"));
    house.sql(Database::Secure, &format!("{PRELUDE} {in_secure}"));
}
