//! Every route that changes something, once with success: each leaves an entry in the commit of its effect.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clm_testkit::authenticator::Authenticator;
use clm_testkit::totp;
use clm_types::Clock;
use serde_json::{Value, json};

use crate::answer::text;
use crate::audit_watch::Watch;
use crate::cli::Terminal;
use crate::house::{APPROVER, Office, REQUESTER, at_once, hire, house, office};
use crate::openssl::openssl;
use crate::person::Person;
use crate::sign_in::{PASSWORD, come, enrol};

/// A public key on P-256 (its generator).
const RECIPIENT: &str =
    "BGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";
const NEW_PASSWORD: &str = "seven green umbrellas";

/// Routes without an example here, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("POST /api/v1/bootstrap", "once in an installation: core/bootstrap.rs"),
    ("POST /api/v1/sessions/current/passkey-options", "gives a challenge, and changes nothing"),
    ("POST /api/v1/sessions/passkey/options", "gives a challenge, and changes nothing"),
    ("POST /api/v1/me/passkeys/options", "gives a challenge, and changes nothing"),
    ("POST /api/v1/sessions/oidc/start", "gives an address, and changes nothing"),
    ("POST /api/v1/me/identities/start", "gives an address, and changes nothing"),
    ("POST /api/v1/sessions/oidc", "needs a provider: oidc.rs"),
    ("POST /api/v1/me/identities", "needs a provider: oidc.rs"),
    ("DELETE /api/v1/me/identities/{id}", "needs a provider: oidc.rs"),
    ("POST /api/v1/identity-providers/{name}/logout", "needs a provider: oidc.rs"),
    ("POST /api/v1/password-resets", "is answered before anything is looked up: core/password_resets.rs"),
    ("POST /api/v1/token", "needs an issuer: workload_rules.rs"),
    ("POST /api/v1/workload-rules", "needs an issuer: core/workload_rules.rs"),
    ("PUT /api/v1/workload-rules/{id}", "needs an issuer: core/workload_rules.rs"),
    ("POST /api/v1/workload-rules/{id}/disable", "needs an issuer: core/workload_rules.rs"),
    ("DELETE /api/v1/workload-rules/{id}", "needs an issuer: core/workload_rules.rs"),
    ("POST /api/v1/mass-revocations/plan", "writes nothing"),
    ("POST /scim/v2/.search", "is not implemented"),
    ("POST /api/v1/notifications/{id}/read", "marks a message for its reader alone"),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_changes_something_is_in_the_audit_log_with_it() {
    let office = office().await;
    let mut watch = Watch::new(&office).await;
    credentials(&office, &mut watch).await;
    people(&office, &mut watch).await;
    roles_and_groups(&office, &mut watch).await;
    organizations(&office, &mut watch).await;
    rules(&office, &mut watch).await;
    certificates(&office, &mut watch).await;
    private_keys(&office, &mut watch).await;
    many_at_once(&office, &mut watch).await;
    provisioning(&office, &mut watch).await;
    watch
        .check_secure(&[
            "POST /api/v1/requests",
            "POST /api/v1/requests/{id}/reject",
            "POST /api/v1/certificates/{id}/revoke",
            "POST /api/v1/certificates/{id}/release",
            "POST /api/v1/certificates/{id}/renew",
            "PATCH /api/v1/certificates/{id}/key",
            "DELETE /api/v1/certificates/{id}/key",
            "POST /api/v1/certificates/{id}/key/restore",
            "POST /api/v1/requests/{id}/key",
        ])
        .await;
    let missing = watch.missing(EXCEPTIONS);
    assert!(missing.is_empty(), "no example of {missing:#?}");
    assert!(watch.wrong.is_empty(), "{:#?}", watch.wrong);
}

/// A person of the office, signed in anew.
async fn session(watch: &mut Watch, office: &Office, name: &str, password: &str) -> (Person, String) {
    let body = json!({"username": name, "password": password});
    let opened = watch.call("POST /api/v1/sessions", None, "", body).await;
    let person = Person { key: text(&opened, "token"), organization: None, ..office.admin.clone() };
    (person, text(&opened, "session_id"))
}

/// Passwords, codes, passkeys and sessions of somebody.
async fn credentials(office: &Office, watch: &mut Watch) {
    let admin = &office.admin;
    let name = format!("ann-{}", office.organization);
    let body = json!({"username": name, "email": format!("{name}@example.org"), "invited": true});
    let id = text(&watch.call("POST /api/v1/users", Some(admin), "", body).await, "id");
    let link = watch.call("POST /api/v1/users/{id}/links", Some(admin), &id, json!({})).await;
    let body = json!({"token": link["token"], "password": PASSWORD});
    watch.call("POST /api/v1/links/use", None, "", body).await;
    let (mut ann, _) = session(watch, office, &name, PASSWORD).await;
    let body = json!({"current_password": PASSWORD});
    let secret = text(&watch.call("POST /api/v1/me/totp", Some(&ann), "", body).await, "secret");
    let body = json!({"totp": totp::code(&secret, Clock::system().now())});
    let confirmed = watch.call("POST /api/v1/me/totp/confirm", Some(&ann), "", body).await;
    ann.key = text(&confirmed, "token");
    let body = json!({"current_password": PASSWORD, "password": NEW_PASSWORD});
    watch.call("POST /api/v1/me/password", Some(&ann), "", body).await;
    let codes = watch.call("POST /api/v1/me/recovery-codes", Some(&ann), "", json!({})).await;
    let (partial, _) = session(watch, office, &name, NEW_PASSWORD).await;
    let body = json!({"recovery_code": codes["recovery_codes"][0]});
    let whole = watch.call("POST /api/v1/sessions/current/factor", Some(&partial), "", body).await;
    ann.key = text(&whole, "token");
    passkeys(office, watch, &mut ann).await;
    watch.call("DELETE /api/v1/me/totp", Some(&ann), "", json!({})).await;
    let (_, other) = session(watch, office, &name, NEW_PASSWORD).await;
    watch.call("POST /api/v1/sessions/{id}/revoke", Some(&ann), &other, json!({})).await;
    session(watch, office, &name, NEW_PASSWORD).await;
    watch.call("POST /api/v1/sessions/revoke", Some(&ann), "", json!({})).await;
}

async fn passkeys(office: &Office, watch: &mut Watch, ann: &mut Person) {
    let octets = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap();
    let shown = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
    let options = ann.post("/api/v1/me/passkeys/options", &json!({})).await.expect(200);
    let mut holder = Authenticator::new(-7, &office.admin.url, options["rp"]["id"].as_str().unwrap());
    let made = holder.create(&octets(&options["challenge"]));
    let id = shown(&holder.credential_id);
    let response =
        json!({"clientDataJSON": shown(&made.client_data), "attestationObject": shown(&made.data)});
    let credential = json!({"id": id, "rawId": id, "type": "public-key", "response": response});
    let body = json!({"name": "laptop", "credential": credential});
    let added = watch.call("POST /api/v1/me/passkeys", Some(ann), "", body).await;
    ann.key = text(&added, "token");
    let options = ann.post("/api/v1/sessions/passkey/options", &json!({})).await.expect(200);
    holder.count += 1;
    let answer = holder.get(&octets(&options["challenge"]));
    let response = json!({"clientDataJSON": shown(&answer.client_data), "authenticatorData": shown(&answer.data),
        "signature": shown(&answer.signature)});
    let credential = json!({"id": id, "rawId": id, "type": "public-key", "response": response});
    let opened =
        watch.call("POST /api/v1/sessions/passkey", None, "", json!({"credential": credential})).await;
    ann.key = text(&opened, "token");
    watch.call("DELETE /api/v1/me/passkeys/{id}", Some(ann), &text(&added["passkey"], "id"), json!({})).await;
}

/// What an administrator does with users and their keys.
async fn people(office: &Office, watch: &mut Watch) {
    let admin = &office.admin;
    let name = format!("dan-{}", office.organization);
    let (mut dan, _) = come(office, &name, &[REQUESTER]).await;
    enrol(&mut dan).await;
    let body = json!({"email": format!("{name}@example.com"), "display_name": "Dan"});
    watch.call("PUT /api/v1/users/{id}", Some(admin), &dan.id, body).await;
    let lock =
        format!("UPDATE clm.users SET locked_until = now() + interval '10 minutes' WHERE id = '{}'", dan.id);
    house().await.installation.databases.core.psql("clm_core_db", &lock).unwrap();
    for route in [
        "POST /api/v1/users/{id}/unlock",
        "DELETE /api/v1/users/{id}/factors",
        "POST /api/v1/users/{id}/disable",
        "POST /api/v1/users/{id}/enable",
        "DELETE /api/v1/users/{id}",
    ] {
        watch.call(route, Some(admin), &dan.id, json!({})).await;
    }
    let body = json!({"name": "mine", "scopes": ["request:read"]});
    let key = watch.call("POST /api/v1/api-keys", Some(&office.admin), "", body).await;
    let id = text(&key["api_key"], "id");
    let next = watch.call("POST /api/v1/api-keys/{id}/rotate", Some(&office.admin), &id, json!({})).await;
    let id = text(&next["api_key"], "id");
    watch.call("POST /api/v1/api-keys/{id}/revoke", Some(&office.admin), &id, json!({})).await;
}

async fn roles_and_groups(office: &Office, watch: &mut Watch) {
    let admin = Some(&office.admin);
    let body = json!({"code": "lead", "name": "Lead", "permissions": ["audit:read"]});
    let role = text(&watch.call("POST /api/v1/roles", admin, "", body).await, "id");
    let body = json!({"name": "Leader", "permissions": ["audit:read", "user:read"]});
    watch.call("PUT /api/v1/roles/{id}", admin, &role, body).await;
    let body = json!({"user_id": office.alice.id, "role_id": role});
    let given = text(&watch.call("POST /api/v1/role-assignments", admin, "", body).await, "id");
    watch.call("POST /api/v1/role-assignments/{id}/revoke", admin, &given, json!({})).await;
    let group = watch.call("POST /api/v1/groups", admin, "", json!({"display_name": "Web"})).await;
    let group = text(&group, "id");
    watch.call("PUT /api/v1/groups/{id}", admin, &group, json!({"display_name": "The Web"})).await;
    let members = json!({"user_ids": [office.bob.id]});
    watch.call("POST /api/v1/groups/{id}/members", admin, &group, members.clone()).await;
    watch.call("POST /api/v1/groups/{id}/roles", admin, &group, json!({"role_id": role})).await;
    watch.call("POST /api/v1/groups/{id}/roles/take", admin, &group, json!({"role_id": role})).await;
    watch.call("POST /api/v1/groups/{id}/members/remove", admin, &group, members).await;
    watch.call("DELETE /api/v1/groups/{id}", admin, &group, json!({})).await;
}

async fn organizations(office: &Office, watch: &mut Watch) {
    let admin = Some(&office.admin);
    let code = format!("other-{}", &office.organization[24..]);
    let body = json!({"code": code, "name": "Other"});
    let other = text(&watch.call("POST /api/v1/organizations", admin, "", body).await, "id");
    watch
        .call("PUT /api/v1/organizations/{id}", admin, &other, json!({"name": "Others", "settings": {}}))
        .await;
    watch.call("POST /api/v1/organizations/{id}/suspend", admin, &other, json!({})).await;
    watch.call("POST /api/v1/organizations/{id}/resume", admin, &other, json!({})).await;
    let there = Person { organization: Some(other.clone()), ..office.admin.clone() };
    let name = format!("eve-{}", office.organization);
    let (eve, _) = come(office, &name, &[REQUESTER]).await;
    for _ in 0..2 {
        watch.call("POST /api/v1/members", Some(&there), "", json!({"username": name})).await;
        watch.call("POST /api/v1/me/memberships/{id}/accept", Some(&eve), &other, json!({})).await;
        watch.call("POST /api/v1/me/memberships/{id}/prefer", Some(&eve), &other, json!({})).await;
        watch.call("POST /api/v1/me/memberships/{id}/leave", Some(&eve), &other, json!({})).await;
    }
    watch.call("POST /api/v1/members", Some(&there), "", json!({"username": name})).await;
    watch.call("POST /api/v1/me/memberships/{id}/accept", Some(&eve), &other, json!({})).await;
    for route in ["suspend", "resume", "remove"] {
        watch.call(&format!("POST /api/v1/members/{{id}}/{route}"), Some(&there), &eve.id, json!({})).await;
    }
    let body = json!({"plan": "team", "status": "active"});
    watch.call("PUT /api/v1/organizations/{id}/subscription", admin, &other, body).await;
    watch.call("POST /api/v1/organizations/{id}/suspend", admin, &other, json!({})).await;
    let a_minute_ago = format!(
        "UPDATE clm.organizations SET updated_at = updated_at - interval '1 minute' WHERE id = '{other}'"
    );
    house().await.installation.databases.core.psql("clm_core_db", &a_minute_ago).unwrap();
    watch.call("POST /api/v1/organizations/{id}/close", admin, &other, json!({})).await;
}

async fn rules(office: &Office, watch: &mut Watch) {
    let admin = Some(&office.admin);
    let body = json!({"code": "mine", "name": "Mine", "rules": at_once()});
    let policy = text(&watch.call("POST /api/v1/policies", admin, "", body.clone()).await, "id");
    watch.call("PUT /api/v1/policies/{id}", admin, &policy, body).await;
    let steps = json!([{"name": "One", "approver_role_id": APPROVER, "quorum": 1}]);
    let body = json!({"code": "one", "name": "One", "kind": "issuance", "definition": {"steps": steps}});
    let workflow = text(&watch.call("POST /api/v1/workflows", admin, "", body.clone()).await, "id");
    watch.call("PUT /api/v1/workflows/{id}", admin, &workflow, body).await;
    watch.call("POST /api/v1/integrity/runs", admin, "", json!({})).await;
}

fn request(policy: &str) -> Value {
    json!({"profile": "tls-server", "policy": policy, "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"]})
}

async fn certificates(office: &Office, watch: &mut Watch) {
    let (alice, bob) = (Some(&office.alice), Some(&office.bob));
    for route in ["reject", "approve"] {
        let asked = watch.call("POST /api/v1/requests", alice, "", request("tls-server")).await;
        let route = format!("POST /api/v1/requests/{{id}}/{route}");
        watch.call(&route, bob, &text(&asked, "id"), json!({"comment": "seen"})).await;
    }
    let asked = watch.call("POST /api/v1/requests", alice, "", request("tls-server")).await;
    watch.call("POST /api/v1/requests/{id}/cancel", alice, &text(&asked, "id"), json!({})).await;
    let id = text(&office.alice.issue(&request("at-once")).await, "id");
    let body = json!({"notes": "mine", "owner_user_id": office.carol.id});
    watch.call("PATCH /api/v1/certificates/{id}", Some(&office.admin), &id, body).await;
    watch.call("POST /api/v1/certificates/{id}/renew", alice, &id, json!({})).await;
    let hold = json!({"reason": "certificateHold"});
    watch.call("POST /api/v1/certificates/{id}/revoke", alice, &id, hold).await;
    watch.call("POST /api/v1/certificates/{id}/release", alice, &id, json!({})).await;
}

async fn private_keys(office: &Office, watch: &mut Watch) {
    let admin = Some(&office.admin);
    let id = text(&office.alice.issue(&request("at-once")).await, "id");
    let body = json!({"exportable": true, "reason": "load balancer"});
    watch.call("PATCH /api/v1/certificates/{id}/key", admin, &id, body).await;
    let body = json!({"recipient": RECIPIENT, "purpose": "export", "reason": "load balancer"});
    let asked =
        watch.call("POST /api/v1/certificates/{id}/key/exports", Some(&office.alice), &id, body).await;
    let asked = text(&asked, "id");
    for person in [&office.bob, &office.carol] {
        person.post(&format!("/api/v1/requests/{asked}/approve"), &json!({})).await.expect(200);
    }
    watch.call("POST /api/v1/requests/{id}/key", Some(&office.alice), &asked, json!({})).await;
    watch.call("DELETE /api/v1/certificates/{id}/key", admin, &id, json!({})).await;
    watch.call("POST /api/v1/certificates/{id}/key/restore", admin, &id, json!({"reason": "in use"})).await;
    let terminal = Terminal::sign_in(office, &office.admin, "admin").await;
    let csr =
        ["req", "-new", "-newkey", "rsa:3072", "-nodes", "-keyout", "own.key", "-subj", "/CN=a.example.com"];
    openssl(
        &office.folder,
        &[&csr[..], &["-addext", "subjectAltName=DNS:a.example.com", "-out", "own.csr"]].concat(),
    );
    let create = ["request", "create", "--profile", "tls-server", "--policy", "at-once", "--csr", "own.csr"];
    let id = text(&terminal.json(&[&create[..], &["--wait", "20"]].concat()), "certificate_id");
    terminal.json(&["cert", "key", "import", &id, "--key", "own.key"]);
    watch.made("PUT /api/v1/certificates/{id}/key", "key.import", &id);
}

async fn many_at_once(office: &Office, watch: &mut Watch) {
    for (route, person) in [("approve", &office.bob), ("cancel", &office.admin)] {
        let id = text(&office.alice.issue(&request("at-once")).await, "id");
        let body = json!({"selection": {"certificate_ids": [id]}, "reason": "superseded"});
        let run = watch.call("POST /api/v1/mass-revocations", Some(&office.admin), "", body).await;
        let route = format!("POST /api/v1/mass-revocations/{{id}}/{route}");
        watch.call(&route, Some(person), &text(&run, "id"), json!({})).await;
    }
}

async fn provisioning(office: &Office, watch: &mut Watch) {
    let body = json!({"code": "provisioner", "name": "Provisioner", "permissions": ["user:provision"]});
    let role = text(&office.admin.post("/api/v1/roles", &body).await.expect(201), "id");
    let user = hire(&office.admin, &format!("idp-{}", office.organization), &[&role, REQUESTER]).await;
    let body = json!({"name": "idp", "user_id": user.id, "service": true, "scopes": ["user:provision"]});
    let key = text(&office.admin.post("/api/v1/api-keys", &body).await.expect(201), "secret");
    let client = Person { key, ..user };
    let name = format!("fay-{}", office.organization);
    let body = json!({"userName": name, "emails": [{"value": format!("{name}@example.org")}]});
    let fay = text(&watch.call("POST /scim/v2/Users", Some(&client), "", body).await, "id");
    let change =
        |name: &str| json!({"Operations": [{"op": "replace", "path": "displayName", "value": name}]});
    watch.call("PATCH /scim/v2/Users/{id}", Some(&client), &fay, change("Fay")).await;
    let body = json!({"userName": name, "displayName": "Fay Example"});
    watch.call("PUT /scim/v2/Users/{id}", Some(&client), &fay, body).await;
    let body = json!({"displayName": "Ops", "members": [{"value": fay}]});
    let ops = text(&watch.call("POST /scim/v2/Groups", Some(&client), "", body).await, "id");
    watch.call("PATCH /scim/v2/Groups/{id}", Some(&client), &ops, change("Operators")).await;
    watch
        .call("PUT /scim/v2/Groups/{id}", Some(&client), &ops, json!({"displayName": "Ops", "members": []}))
        .await;
    watch.call("DELETE /scim/v2/Groups/{id}", Some(&client), &ops, json!({})).await;
    watch.call("DELETE /scim/v2/Users/{id}", Some(&client), &fay, json!({})).await;
}
