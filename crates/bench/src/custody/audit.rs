//! Audited events: refused orders, each one an entry of the chain that is on the disk before the answer. Then the
//! verification of all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clm_local::cluster::Database;
use clm_secure_db::audit::{self, AuditRow};
use clm_types::{Mandate, canonical_json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::desk::Desk;
use crate::installation::BenchInstallation;
use crate::options::CustodyOptions;
use crate::progress;

/// Callers at once: two of the largest batches.
const CALLERS: usize = 512;

/// Entries of one commit, as many as the service puts into one.
const BATCH: u16 = 256;

/// A table like the log, without chain and head.
const COPY: &str =
    "CREATE SCHEMA bench; CREATE TABLE bench.secure_audit_log (LIKE clm.secure_audit_log INCLUDING ALL);
    GRANT USAGE ON SCHEMA bench TO clm_secure_app; GRANT INSERT ON bench.secure_audit_log TO clm_secure_app";

/// Names and figures.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) async fn measure(
    installation: &BenchInstallation,
    desk: &Desk,
    options: &CustodyOptions,
) -> Result<Vec<(String, String)>> {
    progress(&format!("{CALLERS} callers whose orders are refused, for {} s", options.seconds));
    let before = entries(installation)?;
    let window = Duration::from_secs(options.seconds.into());
    let events = refusals(desk, window).await?;
    ensure!(entries(installation)? - before >= events, "an event has no entry");
    let rate = events as f64 / window.as_secs_f64();
    progress("the ceiling: the same rows into a table without chain");
    installation.sql(Database::Secure, COPY)?;
    let ceiling = raw_inserts(desk, window).await?;
    progress("verifying the log");
    let (count, took) = verify(installation)?;
    let read = copy(installation)?;
    Ok(vec![
        ("audited events, durable (goal 20000/s)".to_owned(), format!("{rate:.0}/s")),
        (
            format!("ceiling: the same rows, {BATCH} in a commit"),
            format!("{ceiling:.0}/s, ratio {:.2} (goal 0.4)", rate / ceiling),
        ),
        (
            "audit verify (goal 200000 entries/s)".to_owned(),
            format!(
                "{count} entries in {:.1} s: {:.0}/s",
                took.as_secs_f64(),
                count as f64 / took.as_secs_f64()
            ),
        ),
        (
            "ceiling: COPY of the same entries".to_owned(),
            format!("{:.1} s, ratio {:.2}", read.as_secs_f64(), read.as_secs_f64() / took.as_secs_f64()),
        ),
    ])
}

fn entries(installation: &BenchInstallation) -> Result<u64> {
    let newest = "SELECT sequence FROM chain_heads WHERE name = 'audit'";
    Ok(installation.sql(Database::Secure, newest)?.trim().parse()?)
}

/// Orders for another request than their mandates allow; how many were refused in time.
async fn refusals(desk: &Desk, window: Duration) -> Result<u64> {
    let (spec, mandate) = desk.order()?;
    let mandate = Mandate { request_sha256: hex::encode([0; 32]), ..mandate };
    let documents = Arc::new((spec, canonical_json(&mandate)?));
    let refused = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + window;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (secure, documents, refused) =
            (desk.secure.clone(), Arc::clone(&documents), Arc::clone(&refused));
        callers.spawn(async move {
            while Instant::now() < until {
                let answer = secure.issue(documents.0.as_bytes(), documents.1.as_bytes()).await;
                if answer.is_err() && Instant::now() < until {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended?;
    }
    Ok(refused.load(Ordering::Relaxed))
}

/// Rows per second of one connection that inserts and commits batches of entries, made beforehand.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
async fn raw_inserts(desk: &Desk, window: Duration) -> Result<f64> {
    let mut conn = desk.pool.acquire().await?;
    let template = audit::list_chain(&mut conn, 0, BATCH.into()).await?;
    ensure!(template.len() == usize::from(BATCH), "the log has less than {BATCH} entries");
    sqlx::query("SET search_path = bench, clm, ext").execute(&mut *conn).await?;
    let (mut rows, begun) = (0_i64, Instant::now());
    while begun.elapsed() < window {
        let new = template.iter().zip(rows + 1..);
        let batch: Vec<_> =
            new.map(|(row, sequence)| AuditRow { id: Uuid::now_v7(), sequence, ..row.clone() }).collect();
        audit::insert_all(&mut conn, &batch).await?;
        rows += i64::from(BATCH);
    }
    let rate = rows as f64 / begun.elapsed().as_secs_f64();
    // It must not serve anybody else.
    conn.close().await?;
    Ok(rate)
}

fn verify(installation: &BenchInstallation) -> Result<(u64, Duration)> {
    let count = entries(installation)?;
    let begun = Instant::now();
    installation.secure.run(&["audit", "verify"])?;
    Ok((count, begun.elapsed()))
}

fn copy(installation: &BenchInstallation) -> Result<Duration> {
    let begun = Instant::now();
    let sql = "COPY (SELECT sequence, canonical_payload, payload_sha256, previous_hash, chain_hash FROM secure_audit_log
                     ORDER BY sequence) TO PROGRAM 'cat > /dev/null' (FORMAT binary)";
    installation.sql(Database::Secure, sql).context("the ceiling")?;
    Ok(begun.elapsed())
}
