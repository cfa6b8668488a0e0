//! Signing in by an OpenID provider: a real one, with a real browser that goes there and back.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clm_testkit::{Script, TestInstallation};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::answer::{Answer, text};
use crate::house::REQUESTER;
use crate::openssl::openssl;
use crate::person::Person;

/// SHA-256 of "verifier", base64url.
const CHALLENGE: &str = "iMnq5o6zALKXGivsnlom_0F5_WYda32GHkxlV7mq7hQ";
const VERIFIER: &str = "verifier";
const SECRET: &str = "the-client's-secret-of-40-characters-and+";

/// An installation that trusts a provider, and its first administrator.
struct Site {
    installation: TestInstallation,
    admin: Person,
    browser: Script,
    _provider: Script,
}

impl Site {
    /// `more` stands in the provider's table of the configuration.
    async fn open(more: &str) -> Self {
        let installation = TestInstallation::start().await;
        let client = installation.client();
        let url = installation.api_url();
        let body = json!({"token": installation.bootstrap_token(), "username": "admin", "email": "admin@example.com",
            "organization_code": "corp", "organization_name": "Corp"});
        let call = client.post(format!("{url}/api/v1/bootstrap")).json(&body);
        let made = Answer::read(call.send().await.unwrap()).await.expect(201);
        let admin = Person {
            client,
            url: url.clone(),
            key: text(&made, "api_key"),
            id: text(&made, "user_id"),
            organization: None,
        };
        let folder = installation.core.folder().join("tls");
        let (certificate, key) = certificate(&folder);
        let (mut provider, issuer) = Script::provider(&certificate, &key, &installation.ca_file()).await;
        let registered = json!({"client": {
            "client_id": "clm", "client_secret": SECRET,
            "redirect_uris": [format!("{url}/api/v1/identity-providers/corp/callback")],
            "backchannel_logout_uri": format!("{url}/api/v1/identity-providers/corp/logout"),
            "backchannel_logout_session_required": true}});
        provider.call(&registered).await;
        let secret = folder.join("client-secret");
        std::fs::write(&secret, SECRET).unwrap();
        std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        let user = installation.core.os_user();
        std::os::unix::fs::chown(&secret, Some(user.uid), Some(user.gid)).unwrap();
        let text = std::fs::read_to_string(installation.core.config_file()).unwrap();
        let table = format!(
            "\n[[identity_providers]]\nname = \"corp\"\nissuer = \"{issuer}\"\nca_file = {certificate:?}\n\
             client_id = \"clm\"\nclient_secret_file = {secret:?}\norganization = \"corp\"\n{more}\n"
        );
        std::fs::write(installation.core.config_file(), text + &table).unwrap();
        installation.core.stop().unwrap();
        installation.core.start().unwrap();
        installation.core.wait_ready().unwrap();
        let browser = Script::browser(&format!("{url}/openapi.json"));
        Self { installation, admin, browser, _provider: provider }
    }

    async fn anonymous(&self, path: &str, body: &Value) -> Answer {
        let call = Client::post(&self.admin.client, format!("{}{path}", self.admin.url)).json(body);
        Answer::read(call.send().await.unwrap()).await
    }

    /// The browser goes to the provider as `who`: with what it comes back to 127.0.0.1.
    async fn visit(&mut self, url: &str, who: &str) -> Value {
        let ended = self.browser.call(&json!({"visit": format!("{url}&login_hint={who}")})).await;
        let last = url::Url::parse(ended["last"].as_str().unwrap()).unwrap();
        assert_eq!((last.host_str(), last.port()), (Some("127.0.0.1"), Some(9)), "{ended:#}");
        let member =
            |name: &str| last.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        json!({"code": member("code"), "state": member("state"), "code_verifier": VERIFIER})
    }

    /// Somebody comes by the provider.
    async fn come(&mut self, who: &str) -> Answer {
        // Whoever was there before is asked anew.
        let start = json!({"provider": "corp", "code_challenge": CHALLENGE, "port": 9, "fresh": true});
        let url = text(&self.anonymous("/api/v1/sessions/oidc/start", &start).await.expect(200), "url");
        let back = self.visit(&url, who).await;
        self.anonymous("/api/v1/sessions/oidc", &back).await
    }

    async fn hire(&self, name: &str) -> String {
        let body = json!({"username": name, "email": format!("{name}@example.com")});
        let id = text(&self.admin.post("/api/v1/users", &body).await.expect(201), "id");
        let body = json!({"user_id": id, "role_id": REQUESTER});
        self.admin.post("/api/v1/role-assignments", &body).await.expect(201);
        id
    }

    fn as_session(&self, opened: &Value) -> Person {
        Person { key: text(opened, "token"), ..self.admin.clone() }
    }
}

/// A certificate for localhost that trusts itself, where the service may read it.
pub(crate) fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("provider.pem"), folder.join("provider.key"));
    let subject = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=provider"];
    let names = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"];
    let files = ["-out", certificate.to_str().unwrap(), "-keyout", key.to_str().unwrap()];
    openssl(folder, &[&subject[..], &names, &files].concat());
    (certificate, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_the_provider_vouches_for_signs_in_until_it_says_otherwise() {
    let mut site = Site::open("newcomers = \"matched-by-email\"\nfactor_methods = [\"otp\"]").await;
    let listed = site.admin.list("/api/v1/identity-providers").await;
    assert_eq!(listed, [json!({"name": "corp"})]);
    let ann = site.hire("ann").await;
    site.come("nobody").await.refused(403, "identity_unknown");
    site.come("unverified").await.refused(403, "identity_unknown");
    let opened = site.come("ann").await.expect(201);
    assert_eq!(opened["missing_factor"], Value::Null);
    let person = site.as_session(&opened);
    let me = person.get("/api/v1/me").await.expect(200);
    assert_eq!((&me["user_id"], &me["factor_at"]), (&json!(ann), &Value::Null));
    assert_eq!(person.list("/api/v1/sessions").await[0]["sign_in_method"], "oidc");
    person.get("/api/v1/requests").await.expect(200);
    // A role that is everybody's, or everywhere, is more than an address can reach.
    site.come("admin").await.refused(403, "identity_unknown");

    // The provider ends its session, and so ours.
    let provider = site.provider_page("/session/end");
    site.browser.call(&json!({"visit": provider})).await;
    site.browser.call(&json!({"press": "button"})).await;
    person.get("/api/v1/me").await.refused(401, "unauthenticated");
    site.admin.get("/api/v1/me").await.expect(200);

    // The provider has checked a second factor.
    let opened = site.come("ann,pwd,otp").await.expect(201);
    let person = site.as_session(&opened);
    assert!(person.get("/api/v1/me").await.expect(200)["factor_at"].is_string());
    let identities = person.list("/api/v1/me/identities").await;
    assert_eq!((identities.len(), &identities[0]["subject"]), (1, &json!("ann")));
    let path = format!("/api/v1/me/identities/{}", text(&identities[0], "id"));
    assert_eq!(person.send(person.call(Method::DELETE, &path)).await.status, 204);
    person.get("/api/v1/me").await.refused(401, "unauthenticated");

    // Not again by the provider's word alone, nor whoever is disabled, nor who has come to reach beyond its organization.
    site.come("ann").await.refused(403, "identity_unknown");
    let bob = site.hire("bob").await;
    site.come("bob").await.expect(201);
    let user = site.admin.get(&format!("/api/v1/users/{bob}")).await.expect(200);
    let path = format!("/api/v1/users/{bob}/disable");
    site.admin.change(Method::POST, &path, &user["version"], &json!({})).await.expect(200);
    site.come("bob").await.refused(403, "identity_unknown");
    let cleo = site.hire("cleo").await;
    let opened = site.come("cleo").await.expect(201);
    let person = site.as_session(&opened);
    let body = json!({"user_id": cleo, "role_id": REQUESTER, "everywhere": true});
    site.admin.post("/api/v1/role-assignments", &body).await.expect(201);
    site.come("cleo").await.refused(403, "identity_unknown");
    person.get("/api/v1/me").await.expect(200);

    // What signing in by a provider changes is on record, as api/audit_routes.rs asks of the rest.
    let actions =
        "SELECT DISTINCT action FROM clm.audit_log WHERE outcome = 'allowed' AND request_id IS NOT NULL
                       AND object_id IS NOT NULL";
    let actions = site.installation.databases.core.psql("clm_core_db", actions).unwrap();
    for action in ["identity.link", "session.open", "session.revoke", "identity.unlink"] {
        assert!(actions.lines().any(|one| one == action), "{action}: {actions}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_join_and_leave_the_groups_that_the_operator_has_named() {
    let more =
        "newcomers = \"matched-by-email\"\nscopes = [\"email\", \"groups\"]\ngroups = [\"requesters\"]";
    let mut site = Site::open(more).await;
    let group = async |name: &str| {
        let made = site.admin.post("/api/v1/groups", &json!({"display_name": name})).await.expect(201);
        let id = text(&made, "id");
        let path = format!("/api/v1/groups/{id}/roles");
        let given = site.admin.post(&path, &json!({"role_id": REQUESTER})).await;
        assert!(given.status < 300, "{}", given.text());
        id
    };
    // The provider names both; the operator has named one.
    let governed = group("Requesters").await;
    group("Elsewhere").await;
    let mut people = Vec::new();
    for name in ["dora", "guest"] {
        let body = json!({"username": name, "email": format!("{name}@example.com")});
        people.push(text(&site.admin.post("/api/v1/users", &body).await.expect(201), "id"));
    }
    let path = format!("/api/v1/groups/{governed}/members");
    let added = site.admin.post(&path, &json!({"user_ids": [people[1]]})).await;
    assert!(added.status < 300, "{}", added.text());
    let opened = site.come("dora").await.expect(201);
    let dora = site.as_session(&opened);
    dora.get("/api/v1/requests").await.expect(200);
    let opened = site.come("guest").await.expect(201);
    let guest = site.as_session(&opened);
    guest.get("/api/v1/requests").await.refused(403, "permission_denied");
    let members = site.admin.list(&format!("/api/v1/groups/{governed}/members")).await;
    let ids: Vec<&Value> = members.iter().map(|member| &member["user_id"]).collect();
    assert_eq!(ids, [&json!(people[0])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_can_use_what_a_browser_brings_back() {
    let mut site = Site::open("newcomers = \"created\"").await;
    // Whoever comes for the first time does not learn why nobody is let in.
    site.subscribe("expired");
    let told = site.come("zoe").await.refused(403, "identity_unknown");
    assert!(!told.to_string().contains("subscription"), "{told:#}");
    site.subscribe("active");
    let start = json!({"provider": "corp", "code_challenge": CHALLENGE, "port": 9});
    let url = text(&site.anonymous("/api/v1/sessions/oidc/start", &start).await.expect(200), "url");
    let back = site.visit(&url, "zoe").await;
    let with = |member: &str, value: &str| {
        let mut changed = back.clone();
        changed[member] = json!(value);
        changed
    };
    let path = "/api/v1/sessions/oidc";
    site.anonymous(path, &with("code_verifier", "another")).await.refused(400, "invalid_request");
    site.anonymous(path, &with("state", "e30.e30")).await.refused(400, "invalid_request");
    site.anonymous(path, &with("code", "another")).await.refused(401, "sign_in_failed");
    let opened = site.anonymous(path, &back).await.expect(201);
    site.anonymous(path, &back).await.refused(401, "sign_in_failed");
    // Made for the organization of the provider, without a role.
    let person = site.as_session(&opened);
    let me = person.get("/api/v1/me").await.expect(200);
    assert_eq!((&me["username"], &me["permissions"]), (&json!("zoe"), &json!([])));

    for (member, wrong) in
        [("provider", json!("other")), ("port", json!(0)), ("code_challenge", json!("short"))]
    {
        let mut body = start.clone();
        body[member] = wrong;
        let answer = site.anonymous("/api/v1/sessions/oidc/start", &body).await;
        assert!(matches!(answer.status, 400 | 404), "{member}: {}", answer.text());
    }
    let path = "/api/v1/identity-providers/corp/callback?code=x&state=e30.e30";
    site.admin.get(path).await.refused(400, "invalid_request");
    // What one provider sends is not taken for what another was asked.
    let path = format!("/api/v1/identity-providers/other/callback?code=x&state={}", text(&back, "state"));
    site.admin.get(&path).await.refused(400, "invalid_request");
    let logout = format!("{}/api/v1/identity-providers/corp/logout", site.admin.url);
    for token in ["", "x.y.z", "eyJhbGciOiJub25lIn0.e30."] {
        let call = site.admin.client.post(&logout).form(&[("logout_token", token)]);
        Answer::read(call.send().await.unwrap()).await.refused(400, "invalid_request");
    }
    person.get("/api/v1/me").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_signs_in_by_a_browser() {
    let mut site = Site::open("newcomers = \"created\"").await;
    let folder = site.installation.folder().join("terminal");
    std::fs::create_dir(&folder).unwrap();
    let program = std::env::current_exe().unwrap().parent().unwrap().with_file_name("clm");
    let clm = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(&folder).env("CLM_CONFIG_DIR", folder.join("config"));
        command
    };
    let ca = site.installation.ca_file().display().to_string();
    let login = ["login", &site.admin.url, "--ca-file", &ca, "--provider", "corp", "-o", "json"];
    let mut child = clm(&login).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = loop {
        let line = lines.next_line().await.unwrap().expect("an address");
        if let Some(url) = line.strip_prefix("  https://") {
            break format!("https://{url}");
        }
    };
    let page = site.browser.call(&json!({"visit": format!("{url}&login_hint=tess")})).await;
    assert!(page["text"].as_str().unwrap().contains("Go back to the terminal"), "{page:#}");
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success());
    let me: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(me["username"], "tess");
    let listed = clm(&["identity", "list", "-o", "json"]).output().await.unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["items"][0]["provider"], "corp");
}

impl Site {
    fn subscribe(&self, status: &str) {
        let sql = format!("UPDATE clm.organizations SET subscription_status = '{status}'");
        self.installation.databases.core.psql("clm_core_db", &sql).unwrap();
    }

    /// A page of the provider.
    fn provider_page(&self, path: &str) -> String {
        let text = std::fs::read_to_string(self.installation.core.config_file()).unwrap();
        let config: toml::Table = text.parse().unwrap();
        format!("{}{path}", config["identity_providers"][0]["issuer"].as_str().unwrap())
    }
}
