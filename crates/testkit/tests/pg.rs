//! What `clm-pg` promises, against a real database.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

use clm_pg::{DbError, begin, check_schema, commit, ensure_partitions, transaction};
use clm_testkit::TestDatabases;
use clm_types::Clock;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, PgPool};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Barrier;

async fn with_table() -> PgPool {
    let pool = TestDatabases::start().await.core.superuser().await;
    for sql in
        ["CREATE TABLE balance (id int PRIMARY KEY, amount int)", "INSERT INTO balance VALUES (1, 0), (2, 0)"]
    {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    pool
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_loses_is_tried_again() {
    let pool = with_table().await;
    let attempts = AtomicU32::new(0);
    // All three have read the old amount before the first of them writes.
    let everybody_has_read = Barrier::new(3);
    let add = |amount: i32| {
        let (pool, attempts, everybody_has_read) = (&pool, &attempts, &everybody_has_read);
        transaction(pool, "add", move |mut tx| async move {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            sqlx::query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").execute(&mut *tx).await?;
            let old: i32 =
                sqlx::query_scalar("SELECT amount FROM balance WHERE id = 1").fetch_one(&mut *tx).await?;
            if attempt < 3 {
                everybody_has_read.wait().await;
            }
            sqlx::query("UPDATE balance SET amount = $1 WHERE id = 1")
                .bind(old + amount)
                .execute(&mut *tx)
                .await?;
            Ok::<_, DbError>((tx, ()))
        })
    };
    let (a, b, c) = tokio::join!(add(1), add(10), add(100));
    a.and(b).and(c).unwrap();
    let total: i32 =
        sqlx::query_scalar("SELECT amount FROM balance WHERE id = 1").fetch_one(&pool).await.unwrap();
    assert_eq!(total, 111);
    assert!(attempts.load(Ordering::Relaxed) > 3, "nobody lost, so nothing was tried again");
}

#[tokio::test]
async fn a_failed_body_leaves_nothing_behind() {
    let pool = with_table().await;
    let result = transaction(&pool, "fail", |mut tx| async move {
        sqlx::query("UPDATE balance SET amount = 5").execute(&mut *tx).await?;
        sqlx::query("INSERT INTO balance VALUES (1, 1)").execute(&mut *tx).await?;
        Ok::<_, DbError>((tx, ()))
    })
    .await;
    assert_eq!(result.unwrap_err().constraint(), Some("balance_pkey"));
    let total: i64 = sqlx::query_scalar("SELECT sum(amount) FROM balance").fetch_one(&pool).await.unwrap();
    assert_eq!(total, 0);
    drop(begin(&pool).await.unwrap());
    commit(begin(&pool).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_is_not_ours_is_refused() {
    let databases = TestDatabases::start().await;
    let app = databases.secure.pool("clm_secure_app").await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../secure-db/migrations");
    let ours = Migrator::new(folder).await.unwrap();
    check_schema(&app, &ours).await.unwrap();

    let all: Vec<_> = ours.iter().cloned().collect();
    let older = Migrator::with_migrations(all[..all.len() - 1].to_vec());
    let error = check_schema(&app, &older).await.unwrap_err();
    assert!(error.to_string().contains("is unknown here"), "{error}");

    let tamper = "UPDATE clm._sqlx_migrations SET checksum = '\\x00' WHERE version = 2";
    sqlx::query(tamper).execute(&databases.secure.superuser().await).await.unwrap();
    let error = check_schema(&app, &ours).await.unwrap_err();
    assert!(error.to_string().contains("0002 was applied with another text"), "{error}");

    let core =
        Migrator::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../core-db/migrations")).await.unwrap();
    let ro = databases.core.pool("clm_core_ro").await;
    check_schema(&ro, &core).await.unwrap();
}

#[tokio::test]
async fn partitions_are_made_by_the_app_role_and_only_once() {
    let databases = TestDatabases::start().await;
    let app = databases.secure.pool("clm_secure_app").await;
    let count = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'clm.secure_audit_log'::regclass";
    let count = async || sqlx::query_scalar::<_, i64>(AssertSqlSafe(count)).fetch_one(&app).await.unwrap();
    assert_eq!(count().await, 5);
    ensure_partitions(&app, &["secure_audit_log"], Clock::system().now(), 3).await.unwrap();
    assert_eq!(count().await, 5);
    ensure_partitions(&app, &["secure_audit_log"], Clock::system().now(), 4).await.unwrap();
    assert_eq!(count().await, 6);
    assert!(ensure_partitions(&app, &["certificates"], Clock::system().now(), 3).await.is_err());
}

#[tokio::test]
async fn a_database_that_is_gone_is_unavailable() {
    let databases = TestDatabases::start().await;
    let mut config = databases.core.config("clm_core_app");
    config.port = 1;
    assert!(clm_pg::connect(&config, "test").await.unwrap_err().is_retryable());
    let pool = databases.core.pool("clm_core_app").await;
    let mut tx = begin(&pool).await.unwrap();
    let victim: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *tx).await.unwrap();
    let kill = "SELECT pg_terminate_backend($1, 5000)";
    sqlx::query(kill).bind(victim).execute(&databases.core.superuser().await).await.unwrap();
    let error: DbError = sqlx::query("SELECT 1").execute(&mut *tx).await.unwrap_err().into();
    assert!(error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced_unnoticed() {
    let databases = TestDatabases::start().await;
    let pool = databases.core.pool("clm_core_app").await;
    let backend = async || sqlx::query_scalar::<_, i32>("SELECT pg_backend_pid()").fetch_one(&pool).await;
    let victim = backend().await.unwrap();
    // Connections are tried again after a second of idleness, so it must be that old.
    let kill = "SELECT pg_terminate_backend($1, 5000), pg_sleep(1.1)";
    sqlx::query(kill).bind(victim).execute(&databases.core.superuser().await).await.unwrap();
    assert_ne!(backend().await.unwrap(), victim);
}
