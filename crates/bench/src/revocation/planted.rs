//! Certificates that were never issued: rows as the services would write them, put in by the superuser.

use anyhow::Result;
use clm_local::cluster::Database;

use crate::installation::BenchInstallation;

/// Name of the sandbox's issuing authority.
pub(crate) const ISSUING: &str = "CLM Sandbox Issuing CA";

/// Whose the planted certificates are, in both databases.
pub(crate) const ORGANIZATION: &str = "01900000-0000-7000-8000-0000000000b0";
/// Who asks for their revocation, and who approves it.
pub(crate) const REQUESTER: &str = "01900000-0000-7000-8000-0000000000b1";
pub(crate) const APPROVER: &str = "01900000-0000-7000-8000-0000000000b2";

/// Parts that its list is divided into, for those that are not in the list of all alone.
pub(crate) const SHARDS: u16 = 64;

/// Id of that authority.
pub(crate) fn issuing_id(installation: &BenchInstallation) -> Result<String> {
    let sql = format!("SELECT id FROM certificate_authorities WHERE name = '{ISSUING}'");
    Ok(installation.sql(Database::Secure, &sql)?.trim().to_owned())
}

/// Certificates that are active in both databases.
pub(crate) fn active(installation: &BenchInstallation, count: u64) -> Result<()> {
    installation.sql(Database::Secure, &certificates(count, "active", 'a'))?;
    let people = format!(
        "SET session_replication_role = replica;
         INSERT INTO organizations (id, org_code, org_name, created_at, updated_at)
             VALUES ('{ORGANIZATION}', 'planted', 'Planted', now(), now());
         INSERT INTO users (id, username, email, display_name, password_hash, password_salt, status, created_at, updated_at)
             SELECT id, name, name || '@bench.example', name, 'h', 's', 'active', now(), now()
             FROM (VALUES ('{REQUESTER}'::uuid, 'requester'), ('{APPROVER}'::uuid, 'approver')) AS users (id, name)"
    );
    installation.sql(Database::Core, &people)?;
    inventory(installation, count, 'a')
}

/// The same, in parts of a divided list.
pub(crate) fn divided(installation: &BenchInstallation, count: u64) -> Result<()> {
    installation.sql(Database::Secure, &certificates(count, "active", 's'))?;
    inventory(installation, count, 's')
}

fn inventory(installation: &BenchInstallation, count: u64, kind: char) -> Result<()> {
    let authority = issuing_id(installation)?;
    let sql = format!(
        "SET session_replication_role = replica;
         INSERT INTO certificate_metadata (certificate_id, operation_id, organization_id, owner_user_id, authority_id, profile,
             serial_number, fingerprint_sha256, subject, issuer, key_algorithm, not_before, not_after, status, created_at,
             updated_at)
         SELECT planted, planted, '{ORGANIZATION}', '{REQUESTER}', '{authority}', 'tls-server', encode(serial, 'hex'),
             sha256(uuid_send(planted)), 'CN=planted', 'CN=issuing', 'ecdsa-p256', now(), now() + interval '1 year', 'active',
             now(), now()
         FROM ({}) numbers;
         ANALYZE certificate_metadata",
        numbers(count, kind)
    );
    installation.sql(Database::Core, &sql)?;
    Ok(())
}

/// Certificates that are revoked in Secure, and on no list yet; each is in a part, and the list of all names it too.
pub(crate) fn revoked(installation: &BenchInstallation, count: u64) -> Result<()> {
    installation.sql(Database::Secure, &certificates(count, "revoked", 'r'))?;
    let sql = "SET session_replication_role = replica;
         INSERT INTO certificate_revocations (certificate_id, operation_id, authority_id, serial_number, reason_code, reason,
             revocation_date, ocsp_status, not_after, crl_shard, created_at, updated_at)
         SELECT c.certificate_id, c.operation_id, c.authority_id, c.serial_number, 4, 'superseded', c.revoked_at, 'revoked',
             c.not_after, c.crl_shard, c.revoked_at, c.revoked_at
         FROM certificates c LEFT JOIN certificate_revocations r ON r.certificate_id = c.certificate_id
         WHERE c.status = 'revoked' AND r.id IS NULL;
         VACUUM ANALYZE certificate_revocations";
    for statement in sql.split_inclusive(';').skip(1) {
        installation
            .sql(Database::Secure, &format!("SET session_replication_role = replica; {statement}"))?;
    }
    Ok(())
}

fn certificates(count: u64, status: &str, kind: char) -> String {
    let shard = if kind == 'a' {
        "NULL".to_owned()
    } else {
        format!("1 + get_byte(uuid_send(planted), 15) % {SHARDS}")
    };
    let revoked = if status == "revoked" { ("now()", "'superseded'") } else { ("NULL", "NULL") };
    format!(
        "SET session_replication_role = replica;
         INSERT INTO certificates (certificate_id, authority_id, operation_id, organization_id, owner_user_id, profile, category,
             serial_number, subject, issuer, pem_encoded_cert, der_encoded_cert, fingerprint_sha256, signature_algorithm,
             key_algorithm, key_size, public_key_sha256, is_ca, not_before, not_after, status, revoked_at, revocation_reason,
             crl_shard, created_at, updated_at)
         SELECT planted, a.id, planted, '{ORGANIZATION}', '{REQUESTER}', 'tls-server', 'leaf', serial, 'CN=planted',
             'CN=issuing', 'PEM', 'DER', sha256(uuid_send(planted)), 'ecdsa-with-SHA384', 'ecdsa-p256', 256,
             sha256(uuid_send(planted)), false, now(), now() + interval '1 year', '{status}', {}, {}, {shard}, now(), now()
         FROM certificate_authorities a,
             ({}) numbers
         WHERE a.name = '{ISSUING}'",
        revoked.0,
        revoked.1,
        numbers(count, kind)
    )
}

/// Ids in the order of their making, as those of UUIDv7 are, and serial numbers in none.
fn numbers(count: u64, kind: char) -> String {
    format!(
        "SELECT ('0190' || lpad(to_hex(number), 8, '0') || '7' || substr(hash, 1, 19))::uuid AS planted,
                decode('01' || hash, 'hex') AS serial
         FROM (SELECT number, md5('{kind}' || number) AS hash FROM generate_series(1, {count}) AS number) hashes"
    )
}
