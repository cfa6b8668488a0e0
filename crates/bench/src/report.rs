//! The figures of a run, as a table and as JSON.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::pgbench::Pgbench;
use crate::statistics::{Counters, Statement, Statements};
use crate::usage::EVERYTHING_ELSE;

/// Figures of the section `issue`.
#[derive(Debug, Serialize)]
pub(crate) struct IssueReport {
    pub clients: u16,
    pub seconds: u32,
    pub certificates: u64,
    pub certificates_per_second: f64,
    pub latency_ms: LatencyMs,
    /// Certificates per second divided by transactions per second of pgbench.
    pub ratio_to_pgbench: f64,
    /// Certificates per second divided by signatures per second of one core.
    pub ratio_to_signing: f64,
    pub signatures_per_second: f64,
    /// Writes of 8 kB, each on the disk before the next.
    pub syncs_per_second: f64,
    pub pgbench: Pgbench,
    pub cpu: Vec<CpuShare>,
    pub databases: Vec<DatabaseShare>,
    /// Answers without a certificate, over the whole run.
    pub failures: BTreeMap<String, u64>,
}

/// Milliseconds, from sending a request to having its answer.
#[derive(Debug, Serialize)]
pub(crate) struct LatencyMs {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// Processor time of one part during the measured time.
#[derive(Debug, Serialize)]
pub(crate) struct CpuShare {
    pub part: &'static str,
    pub seconds: f64,
    pub us_per_certificate: f64,
}

/// What one database did for each certificate.
#[derive(Debug, Serialize)]
pub(crate) struct DatabaseShare {
    pub database: &'static str,
    pub commits: f64,
    pub rollbacks: f64,
    pub rows_written: f64,
    pub wal_bytes: f64,
    pub wal_syncs: f64,
    /// Calls and time inside the server, when statements are counted.
    pub statements: Option<f64>,
    pub planning_us: Option<f64>,
    pub execution_us: Option<f64>,
    pub costliest: Vec<Statement>,
}

impl LatencyMs {
    /// Of a histogram of microseconds.
    #[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^53 microseconds")]
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |micros: u64| micros as f64 / 1e3;
        let quantile = |quantile| ms(histogram.value_at_quantile(quantile));
        Self { p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99), max: ms(histogram.max()) }
    }
}

impl CpuShare {
    /// `seconds` spent for `certificates`.
    pub(crate) fn new(part: &'static str, seconds: f64, certificates: f64) -> Self {
        Self { part, seconds, us_per_certificate: seconds * 1e6 / certificates }
    }
}

impl DatabaseShare {
    /// Counters are per certificate already, statements are not.
    pub(crate) fn new(
        database: &'static str,
        counters: Counters,
        statements: Option<Statements>,
        certificates: f64,
    ) -> Self {
        let Counters { commits, rollbacks, rows_written, wal_bytes, wal_syncs } = counters;
        let mut share = Self {
            database,
            commits,
            rollbacks,
            rows_written,
            wal_bytes,
            wal_syncs,
            statements: None,
            planning_us: None,
            execution_us: None,
            costliest: Vec::new(),
        };
        if let Some(Statements { calls, planning_ms, execution_ms, costliest }) = statements {
            share.statements = Some(calls / certificates);
            share.planning_us = Some(planning_ms * 1e3 / certificates);
            share.execution_us = Some(execution_ms * 1e3 / certificates);
            share.costliest = costliest;
        }
        share
    }
}

impl IssueReport {
    /// Prints all tables.
    pub(crate) fn print(&self) {
        println!("\n{}\n\n{}\n\n{}", self.rates(), self.processor_time(), self.database_work());
        for share in self.databases.iter().filter(|share| !share.costliest.is_empty()) {
            println!("\n{}", self.costliest(share));
        }
        for (failure, count) in &self.failures {
            println!("\n{count} answers without a certificate: {failure}");
        }
    }

    fn rates(&self) -> Table {
        let LatencyMs { p50, p90, p99, max } = &self.latency_ms;
        let mut table = table(&["Issuing", ""]);
        let clients = format!("{} clients, {} s", self.clients, self.seconds);
        table.add_row(["certificates/s".to_owned(), format!("{:.0}", self.certificates_per_second)]);
        table.add_row(["measured".to_owned(), format!("{} certificates, {clients}", self.certificates)]);
        table.add_row([
            "latency p50 / p90 / p99 / max".to_owned(),
            format!("{p50:.1} / {p90:.1} / {p99:.1} / {max:.1} ms"),
        ]);
        let pgbench = &self.pgbench;
        table.add_row([
            "ceiling: pgbench, certificate row + audit row per transaction".to_owned(),
            format!("{:.0}/s, {:.1} ms", pgbench.transactions_per_second, pgbench.latency_average_ms),
        ]);
        table.add_row([
            "its processor time: server + pgbench".to_owned(),
            format!(
                "{:.0} + {:.0} µs per transaction",
                pgbench.server_cpu_us_per_transaction, pgbench.client_cpu_us_per_transaction
            ),
        ]);
        table.add_row([
            "ceiling: P-256 signatures on one core".to_owned(),
            format!("{:.0}/s", self.signatures_per_second),
        ]);
        table.add_row([
            "ceiling: writes of 8 kB to the disk, one after the other".to_owned(),
            format!("{:.0}/s", self.syncs_per_second),
        ]);
        table.add_row([
            "cores busy with something else, while issuing / in pgbench".to_owned(),
            format!(
                "{:.1} / {:.1}",
                self.others_cores(),
                pgbench.others_cpu_seconds / f64::from(self.seconds)
            ),
        ]);
        table.add_row(["ratio to pgbench".to_owned(), format!("{:.3}", self.ratio_to_pgbench)]);
        table.add_row(["ratio to signing".to_owned(), format!("{:.4}", self.ratio_to_signing)]);
        table
    }

    /// Whatever else ran took its share of what is measured.
    fn others_cores(&self) -> f64 {
        let others = self.cpu.iter().filter(|share| share.part == EVERYTHING_ELSE);
        others.map(|share| share.seconds).sum::<f64>() / f64::from(self.seconds)
    }

    fn processor_time(&self) -> Table {
        let mut table = table(&["Processor time", "s", "µs/certificate", "share"]);
        let total: f64 = self.cpu.iter().map(|share| share.seconds).sum();
        for CpuShare { part, seconds, us_per_certificate } in &self.cpu {
            table.add_row([
                (*part).to_owned(),
                format!("{seconds:.2}"),
                format!("{us_per_certificate:.0}"),
                format!("{:.0} %", seconds * 100.0 / total),
            ]);
        }
        table
    }

    fn database_work(&self) -> Table {
        let mut table = table(&[
            "Per certificate",
            "commits",
            "rollbacks",
            "rows written",
            "WAL bytes",
            "WAL syncs",
            "statements",
            "planning µs",
            "execution µs",
        ]);
        let optional =
            |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.1}"));
        for share in &self.databases {
            table.add_row([
                format!("PostgreSQL {}", share.database),
                format!("{:.2}", share.commits),
                format!("{:.2}", share.rollbacks),
                format!("{:.1}", share.rows_written),
                format!("{:.0}", share.wal_bytes),
                format!("{:.2}", share.wal_syncs),
                optional(share.statements),
                optional(share.planning_us),
                optional(share.execution_us),
            ]);
        }
        table
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn costliest(&self, share: &DatabaseShare) -> Table {
        let heading = format!("Costliest statements of {}", share.database);
        let mut table = table(&[
            "calls/certificate",
            "planning µs/call",
            "execution µs/call",
            "µs/certificate",
            &heading,
        ]);
        let certificates = self.certificates as f64;
        for Statement { query, calls, planning_ms, execution_ms } in &share.costliest {
            table.add_row([
                format!("{:.2}", calls / certificates),
                format!("{:.0}", planning_ms * 1e3 / calls),
                format!("{:.0}", execution_ms * 1e3 / calls),
                format!("{:.0}", (planning_ms + execution_ms) * 1e3 / certificates),
                query.chars().take(100).collect(),
            ]);
        }
        table
    }
}

/// Numbers to the right, the words to the left.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
