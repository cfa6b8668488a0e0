//! Addresses that a tenant names are text, and nothing calls them (docs/reference/advisories.md).

use std::collections::BTreeSet;
use std::net::TcpListener;

use reqwest::Method;
use serde_json::{Value, json};

use crate::house::{at_once, office};
use crate::openssl::{key, openssl};
use crate::revocations::issue;

/// Whatever has the form of an address, with this one in its place.
fn planted(value: &Value, address: &str) -> Value {
    match value {
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), planted(value, address))).collect()
        }
        Value::Array(items) => items.iter().map(|item| planted(item, address)).collect(),
        Value::String(text) => json!(text.replace("URL", address)),
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_calls_no_address_that_a_tenant_names() {
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    sink.set_nonblocking(true).unwrap();
    let port = sink.local_addr().unwrap().port();
    let office = office().await;
    let folder = &office.folder;
    let address = format!("http://localhost:{port}/x");
    // A request to sign that names lists and responders, and addresses as names.
    key(folder, "ecdsa-p256");
    for extension in [
        format!("subjectAltName=DNS:www.example.com,URI:{address}"),
        format!("authorityInfoAccess=OCSP;URI:{address},caIssuers;URI:{address}"),
        format!("crlDistributionPoints=URI:{address}"),
    ] {
        let request =
            ["req", "-new", "-key", "ecdsa-p256.key", "-subj", "/CN=www.example.com", "-addext", &extension];
        let names = ["-addext", "subjectAltName=DNS:www.example.com"];
        let names = if extension.starts_with("subject") { &names[..0] } else { &names[..] };
        let csr = openssl(folder, &[&request[..], names].concat());
        let body = json!({"profile": "tls-server", "policy": "at-once", "csr_pem": csr});
        office.alice.post("/api/v1/requests", &body).await;
    }
    let provisioner =
        json!({"code": "provisioner", "name": "Provisioner", "permissions": ["user:provision"]});
    office.admin.post("/api/v1/roles", &provisioner).await.expect(201);
    let mut policy = at_once();
    policy["names"]["uri_prefixes"] = json!(["URL"]);
    for (path, body) in [
        (
            "/api/v1/policies",
            json!({"code": "url", "name": "URL", "rules": policy, "compliance_frameworks": ["URL"]}),
        ),
        (
            "/api/v1/requests",
            json!({"profile": "tls-client", "policy": "url", "key_algorithm": "ecdsa-p256",
            "sans": ["uri:URL"], "comment": "URL", "custom_fields": {"url": "URL"}, "tags": {"url": "URL"}}),
        ),
        ("/api/v1/groups", json!({"display_name": "URL", "external_id": "URL"})),
        ("/api/v1/organizations", json!({"code": format!("url-{port}"), "name": "URL"})),
        ("/api/v1/sessions/oidc/start", json!({"provider": "URL", "code_challenge": "URL", "port": port})),
        ("/api/v1/sessions/oidc", json!({"code": "URL", "state": "URL", "code_verifier": "URL"})),
        ("/api/v1/identity-providers/URL/logout", json!({"logout_token": "URL"})),
        (
            "/scim/v2/Users",
            json!({"userName": "url", "profileUrl": "URL", "photos": [{"value": "URL"}],
            "emails": [{"value": "url@example.org"}]}),
        ),
    ] {
        let path = path.replace("URL", &urlencoded(&address));
        office.admin.post(&path, &planted(&body, &address)).await;
    }
    let settings =
        json!({"name": "Mine", "settings": {"url": address, "webhook": address, "issuer": address}});
    let organization = format!("/api/v1/organizations/{}", office.organization);
    office
        .admin
        .send(office.admin.call(Method::PUT, &organization).header("if-match", "*").json(&settings))
        .await;
    // Everything that works in the background has had its turn after these.
    let certificate = issue(&office, "at-once").await;
    office.alice.revoke(&certificate, "superseded").await.expect(201);
    office.admin.post("/api/v1/integrity/runs", &json!({})).await.expect(202);
    let nobody = sink.accept().map(|(_, from)| from);
    assert_eq!(nobody.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

fn urlencoded(text: &str) -> String {
    text.replace(':', "%3A").replace('/', "%2F")
}

/// Where an address can be written, so that a new place is looked at.
#[test]
fn no_body_of_the_api_has_a_place_for_an_address_to_call() {
    let document: Value = serde_json::from_str(clm_core_web::openapi::text()).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut named = BTreeSet::new();
    for path in document["paths"].as_object().unwrap().values() {
        for operation in path.as_object().unwrap().values() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let name = schema.as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
            let members = schemas.get(name).and_then(|schema| schema["properties"].as_object());
            for (member, schema) in members.into_iter().flatten() {
                let is_address = schema["format"].as_str().is_some_and(|format| format.starts_with("uri"));
                let words = ["url", "uri", "address", "host", "endpoint", "webhook", "issuer"];
                if is_address || words.iter().any(|word| member.contains(word)) {
                    named.insert(format!("{name}.{member}"));
                }
            }
        }
    }
    // Networks that a key may be used from.
    let networks = ["NewApiKey.allowed_addresses", "WorkloadRuleDraft.allowed_addresses"];
    assert_eq!(named, BTreeSet::from(networks.map(str::to_owned)));
}
