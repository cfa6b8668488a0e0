//! Every route of the API description, called by schemathesis with what fits the schema and what does not: `make
//! deps-test` installs it, `make fuzz` lets it run for longer. At a process of its own, with an administrator's key and a
//! requester's.

use std::env;
use std::path::{Path, PathBuf};

use clm_testkit::{SecondCore, TestInstallation};
use serde_json::json;
use tokio::process::Command;
use toml::Table;

use crate::answer::{Answer, text};
use crate::approvals::ask;
use crate::house::{APPROVER, REQUESTER, at_once, hire};
use crate::person::Person;

/// Generated calls of each route; those that follow from the schema alone come on top.
const EXAMPLES: &str = "3";
const SEED: &str = "1";
/// Nothing of what one fuzzer does is a flood.
const LIMITS: &str = "reads_per_second = 100000\nreads_burst = 100000\nwrites_per_second = 100000\n\
    writes_burst = 100000\nfailures_per_minute = 100000";

/// A fresh installation with its administrator.
async fn administrator(installation: &TestInstallation, core: &SecondCore) -> Person {
    let client = installation.client();
    let body = json!({"token": installation.bootstrap_token(), "username": "admin", "email": "admin@example.org",
        "organization_code": "first", "organization_name": "First"});
    let call = client.post(format!("{}/api/v1/bootstrap", core.api_url())).json(&body);
    let made = Answer::read(call.send().await.unwrap()).await.expect(201);
    let mut admin = Person {
        client,
        url: core.api_url(),
        key: text(&made, "api_key"),
        id: String::new(),
        organization: None,
    };
    admin.id = text(&admin.get("/api/v1/me").await.expect(200), "user_id");
    admin
}

/// One of each thing, so that there is something to find.
async fn furnish(admin: &Person) {
    let body = json!({"code": "at-once", "name": "at-once", "rules": at_once()});
    admin.post("/api/v1/policies", &body).await.expect(201);
    let body = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"], "tags": {"team": "web"}, "category": "web"});
    let kept = admin.issue(&body).await;
    let revoked = admin.issue(&body).await;
    admin.revoke(&revoked, "superseded").await.expect(201);
    ask(admin, "tls-server").await;
    let selection = json!({"certificate_ids": [kept["id"]]});
    let body = json!({"selection": selection, "reason": "superseded"});
    admin.post("/api/v1/mass-revocations", &body).await.expect(201);
    let body = json!({"code": "lead", "name": "Lead", "permissions": ["audit:read"]});
    admin.post("/api/v1/roles", &body).await.expect(201);
    let group = admin.post("/api/v1/groups", &json!({"display_name": "Web"})).await.expect(201);
    let member = hire(admin, "member", &[APPROVER]).await;
    let members = format!("/api/v1/groups/{}/members", text(&group, "id"));
    assert_eq!(admin.post(&members, &json!({"user_ids": [member.id]})).await.status, 204);
}

/// Runs it with this key: what it printed, unless it found nothing.
async fn fuzz(person: &Person, phases: &str, anchors: &Path, folder: &Path) -> Result<(), String> {
    let me = person.get("/api/v1/me").await.expect(200);
    let own = ["user_id", "api_key_id", "organization_id"].map(|member| text(&me, member)).join(" ");
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/api");
    let program = tests.join("../../../../target/schemathesis/bin/schemathesis");
    assert!(program.exists(), "schemathesis is missing: run `make deps-test`");
    let of = |name: &str, usual: &str| env::var(name).unwrap_or_else(|_| usual.to_owned());
    let mut command = Command::new(program);
    command.arg("--config-file").arg(tests.join("fuzz.toml")).arg("run");
    command.arg(format!("{}/openapi.json", person.url)).args([
        "--no-color",
        "--workers",
        "1",
        "--phases",
        phases,
    ]);
    command.args([
        "--max-examples",
        &of("CLM_FUZZ_EXAMPLES", EXAMPLES),
        "--seed",
        &of("CLM_FUZZ_SEED", SEED),
    ]);
    command.env("CLM_FUZZ_KEY", &person.key).env("CLM_FUZZ_ANCHORS", anchors).env("CLM_FUZZ_OWN", own);
    command.env("PYTHONPATH", &tests).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(folder);
    let output = command.output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{told}");
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{told}{}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_answer_outside_of_the_description() {
    let installation = TestInstallation::start().await;
    let limits: Table = LIMITS.parse().unwrap();
    let core = SecondCore::start(&installation, |config| {
        config.insert("limits".to_owned(), limits.into());
    })
    .await;
    let admin = administrator(&installation, &core).await;
    furnish(&admin).await;
    run(&admin, "coverage,fuzzing,stateful", &installation).await;
    // Made now, for the administrator leaves nobody as they were. What follows from the schema alone is refused to a
    // requester as it is answered to an administrator.
    let requester = hire(&admin, "fuzz", &[REQUESTER]).await;
    run(&requester, "fuzzing,stateful", &installation).await;
}

async fn run(person: &Person, phases: &str, installation: &TestInstallation) {
    let done = fuzz(person, phases, &installation.ca_file(), installation.folder()).await;
    done.unwrap_or_else(|told| panic!("{told}"));
    // Else nothing was tried that needs a key.
    person.get("/api/v1/me").await.expect(200);
}
