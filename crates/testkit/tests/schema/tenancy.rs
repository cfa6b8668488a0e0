//! What the organizations of `clm_core_db` can see and touch of each other.

use clm_testkit::{TestDatabase, TestDatabases};
use sqlx::PgPool;

use crate::{FORBIDDEN, NO_SUCH_ROW, assert_none, count, refusal, run, texts};

/// One organization, see the file; `{n}` is its number.
const TENANT: &str = include_str!("tenant.sql");

pub(crate) const ORG1: &str = "01900001-0000-7000-8000-000000000000";
pub(crate) const ORG2: &str = "01900002-0000-7000-8000-000000000000";

/// Organizations 1 and 2, and a pool of the system role.
pub(crate) async fn two_tenants() -> (TestDatabase, PgPool) {
    let database = TestDatabases::start().await.core;
    let system = database.pool("clm_core_system").await;
    for n in ["1", "2"] {
        // The superuser plants, so that no grant stands in the way.
        run(&database.superuser().await, &TENANT.replace("{n}", n)).await;
    }
    (database, system)
}

/// A pool of the app role with one connection, working for `organization` as the service does in a transaction.
pub(crate) async fn app_for(database: &TestDatabase, organization: &str) -> PgPool {
    let mut config = database.config("clm_core_app");
    config.max_connections = 1;
    let pool = clm_pg::connect(&config, "test").await.unwrap();
    run(&pool, &format!("SELECT set_config('clm.org_id', '{organization}', false)")).await;
    pool
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
        assert_eq!(count(&app, &own).await, count(&app, &all_rows).await, "{table} shows others' rows");
        assert!(count(&system, &all_rows).await > count(&app, &own).await, "{table} has one tenant only");
    }
    assert_eq!(texts(&app, "SELECT org_code FROM organizations").await, ["org1"]);
    assert_eq!(texts(&app, "SELECT DISTINCT organization_id::text FROM pending_approvals").await, [ORG1]);
    // Built-in roles are everybody's.
    assert_eq!(count(&app, "SELECT count(*) FROM roles WHERE organization_id IS NULL").await, 6);
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
            assert_eq!(count(pool, &format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
        }
    }
}

pub(crate) async fn tenant_tables(pool: &PgPool) -> Vec<String> {
    let tables = texts(
        pool,
        "SELECT c.relname::text FROM pg_class c
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'organization_id'
         WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition",
    )
    .await;
    assert_eq!(tables.len(), 23);
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
        texts(&system, "SELECT organization_id::text FROM certificate_metadata WHERE environment = 'mine'")
            .await,
        [ORG1]
    );
    assert_eq!(texts(&system, "SELECT id::text FROM organizations WHERE org_name = 'mine'").await, [ORG1]);
}

#[tokio::test]
async fn a_tenant_changes_nothing_that_everybody_shares() {
    let (database, system) = two_tenants().await;
    run(
        &system,
        "INSERT INTO user_roles (user_id, role_id, valid_from, created_at, updated_at)
         VALUES ('01900002-0000-7000-8000-000000000002', '01900000-0000-7000-8000-000000000004', now(), now(), now())",
    )
    .await;
    let app = app_for(&database, ORG1).await;
    let shared = "SELECT row_to_json(roles)::text FROM roles WHERE organization_id IS NULL ORDER BY id";
    let given =
        "SELECT row_to_json(user_roles)::text FROM user_roles WHERE organization_id IS NULL ORDER BY id";
    let (roles, assignments) = (texts(&app, shared).await, texts(&app, given).await);
    assert_eq!((roles.len(), assignments.len()), (6, 1));
    // Seen, but not there for a change.
    run(&app, "UPDATE roles SET permissions = '[\"*\"]' WHERE is_system").await;
    run(&app, "UPDATE user_roles SET revoked_at = now() WHERE organization_id IS NULL").await;
    for takeover in [
        format!("UPDATE roles SET organization_id = '{ORG1}' WHERE role_code = 'approver'"),
        format!("UPDATE user_roles SET organization_id = '{ORG1}' WHERE organization_id IS NULL"),
        "UPDATE roles SET is_system = true".to_owned(),
        "INSERT INTO roles (role_code, role_name, created_at, updated_at) VALUES ('x', 'x', now(), now())"
            .to_owned(),
        format!(
            "INSERT INTO roles (role_code, role_name, is_system, organization_id, created_at, updated_at)
             VALUES ('x', 'x', true, '{ORG1}', now(), now())"
        ),
    ] {
        assert_eq!(refusal(&app, &takeover).await, FORBIDDEN, "{takeover}");
    }
    assert_eq!(texts(&app, shared).await, roles);
    assert_eq!(texts(&app, given).await, assignments);
    // Even with every right on the table, a shared row cannot become one's own.
    let superuser = database.superuser().await;
    run(&superuser, "GRANT UPDATE, DELETE ON roles, user_roles TO clm_core_app").await;
    for takeover in [
        format!("UPDATE roles SET organization_id = '{ORG1}' WHERE organization_id IS NULL"),
        format!("UPDATE user_roles SET organization_id = '{ORG1}' WHERE organization_id IS NULL"),
        "DELETE FROM user_roles WHERE organization_id IS NULL".to_owned(),
    ] {
        run(&app, &takeover).await;
    }
    assert_eq!(texts(&app, shared).await, roles);
    assert_eq!(texts(&app, given).await, assignments);
}

#[tokio::test]
async fn a_tenant_does_not_extend_its_own_subscription() {
    let (database, _system) = two_tenants().await;
    let app = app_for(&database, ORG1).await;
    run(&app, "UPDATE organizations SET org_name = 'new', settings = '{\"a\": 1}', updated_at = now()").await;
    for column in [
        "status = 'active'",
        "org_code = 'x'",
        "subscription_plan = 'large'",
        "subscription_status = 'active'",
        "subscription_expires_at = NULL",
        "license_max_certificates = NULL",
        "license_max_users = NULL",
        "license_max_authorities = NULL",
        "deleted_at = NULL",
    ] {
        let statement = format!("UPDATE organizations SET {column}");
        assert_eq!(refusal(&app, &statement).await, FORBIDDEN, "{statement}");
    }
}

#[tokio::test]
async fn a_tenant_cannot_refer_to_another_s_rows() {
    let (database, _system) = two_tenants().await;
    // Even with every right on the tables.
    let superuser = database.superuser().await;
    run(
        &superuser,
        "GRANT UPDATE ON policies, workflow_instances, workflow_steps, certificate_metadata TO clm_core_app",
    )
    .await;
    let app = app_for(&database, ORG1).await;
    for statement in [
        "UPDATE policies SET workflow_id = '01900002-0000-7000-8000-000000000004'",
        "UPDATE workflow_instances SET policy_id = '01900002-0000-7000-8000-000000000005'",
        "UPDATE certificate_metadata SET policy_id = '01900002-0000-7000-8000-000000000005'",
        "UPDATE workflow_steps SET workflow_instance_id = '01900002-0000-7000-8000-000000000006', step_number = step_number + 2",
        "UPDATE workflow_steps SET assigned_to_role_id = '01900002-0000-7000-8000-000000000003'",
        "INSERT INTO roles (role_code, role_name, organization_id, parent_role_id, created_at, updated_at)
         VALUES ('child', 'Child', '01900001-0000-7000-8000-000000000000', '01900002-0000-7000-8000-000000000003', now(), now())",
        "INSERT INTO user_roles (user_id, role_id, organization_id, valid_from, created_at, updated_at)
         VALUES ('01900001-0000-7000-8000-000000000001', '01900002-0000-7000-8000-000000000003',
                 '01900001-0000-7000-8000-000000000000', now(), now(), now())",
        "INSERT INTO api_keys (organization_id, user_id, key_prefix, key_hash, name, expires_at, workload_rule_id, workload_subject,
             created_at, updated_at)
         VALUES ('01900001-0000-7000-8000-000000000000', '01900001-0000-7000-8000-000000000001', 'clm_x', sha256('x'), 'k', now(),
                 '01900002-0000-7000-8000-00000000001b', 's', now(), now())",
        "INSERT INTO user_roles (user_id, role_id, organization_id, group_id, valid_from, created_at, updated_at)
         VALUES ('01900001-0000-7000-8000-000000000001', '01900001-0000-7000-8000-000000000003',
                 '01900001-0000-7000-8000-000000000000', '01900002-0000-7000-8000-00000000001a', now(), now(), now())",
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
        "SELECT token_hash FROM one_time_links",
        "SELECT password_hash FROM former_passwords",
        "SELECT code_hash FROM recovery_codes",
        "SELECT public_key FROM passkeys",
        "SELECT challenge_hash FROM passkey_uses",
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
async fn searches_use_their_indexes_under_row_level_security() {
    let (database, _system) = two_tenants().await;
    let superuser = database.superuser().await;
    run(
        &superuser,
        "INSERT INTO certificate_metadata (certificate_id, organization_id, owner_user_id, profile, serial_number, fingerprint_sha256,
             subject, issuer, common_name, sans, key_algorithm, not_before, not_after, status, tags, created_at, updated_at)
         SELECT uuid_generate_v7(), '01900001-0000-7000-8000-000000000000', '01900001-0000-7000-8000-000000000001', 'tls-server', to_hex(i),
             sha256(i::text::bytea), 'CN=' || i, 'CN=ca', i || '.example', ARRAY['dns:' || i || '.example'], 'ecdsa-p256',
             now(), now() + i * interval '1 minute', 'active', jsonb_build_object('number', i, 'tag-' || i, ''), now(), now()
         FROM generate_series(1, 20000) AS i;",
    )
    .await;
    run(&superuser, "VACUUM ANALYZE certificate_metadata").await;
    let app = app_for(&database, ORG1).await;
    for (condition, index) in [
        ("tags @> '{\"number\": 77}'", "certificate_metadata_organization_id_tags_idx"),
        ("tag_names @> ARRAY['tag-77']", "certificate_metadata_organization_id_tag_names_idx"),
        ("sans @> ARRAY['dns:77.example']", "certificate_metadata_organization_id_sans_idx"),
        (
            "sans && ARRAY['dns:77.example', 'dns:78.example']",
            "certificate_metadata_organization_id_sans_idx",
        ),
        ("common_name = '77.example'", "certificate_metadata_organization_id_common_name_idx"),
        (
            "common_name >= '77.' AND common_name < E'77.\\U0010FFFF'",
            "certificate_metadata_organization_id_common_name_idx",
        ),
        ("serial_number = '4d'", "certificate_metadata_organization_id_serial_number_idx"),
    ] {
        let query =
            format!("EXPLAIN SELECT id FROM certificate_metadata WHERE {condition} AND deleted_at IS NULL");
        let plan = texts(&app, &query).await.join("\n");
        assert!(plan.contains(index), "{condition}:\n{plan}");
    }
}

#[tokio::test]
async fn pages_of_people_and_messages_are_read_from_an_index() {
    let (database, _system) = two_tenants().await;
    let superuser = database.superuser().await;
    run(
        &superuser,
        "INSERT INTO users (username, email, display_name, status, created_at, updated_at)
         SELECT 'many' || i, 'many' || i || '@example.com', 'Many', 'active', now(), now() FROM generate_series(1, 20000) AS i;
         INSERT INTO user_organizations (user_id, organization_id, is_primary, joined_at, created_at, updated_at)
         SELECT id, ('0190000' || CASE WHEN username ~ '00$' THEN 1 ELSE 2 END || '-0000-7000-8000-000000000000')::uuid, true,
             now(), now(), now()
         FROM users WHERE username ~ '^many';
         INSERT INTO notifications (organization_id, user_id, kind, channel, title, status, created_at, updated_at)
         SELECT '01900001-0000-7000-8000-000000000000', '01900001-0000-7000-8000-000000000001', 'test', 'in_app', 't', 'delivered',
             now(), now()
         FROM generate_series(1, 20000);",
    )
    .await;
    run(&superuser, "VACUUM ANALYZE users, user_organizations, notifications").await;
    let app = app_for(&database, ORG1).await;
    let people = format!(
        "EXPLAIN SELECT u.id FROM user_organizations m JOIN users u ON u.id = m.user_id
         WHERE m.organization_id = '{ORG1}' AND m.status <> 'left' AND u.deleted_at IS NULL
           AND m.user_id < 'ffffffff-ffff-7fff-bfff-ffffffffffff'
         ORDER BY m.user_id DESC LIMIT 50"
    );
    let messages = "EXPLAIN SELECT id FROM notifications
         WHERE user_id = '01900001-0000-7000-8000-000000000001' AND channel = 'in_app' ORDER BY id DESC LIMIT 50";
    for (query, index) in
        [(people.as_str(), "user_organizations_organization_id_user_id_idx"), (messages, "_user_id_id_idx")]
    {
        let plan = texts(&app, query).await.join("\n");
        assert!(plan.contains(index) && !plan.contains("Sort"), "{plan}");
    }
}

/// As the service asks, with the policy of users in the way: of who holds a role, only those are looked at.
#[tokio::test]
async fn people_are_found_by_name_and_by_role_from_an_index() {
    let (database, _system) = two_tenants().await;
    let superuser = database.superuser().await;
    run(
        &superuser,
        &format!(
            "INSERT INTO users (username, email, display_name, status, created_at, updated_at)
             SELECT 'many' || i, 'many' || i || '@example.com', 'Many', 'active', now(), now() FROM generate_series(1, 20000) AS i;
             INSERT INTO user_organizations (user_id, organization_id, is_primary, joined_at, created_at, updated_at)
             SELECT id, '{ORG1}', true, now(), now(), now() FROM users WHERE username ~ '^many'"
        ),
    )
    .await;
    run(&superuser, "VACUUM ANALYZE users, user_organizations, user_roles").await;
    let app = app_for(&database, ORG1).await;
    let members = "EXPLAIN SELECT u.id FROM user_organizations m JOIN users u ON u.id = m.user_id
         LEFT JOIN provisioned_users p ON p.organization_id = m.organization_id AND p.user_id = m.user_id";
    let approvers = "EXPLAIN WITH named AS (SELECT NULL::uuid AS user_id WHERE NULL::uuid IS NOT NULL UNION
             SELECT ur.user_id FROM user_roles ur WHERE ur.role_id = '01900000-0000-7000-8000-000000000003' AND ur.revoked_at IS NULL)
         SELECT u.id FROM named JOIN users u ON u.id = named.user_id WHERE u.status = 'active' ORDER BY u.id LIMIT 10";
    for (query, index) in [
        (
            format!("{members} WHERE m.organization_id = '{ORG1}' AND lower(u.username) = lower('Many7')"),
            "users_username_lower_idx",
        ),
        (
            format!(
                "{members} WHERE m.organization_id = '{ORG1}' AND lower(u.email) = lower('Many7@example.com') AND u.deleted_at IS NULL"
            ),
            "users_email_lower_idx",
        ),
        (approvers.to_owned(), "users_pkey"),
    ] {
        let plan = texts(&app, &query).await.join("\n");
        assert!(plan.contains(index) && !plan.contains("Seq Scan on users"), "{query}:\n{plan}");
    }
}
