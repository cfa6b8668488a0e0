//! Renewal: the same names again, with the same key or a new one; old and new know each other.

use serde_json::{Value, json};

use crate::answer::text;
use crate::csr::to_der;
use crate::house::{Office, at_once, house, office};
use crate::openssl::{key, openssl, request_for, write_chain};

async fn renew(office: &Office, old: &Value, body: &Value) -> Value {
    let path = format!("/api/v1/certificates/{}/renew", text(old, "id"));
    let request = office.alice.post(&path, body).await.expect(201);
    assert_eq!(request["kind"], "renewal");
    assert_eq!(request["certificate"]["renewal_of"], old["id"]);
    let new = text(&request, "certificate_id");
    office.alice.get(&format!("/api/v1/certificates/{new}")).await.expect(200)
}

async fn public_key(office: &Office, certificate: &Value) -> String {
    write_chain(&office.folder, &office.alice.chain(certificate).await);
    openssl(&office.folder, &["x509", "-in", "leaf.pem", "-noout", "-pubkey"])
}

async fn read(office: &Office, certificate: &Value) -> Value {
    office.alice.get(&format!("/api/v1/certificates/{}", text(certificate, "id"))).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_keeps_everything_but_the_dates_and_links_old_and_new() {
    let office = office().await;
    let body = json!({"profile": "tls-server", "policy": "at-once", "owner_user_id": office.bob.id,
        "csr_pem": request_for(&office.folder, "www.example.com"), "tags": {"team": "web"}, "environment": "test"});
    let old = office.alice.issue(&body).await;
    let new = renew(&office, &old, &json!({})).await;
    for member in
        ["subject", "sans", "profile", "authority_id", "owner_user_id", "tags", "environment", "policy_id"]
    {
        assert_eq!(new[member], old[member], "{member}");
    }
    assert_ne!(new["serial_number"], old["serial_number"]);
    assert_eq!((&new["key_source"], &new["renewal_of"]), (&json!("reused"), &old["id"]));
    let old = read(&office, &old).await;
    assert_eq!((&old["renewed_by"], &old["status"]), (&new["id"], &json!("active")));
    assert_eq!(public_key(&office, &old).await, public_key(&office, &new).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_can_bring_a_new_key() {
    let office = office().await;
    let body = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"]});
    let old = office.alice.issue(&body).await;
    let generated = renew(&office, &old, &json!({"key_algorithm": "ed25519"})).await;
    assert_eq!(
        (&generated["key_source"], &generated["key_algorithm"]),
        (&json!("generated"), &json!("ed25519"))
    );
    // A key that Secure keeps can be certified again.
    let again = renew(&office, &generated, &json!({})).await;
    assert_eq!(public_key(&office, &again).await, public_key(&office, &generated).await);
    // Names in the new request do not matter: the certificate's stay.
    let csr = request_for(&office.folder, "evil.example.net");
    let third = renew(&office, &again, &json!({"csr_pem": csr, "validity_seconds": 86400})).await;
    assert_eq!((&third["key_source"], &third["sans"]), (&json!("csr"), &old["sans"]));
    let ours = openssl(&office.folder, &["pkey", "-in", &key(&office.folder, "ecdsa-p256"), "-pubout"]);
    assert_eq!(public_key(&office, &third).await, ours);
    assert_ne!(public_key(&office, &old).await, public_key(&office, &generated).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_obeys_the_policy_as_it_is_now() {
    let office = office().await;
    let body = json!({"code": "web", "name": "Web", "rules": at_once()});
    let policy = office.admin.post("/api/v1/policies", &body).await.expect(201);
    let body = json!({"profile": "tls-server", "policy": "web", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"]});
    let old = office.alice.issue(&body).await;
    let mut rules = at_once();
    rules["names"] = json!({"dns_suffixes": ["example.org"]});
    let body = json!({"code": "web", "name": "Web", "rules": rules});
    let path = format!("/api/v1/policies/{}", text(&policy, "id"));
    assert_eq!(office.put(&path, &policy["version"], &body).await.expect(201)["policy_version"], 2);
    let rows = house().await.rows(&office.organization);
    let path = format!("/api/v1/certificates/{}/renew", text(&old, "id"));
    office.alice.post(&path, &json!({})).await.refused(422, "name_not_allowed");
    let broken =
        json!({"csr_pem": crate::csr::to_pem(&to_der(&request_for(&office.folder, "a.example"))[..50])});
    office.alice.post(&path, &broken).await.refused(422, "csr_malformed");
    let both = json!({"csr_pem": "x", "key_algorithm": "ecdsa-p256"});
    office.alice.post(&path, &both).await.refused(400, "invalid_request");
    assert_eq!(house().await.rows(&office.organization), rows);
}
