//! `clm_core_db`.

use clm_testkit::{TestDatabase, TestDatabases};
use sqlx::PgPool;

use crate::{
    FORBIDDEN, NO_SUCH_ROW, NOT_ALLOWED, NOT_UNIQUE, assert_none, catalog, count, refusal, run, texts,
    with_id,
};

/// Two organizations with the same contents: a requester, an approver, a policy, a request that waits for the
/// approver's role, a certificate, and a row in every other tenant table. `{n}` is 1 or 2.
const TENANT: &str = "
INSERT INTO organizations (id, org_code, org_name, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000000', 'org{n}', 'Organization {n}', now(), now());
INSERT INTO users (id, username, email, display_name, password_hash, password_salt, status, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000001', 'user{n}@example.com', 'user{n}@example.com', 'User {n}', 'h', 's', 'active', now(), now()),
       ('0190000{n}-0000-7000-8000-000000000002', 'approver{n}', 'approver{n}@example.com', 'Approver {n}', 'h', 's', 'active', now(), now());
INSERT INTO user_organizations (user_id, organization_id, is_primary, joined_at, created_at, updated_at)
SELECT ('0190000{n}-0000-7000-8000-00000000000' || i)::uuid, '0190000{n}-0000-7000-8000-000000000000', true, now(), now(), now()
FROM generate_series(1, 2) AS i;
INSERT INTO roles (id, role_code, role_name, organization_id, permissions, created_at, updated_at)
VALUES ('0190000{n}-0000-7000-8000-000000000003', 'own', 'Own role', '0190000{n}-0000-7000-8000-000000000000', '[\"request:read\"]', now(), now());
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
    decode(repeat('0{n}', 32), 'hex'), 'CN=a', 'CN=b', 'a', '{dns:a.example}', 'ecdsa-p256', now(), now() + interval '1 day', 'active', '{\"team\": \"a\"}', now(), now());
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
";

const ORG1: &str = "01900001-0000-7000-8000-000000000000";
const ORG2: &str = "01900002-0000-7000-8000-000000000000";
const REQUESTER1: &str = "01900001-0000-7000-8000-000000000001";
const APPROVER1: &str = "01900001-0000-7000-8000-000000000002";

async fn two_tenants() -> (TestDatabase, PgPool) {
    let database = TestDatabases::start().await.core;
    let system = database.pool("clm_core_system").await;
    for n in ["1", "2"] {
        // A superuser plants: not even the system role may write findings of another kind.
        run(&database.superuser().await, &TENANT.replace("{n}", n)).await;
    }
    (database, system)
}

/// A pool of the app role with one connection, working for `organization` as the service does in a transaction.
async fn app_for(database: &TestDatabase, organization: &str) -> PgPool {
    let mut config = database.config("clm_core_app");
    config.max_connections = 1;
    let pool = clm_pg::connect(&config, "test").await.unwrap();
    run(
        &pool,
        &format!("SELECT set_config('clm.org_id', '{organization}', false)"),
    )
    .await;
    pool
}

#[tokio::test]
async fn the_schema_keeps_the_rules_of_every_table() {
    let pool = TestDatabases::start().await.core.superuser().await;
    for rule in catalog::RULES {
        assert_none(&pool, rule).await;
    }
}

#[tokio::test]
async fn every_table_of_the_specification_is_there() {
    let pool = TestDatabases::start().await.core.superuser().await;
    for table in [
        "users",
        "roles",
        "user_roles",
        "organizations",
        "user_organizations",
        "policies",
        "workflows",
        "workflow_instances",
        "workflow_steps",
        "certificate_metadata",
        "notifications",
        "audit_log",
        "api_keys",
        "sessions",
        "pending_approvals",
    ] {
        count(&pool, &format!("SELECT count(*) FROM {table}")).await;
    }
}

#[tokio::test]
async fn row_level_security_covers_every_tenant_table_and_partition() {
    let pool = TestDatabases::start().await.core.superuser().await;
    assert_none(
        &pool,
        "SELECT c.relname::text
         FROM pg_class c
         WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p')
           AND (c.relname = 'organizations' OR EXISTS (
               SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'organization_id' AND NOT a.attisdropped))
           AND NOT (c.relrowsecurity AND EXISTS (
               SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND 'clm_core_app'::regrole = ANY (p.polroles)
                 AND pg_get_expr(p.polqual, p.polrelid) ~ 'clm.org_id' AND pg_get_expr(p.polwithcheck, p.polrelid) ~ 'clm.org_id'))",
    )
    .await;
}

#[tokio::test]
async fn tenants_refer_to_rows_of_their_own_organization_only() {
    let pool = TestDatabases::start().await.core.superuser().await;
    // Except to the global tables, a foreign key between tenant tables carries the organization.
    assert_none(
        &pool,
        "SELECT k.conrelid::regclass || '.' || k.conname
         FROM pg_constraint k
         JOIN pg_attribute o ON o.attrelid = k.confrelid AND o.attname = 'organization_id'
         WHERE k.contype = 'f' AND k.connamespace = 'clm'::regnamespace AND k.confrelid <> 'roles'::regclass
           AND NOT o.attnum = ANY (k.confkey)",
    )
    .await;
}

#[tokio::test]
async fn a_tenant_sees_its_own_rows_and_no_others() {
    let (database, system) = two_tenants().await;
    let app = app_for(&database, ORG1).await;
    for table in tenant_tables(&system).await {
        let own = format!("SELECT count(*) FROM {table} WHERE organization_id = '{ORG1}'");
        let all_rows = format!("SELECT count(*) FROM {table} WHERE organization_id IS NOT NULL");
        assert!(count(&app, &own).await > 0, "{table} hides the tenant's own rows");
        assert_eq!(
            count(&app, &own).await,
            count(&app, &all_rows).await,
            "{table} shows others' rows"
        );
        assert!(
            count(&system, &all_rows).await > count(&app, &own).await,
            "{table} has one tenant only"
        );
    }
    assert_eq!(texts(&app, "SELECT org_code FROM organizations").await, ["org1"]);
    assert_eq!(
        texts(
            &app,
            "SELECT DISTINCT organization_id::text FROM pending_approvals"
        )
        .await,
        [ORG1]
    );
    // Built-in roles are everybody's.
    assert_eq!(
        count(&app, "SELECT count(*) FROM roles WHERE organization_id IS NULL").await,
        6
    );
}

#[tokio::test]
async fn a_connection_that_has_set_nothing_sees_nothing() {
    let (database, system) = two_tenants().await;
    let app = database.pool("clm_core_app").await;
    let emptied = app_for(&database, "").await;
    let mut tables = tenant_tables(&system).await;
    tables.push("organizations".to_owned());
    tables.push("pending_approvals".to_owned());
    for table in tables {
        for pool in [&app, &emptied] {
            assert_eq!(
                count(pool, &format!("SELECT count(*) FROM {table}")).await,
                0,
                "{table}"
            );
        }
    }
}

async fn tenant_tables(pool: &PgPool) -> Vec<String> {
    let tables = texts(
        pool,
        "SELECT c.relname::text FROM pg_class c
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'organization_id'
         WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition",
    )
    .await;
    assert_eq!(tables.len(), 16);
    tables
}

#[tokio::test]
async fn a_tenant_cannot_write_into_another() {
    let (database, system) = two_tenants().await;
    let app = app_for(&database, ORG1).await;
    let insert = format!(
        "INSERT INTO jobs (organization_id, kind, operation_id, run_at, created_at, updated_at)
         VALUES ('{ORG2}', 'x', uuid_generate_v7(), now(), now(), now())"
    );
    assert_eq!(refusal(&app, &insert).await, FORBIDDEN);
    let gift = format!("UPDATE certificate_metadata SET organization_id = '{ORG2}'");
    assert_eq!(refusal(&app, &gift).await, FORBIDDEN);
    run(&app, "UPDATE certificate_metadata SET environment = 'mine'").await;
    run(&app, "UPDATE organizations SET org_name = 'mine'").await;
    assert_eq!(
        texts(
            &system,
            "SELECT organization_id::text FROM certificate_metadata WHERE environment = 'mine'"
        )
        .await,
        [ORG1]
    );
    assert_eq!(
        texts(
            &system,
            "SELECT id::text FROM organizations WHERE org_name = 'mine'"
        )
        .await,
        [ORG1]
    );
    assert_eq!(
        refusal(&app, "UPDATE roles SET permissions = '[\"*\"]' WHERE is_system").await,
        FORBIDDEN
    );
}

#[tokio::test]
async fn a_tenant_cannot_refer_to_another_s_rows() {
    let (database, _system) = two_tenants().await;
    let app = app_for(&database, ORG1).await;
    for statement in [
        "UPDATE policies SET workflow_id = '01900002-0000-7000-8000-000000000004'",
        "UPDATE workflow_instances SET policy_id = '01900002-0000-7000-8000-000000000005'",
        "UPDATE certificate_metadata SET policy_id = '01900002-0000-7000-8000-000000000005'",
        "UPDATE workflow_steps SET workflow_instance_id = '01900002-0000-7000-8000-000000000006', step_number = step_number + 2",
        "UPDATE workflow_steps SET assigned_to_role_id = '01900002-0000-7000-8000-000000000003'",
        "UPDATE roles SET parent_role_id = '01900002-0000-7000-8000-000000000003' WHERE role_code = 'own'",
        "INSERT INTO user_roles (user_id, role_id, organization_id, valid_from, created_at, updated_at)
         VALUES ('01900001-0000-7000-8000-000000000001', '01900002-0000-7000-8000-000000000003',
                 '01900001-0000-7000-8000-000000000000', now(), now(), now())",
    ] {
        assert_eq!(refusal(&app, statement).await, NO_SUCH_ROW, "{statement}");
    }
}

#[tokio::test]
async fn the_app_role_gets_no_credential_and_no_schema() {
    let (database, _system) = two_tenants().await;
    let app = app_for(&database, ORG1).await;
    for statement in [
        "SELECT password_hash FROM users",
        "SELECT mfa_secret_encrypted FROM users",
        "SELECT * FROM users",
        "UPDATE users SET status = 'active'",
        "SELECT key_hash FROM api_keys",
        "SELECT token_hash FROM sessions",
        "SELECT token_hash FROM bootstrap_tokens",
        "UPDATE follower_positions SET sequence = 0",
        "DELETE FROM certificate_metadata",
        "TRUNCATE jobs",
        "CREATE TABLE mine (id uuid)",
        "DROP TABLE jobs",
        "ALTER TABLE certificate_metadata DISABLE ROW LEVEL SECURITY",
        "SET ROLE clm_core_owner",
        "SELECT enable_tenant_isolation('jobs', true)",
        "UPDATE user_roles SET role_id = '01900000-0000-7000-8000-000000000001'",
    ] {
        let state = refusal(&app, statement).await;
        assert!(state == FORBIDDEN || state == "42P01", "{statement}: {state}");
    }
}

#[tokio::test]
async fn audit_rows_are_written_and_never_changed() {
    let (database, system) = two_tenants().await;
    let app = app_for(&database, ORG1).await;
    let superuser = database.superuser().await;
    let partition = texts(
        &superuser,
        "SELECT DISTINCT tableoid::regclass::text FROM audit_log",
    )
    .await
    .remove(0);
    for table in ["audit_log", "secure_audit_checkpoints", &partition] {
        let statements = [
            format!("UPDATE {table} SET created_at = now()"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
        ];
        for statement in &statements {
            assert_eq!(refusal(&app, statement).await, FORBIDDEN, "{statement}");
            assert_eq!(refusal(&system, statement).await, FORBIDDEN, "{statement}");
        }
    }
    for table in ["audit_log", &partition] {
        for change in ["UPDATE {} SET detail = 'x'", "DELETE FROM {}", "TRUNCATE {}"] {
            let statement = change.replace("{}", table);
            assert_eq!(refusal(&superuser, &statement).await, FORBIDDEN, "{statement}");
            let as_replica = format!("SET session_replication_role = replica; {statement}");
            assert_eq!(refusal(&superuser, &as_replica).await, FORBIDDEN, "{as_replica}");
        }
    }
    assert_eq!(count(&superuser, "SELECT count(*) FROM audit_log").await, 2);
}

#[tokio::test]
async fn only_finished_work_and_forgotten_answers_can_be_deleted() {
    let pool = TestDatabases::start().await.core.superuser().await;
    assert_eq!(
        texts(&pool, catalog::DELETABLE).await,
        ["idempotency_keys: clm_core_system", "jobs: clm_core_system"]
    );
}

#[tokio::test]
async fn the_service_makes_partitions_of_whole_months_only() {
    let database = TestDatabases::start().await.core;
    let app = database.pool("clm_core_app").await;
    let make = |parent: &str, from: &str, to: &str| {
        format!("SELECT make_partition('{parent}', '{from}', '{to}')::text")
    };
    let january = make("audit_log", "2031-01-01Z", "2031-02-01Z");
    assert_eq!(texts(&app, &january).await, ["true"]);
    assert_eq!(texts(&app, &january).await, ["false"]);
    for refused in [
        make("users", "2031-01-01Z", "2031-02-01Z"),
        make("audit_log", "2031-01-02Z", "2031-02-02Z"),
        make("audit_log", "2031-01-01Z", "2031-03-01Z"),
        make("audit_log_203101; DROP TABLE jobs", "2031-01-01Z", "2031-02-01Z"),
        "SELECT make_partition('audit_log', NULL, NULL)".to_owned(),
    ] {
        assert_eq!(refusal(&app, &refused).await, "22023", "{refused}");
    }
    assert_eq!(
        refusal(&app, "SELECT count(*) FROM audit_log_203101").await,
        FORBIDDEN
    );
    let superuser = database.superuser().await;
    for rule in catalog::RULES {
        assert_none(&superuser, rule).await;
    }
    run(
        &superuser,
        "INSERT INTO audit_log (id, occurred_at, actor_type, action, object_type, outcome, created_at)
         VALUES ((left(uuid_v7_floor('2031-01-05Z')::text, 14) || '7000-8000-000000000000')::uuid,
                 now(), 'system', 'test.run', 'test', 'allowed', now())",
    )
    .await;
}

#[tokio::test]
async fn a_row_for_a_month_without_partition_is_refused() {
    let superuser = TestDatabases::start().await.core.superuser().await;
    let random = "INSERT INTO audit_log (id, occurred_at, actor_type, action, object_type, outcome, created_at)
         VALUES ('f47ac10b-58cc-4372-a567-0e02b2c3d479', now(), 'system', 'test.run', 'test', 'allowed', now())";
    assert_eq!(refusal(&superuser, random).await, NOT_ALLOWED);
}

#[tokio::test]
async fn bounds_of_time_ranges_agree_with_the_program() {
    let superuser = TestDatabases::start().await.core.superuser().await;
    for time in [
        "2026-06-01T00:00:00Z",
        "2026-06-01T00:00:00.000001Z",
        "2031-12-31T23:59:59.999Z",
    ] {
        let floor = clm_pg::id_floor(time.parse().unwrap()).to_string();
        assert_eq!(
            texts(&superuser, &format!("SELECT uuid_v7_floor('{time}')::text")).await,
            [floor]
        );
    }
    assert_eq!(
        count(
            &superuser,
            "SELECT count(*) FROM (SELECT uuid_generate_v7() AS id, clock_timestamp() AS at FROM generate_series(1, 1000)) made
             WHERE id >= uuid_v7_floor(at - interval '1 second') AND id < uuid_v7_floor(at + interval '1 second')
               AND id::text ~ '^.{14}7.{4}[89ab]'"
        )
        .await,
        1000
    );
}

#[tokio::test]
async fn the_statements_of_the_specification_run_unchanged() {
    let (_database, system) = two_tenants().await;
    let authentication = "\
SELECT id, username, password_hash, password_salt, status, mfa_enabled
FROM users
WHERE username = 'user@example.com' AND deleted_at IS NULL;";
    let permissions = "\
SELECT r.role_code, r.permissions
FROM users u
JOIN user_roles ur ON u.id = ur.user_id
JOIN roles r ON ur.role_id = r.id
WHERE u.id = 'user-uuid' AND ur.revoked_at IS NULL;";
    let metadata = "\
SELECT cm.*, u.username, u.email, o.org_name
FROM certificate_metadata cm
JOIN users u ON cm.owner_user_id = u.id
LEFT JOIN organizations o ON cm.organization_id = o.id
WHERE cm.deleted_at IS NULL;";
    let approvals = "\
SELECT * FROM pending_approvals -- View
WHERE assigned_to_user_id = 'user-uuid';";
    let user = "SELECT id FROM users WHERE id = $1";
    let policy = "SELECT id FROM policies WHERE id = $1";
    run(
        &system,
        "UPDATE users SET username = 'user@example.com' WHERE username = 'user1@example.com'",
    )
    .await;
    for (statement, id, rows) in [
        (authentication, "", 1),
        (permissions, REQUESTER1, 1),
        (metadata, "", 2),
        (approvals, APPROVER1, 1),
        (user, REQUESTER1, 1),
        (user, ORG1, 0),
        (policy, "01900001-0000-7000-8000-000000000005", 1),
        (policy, ORG1, 0),
    ] {
        let statement = with_id(statement, id);
        let found = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.as_str()))
            .fetch_all(&system)
            .await
            .unwrap();
        assert_eq!(found.len(), rows, "{statement}");
    }
}

#[tokio::test]
async fn an_approval_waits_for_those_who_may_give_it() {
    let (database, system) = two_tenants().await;
    let waiting = "SELECT u.username FROM pending_approvals p JOIN users u ON u.id = p.assigned_to_user_id
                   WHERE p.organization_id = '01900001-0000-7000-8000-000000000000' ORDER BY 1";
    // The requester has the approver's role too, and still does not decide on the own request.
    assert_eq!(texts(&system, waiting).await, ["approver1"]);
    // A role held everywhere counts in every organization, and not twice.
    run(
        &system,
        "INSERT INTO user_roles (user_id, role_id, valid_from, created_at, updated_at)
         SELECT id, '01900000-0000-7000-8000-000000000003', now(), now(), now() FROM users WHERE username LIKE 'approver%'",
    )
    .await;
    assert_eq!(texts(&system, waiting).await, ["approver1", "approver2"]);
    let app = app_for(&database, ORG1).await;
    assert_eq!(texts(&app, waiting).await, ["approver1", "approver2"]);
    run(
        &system,
        "UPDATE users SET status = 'disabled' WHERE username = 'approver2'",
    )
    .await;
    assert_eq!(texts(&system, waiting).await, ["approver1"]);
    run(
        &system,
        "UPDATE user_roles SET valid_until = now() WHERE organization_id IS NOT NULL",
    )
    .await;
    run(
        &system,
        "UPDATE user_roles SET revoked_at = now() WHERE organization_id IS NULL",
    )
    .await;
    assert_eq!(texts(&system, waiting).await, [""; 0]);
    run(
        &system,
        "UPDATE workflow_steps SET assigned_to_role_id = NULL, assigned_to_user_id = '01900001-0000-7000-8000-000000000002'
         WHERE status = 'pending' AND organization_id = '01900001-0000-7000-8000-000000000000'",
    )
    .await;
    assert_eq!(texts(&system, waiting).await, ["approver1"]);
    run(
        &system,
        "INSERT INTO workflow_decisions (organization_id, workflow_step_id, user_id, decision, decided_at, created_at)
         VALUES ('01900001-0000-7000-8000-000000000000', '01900001-0000-7000-8000-000000000007',
                 '01900001-0000-7000-8000-000000000002', 'approved', now(), now())",
    )
    .await;
    assert_eq!(texts(&system, waiting).await, [""; 0]);
}

#[tokio::test]
async fn searches_use_their_indexes_under_row_level_security() {
    let (database, _system) = two_tenants().await;
    let superuser = database.superuser().await;
    run(
        &superuser,
        "INSERT INTO certificate_metadata (certificate_id, organization_id, owner_user_id, profile, serial_number, fingerprint_sha256,
             subject, issuer, common_name, sans, key_algorithm, not_before, not_after, status, tags, created_at, updated_at)
         SELECT uuid_generate_v7(), '01900001-0000-7000-8000-000000000000', '01900001-0000-7000-8000-000000000001', 'tls-server', to_hex(i),
             sha256(i::text::bytea), 'CN=' || i, 'CN=ca', i || '.example', ARRAY['dns:' || i || '.example'], 'ecdsa-p256',
             now(), now() + i * interval '1 minute', 'active', jsonb_build_object('number', i), now(), now()
         FROM generate_series(1, 20000) AS i;",
    )
    .await;
    run(&superuser, "VACUUM ANALYZE certificate_metadata").await;
    let app = app_for(&database, ORG1).await;
    for (condition, index) in [
        ("tags @> '{\"number\": 77}'", "certificate_metadata_tags_idx"),
        ("sans @> ARRAY['dns:77.example']", "certificate_metadata_sans_idx"),
        (
            "sans && ARRAY['dns:77.example', 'dns:78.example']",
            "certificate_metadata_sans_idx",
        ),
        (
            "common_name = '77.example'",
            "certificate_metadata_organization_id_common_name_idx",
        ),
        (
            "serial_number = '4d'",
            "certificate_metadata_organization_id_serial_number_idx",
        ),
    ] {
        let query =
            format!("EXPLAIN SELECT id FROM certificate_metadata WHERE {condition} AND deleted_at IS NULL");
        let plan = texts(&app, &query).await.join("\n");
        assert!(plan.contains(index), "{condition}:\n{plan}");
    }
}

#[tokio::test]
async fn names_of_people_and_versions_are_unique() {
    let (_database, system) = two_tenants().await;
    let user = |name: &str, email: &str| {
        format!(
            "INSERT INTO users (username, email, display_name, status, created_at, updated_at)
             VALUES ('{name}', '{email}', 'x', 'active', now(), now())"
        )
    };
    assert_eq!(
        refusal(&system, &user("Approver1", "new@example.com")).await,
        NOT_UNIQUE
    );
    assert_eq!(
        refusal(&system, &user("new", "Approver1@example.com")).await,
        NOT_UNIQUE
    );
    run(
        &system,
        "UPDATE users SET deleted_at = now() WHERE username = 'approver1'",
    )
    .await;
    run(&system, &user("new", "Approver1@example.com")).await;
    for (statement, state) in [
        (
            "INSERT INTO policies (organization_id, policy_code, policy_version, policy_name, policy_type, policy_rules, status, created_at, updated_at)
             VALUES ('01900001-0000-7000-8000-000000000000', 'tls', 2, 'TLS', 'certificate', '{}', 'active', now(), now())",
            NOT_UNIQUE,
        ),
        (
            "INSERT INTO roles (role_code, role_name, created_at, updated_at) VALUES ('administrator', 'x', now(), now())",
            NOT_UNIQUE,
        ),
        ("UPDATE workflow_steps SET quorum = 0", NOT_ALLOWED),
        ("UPDATE workflow_instances SET status = 'done'", NOT_ALLOWED),
        ("UPDATE users SET status = 'unknown'", NOT_ALLOWED),
    ] {
        assert_eq!(refusal(&system, statement).await, state, "{statement}");
    }
}

#[tokio::test]
async fn reports_see_no_credential_and_write_nothing() {
    let (database, _system) = two_tenants().await;
    let reports = database.pool("clm_core_ro").await;
    assert_eq!(
        count(&reports, "SELECT count(*) FROM certificate_metadata").await,
        2
    );
    for statement in [
        "SELECT password_hash FROM users",
        "SELECT key_hash FROM api_keys",
        "SELECT token_hash FROM sessions",
        "SELECT response_body FROM idempotency_keys",
        "SELECT token_hash FROM bootstrap_tokens",
        "SET transaction_read_only = off; UPDATE certificate_metadata SET notes = 'x'",
    ] {
        assert_eq!(refusal(&reports, statement).await, FORBIDDEN, "{statement}");
    }
}
