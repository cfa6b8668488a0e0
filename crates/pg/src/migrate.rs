//! Running migrations, and refusing a schema that this program does not know.

use std::collections::BTreeMap;

use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};

use crate::DbError;

/// Applies what is missing, under the database's advisory lock, so that several programs may try at
/// once. Fails with [`DbError::Schema`] when the database has migrations that `migrator` does not
/// know, or other texts of those it knows.
pub async fn migrate(pool: &PgPool, migrator: &Migrator) -> Result<(), DbError> {
    migrator.run(pool).await.map_err(from_migrate_error)?;
    // Every service role compares the applied migrations with its own at start.
    sqlx::query("GRANT SELECT ON _sqlx_migrations TO PUBLIC").execute(pool).await?;
    Ok(())
}

/// Fails with [`DbError::Schema`] unless the database has exactly the migrations of `migrator`.
pub async fn check_schema(pool: &PgPool, migrator: &Migrator) -> Result<(), DbError> {
    let applied = applied_migrations(pool).await?;
    for migration in migrator.iter() {
        match applied.get(&migration.version) {
            None => return Err(schema(migration.version, "is missing: run `migrate` first")),
            Some(row) if !row.success => return Err(schema(migration.version, "was applied only in part")),
            Some(row) if row.checksum != *migration.checksum => {
                return Err(schema(migration.version, "was applied with another text"));
            }
            Some(_) => {}
        }
    }
    match applied.keys().find(|version| !migrator.version_exists(**version)) {
        Some(version) => Err(schema(*version, "is unknown here: this program is older than the database")),
        None => Ok(()),
    }
}

struct Applied {
    checksum: Vec<u8>,
    success: bool,
}

async fn applied_migrations(pool: &PgPool) -> Result<BTreeMap<i64, Applied>, DbError> {
    let exists: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(pool).await?;
    if !exists {
        return Err(DbError::Schema("it is empty: run `migrate` first".to_owned()));
    }
    let rows: Vec<(i64, Vec<u8>, bool)> =
        sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations").fetch_all(pool).await?;
    Ok(rows
        .into_iter()
        .map(|(version, checksum, success)| (version, Applied { checksum, success }))
        .collect())
}

fn schema(version: i64, what: &str) -> DbError {
    DbError::Schema(format!("migration {version:04} {what}"))
}

fn from_migrate_error(error: MigrateError) -> DbError {
    match error {
        MigrateError::Execute(error) => error.into(),
        MigrateError::ExecuteMigration(error, version) => match error.into() {
            DbError::Unavailable(error) => DbError::Unavailable(error),
            error => DbError::Schema(format!("migration {version:04} failed: {}", cause(&error))),
        },
        other => DbError::Schema(other.to_string()),
    }
}

fn cause(error: &DbError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
