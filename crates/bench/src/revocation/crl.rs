//! A list of very many entries: read, built, signed, read back, compared with the one before, published.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clm_local::cluster::Database;
use clm_local::process::Pid;

use super::planted::{ISSUING, issuing_id};
use crate::installation::BenchInstallation;
use crate::progress;

/// Longer than any list takes.
const PATIENCE: Duration = Duration::from_mins(5);
const PAUSE: Duration = Duration::from_millis(20);

const MIB: f64 = 1024.0 * 1024.0;

/// Names and figures.
#[expect(clippy::cast_precision_loss, reason = "octets are far below 2^53")]
pub(crate) async fn measure(installation: &BenchInstallation) -> Result<Vec<(String, String)>> {
    let pid = installation.secure.pid().map(Pid::number).context("clm-secure has ended")?;
    let resting = kib(pid, "VmRSS")?;
    let before = number(installation)?;
    progress("waiting for the first list of all of them");
    make_due(installation, "NULL")?;
    wait_for(installation, before)?;
    installation.sql(Database::Secure, "VACUUM ANALYZE certificate_revocations")?;
    let before = number(installation)?;
    progress("measuring the next list, compared with the first");
    make_due(installation, "now()")?;
    let took = wait_for(installation, before)?;
    let growth = (kib(pid, "VmHWM")?.saturating_sub(resting) as f64) / 1024.0;
    let copy = copy(installation)?;
    let facts = installation.sql(
        Database::Secure,
        "SELECT entry_count || ' entries, ' || octet_count / 1000000 || ' MB' FROM crls ORDER BY created_at DESC LIMIT 1",
    )?;
    let fetched = fetch(installation).await?;
    let ratio = took.as_secs_f64() / copy.as_secs_f64();
    Ok(vec![
        ("CRL".to_owned(), facts),
        ("made, signed, read back, compared, published".to_owned(), format!("{:.2} s", took.as_secs_f64())),
        (
            "ceiling: COPY of the same rows in the same order".to_owned(),
            format!("{:.2} s", copy.as_secs_f64()),
        ),
        ("ratio to it (2 is the goal)".to_owned(), format!("{ratio:.2}")),
        ("memory growth of clm-secure".to_owned(), format!("{growth:.1} MiB")),
        (
            "first download through Core".to_owned(),
            format!("{:.2} s, {:.1} MiB", fetched.0.as_secs_f64(), fetched.1 as f64 / MIB),
        ),
    ])
}

/// The patrol of the publisher finds it within two seconds.
fn make_due(installation: &BenchInstallation, next: &str) -> Result<()> {
    let sql = format!(
        "UPDATE crl_scopes SET next_crl_at = {next}, last_crl_at = CASE WHEN {next} IS NULL THEN last_crl_at
             ELSE now() - interval '1 hour' END
         WHERE authority_id = (SELECT id FROM certificate_authorities WHERE name = '{ISSUING}')"
    );
    installation.sql(Database::Secure, &sql)?;
    Ok(())
}

fn number(installation: &BenchInstallation) -> Result<i64> {
    let sql = format!(
        "SELECT crl_number FROM crl_scopes
         WHERE shard = 0 AND authority_id = (SELECT id FROM certificate_authorities WHERE name = '{ISSUING}')"
    );
    Ok(installation.sql(Database::Secure, &sql)?.trim().parse()?)
}

/// Until a newer list is there: the time from its `thisUpdate`, which is when it was begun.
fn wait_for(installation: &BenchInstallation, before: i64) -> Result<Duration> {
    let end = Instant::now() + PATIENCE;
    while number(installation)? == before {
        if Instant::now() > end {
            bail!("no list was published within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
    let took = installation.sql(
        Database::Secure,
        "SELECT extract(epoch FROM clock_timestamp() - this_update) FROM crls ORDER BY created_at DESC LIMIT 1",
    )?;
    Ok(Duration::from_secs_f64(took.trim().parse()?))
}

fn copy(installation: &BenchInstallation) -> Result<Duration> {
    let begun = Instant::now();
    installation.sql(
        Database::Secure,
        "COPY (SELECT serial_number, revocation_date, reason_code, invalidity_date FROM certificate_revocations
               WHERE hold_released_at IS NULL ORDER BY serial_number) TO PROGRAM 'cat > /dev/null' (FORMAT binary)",
    )?;
    Ok(begun.elapsed())
}

async fn fetch(installation: &BenchInstallation) -> Result<(Duration, usize)> {
    let url = format!("{}/crl/{}.crl", installation.validation_url(), issuing_id(installation)?);
    let begun = Instant::now();
    let octets = reqwest::get(&url).await?.error_for_status()?.bytes().await?;
    Ok((begun.elapsed(), octets.len()))
}

fn kib(pid: i32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field)).context("no such field")?;
    let number = line.split_whitespace().nth(1).context("no number")?;
    Ok(number.parse()?)
}
