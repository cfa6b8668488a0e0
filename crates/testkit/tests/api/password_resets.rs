//! New passwords by e-mail: from the command line, over HTTP, by a mail server that is down and comes back.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clm_testkit::{Script, TestInstallation};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::answer::{Answer, text};
use crate::house::office;
use crate::openssl::openssl;
use crate::sign_in::{PASSWORD, anonymous};

const RESETS: &str = "/api/v1/password-resets";
const OTHER: &str = "  seven green umbrellas ";

struct Site {
    installation: TestInstallation,
    client: Client,
    url: String,
    key: String,
    certificate: PathBuf,
    certificate_key: PathBuf,
    port: u16,
}

impl Site {
    /// An installation whose mail server does not run yet.
    async fn open() -> Self {
        let installation = TestInstallation::start().await;
        let (client, url) = (installation.client(), installation.api_url());
        let body = json!({"token": installation.bootstrap_token(), "username": "admin", "email": "admin@example.com",
            "organization_code": "corp", "organization_name": "Corp"});
        let call = client.post(format!("{url}/api/v1/bootstrap")).json(&body);
        let made = Answer::read(call.send().await.unwrap()).await.expect(201);
        let folder = installation.core.folder().join("tls");
        let (certificate, certificate_key) = (folder.join("mail.pem"), folder.join("mail.key"));
        let subject = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=mail"];
        let names =
            ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"];
        let files = ["-out", certificate.to_str().unwrap(), "-keyout", certificate_key.to_str().unwrap()];
        openssl(&folder, &[&subject[..], &names, &files].concat());
        let password = folder.join("mail-password");
        std::fs::write(&password, "a password of the mail server\n").unwrap();
        std::fs::set_permissions(&password, Permissions::from_mode(0o600)).unwrap();
        let user = installation.core.os_user();
        std::os::unix::fs::chown(&password, Some(user.uid), Some(user.gid)).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = std::fs::read_to_string(installation.core.config_file()).unwrap();
        let table = format!(
            "\n[mail]\nhost = \"localhost\"\nport = {port}\ntls = \"required\"\nca_file = {certificate:?}\n\
             username = \"clm\"\npassword_file = {password:?}\nfrom = \"CLM <clm@example.com>\"\ntimeout_seconds = 20\n"
        );
        std::fs::write(installation.core.config_file(), config + &table).unwrap();
        let site = Self {
            client,
            url,
            key: text(&made, "api_key"),
            certificate,
            certificate_key,
            port,
            installation,
        };
        site.restart();
        site
    }

    fn restart(&self) {
        self.installation.core.stop().unwrap();
        self.installation.core.start().unwrap();
        self.installation.core.wait_ready().unwrap();
    }

    async fn start_mail_server(&self) -> Script {
        Script::mailbox("tls", &self.certificate, &self.certificate_key, self.port).await.0
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let call = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.key).json(body);
        Answer::read(call.send().await.unwrap()).await
    }

    async fn anonymous(&self, path: &str, body: &Value) -> Answer {
        let call = self.client.post(format!("{}{path}", self.url)).json(body);
        Answer::read(call.send().await.unwrap()).await
    }

    /// Runs `clm`, which must succeed.
    async fn clm(&self, arguments: &[&str]) {
        let program = std::env::current_exe().unwrap().parent().unwrap().with_file_name("clm");
        let ca = self.installation.ca_file();
        let output = Command::new(program).args(arguments).arg("--ca-file").arg(ca).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn count(&self, condition: &str) -> u64 {
        let sql = format!("SELECT count(*) FROM clm.email_messages WHERE {condition}");
        let output = self.installation.databases.core.psql("clm_core_db", &sql).unwrap();
        output.trim().parse().unwrap_or_else(|_| panic!("{output}"))
    }

    fn wait_for(&self, condition: &str, number: u64) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.count(condition) < number {
            assert!(Instant::now() < end, "no message becomes: {condition}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The messages that came, without soft line ends (quoted-printable).
async fn taken(mailbox: &mut Script) -> Vec<String> {
    let answer = mailbox.call(&json!({"mails": true})).await;
    answer["mails"].as_array().unwrap().iter().map(|mail| text(mail, "text").replace("=\r\n", "")).collect()
}

fn token(mail: &str) -> Option<&str> {
    mail.lines().map(str::trim).find(|line| line.starts_with("clm_otl_"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_replaced_though_mail_server_and_service_go_down() {
    let site = Site::open().await;
    let body = json!({"username": "ann", "email": "ann@example.com", "invited": true});
    let ann = text(&site.post("/api/v1/users", &body).await.expect(201), "id");
    let sent = site.post(&format!("/api/v1/users/{ann}/links"), &json!({"send": true})).await.expect(201);
    assert_eq!((&sent["purpose"], &sent["token"]), (&json!("invitation"), &Value::Null));
    // Nothing listens there; the service ends and comes back; then the mail server does.
    site.wait_for("attempts > 0 AND status = 'waiting'", 1);
    site.restart();
    let mut mailbox = site.start_mail_server().await;
    site.wait_for("status = 'sent'", 1);
    let mails = taken(&mut mailbox).await;
    assert_eq!(mails.len(), 1);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let link = file("link", token(&mails[0]).unwrap());
    let first = file("first", &format!("{PASSWORD}\n"));
    site.clm(&["password", "set", &site.url, "--link-file", &link, "--new-password-file", &first]).await;
    site.clm(&["password", "forgot", &site.url, "--email", "ann@example.com"]).await;
    site.wait_for("kind = 'password.reset' AND status = 'sent'", 1);
    let mails = taken(&mut mailbox).await;
    assert!(mails.iter().all(|mail| mail.contains(&site.url)), "{mails:?}");
    let link = file("reset", token(mails.iter().rfind(|mail| mail.contains("asked for")).unwrap()).unwrap());
    let second = file("second", &format!("{OTHER}\n"));
    site.clm(&["password", "set", &site.url, "--link-file", &link, "--new-password-file", &second]).await;
    // Blanks at its ends are part of it.
    let sign_in = async |password: &str| {
        site.anonymous("/api/v1/sessions", &json!({"username": "ann", "password": password})).await
    };
    sign_in(PASSWORD).await.refused(401, "sign_in_failed");
    sign_in(OTHER.trim()).await.refused(401, "sign_in_failed");
    sign_in(OTHER).await.expect(201);
    site.wait_for("kind = 'password.change' AND status = 'sent'", 2);
    let log = std::fs::read_to_string(site.installation.core.log_file()).unwrap();
    let mails = taken(&mut mailbox).await.concat();
    for secret in [PASSWORD, OTHER.trim(), "clm_otl_", "a password of the mail server"] {
        assert!(!log.contains(secret), "{secret}");
        assert!(secret == "clm_otl_" || !mails.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_gets_the_same_answer_and_few_of_them() {
    let site = Site::open().await;
    let mut answers = Vec::new();
    for body in
        [json!({"username": "admin"}), json!({"username": "nobody"}), json!({"email": "nobody@example.com"})]
    {
        let answer = site.anonymous(RESETS, &body).await;
        answers.push((answer.status, answer.text()));
    }
    assert_eq!(answers, vec![(202, String::new()); 3]);
    // Many at once.
    for name in ["admin", "nobody"] {
        let body = json!({"username": name});
        let burst = futures::future::join_all((0..12).map(|_| site.anonymous(RESETS, &body))).await;
        assert!(burst.iter().all(|answer| (answer.status, answer.text()) == (202, String::new())), "{name}");
    }
    for body in [json!({}), json!({"username": "a", "email": "b"}), json!({"user": "a"})] {
        site.anonymous(RESETS, &body).await.refused(400, "invalid_request");
    }
    // As many names as wrong passwords may be tried from one address.
    let mut asked = 0;
    while site.anonymous(RESETS, &json!({"username": format!("name-{asked}")})).await.status != 429 {
        asked += 1;
        assert!(asked < 80, "no end");
    }
    site.anonymous(RESETS, &json!({"username": "admin"})).await.refused(429, "rate_limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_e_mail_is_sent_the_answer_says_so_to_everybody() {
    let office = office().await;
    for name in ["admin", "nobody"] {
        anonymous(&office, RESETS, &json!({"username": name})).await.refused(409, "mail_not_configured");
    }
    let path = format!("/api/v1/users/{}/links", office.alice.id);
    office.admin.post(&path, &json!({"send": true})).await.refused(409, "mail_not_configured");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_handing_over_and_noting_it_loses_nothing_and_the_copy_is_known_as_one() {
    let site = Site::open().await;
    let mut mailbox = site.start_mail_server().await;
    mailbox.call(&json!({"fail": {"at": "answer"}})).await;
    let body = json!({"username": "ann", "email": "ann@example.com", "invited": true});
    let ann = text(&site.post("/api/v1/users", &body).await.expect(201), "id");
    site.post(&format!("/api/v1/users/{ann}/links"), &json!({"send": true})).await.expect(201);
    let deadline = Instant::now() + Duration::from_secs(60);
    while taken(&mut mailbox).await.is_empty() {
        assert!(Instant::now() < deadline, "nothing is handed over");
    }
    site.installation.core.kill().unwrap();
    mailbox.call(&json!({"fail": null})).await;
    site.installation.core.start().unwrap();
    site.installation.core.wait_ready().unwrap();
    assert_eq!(site.count("status = 'sending' AND content IS NOT NULL"), 1);
    // Nobody waits for the lease here.
    let sql = "UPDATE clm.email_messages SET locked_until = now()";
    site.installation.databases.core.psql("clm_core_db", sql).unwrap();
    site.wait_for("status = 'sent' AND attempts = 2", 1);
    let mails = taken(&mut mailbox).await;
    assert_eq!(mails.len(), 2);
    let id = |mail: &String| mail.lines().find(|line| line.starts_with("Message-ID: ")).unwrap().to_owned();
    assert_eq!(id(&mails[0]), id(&mails[1]));
}
