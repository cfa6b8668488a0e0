//! People: invited, signed in, with a second factor, over HTTP and at a terminal.

use chrono::TimeDelta;
use clm_testkit::totp;
use clm_types::{Clock, Time};
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::{Answer, text};
use crate::approvals::ask;
use crate::cli::Terminal;
use crate::house::{APPROVER, Office, REQUESTER, house, office};
use crate::person::Person;

const ADMINISTRATOR: &str = "01900000-0000-7000-8000-000000000001";
const PASSWORD: &str = "correct horse battery";

/// Somebody without credentials.
async fn anonymous(office: &Office, path: &str, body: &Value) -> Answer {
    let url = format!("{}{path}", office.admin.url);
    Answer::read(office.admin.client.post(url).json(body).send().await.unwrap()).await
}

/// An invited user with these roles; the token of the invitation.
async fn invite(office: &Office, name: &str, roles: &[&str]) -> (String, String) {
    let body = json!({"username": name, "email": format!("{name}@example.org"), "invited": true});
    let id = text(&office.admin.post("/api/v1/users", &body).await.expect(201), "id");
    for role in roles {
        let body = json!({"user_id": id, "role_id": role});
        office.admin.post("/api/v1/role-assignments", &body).await.expect(201);
    }
    let link = office.admin.post(&format!("/api/v1/users/{id}/links"), &json!({})).await.expect(201);
    assert_eq!(link["purpose"], "invitation");
    (id, text(&link, "token"))
}

/// A user with a password, signed in with it alone.
pub(crate) async fn come(office: &Office, name: &str, roles: &[&str]) -> (Person, Value) {
    let (id, token) = invite(office, name, roles).await;
    let set = anonymous(office, "/api/v1/links/use", &json!({"token": token, "password": PASSWORD})).await;
    assert_eq!(set.status, 204, "{}", set.text());
    let opened = sign_in(office, name, PASSWORD).await.expect(201);
    let person = Person { key: text(&opened, "token"), id, organization: None, ..office.admin.clone() };
    (person, opened)
}

async fn sign_in(office: &Office, name: &str, password: &str) -> Answer {
    anonymous(office, "/api/v1/sessions", &json!({"username": name, "password": password})).await
}

/// Sets up one-time codes: their secret, and when the first of them was used. The person's token changes.
async fn enrol(person: &mut Person) -> (String, Time) {
    let now = Clock::system().now();
    let secret = text(
        &person.post("/api/v1/me/totp", &json!({"current_password": PASSWORD})).await.expect(201),
        "secret",
    );
    let code = json!({"totp": totp::code(&secret, now)});
    let confirmed = person.post("/api/v1/me/totp/confirm", &code).await.expect(200);
    assert_eq!(confirmed["recovery_codes"].as_array().unwrap().len(), 10);
    person.key = text(&confirmed, "token");
    (secret, now)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_with_a_password_and_is_known_by_the_session() {
    let office = office().await;
    let name = format!("ann-{}", office.organization);
    let (person, opened) = come(&office, &name, &[REQUESTER]).await;
    assert_eq!(opened["missing_factor"], Value::Null);
    let me = person.get("/api/v1/me").await.expect(200);
    assert_eq!((&me["session_id"], &me["api_key_id"]), (&opened["session_id"], &Value::Null));
    assert_eq!(me["username"], name.as_str());
    let wrong = sign_in(&office, &name, "wrong horse battery").await;
    let unknown = sign_in(&office, "nobody-at-all", PASSWORD).await;
    for answer in [&wrong, &unknown] {
        answer.refused(401, "sign_in_failed");
    }
    let without_id = |answer: &Answer| {
        let mut problem = answer.expect(401);
        problem["request_id"] = Value::Null;
        problem
    };
    assert_eq!(without_id(&wrong), without_id(&unknown));
    // The certificate that the session asks for is the person's.
    let listed = person.list("/api/v1/sessions").await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["current"], true);
    let path = format!("/api/v1/sessions/{}/revoke", text(&opened, "session_id"));
    assert_eq!(person.send(person.call(Method::POST, &path)).await.status, 204);
    person.get("/api/v1/me").await.refused(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_most_worth_protecting_asks_for_a_fresh_factor() {
    let office = office().await;
    let (mut person, _) = come(&office, &format!("dan-{}", office.organization), &[APPROVER]).await;
    let asked = ask(&office.alice, "tls-server").await;
    let path = format!("/api/v1/requests/{}/approve", text(&asked, "id"));
    person.post(&path, &json!({})).await.refused(403, "step_up_required");
    person.post("/api/v1/api-keys", &json!({"name": "mine"})).await.refused(403, "step_up_required");
    enrol(&mut person).await;
    let can = format!(
        "/api/v1/users/{}/access?permission=request:approve&object={}",
        person.id,
        text(&asked, "id")
    );
    assert_eq!(person.get(&can).await.expect(200)["allowed"], true);
    assert!(person.post(&path, &json!({})).await.status < 300);
    // It waits for nobody any more.
    assert_eq!(person.get(&can).await.expect(200)["allowed"], false);
    let own = format!("/api/v1/users/{}/access?permission=moon:land", person.id);
    person.get(&own).await.refused(400, "invalid_request");
    person.post("/api/v1/api-keys", &json!({"name": "mine"})).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_without_a_factor_can_only_set_one_up() {
    let office = office().await;
    let name = format!("boss-{}", office.organization);
    let (mut boss, opened) = come(&office, &name, &[ADMINISTRATOR]).await;
    assert_eq!(opened["missing_factor"], "enrolment");
    for path in ["/api/v1/users", "/api/v1/sessions", "/api/v1/api-keys"] {
        boss.get(path).await.refused(403, "second_factor_required");
    }
    assert_eq!(boss.get("/api/v1/me").await.expect(200)["missing_factor"], "enrolment");
    let (secret, used) = enrol(&mut boss).await;
    boss.get("/api/v1/users").await.expect(200);
    let again = sign_in(&office, &name, PASSWORD).await.expect(201);
    assert_eq!(again["missing_factor"], "code");
    let partial = Person { key: text(&again, "token"), ..boss.clone() };
    partial.get("/api/v1/users").await.refused(403, "second_factor_required");
    let shown = json!({"totp": totp::code(&secret, used)});
    // The code of the enrolment is used up.
    partial.post("/api/v1/sessions/current/factor", &shown).await.refused(401, "sign_in_failed");
    for body in [json!({}), json!({"totp": "123456", "recovery_code": "a"})] {
        partial.post("/api/v1/sessions/current/factor", &body).await.refused(400, "invalid_request");
    }
    let next = json!({"totp": totp::code(&secret, used + TimeDelta::seconds(30))});
    let whole = partial.post("/api/v1/sessions/current/factor", &next).await.expect(200);
    let whole = Person { key: text(&whole, "token"), ..boss.clone() };
    whole.get("/api/v1/users").await.expect(200);
    partial.get("/api/v1/me").await.refused(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_used_at_the_terminal() {
    let office = office().await;
    let name = format!("tess-{}", office.organization);
    let (_, token) = invite(&office, &name, &[REQUESTER]).await;
    let terminal = Terminal::new(&office, "tess");
    let write = |file: &str, text: &str| std::fs::write(office.folder.join(file), text).unwrap();
    let (url, ca) = (office.admin.url.clone(), house().await.installation.ca_file().display().to_string());
    write("link", &token);
    write("weak", "password1234");
    write("password", PASSWORD);
    let at = ["password", "set", &url, "--ca-file", &ca, "--link-file", "link"];
    terminal.fails(&[&at[..], &["--new-password-file", "weak"]].concat(), 1, "password_too_weak");
    terminal.run(&[&at[..], &["--new-password-file", "password"]].concat()).done();
    terminal.fails(&[&at[..], &["--new-password-file", "password"]].concat(), 3, "link_invalid");
    let login = ["login", &url, "--ca-file", &ca, "--username", &name, "--password-file"];
    terminal.fails(&[&login[..], &["weak"]].concat(), 3, "sign_in_failed");
    terminal.run(&[&login[..], &["password"]].concat()).done();
    let setup = terminal.json(&["factor", "totp", "--password-file", "password"]);
    write("code", &totp::code(&text(&setup, "secret"), Clock::system().now()));
    let confirm = ["factor", "confirm", "--code-file", "code", "--recovery-codes-file", "codes"];
    terminal.run(&confirm).done();
    let codes = std::fs::read_to_string(office.folder.join("codes")).unwrap();
    assert_eq!(codes.lines().count(), 10);
    write("recovery", codes.lines().next().unwrap());
    terminal.run(&["factor", "show", "--recovery-code-file", "recovery"]).done();
    assert!(terminal.json(&["me"])["factor_at"].is_string());
    write("new", "seven green umbrellas");
    let change = ["password", "change", "--current-password-file", "password", "--new-password-file", "new"];
    terminal.run(&change).done();
    assert_eq!(terminal.json(&["session", "list"])["items"].as_array().unwrap().len(), 1);
    terminal.run(&["logout"]).done();
    terminal.fails(&["me"], 3, "signed out");
    write("recovery", codes.lines().nth(1).unwrap());
    let login = ["login", &url, "--ca-file", &ca, "--username", &name, "--password-file", "new"];
    terminal.run(&[&login[..], &["--recovery-code-file", "recovery"]].concat()).done();
}
