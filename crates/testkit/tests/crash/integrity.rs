//! Orphans of every kind, planted on both sides: found, repaired where there is one right answer, and gone with
//! their cause.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use clm_local::cluster::Database;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ALONE;
use crate::house::{House, eventually, logged_since};

/// Makes everything look older than the moment that operations are given to reach the other side.
const AGE_SECURE: &str = "SET session_replication_role = replica;
    UPDATE certificates SET certificate_id = overlay(certificate_id::text placing '0190' from 1 for 4)::uuid WHERE category = 'leaf';
    UPDATE private_keys SET certificate_id = overlay(certificate_id::text placing '0190' from 1 for 4)::uuid
    WHERE certificate_id NOT IN (SELECT certificate_id FROM certificate_authorities)";
const AGE_CORE: &str = "UPDATE certificate_metadata SET certificate_id = overlay(certificate_id::text placing '0190' from 1 for 4)::uuid;
    UPDATE workflow_instances SET certificate_id = overlay(certificate_id::text placing '0190' from 1 for 4)::uuid";

/// What is found and stays until somebody mends it: kind and side.
const LASTING: [(&str, &str); 10] = [
    ("certificate_without_metadata", "secure"),
    ("metadata_without_certificate", "core"),
    ("operation_stuck", "core"),
    ("organization_missing", "core"),
    ("organization_missing", "secure"),
    ("owner_missing", "both"),
    ("owner_missing", "secure"),
    ("policy_missing", "core"),
    ("policy_missing", "secure"),
    ("status_differs", "core"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_orphan_is_found_and_gone_with_its_cause() {
    let _alone = ALONE.lock().await;
    let house = House::open(false).await;
    let planted = Planted::plant(&house).await;

    let report = run(&house).await;
    assert_eq!(counts(&report), json!({"open": 7, "repaired": 2, "alarms": 3, "resolved": 0}), "{report}");
    assert_eq!(sides(&house, &["open", "alarm"]).await, LASTING.map(owned).into());
    planted.check_repairs(&house).await;
    planted.check_alarms(&house);

    // Nothing is repaired or written down twice.
    let report = run(&house).await;
    assert_eq!(counts(&report), json!({"open": 7, "repaired": 0, "alarms": 3, "resolved": 0}), "{report}");
    assert_eq!(findings(&house, None).await.len(), LASTING.len() + 2);
    check_metrics(&house).await;

    planted.uproot(&house);
    let report = run(&house).await;
    assert_eq!(counts(&report), json!({"open": 0, "repaired": 0, "alarms": 0, "resolved": 10}), "{report}");
    assert_eq!(sides(&house, &["open", "alarm"]).await, BTreeSet::new());
    assert_eq!(sides(&house, &["resolved"]).await, LASTING.map(owned).into());
    let report = run(&house).await;
    assert_eq!(counts(&report), json!({"open": 0, "repaired": 0, "alarms": 0, "resolved": 0}), "{report}");
}

/// A comparison may come between the revocation in Secure and its reflection in Core, and repair the status first.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_takes_nothing_away_from_the_operation_that_follows() {
    let _alone = ALONE.lock().await;
    let house = House::open(false).await;
    let path = format!("/certificates/{}", house.issue("www").await);
    house.robot.post(&format!("{path}/revoke"), &json!({"reason": "superseded"})).await;
    let revoked = house.robot.get(&path).await;
    house.follow().await;
    house.sql(
        Database::Core,
        "UPDATE certificate_metadata SET status = 'active', revoked_at = NULL, revocation_reason = NULL;
         UPDATE workflow_instances SET status = 'executing', completed_at = NULL WHERE instance_type = 'revocation'",
    );
    assert_eq!(run(&house).await["repaired"], 1);
    house.sql(
        Database::Core,
        "INSERT INTO jobs (kind, operation_id, organization_id, run_at, created_at, updated_at)
         SELECT 'revoke', operation_id, organization_id, now(), now(), now() FROM workflow_instances WHERE status = 'executing'",
    );
    let differs = || async {
        let now = house.robot.get(&path).await;
        let same = ["status", "revocation_reason", "revoked_at"]
            .iter()
            .all(|field| now.body[field] == revoked.body[field]);
        (!same).then(|| format!("{now:?}"))
    };
    eventually(Duration::from_secs(10), differs).await;
}

/// Certificates by what is wrong with them.
struct Planted {
    lost: Uuid,
    rogue: Uuid,
    ghost: Uuid,
    revoked_in_core: Uuid,
    revoked_in_secure: Uuid,
    owner_deleted: Uuid,
    owner_unknown: Uuid,
    policy_deleted: Uuid,
    policy_unknown: Uuid,
    organization_deleted: Uuid,
    organization_unknown: Uuid,
    stuck: Uuid,
}

impl Planted {
    async fn plant(house: &House) -> Self {
        let mut ids = Vec::new();
        for number in 0..10 {
            ids.push(aged(&house.issue(&format!("host{number}")).await));
        }
        house.follow().await;
        house.sql(Database::Secure, AGE_SECURE);
        house.sql(Database::Core, AGE_CORE);
        let [rogue, ghost] = ["01900000-0000-7000-8000-00000000abcd", "01900000-0000-7000-8000-00000000cdef"];
        let planted = Self {
            lost: ids[0],
            rogue: rogue.parse().unwrap(),
            ghost: ghost.parse().unwrap(),
            revoked_in_core: ids[1],
            revoked_in_secure: ids[2],
            owner_deleted: ids[3],
            owner_unknown: ids[4],
            policy_deleted: ids[5],
            policy_unknown: ids[6],
            organization_deleted: ids[7],
            organization_unknown: ids[8],
            stuck: ids[9],
        };
        planted.plant_in_core(house);
        planted.plant_in_secure(house);
        planted
    }

    fn plant_in_core(&self, house: &House) {
        let Self {
            lost,
            ghost,
            revoked_in_core,
            owner_deleted,
            policy_deleted,
            organization_deleted,
            stuck,
            ..
        } = self;
        house.sql(
            Database::Core,
            &format!(
                "INSERT INTO certificate_metadata (certificate_id, operation_id, organization_id, owner_user_id, policy_id, profile,
                     serial_number, fingerprint_sha256, subject, issuer, key_algorithm, not_before, not_after, status, created_at,
                     updated_at)
                     SELECT '{ghost}', gen_random_uuid(), organization_id, owner_user_id, policy_id, profile, '0102',
                     fingerprint_sha256, subject, issuer, key_algorithm, not_before, not_after, status, created_at, updated_at
                     FROM certificate_metadata WHERE certificate_id = '{lost}';
                 DELETE FROM certificate_metadata WHERE certificate_id = '{lost}';
                 UPDATE certificate_metadata SET status = 'revoked', revoked_at = now(), revocation_reason = 'superseded'
                     WHERE certificate_id = '{revoked_in_core}';
                 INSERT INTO users SELECT (jsonb_populate_record(u, jsonb_build_object('id', gen_random_uuid(), 'username', 'gone',
                     'email', 'gone@example.org', 'deleted_at', now()))).* FROM users u WHERE username = 'robot';
                 UPDATE certificate_metadata SET owner_user_id = (SELECT id FROM users WHERE username = 'gone')
                     WHERE certificate_id = '{owner_deleted}';
                 INSERT INTO policies SELECT (jsonb_populate_record(p, jsonb_build_object('id', gen_random_uuid(),
                     'policy_code', 'gone', 'deleted_at', now()))).* FROM policies p WHERE policy_code = 'tls-server';
                 UPDATE certificate_metadata SET policy_id = (SELECT id FROM policies WHERE policy_code = 'gone')
                     WHERE certificate_id = '{policy_deleted}';
                 INSERT INTO organizations SELECT (jsonb_populate_record(o, jsonb_build_object('id', gen_random_uuid(),
                     'org_code', 'gone', 'deleted_at', now()))).* FROM organizations o WHERE org_code = 'example';
                 UPDATE certificate_metadata SET policy_id = NULL,
                     organization_id = (SELECT id FROM organizations WHERE org_code = 'gone')
                     WHERE certificate_id = '{organization_deleted}';
                 UPDATE workflow_instances SET status = 'executing', completed_at = NULL, updated_at = now() - interval '1 hour'
                     WHERE certificate_id = '{stuck}'"
            ),
        );
    }

    fn plant_in_secure(&self, house: &House) {
        let Self { lost, rogue, revoked_in_secure, owner_deleted, .. } = self;
        let Self { owner_unknown, policy_unknown, organization_unknown, .. } = self;
        let gone = house.sql(Database::Core, "SELECT id FROM users WHERE username = 'gone'");
        house.sql(
            Database::Secure,
            &format!(
                "INSERT INTO certificates SELECT (jsonb_populate_record(c, jsonb_build_object('id', gen_random_uuid(),
                     'certificate_id', '{rogue}', 'operation_id', gen_random_uuid(), 'request_id', NULL,
                     'serial_number', '\\x0102', 'fingerprint_sha256', '\\x' || repeat('ab', 32)))).*
                     FROM certificates c WHERE certificate_id = '{lost}';
                 UPDATE certificates SET status = 'revoked', revoked_at = now(), revocation_reason = 'superseded'
                     WHERE certificate_id = '{revoked_in_secure}';
                 UPDATE certificates SET owner_user_id = '{gone}' WHERE certificate_id = '{owner_deleted}';
                 UPDATE certificates SET owner_user_id = gen_random_uuid() WHERE certificate_id = '{owner_unknown}';
                 UPDATE certificates SET policy_id = gen_random_uuid() WHERE certificate_id = '{policy_unknown}';
                 UPDATE certificates SET organization_id = gen_random_uuid() WHERE certificate_id = '{organization_unknown}'"
            ),
        );
    }

    /// What has one right answer is as Secure says; a revocation is never taken back.
    async fn check_repairs(&self, house: &House) {
        let states =
            [(self.lost, "active"), (self.revoked_in_secure, "revoked"), (self.revoked_in_core, "revoked")];
        for (id, state) in states {
            let certificate = house.robot.get(&format!("/certificates/{id}")).await;
            assert_eq!(certificate.text("status"), state, "{certificate:?}");
        }
        let repaired = findings(house, Some("repaired")).await;
        let ids: BTreeSet<_> = repaired.iter().map(|finding| finding["object_id"].to_string()).collect();
        assert_eq!(ids, [self.lost, self.revoked_in_secure].map(|id| json!(id).to_string()).into());
    }

    /// A certificate that nobody ordered is an error in the log, with its id.
    fn check_alarms(&self, house: &House) {
        let log = logged_since(&house.installation.core.log_file(), 0);
        let rogue = self.rogue.to_string();
        assert!(
            log.lines().any(|line| line.contains(r#""level":"ERROR""#) && line.contains(&rogue)),
            "{log}"
        );
    }

    /// Takes every cause away.
    fn uproot(&self, house: &House) {
        let Self { rogue, ghost, revoked_in_core, organization_deleted, organization_unknown, stuck, .. } =
            self;
        house.sql(
            Database::Core,
            &format!(
                "DELETE FROM certificate_metadata WHERE certificate_id = '{ghost}';
                 UPDATE certificate_metadata SET status = 'active', revoked_at = NULL, revocation_reason = NULL
                     WHERE certificate_id = '{revoked_in_core}';
                 UPDATE users SET deleted_at = NULL;
                 UPDATE policies SET deleted_at = NULL;
                 UPDATE organizations SET deleted_at = NULL WHERE org_code = 'gone';
                 UPDATE workflow_instances SET status = 'completed', completed_at = now() WHERE certificate_id = '{stuck}'"
            ),
        );
        let [owner, policy, organization] = [
            "id FROM users WHERE username = 'robot'",
            "id FROM policies WHERE policy_code = 'tls-server'",
            "id FROM organizations WHERE org_code = 'example'",
        ]
        .map(|what| house.sql(Database::Core, &format!("SELECT {what}")));
        house.sql(
            Database::Secure,
            &format!(
                "DELETE FROM certificates WHERE certificate_id = '{rogue}';
                 UPDATE certificates SET owner_user_id = '{owner}', policy_id = '{policy}', organization_id = '{organization}'
                     WHERE category = 'leaf' AND certificate_id <> '{organization_deleted}';
                 UPDATE certificates SET organization_id = '{organization}' WHERE certificate_id = '{organization_unknown}'"
            ),
        );
    }
}

/// The service compares by itself too, and counts what it finds.
async fn check_metrics(house: &House) {
    let core = &house.installation.core;
    compare_every_second(house);
    let client = house.installation.client();
    let found = || async {
        let url = format!("{}/metrics", core.admin_url());
        let metrics = client.get(url).send().await.unwrap().text().await.unwrap();
        let all =
            ["clm_integrity_open 7", "clm_integrity_alarms 3"].iter().all(|line| metrics.contains(line));
        (!all).then(|| metrics.lines().filter(|line| line.contains("integrity")).collect())
    };
    eventually(Duration::from_secs(10), found).await;
}

/// Restarts Core with the shortest interval between comparisons.
pub(crate) fn compare_every_second(house: &House) {
    let core = &house.installation.core;
    core.stop().unwrap();
    let mut config = std::fs::OpenOptions::new().append(true).open(core.config_file()).unwrap();
    writeln!(config, "\n[integrity]\ninterval_seconds = 1").unwrap();
    core.start().unwrap();
    core.wait_ready().unwrap();
}

async fn run(house: &House) -> Value {
    let begun = house.administrator.post("/integrity/runs", &json!({})).await.body;
    let path = format!("/integrity/runs/{}", begun["id"].as_str().unwrap());
    loop {
        let run = house.administrator.get(&path).await.body;
        if run["status"] != "running" {
            return run["report"].clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

fn counts(report: &Value) -> Value {
    json!({"open": report["open"], "repaired": report["repaired"], "alarms": report["alarms"], "resolved": report["resolved"]})
}

pub(crate) async fn findings(house: &House, status: Option<&str>) -> Vec<Value> {
    let filter = status.map(|status| format!("&status={status}")).unwrap_or_default();
    let page = house.administrator.get(&format!("/integrity/findings?limit=200{filter}")).await;
    page.body["items"].as_array().unwrap().clone()
}

/// Kind and side of the findings that stand so.
async fn sides(house: &House, statuses: &[&str]) -> BTreeSet<(String, String)> {
    let mut sides = BTreeSet::new();
    for status in statuses {
        for finding in findings(house, Some(status)).await {
            let text = |field: &str| finding[field].as_str().unwrap().to_owned();
            sides.insert((text("kind"), text("side")));
        }
    }
    sides
}

fn owned((kind, side): (&str, &str)) -> (String, String) {
    (kind.to_owned(), side.to_owned())
}

/// The id that a certificate has once it was made older.
fn aged(id: &str) -> Uuid {
    format!("0190{}", &id[4..]).parse().unwrap()
}
