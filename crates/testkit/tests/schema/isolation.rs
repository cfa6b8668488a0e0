//! Raw SQL as the application role, aimed at another organization: by every table, every way of asking, and a connection that
//! serves one tenant after the other.

use std::time::Duration;

use clm_testkit::TestDatabase;
use sqlx::{AssertSqlSafe, PgPool};

use crate::tenancy::{ORG1, ORG2, app_for, tenant_tables, two_tenants};
use crate::{FORBIDDEN, NO_SUCH_ROW, NOT_UNIQUE, assert_none, count, refusal, run, texts};

/// Rows that a statement changed; none where the role may not even try.
async fn changed(pool: &PgPool, sql: &str) -> u64 {
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await {
        Ok(done) => done.rows_affected(),
        Err(error) => {
            let code = error.as_database_error().and_then(|one| one.code()).unwrap_or_default().into_owned();
            // A trigger may look at what the row refers to before the policy is asked.
            assert!(code == FORBIDDEN || code == NO_SUCH_ROW, "{sql}: {error}");
            0
        }
    }
}

/// A column that the application role may read of each tenant table, for those of which it may not read all.
async fn readable_columns(system: &PgPool, table: &str) -> Vec<String> {
    let sql = format!(
        "SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = 'clm.{table}'::regclass AND a.attnum > 0
         AND NOT a.attisdropped AND has_column_privilege('clm_core_app', a.attrelid, a.attnum, 'SELECT') ORDER BY a.attnum"
    );
    texts(system, &sql).await
}

#[tokio::test]
async fn no_question_finds_a_row_of_another_tenant() {
    let (database, system) = two_tenants().await;
    let app = app_for(&database, ORG1).await;
    for table in tenant_tables(&system).await {
        let columns = readable_columns(&system, &table).await.join(", ");
        let ids = format!("SELECT quote_literal(id) FROM {table} WHERE organization_id = '{ORG2}'");
        let theirs = texts(&system, &ids).await.join(", ");
        assert!(!theirs.is_empty(), "{table} has no row of the other tenant");
        for question in [
            format!("SELECT count(*) FROM {table} WHERE organization_id = '{ORG2}'"),
            format!("SELECT count(*) FROM {table} WHERE id IN ({theirs})"),
            format!("SELECT count(*) FROM (SELECT {columns} FROM {table}) t WHERE t::text LIKE '%{ORG2}%'"),
            format!(
                "SELECT count(*) FROM {table} a JOIN {table} b ON b.organization_id <> a.organization_id"
            ),
            format!(
                "SELECT count(*) FROM organizations o WHERE EXISTS (SELECT FROM {table} t WHERE t.id IN ({theirs}))"
            ),
            format!(
                "SELECT count(*) FROM organizations o, LATERAL (SELECT id FROM {table} WHERE organization_id <> o.id) t"
            ),
            format!(
                "WITH t AS MATERIALIZED (SELECT id, organization_id FROM {table}) SELECT count(*) FROM t WHERE organization_id = '{ORG2}'"
            ),
            format!("SELECT count(*) FROM {table} TABLESAMPLE SYSTEM (100) WHERE organization_id = '{ORG2}'"),
        ] {
            assert_eq!(count(&app, &question).await, 0, "{question}");
        }
    }
}

#[tokio::test]
async fn no_statement_changes_a_row_of_another_tenant() {
    let (database, system) = two_tenants().await;
    let app = app_for(&database, ORG1).await;
    // Even with every right on the tables.
    run(
        &database.superuser().await,
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA clm TO clm_core_app",
    )
    .await;
    for table in tenant_tables(&system).await {
        let all = format!(
            "SELECT row_to_json(t)::text FROM {table} t WHERE organization_id = '{ORG2}' ORDER BY id"
        );
        let before = texts(&system, &all).await;
        for statement in [
            format!("UPDATE {table} SET created_at = now() WHERE organization_id = '{ORG2}'"),
            format!(
                "UPDATE {table} t SET created_at = now() FROM organizations o WHERE t.organization_id <> o.id"
            ),
            format!("UPDATE {table} SET organization_id = '{ORG2}' WHERE organization_id = '{ORG1}'"),
            format!("DELETE FROM {table} WHERE organization_id = '{ORG2}'"),
            format!("DELETE FROM {table} t USING organizations o WHERE t.organization_id <> o.id"),
            format!("INSERT INTO {table} (organization_id) VALUES ('{ORG2}')"),
            format!("INSERT INTO {table} (organization_id) SELECT '{ORG2}' RETURNING id"),
        ] {
            assert_eq!(changed(&app, &statement).await, 0, "{statement}");
        }
        assert_eq!(texts(&system, &all).await, before, "{table}");
    }
}

#[tokio::test]
async fn people_of_another_tenant_are_not_there() {
    let (database, system) = two_tenants().await;
    // Invited into the first organization, which need not know who that is before they join.
    run(
        &system,
        &format!(
            "INSERT INTO user_organizations (user_id, organization_id, is_primary, status, created_at, updated_at)
             VALUES ('01900002-0000-7000-8000-000000000002', '{ORG1}', false, 'invited', now(), now())"
        ),
    )
    .await;
    let app = app_for(&database, ORG1).await;
    assert_eq!(
        texts(&app, "SELECT username FROM users ORDER BY 1").await,
        ["approver1", "user1@example.com"]
    );
    let nobody = database.pool("clm_core_app").await;
    assert_eq!(count(&nobody, "SELECT count(*) FROM users").await, 0);
    // Who has a role everywhere, and who has left, is known.
    run(
        &system,
        &format!(
            "INSERT INTO user_roles (user_id, role_id, valid_from, created_at, updated_at)
             VALUES ('01900002-0000-7000-8000-000000000001', '01900000-0000-7000-8000-000000000004', now(), now(), now());
             UPDATE user_organizations SET status = 'left', is_primary = false WHERE organization_id = '{ORG1}'"
        ),
    )
    .await;
    assert_eq!(
        texts(&app, "SELECT username FROM users ORDER BY 1").await,
        ["approver1", "user1@example.com", "user2@example.com"]
    );
    // Not whose role has ended, or is to begin.
    let superuser = database.superuser().await;
    for time in [
        "revoked_at = now(), revoked_by = user_id",
        "revoked_at = NULL, valid_until = now()",
        "valid_until = NULL, valid_from = now() + interval '1 day'",
    ] {
        run(&superuser, &format!("UPDATE user_roles SET {time} WHERE organization_id IS NULL")).await;
        assert_eq!(
            texts(&app, "SELECT username FROM users ORDER BY 1").await,
            ["approver1", "user1@example.com"],
            "{time}"
        );
    }
}

/// Everything that the role can read and that belongs to no organization is listed here.
#[tokio::test]
async fn what_the_app_role_reads_is_a_tenant_s_or_nobody_s() {
    let (database, _system) = two_tenants().await;
    let superuser = database.superuser().await;
    let open = "SELECT c.relname::text FROM pg_class c
         WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relrowsecurity
           AND has_any_column_privilege('clm_core_app', c.oid, 'SELECT')
           AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false)
         ORDER BY 1";
    assert_eq!(texts(&superuser, open).await, ["_sqlx_migrations"]);
    let elevated = "SELECT p.proname::text FROM pg_proc p
         WHERE p.prosecdef AND has_function_privilege('clm_core_app', p.oid, 'EXECUTE') ORDER BY 1";
    assert_eq!(texts(&superuser, elevated).await, ["make_partition"]);
    assert_none(&superuser, "SELECT sequencename::text FROM pg_sequences").await;
    assert_none(&superuser, "SELECT oid::text FROM pg_largeobject_metadata").await;
    assert_none(
        &superuser,
        "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'clm_core_%' AND (rolbypassrls OR rolsuper)
         UNION ALL SELECT r.rolname::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
         WHERE r.rolname IN ('clm_core_app', 'clm_core_system', 'clm_core_ro')",
    )
    .await;
}

#[tokio::test]
async fn the_app_role_does_not_step_out_of_its_tenant() {
    let (database, _system) = two_tenants().await;
    let app = app_for(&database, ORG1).await;
    for statement in [
        "SET ROLE clm_core_system",
        "SET ROLE clm_core_owner",
        "SET SESSION AUTHORIZATION clm_core_system",
        "BEGIN; SET LOCAL row_security = off; SELECT id FROM jobs; COMMIT",
        "CREATE TEMP TABLE kept AS SELECT 1 AS one",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "COPY certificate_metadata TO PROGRAM 'cat'",
        "COPY certificate_metadata TO '/tmp/leak'",
        "SELECT pg_read_file('/etc/passwd')",
    ] {
        assert_eq!(refusal(&app, statement).await, FORBIDDEN, "{statement}");
        run(&app, "ROLLBACK").await;
    }
    // What is not the id of an organization shows nothing.
    let odd = app_for(&database, "org2").await;
    assert_eq!(refusal(&odd, "SELECT count(*) FROM certificate_metadata").await, "22P02");
}

#[tokio::test]
async fn neither_copies_nor_errors_nor_statistics_tell_of_another_tenant() {
    let (database, _system) = two_tenants().await;
    let superuser = database.superuser().await;
    run(&superuser, "UPDATE certificate_metadata SET common_name = 'bergamot', notes = 'bergamot' WHERE serial_number = '02'").await;
    run(&superuser, "ANALYZE").await;
    let app = app_for(&database, ORG1).await;
    assert_eq!(copied(&app, "COPY certificate_metadata TO STDOUT").await.matches('\n').count(), 1);
    assert!(!copied(&app, "COPY (SELECT * FROM certificate_metadata) TO STDOUT").await.contains("bergamot"));
    // A condition that fails on a row of the other would tell of it.
    for condition in ["notes::integer = 1", "1 / (CASE WHEN common_name = 'bergamot' THEN 0 ELSE 1 END) = 7"]
    {
        run(&app, &format!("SELECT count(*) FROM certificate_metadata WHERE {condition}")).await;
    }
    let statistics = "SELECT tablename || '.' || attname FROM pg_stats WHERE schemaname = 'clm' AND
         (most_common_vals::text || coalesce(histogram_bounds::text, '')) ~ 'bergamot|01900002'";
    assert_eq!(texts(&app, statistics).await, Vec::<String>::new());
}

async fn copied(pool: &PgPool, statement: &str) -> String {
    use futures::TryStreamExt;
    let mut connection = pool.acquire().await.unwrap();
    let chunks = connection.copy_out_raw(statement).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    String::from_utf8(chunks.concat()).unwrap()
}

/// Whoever adds a row learns whether its key is taken, and nothing else of who has it.
#[tokio::test]
async fn a_key_that_is_taken_is_all_that_a_conflict_tells() {
    let (database, _system) = two_tenants().await;
    let app = app_for(&database, ORG1).await;
    let insert = "INSERT INTO certificate_metadata (certificate_id, organization_id, owner_user_id, profile, serial_number,
            fingerprint_sha256, subject, issuer, key_algorithm, not_before, not_after, status, created_at, updated_at)
        VALUES ('01900002-0000-7000-8000-00000000000c', '01900001-0000-7000-8000-000000000000',
            '01900001-0000-7000-8000-000000000001', 'tls-server', 'ff', decode(repeat('ff', 32), 'hex'), 'CN=x', 'CN=y',
            'ecdsa-p256', now(), now(), 'active', now(), now())";
    let error = sqlx::raw_sql(AssertSqlSafe(insert)).execute(&app).await.unwrap_err();
    let answer = error.as_database_error().unwrap();
    assert_eq!(answer.code().unwrap(), NOT_UNIQUE);
    let told = format!("{error} {:?}", answer.downcast_ref::<sqlx::postgres::PgDatabaseError>().detail());
    assert!(!told.contains(ORG2) && !told.contains("01900002-0000-7000-8000-000000000001"), "{told}");
    for conflict in [
        "ON CONFLICT (certificate_id) DO UPDATE SET notes = 'mine'",
        "ON CONFLICT (certificate_id) DO UPDATE SET organization_id = excluded.organization_id",
    ] {
        assert_eq!(refusal(&app, &format!("{insert} {conflict}")).await, FORBIDDEN, "{conflict}");
    }
}

/// One connection, used by both tenants in turn as the service uses it.
async fn one_connection(database: &TestDatabase) -> PgPool {
    let mut config = database.config("clm_core_app");
    config.max_connections = 1;
    clm_pg::connect(&config, "test").await.unwrap()
}

async fn enter(pool: &PgPool, organization: &str) -> clm_pg::Tx {
    let mut tx = clm_pg::begin(pool).await.unwrap();
    let sql = format!("SELECT set_config('clm.org_id', '{organization}', true)");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await.unwrap();
    tx
}

/// Fails if the connection still works for anybody.
async fn check_left(pool: &PgPool, after: &str) {
    assert_eq!(count(pool, "SELECT count(*) FROM certificate_metadata").await, 0, "after {after}");
    let set = texts(pool, "SELECT coalesce(current_setting('clm.org_id', true), '')").await;
    assert_eq!(set, [""], "after {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_used_again_has_forgotten_its_tenant() {
    let (database, _system) = two_tenants().await;
    let pool = one_connection(&database).await;
    let seen = async |tx: &mut clm_pg::Tx| -> Vec<String> {
        let sql = "SELECT organization_id::text FROM certificate_metadata";
        sqlx::query_scalar(sql).fetch_all(&mut **tx).await.unwrap()
    };
    for round in 0..20 {
        let organization = if round % 2 == 0 { ORG1 } else { ORG2 };
        let mut tx = enter(&pool, organization).await;
        assert_eq!(seen(&mut tx).await, [organization]);
        match round / 2 % 5 {
            0 => clm_pg::commit(tx).await.unwrap(),
            1 => drop(tx),
            2 => {
                sqlx::raw_sql("SELECT 1 / 0").execute(&mut *tx).await.unwrap_err();
                drop(tx);
            }
            3 => {
                let fails = tokio::spawn(async move {
                    let _held = tx;
                    panic!("while a transaction is open");
                });
                fails.await.unwrap_err();
            }
            _ => {
                let sleep = async { sqlx::raw_sql("SELECT pg_sleep(0.2)").execute(&mut *tx).await };
                tokio::time::timeout(Duration::from_millis(20), sleep).await.unwrap_err();
                // As a caller who hangs up: nothing is rolled back by hand.
                drop(tx);
            }
        }
        if round % 3 == 0 {
            check_left(&pool, &format!("round {round}")).await;
        }
    }
    check_left(&pool, "all").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_dropped_anywhere_leaves_nothing_to_the_next_tenant() {
    let (database, _system) = two_tenants().await;
    let pool = one_connection(&database).await;
    for step in 0..40 {
        let work = async {
            let mut tx = enter(&pool, ORG2).await;
            sqlx::raw_sql("UPDATE certificate_metadata SET notes = 'dropped'")
                .execute(&mut *tx)
                .await
                .unwrap();
            sqlx::raw_sql("SELECT id FROM certificate_metadata").execute(&mut *tx).await.unwrap();
            drop(tx);
        };
        // Whether it came to its end is all the same.
        let _ = tokio::time::timeout(Duration::from_micros(step * 50), work).await;
        let mut tx = enter(&pool, ORG1).await;
        let sql = "SELECT count(*) FROM certificate_metadata WHERE organization_id <> '01900001-0000-7000-8000-000000000000' OR notes = 'dropped'";
        let foreign: i64 = sqlx::query_scalar(sql).fetch_one(&mut *tx).await.unwrap();
        assert_eq!(foreign, 0, "after step {step}");
        drop(tx);
        check_left(&pool, &format!("step {step}")).await;
    }
}
