//! A mass revocation, from its approval until the last certificate is revoked in both databases.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clm_local::cluster::Database;

use super::planted::{APPROVER, ORGANIZATION, REQUESTER};
use crate::installation::BenchInstallation;
use crate::progress;

/// Longer than it may take.
const PATIENCE: Duration = Duration::from_mins(30);
const PAUSE: Duration = Duration::from_millis(200);

/// Names and figures.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn measure(installation: &BenchInstallation, count: u64) -> Result<Vec<(String, String)>> {
    progress("carrying out the mass revocation");
    // What the API writes, approved.
    installation.sql(
        Database::Core,
        &format!(
            "INSERT INTO mass_revocations (organization_id, requester_user_id, approver_user_id, selection, impact, reason, status,
                 certificate_count, decided_at, created_at, updated_at)
             VALUES ('{ORGANIZATION}', '{REQUESTER}', '{APPROVER}', '{{}}', '{{}}', 'superseded', 'pending', {count}, now(), now(), now());
             INSERT INTO mass_revocation_items (organization_id, mass_revocation_id, certificate_id, authority_id, operation_id, status,
                 created_at, updated_at)
             SELECT m.organization_id, r.id, m.certificate_id, m.authority_id, gen_random_uuid(), 'waiting', now(), now()
             FROM certificate_metadata m, mass_revocations r WHERE m.organization_id = r.organization_id;
             ANALYZE mass_revocation_items;
             UPDATE mass_revocations SET status = 'running'"
        ),
    )?;
    let begun = Instant::now();
    while installation.sql(Database::Core, "SELECT status FROM mass_revocations")?.trim() == "running" {
        if begun.elapsed() > PATIENCE {
            bail!("the mass revocation has not ended within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
    let took = begun.elapsed().as_secs_f64();
    let revoked = "SELECT count(*) FROM certificates WHERE status = 'revoked'";
    let in_secure: u64 = installation.sql(Database::Secure, revoked)?.trim().parse()?;
    let in_core: u64 = installation
        .sql(Database::Core, "SELECT count(*) FROM certificate_metadata WHERE status = 'revoked'")?
        .trim()
        .parse()?;
    if (in_secure, in_core) != (count, count) {
        bail!("{in_secure} are revoked in Secure and {in_core} in Core, not {count}");
    }
    let rate = count as f64 / took;
    Ok(vec![
        ("mass revocation".to_owned(), format!("{count} certificates in {took:.1} s: {rate:.0}/s")),
        (
            "a million at this rate (10 minutes are the goal)".to_owned(),
            format!("{:.1} minutes", 1e6 / rate / 60.0),
        ),
    ])
}
