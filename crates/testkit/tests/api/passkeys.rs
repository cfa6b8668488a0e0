//! Passkeys of a real browser.

use clm_testkit::Script;
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::text;
use crate::house::{APPROVER, Office, office};
use crate::person::Person;
use crate::sign_in::{PASSWORD, anonymous, come, sign_in};

async fn chromium(office: &Office) -> Script {
    Script::browser(&format!("{}/openapi.json", office.admin.url))
}

/// What the browser brings back.
async fn ask(browser: &mut Script, call: Value) -> Value {
    let answer = browser.call(&call).await;
    assert!(answer["credential"].is_object(), "{answer:#}");
    answer["credential"].clone()
}

async fn add(person: &mut Person, browser: &mut Script, name: &str, start: Value) -> Value {
    let options = person.post("/api/v1/me/passkeys/options", &start).await.expect(200);
    let credential = ask(browser, json!({"create": options})).await;
    let body = json!({"name": name, "credential": credential});
    let added = person.post("/api/v1/me/passkeys", &body).await.expect(201);
    person.key = text(&added, "token");
    added
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_makes_a_passkey_signs_in_with_it_and_confirms_by_it() {
    let office = office().await;
    let name = format!("kim-{}", office.organization);
    let (mut kim, _) = come(&office, &name, &[APPROVER]).await;
    let mut browser = chromium(&office).await;
    let added = add(&mut kim, &mut browser, "laptop", json!({"current_password": PASSWORD})).await;
    assert_eq!(added["recovery_codes"].as_array().unwrap().len(), 10);
    let listed = kim.list("/api/v1/me/passkeys").await;
    assert_eq!((listed.len(), &listed[0]["name"]), (1, &json!("laptop")));

    // The authenticator that has one makes no second one.
    let options = kim.post("/api/v1/me/passkeys/options", &json!({})).await.expect(200);
    assert_eq!(browser.call(&json!({"create": options})).await["error"], "InvalidStateError");

    let options = anonymous(&office, "/api/v1/sessions/passkey/options", &json!({})).await.expect(200);
    let credential = ask(&mut browser, json!({"get": options})).await;
    let body = json!({"credential": credential});
    let opened = anonymous(&office, "/api/v1/sessions/passkey", &body).await.expect(201);
    assert_eq!(opened["missing_factor"], Value::Null);
    anonymous(&office, "/api/v1/sessions/passkey", &body).await.refused(401, "sign_in_failed");
    let entered = Person { key: text(&opened, "token"), ..kim.clone() };
    assert_eq!(entered.get("/api/v1/me").await.expect(200)["username"], name.as_str());
    let sessions = entered.list("/api/v1/sessions").await;
    assert_eq!(sessions[0]["sign_in_method"], "passkey");

    // With a password, the passkey is the second factor.
    let partial = sign_in(&office, &name, PASSWORD).await.expect(201);
    assert_eq!(partial["missing_factor"], "code");
    let mut partial = Person { key: text(&partial, "token"), ..kim.clone() };
    partial.get("/api/v1/requests").await.refused(403, "second_factor_required");
    let options = partial.post("/api/v1/sessions/current/passkey-options", &json!({})).await.expect(200);
    let credential = ask(&mut browser, json!({"get": options})).await;
    let shown = json!({"passkey": credential});
    let token = partial.post("/api/v1/sessions/current/factor", &shown).await.expect(200);
    partial.key = text(&token, "token");
    partial.get("/api/v1/requests").await.expect(200);

    let path = format!("/api/v1/me/passkeys/{}", text(&listed[0], "id"));
    assert_eq!(partial.send(partial.call(Method::DELETE, &path)).await.status, 204);
    partial.send(partial.call(Method::DELETE, &path)).await.refused(404, "passkey_not_found");
    let options = anonymous(&office, "/api/v1/sessions/passkey/options", &json!({})).await.expect(200);
    let credential = ask(&mut browser, json!({"get": options})).await;
    let body = json!({"credential": credential});
    anonymous(&office, "/api/v1/sessions/passkey", &body).await.refused(401, "sign_in_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_of_a_passkey_is_told_apart() {
    let office = office().await;
    let (mut lee, _) = come(&office, &format!("lee-{}", office.organization), &[APPROVER]).await;
    let mut browser = chromium(&office).await;
    let options = json!({"current_password": PASSWORD});
    let options = lee.post("/api/v1/me/passkeys/options", &options).await.expect(200);
    let credential = ask(&mut browser, json!({"create": options})).await;
    let add = async |name: &str, credential: &Value| {
        lee.post("/api/v1/me/passkeys", &json!({"name": name, "credential": credential})).await
    };
    for name in ["", " x", "a\nb"] {
        add(name, &credential).await.refused(400, "invalid_request");
    }
    for (member, value, code) in [
        ("clientDataJSON", json!("***"), "invalid_request"),
        ("clientDataJSON", json!("e30"), "passkey_refused"),
        ("attestationObject", json!("oA"), "passkey_refused"),
        ("attestationObject", json!(""), "passkey_refused"),
    ] {
        let mut wrong = credential.clone();
        wrong["response"][member] = value;
        let status = if code == "invalid_request" { 400 } else { 403 };
        add("laptop", &wrong).await.refused(status, code);
    }
    let token = add("laptop", &credential).await.expect(201);
    lee.key = text(&token, "token");
    let both = json!({"totp": "123456", "recovery_code": "x"});
    lee.post("/api/v1/sessions/current/factor", &both).await.refused(400, "invalid_request");
}
