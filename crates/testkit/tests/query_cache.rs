//! The caches that the queries are compiled against say what the databases say.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper that fails fails the test")]

use std::path::Path;

use clm_testkit::{TestDatabase, TestDatabases};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

async fn stale_queries(database: &TestDatabase, role: &str, folder: &str) -> Vec<String> {
    let pool = database.pool(role).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join(".sqlx");
    let mut stale = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let cached: Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let query = cached["query"].as_str().unwrap().to_owned();
        let described = pool.describe(AssertSqlSafe(query.clone()).into_sql_str()).await;
        match described.map(|described| serde_json::to_value(described).unwrap()) {
            // Whether a column of an outer join may be null is read from the plan, which follows the
            // statistics of the day.
            Ok(described)
                if ["columns", "parameters"].iter().all(|key| described[key] == cached["describe"][key]) => {}
            Ok(_) => stale.push(query),
            Err(error) => stale.push(format!("{query}: {error}")),
        }
    }
    assert!(std::fs::read_dir(&folder).unwrap().next().is_some(), "{} is empty", folder.display());
    stale
}

#[tokio::test]
async fn the_caches_agree_with_the_schemas() {
    let databases = TestDatabases::start().await;
    let core = stale_queries(&databases.core, "clm_core_migrator", "core-db").await;
    let secure = stale_queries(&databases.secure, "clm_secure_migrator", "secure-db").await;
    assert!(core.is_empty() && secure.is_empty(), "run `cargo xtask sqlx`: {core:#?} {secure:#?}");
}
