//! `clm` as a user runs it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::answer::text;
use crate::house::{Office, house, office};
use crate::openssl::{openssl, request_for};
use crate::person::Person;

const UNKNOWN: &str = "0198f000-0000-7000-8000-000000000000";

/// Somebody at a terminal.
pub(crate) struct Terminal {
    folder: PathBuf,
    name: &'static str,
}

pub(crate) struct Ended {
    code: i32,
    out: String,
    pub(crate) err: String,
}

fn program() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().with_file_name("clm")
}

impl Terminal {
    /// Somebody who has not signed in.
    pub(crate) fn new(office: &Office, name: &'static str) -> Self {
        Self { folder: office.folder.clone(), name }
    }

    /// Signs in as this person; the key is in a file.
    pub(crate) async fn sign_in(office: &Office, person: &Person, name: &'static str) -> Self {
        let own = Self::new(office, name);
        std::fs::write(own.folder.join("key.txt"), format!("{}\n", person.key)).unwrap();
        let ca = house().await.installation.ca_file().display().to_string();
        let mut login = vec!["login", &person.url, "--ca-file", &ca, "--token-file", "key.txt"];
        if let Some(organization) = &person.organization {
            login.extend(["--organization", organization]);
        }
        own.run(&login).done();
        own
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).output().unwrap())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).current_dir(&self.folder).env_clear();
        command.env("CLM_CONFIG_DIR", self.folder.join(self.name)).stdin(Stdio::null());
        command
    }

    /// The JSON that a command prints when it is done.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.run(&[arguments, &["-o", "json"]].concat());
        assert!(ended.code == 0 || ended.code == 6, "{arguments:?}: {}", ended.err);
        serde_json::from_str(&ended.out)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", ended.out))
    }

    /// A command that fails prints nothing but its reason, on standard error.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str], code: i32, reason: &str) {
        let ended = self.run(arguments);
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(reason), "{arguments:?}: {}", ended.err);
        if reason.contains('_') {
            assert!(ended.err.contains("hint: ") && ended.err.contains("request id: "), "{}", ended.err);
        }
    }
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_lives_its_life_at_the_command_line() {
    let office = office().await;
    let alice = Terminal::sign_in(&office, &office.alice, "alice").await;
    let bob = Terminal::sign_in(&office, &office.bob, "bob").await;
    let admin = Terminal::sign_in(&office, &office.admin, "admin").await;
    assert!(alice.run(&["me"]).done().contains("request:create"));
    std::fs::write(office.folder.join("www.csr"), request_for(&office.folder, "www.example.com")).unwrap();

    let create = ["request", "create", "--profile", "tls-server", "--csr", "www.csr", "--tag", "team=web"];
    let waits = alice.run(&[&create[..], &["-o", "json"]].concat());
    assert_eq!(waits.code, 6, "{}", waits.err);
    let request = text(&serde_json::from_str(&waits.out).unwrap(), "id");
    assert!(bob.run(&["approvals"]).done().contains(&request));
    assert!(bob.run(&["approve", &request, "--comment", "as agreed"]).done().contains("completed"));
    let shown = alice.json(&["request", "show", &request]);
    let id = text(&shown, "certificate_id");

    alice.run(&["cert", "download", &id, "--out", "chain.pem"]).done();
    openssl(&office.folder, &["x509", "-in", "chain.pem", "-noout", "-checkhost", "www.example.com"]);
    let der = alice.command(&["cert", "download", &id, "--format", "der"]).output().unwrap().stdout;
    assert_eq!(der.first(), Some(&0x30));
    assert!(alice.run(&["cert", "inspect", "chain.pem"]).done().contains("www.example.com"));
    assert!(alice.run(&["cert", "list", "--san", "www.example.com"]).done().contains(&id));
    let listed =
        alice.json(&["cert", "list", "--tag", "team=web", "--status", "active", "--expires-within", "200d"]);
    assert_eq!(listed["items"][0]["id"], id.as_str());
    let found = alice.json(&["cert", "lookup", "--sha256", &text(&listed["items"][0], "fingerprint_sha256")]);
    assert_eq!(found["id"], id.as_str());

    let update = ["cert", "update", &id, "--tag", "tier=1", "--remove-tag", "team", "--notes", "moved"];
    assert_eq!(admin.json(&update)["tags"], serde_json::json!({"tier": "1"}));
    let renewed = alice.json(&["cert", "renew", &id, "--comment", "again"]);
    assert_eq!(renewed["status"], "pending");
    alice.run(&["request", "cancel", &text(&renewed, "id")]).done();

    let revoked = alice.json(&["revoke", &id, "--reason", "certificateHold"]);
    assert_eq!(revoked["status"], "completed");
    alice.run(&["cert", "release", &id]).done();
    alice.run(&["cert", "revoke", &id, "--reason", "keyCompromise", "--comment", "lost"]).done();
    assert_eq!(alice.json(&["cert", "show", &id])["revocation_reason"], "keyCompromise");
    alice.fails(&["revoke", &id, "--reason", "superseded"], 5, "certificate_already_revoked");
    let audit = admin.json(&["audit", "list", "--operation", &text(&shown, "operation_id")]);
    assert!(audit["items"].as_array().unwrap().len() >= 4, "{audit:#}");
    alice.run(&["notification", "list"]).done();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_list_is_a_table_or_the_json_of_the_api() {
    let office = office().await;
    let admin = Terminal::sign_in(&office, &office.admin, "admin").await;
    let authority = text(&office.authority(crate::house::ISSUING).await, "id");
    for list in [
        ["request", "list"],
        ["cert", "list"],
        ["policy", "list"],
        ["workflow", "list"],
        ["user", "list"],
        ["role", "list"],
        ["role", "assignments"],
        ["org", "list"],
        ["key", "list"],
        ["audit", "list"],
        ["integrity", "findings"],
        ["notification", "list"],
    ] {
        let table = admin.run(&[&list[..], &["--all"]].concat());
        assert_eq!((table.code, table.err.as_str()), (0, ""), "{list:?}");
        let json = admin.json(&[&list[..], &["--limit", "2"]].concat());
        assert!(json["items"].as_array().unwrap().len() <= 2, "{list:?}");
    }
    let all = admin.json(&["policy", "list", "--all", "--limit", "1"]);
    assert_eq!(all["items"].as_array().unwrap().len(), 4);
    assert_eq!(admin.json(&["ca", "list"])["items"].as_array().unwrap().len(), 3);
    assert!(admin.run(&["ca", "show", &authority]).done().contains("Sandbox"));
    assert!(admin.run(&["ca", "download", &authority]).done().contains("BEGIN CERTIFICATE"));
    admin.run(&["crl", "status", &authority]).done();
    for shell in ["bash", "zsh", "fish"] {
        assert!(admin.run(&["completion", shell]).done().contains("clm"));
    }
    assert!(admin.run(&["context", "list"]).done().contains("localhost:"));
    assert!(admin.run(&["--version"]).done().starts_with("clm "));
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_can_tell_failures_apart() {
    let office = office().await;
    let alice = Terminal::sign_in(&office, &office.alice, "alice").await;
    let bob = Terminal::sign_in(&office, &office.bob, "bob").await;
    let create = [
        "request",
        "create",
        "--policy",
        "at-once",
        "--profile",
        "tls-server",
        "--key-algorithm",
        "ecdsa-p256",
    ];
    let create = |more: &[&'static str]| [&create[..], more].concat();
    alice.fails(&create(&["--san", "dns:bücher.example"]), 1, "name_not_ascii");
    alice.fails(&create(&["--san", "a.example", "--days", "5000"]), 1, "validity_too_long");
    alice.fails(&create(&["--san", "a.example", "--owner", UNKNOWN]), 4, "user_not_found");
    bob.fails(&create(&["--san", "a.example"]), 3, "permission_denied");
    alice.fails(&["cert", "show", UNKNOWN], 4, "certificate_not_found");
    alice.fails(&["approve", UNKNOWN], 3, "permission_denied");
    bob.fails(&["approve", UNKNOWN], 4, "request_not_found");
    alice.fails(&["cert", "list", "--cursor", "nonsense"], 1, "invalid_request");
    for usage in [
        vec!["cert"],
        vec!["cert", "show", "7"],
        vec!["cert", "fly"],
        vec!["revoke", UNKNOWN, "--reason", "boredom"],
        vec!["request", "create", "--profile", "tls-server"],
        vec!["cert", "list", "--limit", "0"],
        vec!["login", "https://localhost:1", "--token", "secret"],
    ] {
        let ended = alice.run(&usage);
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{usage:?}: {}", ended.err);
        assert!(!ended.err.is_empty());
    }
    alice.fails(&["request", "create", "--profile", "tls-server", "--csr", "missing.csr"], 1, "missing.csr");
    std::fs::write(office.folder.join("wrong.txt"), "clm_pat_000000000000000000000000000000000000").unwrap();
    alice.fails(&["me", "--token-file", "wrong.txt"], 3, "unauthenticated");
    // The key of one installation is not sent to another.
    alice.fails(&["me", "--url", "https://localhost:1"], 3, "not signed in");
    alice.fails(&["me", "--url", "https://localhost:1", "--token-file", "key.txt"], 7, "cannot reach");
    let nobody = Terminal { folder: office.folder.clone(), name: "nobody" };
    nobody.fails(&["cert", "list"], 3, "login");
    // Without the platform's trust anchor nobody talks to it.
    nobody.fails(&["me", "--url", &office.alice.url, "--token-file", "key.txt"], 7, "cannot reach");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_stay_in_files_of_their_owner_alone() {
    let office = office().await;
    let admin = Terminal::sign_in(&office, &office.admin, "admin").await;
    let key = ["key", "create", "ci", "--scope", "certificate:read", "--secret-file", "ci.key"];
    let ended = admin.run(&key);
    let secret = std::fs::read_to_string(office.folder.join("ci.key")).unwrap();
    assert!(secret.starts_with("clm_pat_") && secret.len() > 40);
    assert!(!ended.out.contains(secret.trim()) && !ended.err.contains(secret.trim()));
    ended.done();
    for entry in walk(&office.folder.join("admin")).into_iter().chain([office.folder.join("ci.key")]) {
        if std::fs::read_to_string(&entry).unwrap().contains("clm_pat_") {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", entry.display());
        }
    }
    let ci = office.folder.join("ci.key").display().to_string();
    admin.run(&["cert", "list", "--token-file", &ci]).done();
    admin.fails(&["user", "list", "--token-file", &ci], 3, "permission_denied");
    let keys = admin.json(&["key", "list"]);
    let made = keys["items"].as_array().unwrap().iter().find(|key| key["name"] == "ci").unwrap();
    admin.run(&["key", "revoke", &text(made, "id")]).done();
    admin.fails(&["cert", "list", "--token-file", &ci], 3, "unauthenticated");
}

fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// A terminal without an installation, and a bootstrap token that nobody would take.
fn newcomer() -> (tempfile::TempDir, Terminal) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "clm_bts_anything").unwrap();
    let terminal = Terminal { folder: folder.path().to_owned(), name: "contexts" };
    (folder, terminal)
}

#[test]
fn a_bootstrap_token_is_not_spent_unless_its_key_can_be_kept() {
    let (_folder, newcomer) = newcomer();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let login = ["login", &url, "--bootstrap-token-file", "token"];
    let named = |name| [&login[..], &["--name", name]].concat();
    let contexts = newcomer.folder.join("contexts");

    std::fs::write(&contexts, "a file where a folder must be").unwrap();
    newcomer.fails(&login, 1, "contexts");
    std::fs::remove_file(&contexts).unwrap();
    newcomer.fails(&named("../elsewhere"), 2, "--name");
    std::fs::create_dir_all(contexts.join("taken.token")).unwrap();
    newcomer.fails(&named("taken"), 1, "taken.token");
    std::fs::create_dir(contexts.join("contexts.toml")).unwrap();
    newcomer.fails(&login, 1, "contexts.toml");
    std::fs::remove_dir(contexts.join("contexts.toml")).unwrap();
    let name = server.local_addr().unwrap().to_string();
    let other = format!("[contexts.'{name}']\nurl = 'https://other.example'\ntoken_file = '/key'\n");
    std::fs::write(contexts.join("contexts.toml"), other).unwrap();
    newcomer.fails(&login, 2, "https://other.example");
    assert_eq!(server.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_bootstrap_whose_answer_is_lost_is_not_sent_again() {
    let (_folder, newcomer) = newcomer();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut connection, _) = server.accept().unwrap();
        let read = connection.read(&mut [0; 4096]).unwrap();
        drop(connection);
        server.set_nonblocking(true).unwrap();
        (read, server)
    });
    newcomer.fails(&["login", &url, "--bootstrap-token-file", "token"], 7, "clm-core administrator-key");
    let (read, server) = served.join().unwrap();
    assert!(read > 0);
    assert_eq!(server.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lets_an_administrator_in_again() {
    let office = office().await;
    let installation = &house().await.installation;
    // The command runs as the service's user, who may write here.
    let file = installation.core.folder().join("recovered.key").display().to_string();
    let recover =
        |user: &str| installation.core.run(&["administrator-key", "--user", user, "--output", &file]);
    let refused = recover("alice-0").unwrap_err().to_string();
    assert!(refused.contains("user_not_found") && refused.contains("admin"), "{refused}");
    recover("admin").unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let admin = Terminal::sign_in(&office, &Person { key, ..office.admin.clone() }, "recovered").await;
    assert!(admin.run(&["me"]).done().contains("organization:write"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_changed_over_the_api_can_be_changed_here() {
    let office = office().await;
    let admin = Terminal::sign_in(&office, &office.admin, "admin").await;
    let user = admin.json(&["user", "update", &office.alice.id, "--display-name", "Alice A."]);
    assert_eq!(user["display_name"], "Alice A.");
    assert_eq!(user["email"], admin.json(&["user", "show", &office.alice.id])["email"]);

    std::fs::write(office.folder.join("settings.json"), r#"{"api_keys": {"longest_days": 30}}"#).unwrap();
    let update = ["org", "update", &office.organization];
    let named = admin.json(&[&update[..], &["--name", "New name"]].concat());
    assert_eq!((&named["name"], &named["settings"]), (&"New name".into(), &serde_json::json!({})));
    let set = admin.json(&[&update[..], &["--settings", "settings.json"]].concat());
    assert_eq!(
        (&set["name"], &set["settings"]["api_keys"]["longest_days"]),
        (&"New name".into(), &30.into())
    );

    let permissions = ["--permission", "certificate:read", "--permission", "request:read"];
    admin.json(&[&["role", "create", "reader", "--name", "Reader"], &permissions[..]].concat());
    let renamed = admin.json(&["role", "update", "reader", "--name", "Looks"]);
    assert_eq!((&renamed["name"], renamed["permissions"].as_array().unwrap().len()), (&"Looks".into(), 2));
    let less = admin.json(&["role", "update", "reader", "--permission", "request:read"]);
    assert_eq!(
        (&less["name"], &less["permissions"]),
        (&"Looks".into(), &serde_json::json!(["request:read"]))
    );

    let body = serde_json::json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:clear.example.com"], "tags": {"team": "web"}, "environment": "test"});
    let id = text(&office.alice.issue(&body).await, "id");
    let cleared =
        admin.json(&["cert", "update", &id, "--clear", "environment", "--clear", "tags", "--notes", "x"]);
    assert_eq!((&cleared["environment"], &cleared["tags"]), (&Value::Null, &serde_json::json!({})));
    assert_eq!(cleared["notes"], "x");
    admin.fails(&["cert", "update", &id, "--clear", "notes", "--notes", "y"], 2, "at once");
    assert!(
        admin
            .run(&["cert", "list", "--all-organizations", "--san", "clear.example.com"])
            .done()
            .contains(&id)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_is_waited_for() {
    let office = office().await;
    let admin = Terminal::sign_in(&office, &office.admin, "admin").await;
    // Another test may have one under way.
    let run = loop {
        let ended = admin.run(&["integrity", "run", "-o", "json"]);
        if ended.code != 5 {
            break serde_json::from_str::<Value>(&ended.out).unwrap();
        }
    };
    assert_eq!(run["status"], "completed", "{run:#}");
    let shown = admin.run(&["integrity", "show", &text(&run, "id"), "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&shown.out).unwrap(), run);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_a_context_is_not_used_at_another_address() {
    let office = office().await;
    let admin = Terminal::sign_in(&office, &office.admin, "admin").await;
    let other = office.admin.url.replace("localhost", "127.0.0.1");
    assert_ne!(other, office.admin.url);
    let ca = house().await.installation.ca_file().display().to_string();
    let elsewhere = ["me", "--url", &other, "--token-file", "key.txt"];
    admin.run(&[&elsewhere[..], &["--ca-file", &ca]].concat()).done();
    admin.fails(&elsewhere, 7, "cannot reach");

    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        let (mut connection, _) = server.accept().unwrap();
        let mut request = vec![0; 4096];
        let length = connection.read(&mut request).unwrap();
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        String::from_utf8_lossy(&request[..length]).to_ascii_lowercase()
    });
    admin.run(&["me", "--url", &url, "--token-file", "key.txt"]);
    let request = heard.join().unwrap();
    assert!(request.starts_with("get /api/v1/me") && !request.contains("clm-organization"), "{request}");
}

#[test]
fn every_command_explains_itself() {
    let mut commands = vec![Vec::<String>::new()];
    let mut count = 0;
    while let Some(command) = commands.pop() {
        let output = Command::new(program()).args(&command).arg("--help").env_clear().output().unwrap();
        let ended = Ended::of(output);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{command:?}");
        assert!(ended.out.contains("Usage: clm"), "{command:?}");
        count += 1;
        let subcommands = ended.out.split("Commands:\n").nth(1).unwrap_or_default();
        for line in subcommands.lines().take_while(|line| line.starts_with("  ")) {
            let Some(name) = line.split_whitespace().next().filter(|_| !line.starts_with("   ")) else {
                continue;
            };
            if name != "help" {
                commands.push(command.iter().cloned().chain([name.to_owned()]).collect());
            }
        }
    }
    assert!(count > 60, "{count} commands");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_seen_enough_may_hang_up() {
    let office = office().await;
    let admin = Terminal::sign_in(&office, &office.admin, "admin").await;
    let mut child = admin
        .command(&["audit", "list", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(!err.contains("panicked"), "{err}");
}
