//! Both schemas, judged from outside: from the catalog, and with raw SQL as each role.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy takes only test functions for tests, not what they share"
)]

mod catalog;
mod core;
mod grants;
mod indexes;
mod isolation;
mod migrations;
mod secure;
mod tenancy;

use sqlx::{AssertSqlSafe, PgPool};

/// SQLSTATE `insufficient_privilege`.
const FORBIDDEN: &str = "42501";
/// SQLSTATE `foreign_key_violation`.
const NO_SUCH_ROW: &str = "23503";
/// SQLSTATE `unique_violation`.
const NOT_UNIQUE: &str = "23505";
/// SQLSTATE `check_violation`.
const NOT_ALLOWED: &str = "23514";

/// Fails with the offenders that `query` returns, one text each.
async fn assert_none(pool: &PgPool, query: &'static str) {
    let offenders: Vec<String> = sqlx::query_scalar(query).fetch_all(pool).await.unwrap();
    assert!(offenders.is_empty(), "{} offenders:\n{}", offenders.len(), offenders.join("\n"));
}

/// The SQLSTATE that PostgreSQL refuses `sql` with; the test fails if it does not.
async fn refusal(pool: &PgPool, sql: &str) -> String {
    let result = sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await;
    let error = result.expect_err(sql);
    let answer =
        error.as_database_error().unwrap_or_else(|| panic!("{sql}: no answer of the database: {error}"));
    answer.code().unwrap_or_default().into_owned()
}

/// Runs statements that must succeed.
async fn run(pool: &PgPool, sql: &str) {
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await {
        panic!("{error}\n{sql}");
    }
}

/// The first column of all rows, as texts.
async fn texts(pool: &PgPool, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_all(pool)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"))
}

/// The only value of a query that counts.
async fn count(pool: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(pool)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"))
}

/// A statement of the specification with a real id for its placeholder.
fn with_id(statement: &str, id: &str) -> String {
    statement.replace("user-uuid", id).replace("cert-uuid", id).replace("$1", &format!("'{id}'"))
}
