//! A log that cannot be written stops what it should tell of: nothing is done without its entry, nothing told that was not done.

use clm_secure::verification::verify_database;
use clm_types::{
    CertificateId, CertificateSpec, Entropy, KeySource, OrganizationId, RevocationReason, RevocationSpec,
    UserId,
};
use sqlx::{AssertSqlSafe, PgPool};

use crate::desk::Desk;

/// Faults, unless `CLM_TEST_FAULTS` says otherwise.
const FAULTS: u32 = 1_000;

/// Where a statement can fail. `commit` is the commit itself.
const PLACES: [&str; 11] = [
    "secure_audit_log",
    "chain_heads",
    "certificates",
    "certificate_requests",
    "certificate_revocations",
    "issuance_intents",
    "operations",
    "events",
    "private_keys",
    "encryption_keys",
    "commit",
];

/// disk_full, out_of_memory, lock_not_available, query_canceled, read_only_sql_transaction, io_error, data_corrupted.
const STATES: [&str; 7] = ["53100", "53200", "55P03", "57014", "25006", "58030", "XX001"];

/// Faults are planned in a table, and raised by triggers as the database would.
const PLAN: &str = "
    CREATE TABLE planned_faults (place text NOT NULL, state text NOT NULL, skip integer NOT NULL);
    GRANT SELECT, UPDATE ON planned_faults TO clm_secure_app;
    CREATE SEQUENCE fault_hits;
    GRANT USAGE, SELECT ON fault_hits TO clm_secure_app;
    CREATE FUNCTION raise_planned_fault() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE planned record;
    BEGIN
        FOR planned IN SELECT state, skip FROM planned_faults WHERE place = TG_ARGV[0] LOOP
            IF nextval('fault_hits') > planned.skip THEN
                RAISE EXCEPTION 'a planned fault' USING ERRCODE = planned.state;
            END IF;
        END LOOP;
        RETURN NULL;
    END $$;
    GRANT EXECUTE ON FUNCTION raise_planned_fault() TO clm_secure_app;
    CREATE CONSTRAINT TRIGGER fault_at_commit AFTER UPDATE ON chain_heads DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION raise_planned_fault('commit');";

async fn prepare(pool: &PgPool) {
    sqlx::raw_sql(PLAN).execute(pool).await.unwrap();
    for place in PLACES.iter().filter(|place| **place != "commit") {
        let sql = format!(
            "CREATE TRIGGER fault AFTER INSERT OR UPDATE ON {place} FOR EACH STATEMENT EXECUTE FUNCTION raise_planned_fault('{place}')"
        );
        sqlx::query(AssertSqlSafe(sql)).execute(pool).await.unwrap();
    }
}

async fn plan(pool: &PgPool, place: &str, state: &str, skip: i32) {
    sqlx::query("SELECT setval('fault_hits', 1, false)").execute(pool).await.unwrap();
    sqlx::query("INSERT INTO planned_faults VALUES ($1, $2, $3)")
        .bind(place)
        .bind(state)
        .bind(skip)
        .execute(pool)
        .await
        .unwrap();
}

/// What the log says was done, and what was done.
const TOLD_AND_DONE: &str = "
    SELECT (SELECT count(*) FROM secure_audit_log WHERE action = 'certificate.issue' AND outcome = 'allowed')
         - (SELECT count(*) FROM certificates WHERE category <> 'authority'),
           (SELECT count(*) FROM secure_audit_log WHERE action = 'certificate.intend') - (SELECT count(*) FROM issuance_intents WHERE request_id IS NOT NULL),
           (SELECT count(*) FROM secure_audit_log WHERE action = 'certificate.revoke' AND outcome = 'allowed')
         - (SELECT count(*) FROM certificate_revocations),
           (SELECT count(*) FROM events) - (SELECT max(sequence) FROM events)";

#[tokio::test]
async fn a_thousand_faults_leave_no_effect_without_entry_and_no_entry_without_effect() {
    let desk = Desk::open().await;
    let pool = desk.databases.secure.superuser().await;
    prepare(&pool).await;
    let wanted = std::env::var("CLM_TEST_FAULTS").map_or(FAULTS, |text| text.parse().unwrap());
    let csr = desk.csr_spec().csr;
    let entropy = Entropy::seeded(11);
    let below = |limit: usize| usize::from(u16::from_be_bytes(entropy.bytes())) % limit;
    let mut active: Vec<(CertificateId, OrganizationId, UserId)> = Vec::new();
    let (mut failed, mut round) = (0, 0);
    while failed < wanted {
        round += 1;
        assert!(round < 20 * wanted + 100, "only {failed} faults came to pass");
        plan(
            &pool,
            PLACES[below(PLACES.len())],
            STATES[below(STATES.len())],
            i32::try_from(below(2)).unwrap(),
        )
        .await;
        let succeeded = match active.pop() {
            Some(certificate) if below(3) == 0 => revoke(&desk, certificate).await,
            _ => match issue(&desk, csr.as_deref().filter(|_| below(2) == 0)).await {
                Some(certificate) => {
                    active.push(certificate);
                    true
                }
                None => false,
            },
        };
        failed += u32::from(!succeeded);
        sqlx::query("DELETE FROM planned_faults").execute(&pool).await.unwrap();
        if round % 50 == 0 {
            assert_consistent(&pool).await;
        }
    }
    assert_consistent(&pool).await;
}

async fn assert_consistent(pool: &PgPool) {
    let differences: (i64, i64, i64, i64) = sqlx::query_as(TOLD_AND_DONE).fetch_one(pool).await.unwrap();
    assert_eq!(differences, (0, 0, 0, 0), "told minus done: issued, intended, revoked, events");
    let report = verify_database(pool, &[], |_| {}).await.unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
}

async fn issue(desk: &Desk, csr: Option<&str>) -> Option<(CertificateId, OrganizationId, UserId)> {
    let source = if csr.is_some() { KeySource::Csr } else { KeySource::Generated };
    let spec = CertificateSpec { csr: csr.map(str::to_owned), ..desk.spec(source) };
    let issued = desk.issue(&spec, &desk.issue_mandate(&spec, desk.operation())).await.ok()?;
    Some((issued.record.certificate_id, spec.organization_id, spec.requester_user_id))
}

async fn revoke(
    desk: &Desk,
    (certificate_id, organization_id, requested_by): (CertificateId, OrganizationId, UserId),
) -> bool {
    let reason = RevocationReason::Superseded;
    let spec = RevocationSpec {
        certificate_id,
        organization_id,
        reason,
        invalidity_date: None,
        requested_by,
        comment: None,
    };
    desk.revoke(&spec, desk.operation()).await.is_ok()
}

#[tokio::test]
async fn nothing_is_done_while_the_head_is_broken() {
    let desk = Desk::open().await;
    let pool = desk.databases.secure.superuser().await;
    let csr = desk.csr_spec().csr;
    let head = "SELECT sequence, chain_hash FROM chain_heads WHERE name = 'audit'";
    let (sequence, chain_hash): (i64, Vec<u8>) = sqlx::query_as(head).fetch_one(&pool).await.unwrap();
    let set = "UPDATE chain_heads SET sequence = $1, chain_hash = $2 WHERE name = 'audit'";
    let before = "SELECT sequence, chain_hash FROM secure_audit_log WHERE sequence = $1 - 1";
    let (_, before): (i64, Vec<u8>) = sqlx::query_as(before).bind(sequence).fetch_one(&pool).await.unwrap();
    let broken = [
        (sequence - 1, before),
        (sequence, vec![7; 32]),
        (sequence - 1, chain_hash.clone()),
        (sequence + 1, chain_hash.clone()),
        (0, vec![0; 32]),
    ];
    for (number, hash) in broken {
        sqlx::query(set).bind(number).bind(&hash).execute(&pool).await.unwrap();
        assert!(issue(&desk, csr.as_deref()).await.is_none(), "{number}");
    }
    sqlx::query(set).bind(sequence).bind(&chain_hash).execute(&pool).await.unwrap();
    assert!(issue(&desk, csr.as_deref()).await.is_some());
    assert_consistent(&pool).await;
}
