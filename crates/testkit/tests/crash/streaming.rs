//! Comparing very many certificates takes no more memory than comparing few.

use std::time::{Duration, Instant};

use clm_local::Service;
use clm_local::cluster::Database;

use crate::ALONE;
use crate::house::{House, eventually, logged_since};
use crate::integrity::compare_every;

/// How many certificates, unless this many are too few.
const CERTIFICATES: u32 = 1_000_000;
const VARIABLE: &str = "CLM_TEST_CERTIFICATES";
/// More than the buffers of both streams, far less than the certificates.
const MOST_GROWTH_KIB: u64 = 32 * 1024;

/// Indexes would take longer than the rows.
const DROP_INDEXES: &str = "DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT indexrelid::regclass::text FROM pg_index
            WHERE indrelid = 'TABLE'::regclass AND NOT indisunique
        LOOP EXECUTE 'DROP INDEX ' || name; END LOOP;
    END $$;
    SET session_replication_role = replica;";

const ID: &str = "('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid";

#[tokio::test(flavor = "multi_thread")]
async fn comparing_takes_constant_memory() {
    let _alone = ALONE.lock().await;
    let count = std::env::var(VARIABLE).map_or(CERTIFICATES, |text| text.parse().unwrap());
    let house = House::open(false).await;
    let (core, secure) = (&house.installation.core, &house.installation.secure);
    house.issue("www").await;
    compare_every(&house, 1);
    let length = wait_for_comparison(&house, 0, 1).await;
    let before = [peak_kib(core), peak_kib(secure)];

    // Core does not see the one side without the other.
    core.stop().unwrap();
    let begin = Instant::now();
    fill(&house, count);
    println!("{count} certificates in both databases after {:.1} s", begin.elapsed().as_secs_f64());
    core.start().unwrap();
    let begin = Instant::now();
    wait_for_comparison(&house, length, u64::from(count)).await;
    let took = begin.elapsed().as_secs_f64();
    let after = [peak_kib(core), peak_kib(secure)];
    println!(
        "compared within {took:.1} s; peak memory in KiB of Core and Secure before {before:?}, after {after:?}"
    );
    for (after, before) in after.iter().zip(before) {
        assert!(after - before < MOST_GROWTH_KIB, "{before} KiB became {after} KiB");
    }
    // Of all these, the three that one side lacks were found.
    let found = "SELECT string_agg(kind || ' ' || side, ', ' ORDER BY kind) FROM integrity_findings WHERE status = 'alarm'";
    let expected = "certificate_without_metadata secure, metadata_without_certificate core, metadata_without_certificate core";
    assert_eq!(house.sql(Database::Core, found), expected);
}

/// The same certificates on both sides, but for one that Core lacks and two that Secure lacks.
fn fill(house: &House, count: u32) {
    let drop = |table| DROP_INDEXES.replace("TABLE", table);
    let organization = house.sql(Database::Core, "SELECT id FROM organizations WHERE org_code = 'example'");
    let owner = &house.robot.id;
    let policy = house.sql(Database::Core, "SELECT id FROM policies WHERE policy_code = 'tls-server'");
    let digest = "decode(repeat(lpad(to_hex(n), 8, '0'), 8), 'hex')";
    let in_secure = format!(
        "{} INSERT INTO certificates (id, certificate_id, operation_id, organization_id, owner_user_id, policy_id, profile,
             category, serial_number, subject, issuer, pem_encoded_cert, der_encoded_cert, fingerprint_sha256,
             signature_algorithm, key_algorithm, key_size, public_key_sha256, is_ca, not_before, not_after, status, created_at,
             updated_at)
         SELECT {ID}, {ID}, {ID}, '{organization}', '{owner}', '{policy}', 'tls-server', 'leaf', int4send(n), '', 'CN=x', '', '',
             {digest}, 'x', 'ecdsa-p256', 256, {digest}, false, now(), now() + interval '1 day', 'active', now(), now()
         FROM generate_series(1, {count}) n WHERE n NOT IN (7, {count} / 2)",
        drop("certificates")
    );
    let in_core = format!(
        "{} INSERT INTO certificate_metadata (id, certificate_id, operation_id, organization_id, owner_user_id, policy_id,
             profile, serial_number, fingerprint_sha256, subject, issuer, key_algorithm, not_before, not_after, status,
             created_at, updated_at)
         SELECT {ID}, {ID}, {ID}, '{organization}', '{owner}', '{policy}', 'tls-server', to_hex(n), {digest}, '', 'CN=x',
             'ecdsa-p256', now(), now() + interval '1 day', 'active', now(), now()
         FROM generate_series(1, {count}) n WHERE n <> {count} - 7",
        drop("certificate_metadata")
    );
    std::thread::scope(|scope| {
        scope.spawn(|| house.sql(Database::Secure, &in_secure));
        house.sql(Database::Core, &in_core);
    });
}

/// Waits for a comparison of at least so many certificates in what was logged after `length`; gives the log's length.
async fn wait_for_comparison(house: &House, length: u64, least: u64) -> u64 {
    let log = house.installation.core.log_file();
    let is_enough = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        line["message"] == "compared both databases" && line["compared"].as_u64() >= Some(least)
    };
    eventually(Duration::from_secs(300), || async {
        let found = logged_since(&log, length).lines().any(is_enough);
        (!found).then(|| "no comparison in the log".to_owned())
    })
    .await;
    std::fs::metadata(log).unwrap().len()
}

/// The most memory that the process ever had.
fn peak_kib(service: &Service) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", service.pid().unwrap().number())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
