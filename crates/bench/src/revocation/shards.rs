//! A revocation at an authority whose list is divided: from Core's answer until the list of that part is published.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clm_local::cluster::Database;
use hdrhistogram::Histogram;
use reqwest::Client;
use serde_json::json;
use uuid::Uuid;

use super::planted::{self, ISSUING, ORGANIZATION, SHARDS};
use crate::installation::BenchInstallation;
use crate::load::client;
use crate::progress;
use crate::report::LatencyMs;
use crate::tenant::Tenant;

/// Longer than the lists of all parts take, and than one of them.
const PATIENCE: Duration = Duration::from_mins(5);
const PAUSE: Duration = Duration::from_millis(5);

/// Names and figures.
pub(crate) async fn measure(
    installation: &BenchInstallation,
    tenant: &Tenant,
    count: u64,
) -> Result<Vec<(String, String)>> {
    progress(&format!("dividing the list into {SHARDS}"));
    divide(installation)?;
    planted::divided(installation, count)?;
    progress(&format!("revoking {count} certificates, one after the other"));
    let client = client(&installation.ca_file())?;
    let ids = "SELECT certificate_id || ' ' || crl_shard FROM certificates WHERE status = 'active' AND crl_shard IS NOT NULL";
    let ids = installation.sql(Database::Secure, ids)?;
    let mut latencies = Histogram::<u64>::new(3)?;
    let lists = "SELECT count(*) FROM crls";
    let before: u64 = installation.sql(Database::Secure, lists)?.trim().parse()?;
    for line in ids.lines() {
        let (id, shard) = line.split_once(' ').context("an id and a shard")?;
        let number = number(installation, shard)?;
        revoke(installation, &client, tenant, id).await?;
        let begun = Instant::now();
        while self::number(installation, shard)? == number {
            ensure!(begun.elapsed() < PATIENCE, "the list of part {shard} was not made");
            std::thread::sleep(PAUSE);
        }
        latencies.record(u64::try_from(begun.elapsed().as_micros())?)?;
    }
    let made: u64 = installation.sql(Database::Secure, lists)?.trim().parse()?;
    let LatencyMs { p50, p99, max, .. } = LatencyMs::of(&latencies);
    let entries = "SELECT max(entry_count) FROM crls WHERE shard > 0";
    let entries = installation.sql(Database::Secure, entries)?;
    Ok(vec![
        (
            format!("revocation to published list of one of {SHARDS} parts, p50 / p99 / max (goal p99 2 s)"),
            format!("{p50:.0} / {p99:.0} / {max:.0} ms"),
        ),
        (
            "lists made for them".to_owned(),
            format!(
                "{} for {} revocations, up to {} entries",
                made - before,
                latencies.len(),
                entries.trim()
            ),
        ),
    ])
}

/// Sets the envelope, and waits for the lists of all parts.
fn divide(installation: &BenchInstallation) -> Result<()> {
    let sql = format!("SELECT envelope::text FROM certificate_authorities WHERE name = '{ISSUING}'");
    let envelope = installation.sql(Database::Secure, &sql)?;
    let mut envelope: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&envelope)?;
    envelope.insert("crl_shards".to_owned(), json!(SHARDS));
    let file = installation.secure.folder().join("secrets/envelope.toml");
    fs::write(&file, toml::to_string(&envelope)?)?;
    let file = file.display().to_string();
    installation.secure.run(&["authority", "set-envelope", "--name", ISSUING, "--envelope", &file])?;
    let begun = Instant::now();
    let missing = "SELECT count(*) FROM crl_scopes WHERE full_crl_id IS NULL";
    while installation.sql(Database::Secure, missing)?.trim() != "0" {
        ensure!(begun.elapsed() < PATIENCE, "the lists of the parts were not made");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn number(installation: &BenchInstallation, shard: &str) -> Result<i64> {
    let sql = format!(
        "SELECT s.crl_number FROM crl_scopes s JOIN certificate_authorities a ON a.id = s.authority_id
         WHERE a.name = '{ISSUING}' AND s.shard = {shard}"
    );
    Ok(installation.sql(Database::Secure, &sql)?.trim().parse()?)
}

async fn revoke(installation: &BenchInstallation, client: &Client, tenant: &Tenant, id: &str) -> Result<()> {
    let url = format!("{}/api/v1/certificates/{id}/revoke", installation.api_url());
    let call = client
        .post(url)
        .bearer_auth(&tenant.administrator_key)
        .header("clm-organization", ORGANIZATION)
        .header("idempotency-key", Uuid::now_v7().to_string())
        .json(&json!({"reason": "superseded"}));
    call.send().await?.error_for_status()?;
    Ok(())
}
