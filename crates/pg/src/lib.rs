//! What both databases need alike: a TLS pool, retried transactions, the migration runner and
//! date partitions.
//!
//! The statements of this crate are not compile-checked: they run against either database, and
//! all of them are static text.

mod config;
mod error;
mod migrate;
mod nodelay;
mod partition;
mod pool;
mod transaction;

pub use config::PgConfig;
pub use error::{DbError, expect_rows};
pub use migrate::{check_schema, migrate};
pub use partition::{ensure_partitions, id_floor};
pub use pool::{connect, connect_migrator, ping};
pub use sqlx::{PgConnection, PgPool};
pub use transaction::{
    Tx, begin, begin_repeatable_read, begin_snapshot, commit, lift_time_limits, transaction,
};
