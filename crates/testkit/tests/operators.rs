//! What operators of Secure do at its command line, with the service running beside them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clm_local::Service;
use clm_testkit::{SoftHsm, TestInstallation};

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a program and gives what it printed; panics when it fails.
fn run(program: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

/// `clm-secure`, with the environment of the test: SoftHSM finds its tokens by it.
fn secure(service: &Service, arguments: &[&str]) -> Result<String, String> {
    let program = std::env::current_exe().unwrap().parent().unwrap().with_file_name("clm-secure");
    let output =
        Command::new(program).args(arguments).arg("--config").arg(service.config_file()).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap() + &err) } else { Err(err) }
}

fn edit(service: &Service, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(service.config_file()).unwrap();
    std::fs::write(service.config_file(), change(text)).unwrap();
}

async fn readiness(service: &Service) -> String {
    match reqwest::get(format!("{}/readyz", service.admin_url())).await {
        Ok(answer) => answer.text().await.unwrap(),
        Err(error) => error.to_string(),
    }
}

async fn until(service: &Service, wanted: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let told = readiness(service).await;
        if told.contains(wanted) {
            return;
        }
        assert!(Instant::now() < end, "no `{wanted}`: {told}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The files of a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_moves_to_a_quorum_that_starts_the_service() {
    clm_service::install_provider();
    let installation = TestInstallation::start().await;
    let service = &installation.secure;
    let as_service = |arguments: &[&str]| service.run(arguments).map_err(|error| error.to_string());
    // Where the service's account may read and write.
    let folder = service.folder().join("secrets");
    let laid_down = folder.clone();
    let next = format!(
        "\n[next_master_key]\nprovider = \"sealed-file\"\nfile = {:?}\nshares_directory = {laid_down:?}\n",
        folder.join("shared.key")
    );
    edit(service, |text| text + &next);
    let given = folder.join("given");
    let init = ["master", "init", "--next", "--shares", "5", "--threshold", "3", "--output"];
    as_service(&[&init[..], &[given.to_str().unwrap()]].concat()).unwrap();
    let shares = files(&given);
    assert_eq!(shares.len(), 5);
    for share in &shares[..3] {
        as_service(&["master", "unlock", share.to_str().unwrap()]).unwrap();
    }
    // The service may make a key meanwhile: then it is called again, as it says.
    let told = as_service(&["master", "rotate"]).or_else(|_| as_service(&["master", "rotate"])).unwrap();
    assert!(told.contains("\"rows_left\":0"), "{told}");
    assert!(as_service(&["master", "show"]).unwrap().contains("next     sealed-file:"));
    service.stop().unwrap();
    edit(service, |text| {
        let (before, next) = text.split_once("\n[next_master_key]").unwrap();
        let (start, rest) = before.split_once("[master_key]").unwrap();
        let after = rest.find("\n[").map_or("", |place| &rest[place..]);
        format!("{start}{after}\n[master_key]{next}")
    });

    as_service(&["master", "lock"]).unwrap();
    let locked = as_service(&["keys", "list"]).unwrap_err();
    assert!(locked.contains("0 of the 3 shares"), "{locked}");
    // The locked service is alive and says what it waits for.
    service.start().unwrap();
    until(service, "waiting for shares").await;
    let foreign = folder.join("foreign.share");
    let text = std::fs::read_to_string(&shares[3]).unwrap();
    std::fs::write(&foreign, text.replace("\"number\": 4", "\"number\": 5")).unwrap();
    let refused = as_service(&["master", "unlock", foreign.to_str().unwrap()]).unwrap_err();
    std::fs::remove_file(&foreign).unwrap();
    assert!(refused.contains("share 5 does not belong"), "{refused}");
    for share in &shares[2..] {
        as_service(&["master", "unlock", share.to_str().unwrap()]).unwrap();
    }
    until(service, "\"ready\":true").await;
    let list = as_service(&["keys", "list"]).unwrap();
    assert!(list.contains("authority_keys/installation/1"), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_rotated_and_vouched_for() {
    let installation = TestInstallation::start().await;
    let service = &installation.secure;
    let folder = tempfile::tempdir().unwrap();
    let name = "authority_keys/installation/1";
    // Of both authorities, and of the responders that the service makes for them.
    let end = Instant::now() + PATIENCE;
    let shown = loop {
        let shown = secure(service, &["keys", "show", name]).unwrap();
        if shown.contains("private keys   4") {
            break shown;
        }
        assert!(Instant::now() < end, "{shown}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(shown.contains("CLM Sandbox Issuing CA"), "{shown}");
    let dry = secure(service, &["keys", "rotate", name, "--dry-run"]).unwrap();
    assert!(dry.contains("4 keys would move"), "{dry}");
    let unknown = secure(service, &["keys", "rotate", "nothing/1"]).unwrap_err();
    assert!(unknown.contains("keys list"), "{unknown}");

    let receipts = folder.path().to_str().unwrap();
    secure(service, &["keys", "rotate", name, "--receipts", receipts]).unwrap();
    let keys = secure(service, &["audit", "keys"]).unwrap();
    let pem = keys.split_once('\n').unwrap().1;
    std::fs::write(folder.path().join("audit.pem"), pem).unwrap();
    let receipt = "authority_keys-installation-1.json";
    let signature = format!("{receipt}.sig");
    run(
        "openssl",
        &["dgst", "-sha256", "-verify", "audit.pem", "-signature", &signature, receipt],
        folder.path(),
    );
    let history = secure(service, &["keys", "history"]).unwrap();
    assert!(history.contains("succeeded") && history.contains("4 of 4 moved"), "{history}");
    let states = secure(service, &["audit", "checkpoints"]).unwrap();
    let kept = folder.path().join("states.ndjson");
    std::fs::write(&kept, states).unwrap();
    let verified = secure(service, &["audit", "verify", "--against", kept.to_str().unwrap()]).unwrap();
    assert!(verified.contains("the audit chain holds"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceremony_makes_authorities_in_the_token_when_enough_operators_signed() {
    let installation = TestInstallation::start().await;
    let service = &installation.secure;
    let softhsm = SoftHsm::start("ceremony");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("pin"), softhsm.pin()).unwrap();
    run("chmod", &["600", "pin"], folder.path());
    let mut sections = format!(
        "\n[hsm]\nmodule = {:?}\ntoken_label = {:?}\npin_file = {:?}\n[ceremony]\nthreshold = 2\n[ceremony.operators]\n",
        softhsm.module(),
        softhsm.label(),
        path("pin")
    );
    for operator in ["ada", "bea", "cem"] {
        let key = format!("{operator}.key");
        run(
            "openssl",
            &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key],
            folder.path(),
        );
        run("openssl", &["pkey", "-in", &key, "-pubout", "-out", &format!("{operator}.pem")], folder.path());
        sections += &format!("{operator} = {:?}\n", path(&format!("{operator}.pem")));
    }
    edit(service, |text| text + &sections);
    let sample = include_str!("../../../deploy/ceremony.toml");
    std::fs::write(path("plan.toml"), sample.replace("key_store = \"software\"", "key_store = \"token\""))
        .unwrap();

    let create = ["authority", "create", "--name", "Alone", "--subject", "CN=Alone", "--profile", "root-ca"];
    let alone = secure(service, &[&create[..], &["--validity-days", "9", "--base-url", "http://x"]].concat());
    assert!(alone.unwrap_err().contains("asks for a quorum"));
    let checked =
        secure(service, &["ceremony", "check", &path("plan.toml"), "--plan", &path("plan.json")]).unwrap();
    assert!(checked.contains("would make `Example Root`"), "{checked}");
    for operator in ["ada", "cem"] {
        let (key, signature) = (format!("{operator}.key"), format!("{operator}.sig"));
        run("openssl", &["dgst", "-sha256", "-sign", &key, "-out", &signature, "plan.json"], folder.path());
    }
    let (plan, transcript) = (path("plan.toml"), path("transcript"));
    let (ada, cem) = (format!("ada={}", path("ada.sig")), format!("cem={}", path("cem.sig")));
    let few = secure(service, &["ceremony", "hold", &plan, "--signature", &ada]).unwrap_err();
    assert!(few.contains("1 of the 2 operators"), "{few}");
    let hold =
        ["ceremony", "hold", &plan, "--signature", &ada, "--signature", &cem, "--transcript", &transcript];
    secure(service, &hold).unwrap();
    assert_eq!(files(Path::new(&transcript)).len(), 2);
    let list = secure(service, &["authority", "list"]).unwrap();
    assert!(list.contains("Example Root") && list.contains("Example Issuing"), "{list}");
    let root = secure(service, &["authority", "certificates", "--name", "Example Root"]).unwrap();
    std::fs::write(path("root.pem"), root).unwrap();
    run("openssl", &["verify", "-x509_strict", "-CAfile", "root.pem", "root.pem"], folder.path());
}
