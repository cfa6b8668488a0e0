//! `clm_core_db`.

use clm_testkit::TestDatabases;

use crate::tenancy::{ORG1, app_for, two_tenants};
use crate::{FORBIDDEN, NOT_ALLOWED, NOT_UNIQUE, assert_none, catalog, count, refusal, run, texts, with_id};

const REQUESTER1: &str = "01900001-0000-7000-8000-000000000001";
const APPROVER1: &str = "01900001-0000-7000-8000-000000000002";

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
async fn audit_rows_are_written_and_never_changed() {
    let (database, system) = two_tenants().await;
    let app = app_for(&database, ORG1).await;
    let superuser = database.superuser().await;
    let partition =
        texts(&superuser, "SELECT DISTINCT tableoid::regclass::text FROM audit_log").await.remove(0);
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
        [
            "api_keys: clm_core_system",
            "email_messages: clm_core_system",
            "idempotency_keys: clm_core_system",
            "jobs: clm_core_system"
        ]
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
    assert_eq!(refusal(&app, "SELECT count(*) FROM audit_log_203101").await, FORBIDDEN);
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
    for time in ["2026-06-01T00:00:00Z", "2026-06-01T00:00:00.000001Z", "2031-12-31T23:59:59.999Z"] {
        let floor = clm_pg::id_floor(time.parse().unwrap()).to_string();
        assert_eq!(texts(&superuser, &format!("SELECT uuid_v7_floor('{time}')::text")).await, [floor]);
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
    let (database, system) = two_tenants().await;
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
    let superuser = database.superuser().await;
    run(&superuser, "UPDATE users SET username = 'user@example.com' WHERE username = 'user1@example.com'")
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
        let found = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.as_str())).fetch_all(&system).await.unwrap();
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
    run(&system, "UPDATE users SET status = 'disabled' WHERE username = 'approver2'").await;
    assert_eq!(texts(&system, waiting).await, ["approver1"]);
    run(
        &database.superuser().await,
        "UPDATE user_roles SET valid_until = now() WHERE organization_id IS NOT NULL",
    )
    .await;
    run(&system, "UPDATE user_roles SET revoked_at = now() WHERE organization_id IS NULL").await;
    assert_eq!(texts(&system, waiting).await, [""; 0]);
    run(
        &database.superuser().await,
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
async fn names_of_people_and_versions_are_unique() {
    let (database, system) = two_tenants().await;
    let superuser = database.superuser().await;
    let user = |name: &str, email: &str| {
        format!(
            "INSERT INTO users (username, email, display_name, status, created_at, updated_at)
             VALUES ('{name}', '{email}', 'x', 'active', now(), now())"
        )
    };
    assert_eq!(refusal(&system, &user("Approver1", "new@example.com")).await, NOT_UNIQUE);
    assert_eq!(refusal(&system, &user("new", "Approver1@example.com")).await, NOT_UNIQUE);
    run(&system, "UPDATE users SET deleted_at = now() WHERE username = 'approver1'").await;
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
        assert_eq!(refusal(&superuser, statement).await, state, "{statement}");
    }
}

#[tokio::test]
async fn reports_see_no_credential_and_write_nothing() {
    let (database, _system) = two_tenants().await;
    let reports = database.pool("clm_core_ro").await;
    assert_eq!(count(&reports, "SELECT count(*) FROM certificate_metadata").await, 2);
    for statement in [
        "SELECT password_hash FROM users",
        "SELECT key_hash FROM api_keys",
        "SELECT token_hash FROM sessions",
        "SELECT response_body FROM idempotency_keys",
        "SELECT token_hash FROM bootstrap_tokens",
        "SELECT token_hash FROM one_time_links",
        "SELECT recipient FROM email_messages",
        "SELECT password_hash FROM former_passwords",
        "SELECT code_hash FROM recovery_codes",
        "SELECT public_key FROM passkeys",
        "SELECT challenge_hash FROM passkey_uses",
        "SET transaction_read_only = off; UPDATE certificate_metadata SET notes = 'x'",
    ] {
        assert_eq!(refusal(&reports, statement).await, FORBIDDEN, "{statement}");
    }
}
