//! Orphans of every kind, planted on both sides: found, repaired where there is one right answer, and gone with
//! their cause.

use std::collections::BTreeMap;
use std::time::Duration;

use clm_local::cluster::Database;
use serde_json::{Value, json};

use crate::ALONE;
use crate::house::{House, eventually};
use crate::planted;

/// What is found and stays until somebody mends it: kind, side and how often.
const OPEN: [(&str, &str, usize); 10] = [
    ("instance_without_certificate", "core", 1),
    ("notification_without_certificate", "core", 1),
    ("operation_stuck", "core", 1),
    ("organization_missing", "core", 1),
    ("organization_missing", "secure", 1),
    ("owner_differs", "core", 1),
    ("owner_missing", "both", 1),
    ("owner_missing", "secure", 1),
    ("policy_missing", "core", 1),
    ("policy_missing", "secure", 1),
];
const ALARMS: [(&str, &str, usize); 18] = [
    ("certificate_unexplained", "secure", 1),
    ("certificate_without_metadata", "secure", 1),
    ("certificate_without_organization", "secure", 1),
    ("instance_without_request", "core", 1),
    ("instance_without_revocation", "core", 1),
    ("metadata_without_certificate", "core", 1),
    ("operation_differs", "both", 1),
    ("organization_differs", "both", 2),
    ("policy_differs", "both", 3),
    ("private_key_differs", "secure", 2),
    ("private_key_without_certificate", "secure", 1),
    ("request_differs", "both", 1),
    ("request_status_differs", "both", 1),
    ("request_without_instance", "secure", 1),
    ("revocation_inconsistent", "secure", 2),
    ("revocation_without_certificate", "secure", 1),
    ("revocation_without_instance", "secure", 2),
    ("status_differs", "core", 1),
];
/// What has one right answer.
const REPAIRED: [(&str, &str, usize); 5] = [
    ("certificate_without_metadata", "secure", 1),
    ("owner_differs", "secure", 1),
    ("renewal_differs", "core", 1),
    ("revocation_differs", "core", 1),
    ("status_differs", "core", 1),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_orphan_is_found_and_gone_with_its_cause() {
    let _alone = ALONE.lock().await;
    let house = House::open(false).await;
    planted::plant(&house).await;

    let [open, alarms, repaired] = [&OPEN[..], &ALARMS[..], &REPAIRED[..]].map(total);
    let report = run(&house).await;
    assert_eq!(sides(&house, "open").await, by_kind(&OPEN));
    assert_eq!(sides(&house, "alarm").await, by_kind(&ALARMS));
    assert_eq!(sides(&house, "repaired").await, by_kind(&REPAIRED));
    assert_eq!(
        counts(&report),
        json!({"open": open, "repaired": repaired, "alarms": alarms, "resolved": 0}),
        "{report}"
    );
    planted::check_repairs(&house).await;
    planted::check_alarms(&house);

    // Nothing is repaired or written down twice.
    let report = run(&house).await;
    assert_eq!(
        counts(&report),
        json!({"open": open, "repaired": 0, "alarms": alarms, "resolved": 0}),
        "{report}"
    );
    assert_eq!(findings(&house, None).await.len(), open + alarms + repaired);
    check_metrics(&house, open, alarms).await;
    // From here on nothing is compared unasked.
    compare_every(&house, 3600);

    planted::uproot(&house);
    let report = run(&house).await;
    let all = open + alarms;
    assert_eq!(counts(&report), json!({"open": 0, "repaired": 0, "alarms": 0, "resolved": all}), "{report}");
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

/// The service compares by itself too, and counts what it finds.
async fn check_metrics(house: &House, open: usize, alarms: usize) {
    let core = &house.installation.core;
    compare_every(house, 1);
    let client = house.installation.client();
    let lines = [format!("clm_integrity_open {open}"), format!("clm_integrity_alarms {alarms}")];
    let found = || async {
        let url = format!("{}/metrics", core.admin_url());
        let metrics = client.get(url).send().await.unwrap().text().await.unwrap();
        let all = lines.iter().all(|line| metrics.contains(line));
        (!all).then(|| metrics.lines().filter(|line| line.contains("integrity")).collect())
    };
    eventually(Duration::from_secs(10), found).await;
}

/// Restarts Core with this interval between comparisons.
pub(crate) fn compare_every(house: &House, seconds: u64) {
    let core = &house.installation.core;
    core.stop().unwrap();
    let config = std::fs::read_to_string(core.config_file()).unwrap();
    let before = config.split("\n[integrity]").next().unwrap();
    let config = format!("{before}\n[integrity]\ninterval_seconds = {seconds}\n");
    std::fs::write(core.config_file(), config).unwrap();
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

/// Kind and side of the findings that stand so, and how many there are.
async fn sides(house: &House, status: &str) -> BTreeMap<(String, String), usize> {
    let mut sides = BTreeMap::new();
    for finding in findings(house, Some(status)).await {
        let text = |field: &str| finding[field].as_str().unwrap().to_owned();
        *sides.entry((text("kind"), text("side"))).or_default() += 1;
    }
    sides
}

fn by_kind(expected: &[(&str, &str, usize)]) -> BTreeMap<(String, String), usize> {
    expected.iter().map(|(kind, side, count)| (((*kind).to_owned(), (*side).to_owned()), *count)).collect()
}

fn total(expected: &[(&str, &str, usize)]) -> usize {
    expected.iter().map(|(_, _, count)| count).sum()
}
