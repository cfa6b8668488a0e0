//! Private keys that move under a new encryption key while the service runs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clm_local::cluster::Database;
use clm_types::canonical_json;
use futures::{StreamExt, TryStreamExt};

use super::desk::Desk;
use crate::installation::BenchInstallation;
use crate::progress;

/// Certificates that are issued at once.
const AT_ONCE: usize = 128;

/// Names and figures.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) async fn measure(
    installation: &BenchInstallation,
    desk: &Desk,
    keys: u64,
) -> Result<Vec<(String, String)>> {
    progress(&format!("issuing {keys} certificates whose keys are kept"));
    let begun = Instant::now();
    let orders = futures::stream::iter(0..keys).map(async |_| {
        let (spec, mandate) = desk.order()?;
        let issued = desk.secure.issue(spec.as_bytes(), canonical_json(&mandate)?.as_bytes()).await;
        issued.map(drop).context("issuing")
    });
    orders.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    let issued = begun.elapsed();
    let name = format!("private_keys/{}/1", desk.organization_id);
    progress("moving them under a new encryption key");
    let begun = Instant::now();
    installation.secure.run(&["keys", "rotate", &name])?;
    let took = begun.elapsed();
    let moved = "SELECT count(*) FROM private_keys k JOIN encryption_keys e ON e.id = k.encryption_key_id
         WHERE e.key_version = 2 AND e.purpose = 'private_keys'";
    let moved: u64 = installation.sql(Database::Secure, moved)?.trim().parse()?;
    ensure!(moved == keys, "{moved} of {keys} keys were moved");
    let ceiling = rewrite(installation)?;
    let rate = keys as f64 / took.as_secs_f64();
    Ok(vec![
        (
            "certificates of Secure alone, keys made and kept".to_owned(),
            format!("{:.0}/s", keys as f64 / issued.as_secs_f64()),
        ),
        (
            "keys moved under a new version".to_owned(),
            format!("{keys} in {:.1} s: {rate:.0}/s", took.as_secs_f64()),
        ),
        ("100000 at this rate (goal 60 s)".to_owned(), format!("{:.0} s", 1e5 / rate)),
        (
            "ceiling: the same rows rewritten by one statement".to_owned(),
            format!(
                "{:.1} s, ratio {:.2}",
                ceiling.as_secs_f64(),
                ceiling.as_secs_f64() / took.as_secs_f64()
            ),
        ),
    ])
}

fn rewrite(installation: &BenchInstallation) -> Result<Duration> {
    let begun = Instant::now();
    let sql = "SET session_replication_role = replica;
         UPDATE private_keys SET encrypted_key_material = encrypted_key_material || ''::bytea, updated_at = now()
         WHERE organization_id IS NOT NULL";
    installation.sql(Database::Secure, sql)?;
    Ok(begun.elapsed())
}
