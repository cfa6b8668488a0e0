//! What a database server counts about itself.

use anyhow::{Context, Result};
use clm_local::cluster::Database;
use serde::{Deserialize, Serialize};

use crate::installation::BenchInstallation;

/// Counters since the server's start.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Counters {
    pub commits: f64,
    pub rollbacks: f64,
    pub rows_written: f64,
    pub wal_bytes: f64,
    pub wal_syncs: f64,
}

/// One kind of statement.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Statement {
    pub query: String,
    pub calls: f64,
    /// Time to plan.
    pub planning_ms: f64,
    /// Time to execute.
    pub execution_ms: f64,
}

/// Statements of one database, costliest first, and the sums over all of them.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Statements {
    pub calls: f64,
    pub planning_ms: f64,
    pub execution_ms: f64,
    pub costliest: Vec<Statement>,
}

const COUNTERS: &str = "
SELECT to_json(counters) FROM (
    SELECT d.xact_commit AS commits, d.xact_rollback AS rollbacks,
        d.tup_inserted + d.tup_updated + d.tup_deleted AS rows_written, w.wal_bytes, w.wal_sync AS wal_syncs
    FROM pg_stat_database d, pg_stat_wal w WHERE d.datname = current_database()
) counters";

impl Counters {
    /// Reads them.
    pub(crate) fn read(installation: &BenchInstallation, database: Database) -> Result<Self> {
        let text = installation.sql(database, COUNTERS)?;
        serde_json::from_str(&text).context("the counters of a database")
    }

    /// What was counted since `earlier`, for each of `certificates`.
    pub(crate) fn per_certificate(self, earlier: Self, certificates: f64) -> Self {
        let each = |now: f64, then: f64| (now - then) / certificates;
        Self {
            commits: each(self.commits, earlier.commits),
            rollbacks: each(self.rollbacks, earlier.rollbacks),
            rows_written: each(self.rows_written, earlier.rows_written),
            wal_bytes: each(self.wal_bytes, earlier.wal_bytes),
            wal_syncs: each(self.wal_syncs, earlier.wal_syncs),
        }
    }
}

impl Statements {
    /// Begins to count.
    pub(crate) fn reset(installation: &BenchInstallation) -> Result<()> {
        for database in Database::ALL {
            installation.sql(database, "SELECT public.pg_stat_statements_reset()")?;
        }
        Ok(())
    }

    /// The `limit` costliest since then.
    pub(crate) fn read(installation: &BenchInstallation, database: Database, limit: u32) -> Result<Self> {
        let text = installation.sql(
            database,
            &format!(
                "WITH statements AS (
                    SELECT regexp_replace(query, '\\s+', ' ', 'g') AS query, calls, total_plan_time AS planning_ms,
                        total_exec_time AS execution_ms
                    FROM public.pg_stat_statements
                    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                ), costliest AS (
                    SELECT query, calls, planning_ms, execution_ms FROM statements
                    ORDER BY planning_ms + execution_ms DESC LIMIT {limit})
                SELECT json_build_object('calls', coalesce(sum(calls), 0), 'planning_ms', coalesce(sum(planning_ms), 0),
                    'execution_ms', coalesce(sum(execution_ms), 0),
                    'costliest', (SELECT coalesce(json_agg(costliest), '[]') FROM costliest)) FROM statements"
            ),
        )?;
        serde_json::from_str(&text).context("the statements of a database")
    }
}
