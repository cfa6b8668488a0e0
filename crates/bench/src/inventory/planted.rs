//! Certificates of many tenants in the inventory, in the order in which they would have come: each tenant's lie among those of
//! the others.

use anyhow::Result;
use clm_local::cluster::Database;
use clm_types::OrganizationId;

use crate::installation::BenchInstallation;
use crate::progress;

/// Rows that are put in by one statement.
const BATCH: u64 = 500_000;
/// Ids of the other tenants end in their number.
const OTHERS: &str = "01900000-0000-7000-8000-";

/// Makes the inventory consist of so many certificates of each of so many tenants, of which `measured` is one.
pub(crate) fn plant(
    installation: &BenchInstallation,
    measured: OrganizationId,
    organizations: u32,
    certificates: u32,
) -> Result<()> {
    let sql = |sql: &str| {
        installation.sql(Database::Core, &format!("SET session_replication_role = replica; {sql}"))
    };
    sql(&others(organizations))?;
    // Built afterwards, in one go each: that is faster, and leaves the same indexes.
    let indexes = installation.sql(Database::Core, INDEXES)?;
    sql(&format!("TRUNCATE certificate_metadata; {}", drop_of(&indexes)))?;
    let total = u64::from(organizations) * u64::from(certificates);
    let mut first = 1;
    while first <= total {
        let last = total.min(first + BATCH - 1);
        sql(&rows(measured, organizations, first, last))?;
        progress(&format!("{last} of {total}"));
        first = last + 1;
    }
    progress("building its indexes");
    sql(&format!("SET maintenance_work_mem = '1GB'; {indexes}"))?;
    installation.sql(Database::Core, "VACUUM ANALYZE certificate_metadata")?;
    installation.sql(Database::Core, "CHECKPOINT")?;
    Ok(())
}

/// What makes the indexes that stand behind no constraint, a statement on each line.
const INDEXES: &str = "SELECT indexdef || ';' FROM pg_indexes i
    WHERE tablename = 'certificate_metadata'
      AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conname = i.indexname)";

fn drop_of(indexes: &str) -> String {
    let name = |line: &str| line.split_whitespace().nth(2).map(|name| format!("DROP INDEX {name};"));
    indexes.lines().filter_map(name).collect()
}

fn others(organizations: u32) -> String {
    format!(
        "INSERT INTO organizations (id, org_code, org_name, created_at, updated_at)
         SELECT ('{OTHERS}' || lpad(to_hex(number), 12, '0'))::uuid, 'planted-' || number, 'Planted ' || number, now(), now()
         FROM generate_series(1, {organizations} - 1) AS number ON CONFLICT DO NOTHING"
    )
}

/// Certificates in the order of their making, one tenant after the other in turn. Every tenth is revoked, they end within
/// 90 days from now, and each tenant has the same.
fn rows(measured: OrganizationId, organizations: u32, first: u64, last: u64) -> String {
    format!(
        "INSERT INTO certificate_metadata (id, certificate_id, operation_id, organization_id, owner_user_id, authority_id, profile,
             environment, serial_number, fingerprint_sha256, subject, issuer, common_name, sans, key_algorithm, key_source,
             not_before, not_after, status, revoked_at, revocation_reason, tags, created_at, updated_at)
         SELECT planted, planted, planted,
             CASE organization WHEN 0 THEN '{measured}'
                 ELSE ('{OTHERS}' || lpad(to_hex(organization), 12, '0'))::uuid END,
             u.id, '{OTHERS}0000000000a0', 'tls-server', CASE each % 3 WHEN 0 THEN 'production' ELSE 'test' END,
             '01' || hash, sha256(uuid_send(planted)), 'CN=host' || each, 'CN=issuing', 'host' || each || '.bench.example',
             ARRAY['dns:host' || each || '.bench.example'], 'ecdsa-p256', 'csr', made, made + interval '90 days',
             CASE each % 10 WHEN 0 THEN 'revoked' ELSE 'active' END, CASE each % 10 WHEN 0 THEN made END,
             CASE each % 10 WHEN 0 THEN 'superseded' END, jsonb_build_object('team', 'team' || each % 50), made, made
         FROM (SELECT number, (number - 1) % {organizations} AS organization, (number - 1) / {organizations} AS each, md5('i' || number) AS hash,
                   ('0190' || lpad(to_hex(number), 8, '0') || '7' || substr(md5('i' || number), 1, 19))::uuid AS planted,
                   now() - (random() * interval '89 days') AS made
               FROM generate_series({first}, {last}) AS number) numbers,
             users u WHERE u.username = 'bench'"
    )
}
