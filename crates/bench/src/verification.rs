//! After the load: whether every answer is a certificate in both databases, with its audit entries.

use anyhow::{Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use clm_local::cluster::Database;
use clm_types::{CertificateId, OrganizationId};

use crate::installation::BenchInstallation;

/// Fails unless both databases hold exactly the certificates of `issued`, each with an audit entry
/// in both.
pub(crate) fn check(
    installation: &BenchInstallation,
    organization_id: OrganizationId,
    issued: &[CertificateId],
) -> Result<()> {
    let answered = fingerprint(issued);
    for (database, table, audit) in [
        (Database::Secure, "certificates", "secure_audit_log"),
        (Database::Core, "certificate_metadata", "audit_log"),
    ] {
        let stored = installation.sql(
            database,
            &format!(
                "SELECT count(*) || ' ' || coalesce(encode(sha256(string_agg(certificate_id::text, ','
                    ORDER BY certificate_id)::bytea), 'hex'), '')
                FROM {table} WHERE organization_id = '{organization_id}'"
            ),
        )?;
        ensure!(
            stored == answered,
            "{}.{table} holds other certificates than were answered (count, SHA-256 of their ids): \
             {stored} instead of {answered}",
            database.name()
        );
        let unaudited = installation.sql(
            database,
            &format!(
                "SELECT count(*) FROM {table} c WHERE organization_id = '{organization_id}' AND NOT EXISTS (
                    SELECT FROM {audit} a WHERE a.operation_id = c.operation_id AND a.outcome = 'allowed')"
            ),
        )?;
        ensure!(unaudited == "0", "{unaudited} certificates of {table} have no entry in {audit}");
    }
    Ok(())
}

/// Count and SHA-256, as the databases' queries give it.
fn fingerprint(issued: &[CertificateId]) -> String {
    let mut ids: Vec<String> = issued.iter().map(ToString::to_string).collect();
    ids.sort_unstable();
    let hash =
        if ids.is_empty() { String::new() } else { hex::encode(digest(&SHA256, ids.join(",").as_bytes())) };
    format!("{} {hash}", ids.len())
}
