//! From a request to a certificate that openssl verifies, for every key type and profile.

use serde_json::{Value, json};

use crate::answer::text;
use crate::house::{DAY, ISSUING, Office, ROOT, at_once, house, office};
use crate::openssl::{key, openssl, request, write_chain};

const BY_OPENSSL: [&str; 6] = ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519"];

/// Fails unless openssl builds a path from the certificate to the root, strictly. It prints the certificate.
pub(crate) async fn verify(office: &Office, certificate: &Value, options: &[&str]) -> String {
    let folder = &office.folder;
    write_chain(folder, &office.alice.chain(certificate).await);
    let root = office.authority(ROOT).await;
    std::fs::write(folder.join("root.pem"), text(&root, "certificate_pem")).unwrap();
    let verify = ["verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "issuers.pem"];
    openssl(folder, &[&verify[..], options, &["leaf.pem"]].concat());
    openssl(folder, &["x509", "-in", "leaf.pem", "-noout", "-text"])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_algorithm_is_certified_from_a_request_of_openssl() {
    let office = office().await;
    for algorithm in BY_OPENSSL {
        let key = key(&office.folder, algorithm);
        let name = format!("{algorithm}.example.com");
        let names = format!("subjectAltName=DNS:{name},IP:192.0.2.1,IP:2001:db8::1");
        let csr = request(&office.folder, &key, &format!("/O=Example/CN={name}"), &[&names]);
        let body = json!({"profile": "tls-server", "policy": "at-once", "csr_pem": csr});
        let certificate = office.alice.issue(&body).await;
        assert_eq!(certificate["key_algorithm"], algorithm);
        assert_eq!(certificate["key_source"], "csr");
        assert_eq!(certificate["status"], "active");
        let printed =
            verify(&office, &certificate, &["-purpose", "sslserver", "-verify_hostname", &name]).await;
        check_extensions(&printed, "TLS Web Server Authentication", algorithm.starts_with("rsa"));
        let ours = openssl(&office.folder, &["pkey", "-in", &key, "-pubout"]);
        assert_eq!(openssl(&office.folder, &["x509", "-in", "leaf.pem", "-noout", "-pubkey"]), ours);
    }
    let rows = house().await.rows(&office.organization);
    assert_eq!((rows["certificates"], rows["certificate_metadata"], rows["private_keys"]), (6, 6, 0));
}

/// Everything that the issue of a certificate promises stands in it.
fn check_extensions(printed: &str, purpose: &str, key_encipherment: bool) {
    for part in [
        "X509v3 Key Usage: critical",
        "X509v3 Basic Constraints: critical",
        "CA:FALSE",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
        "X509v3 CRL Distribution Points",
        "OCSP - URI:http://127.0.0.1:",
        "CA Issuers - URI:http://127.0.0.1:",
        "X509v3 Certificate Policies",
        "X509v3 Subject Alternative Name",
        purpose,
    ] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
    assert_eq!(printed.contains("Key Encipherment"), key_encipherment, "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_ml_dsa_65_is_certified() {
    let office = office().await;
    let csr = crate::csr::ml_dsa("www.example.com");
    let body = json!({"profile": "tls-server", "policy": "at-once", "csr_pem": csr});
    let certificate = office.alice.issue(&body).await;
    assert_eq!(certificate["key_algorithm"], "ml-dsa-65");
    let broken = crate::csr::break_signature(&csr);
    let body = json!({"profile": "tls-server", "policy": "at-once", "csr_pem": broken});
    office.alice.post("/api/v1/requests", &body).await.refused(422, "csr_signature_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_algorithm_is_generated_and_kept_wrapped() {
    let office = office().await;
    for algorithm in ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519", "ml-dsa-65"]
    {
        let body = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": algorithm,
            "sans": [format!("dns:{algorithm}.example.com")]});
        let certificate = office.alice.issue(&body).await;
        assert_eq!(
            (&certificate["key_algorithm"], &certificate["key_source"]),
            (&json!(algorithm), &json!("generated"))
        );
        assert!(!certificate.to_string().contains("PRIVATE"));
        if algorithm != "ml-dsa-65" {
            verify(&office, &certificate, &["-purpose", "sslserver"]).await;
        }
    }
    let rows = house().await.rows(&office.organization);
    assert_eq!((rows["certificates"], rows["private_keys"]), (7, 7));
    // PKCS #8 begins with a SEQUENCE and version 0 or 1; what is wrapped must not.
    let sql = format!(
        "SELECT count(*) FROM clm.private_keys WHERE organization_id = '{}' AND get_byte(encrypted_key_material, 0) = 48
         AND get_byte(encrypted_key_material, 1) IN (129, 130)",
        office.organization
    );
    let plain = house().await.installation.databases.secure.psql("clm_secure_db", &sql).unwrap();
    assert_eq!(plain, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tls_profile_says_what_its_certificates_are_for() {
    let office = office().await;
    for (profile, good, bad, sans) in [
        (
            "tls-server",
            "sslserver",
            Some("sslclient"),
            json!(["dns:*.example.com", "uri:https://www.example.com/"]),
        ),
        (
            "tls-client",
            "sslclient",
            Some("sslserver"),
            json!(["email:ann@example.com", "uri:spiffe://example.com/web"]),
        ),
        ("tls-server-client", "sslserver", None, json!(["dns:www.example.com", "ip:10.0.0.1"])),
    ] {
        let body =
            json!({"profile": profile, "policy": "at-once", "key_algorithm": "ecdsa-p256", "sans": sans});
        let certificate = office.alice.issue(&body).await;
        assert_eq!(certificate["profile"], profile);
        assert_eq!(certificate["sans"], sans);
        let printed = verify(&office, &certificate, &["-purpose", good]).await;
        assert!(printed.contains("Subject Alternative Name: critical"), "the subject is empty: {printed}");
        let Some(bad) = bad else { continue };
        let arguments =
            ["verify", "-CAfile", "root.pem", "-untrusted", "issuers.pem", "-purpose", bad, "leaf.pem"];
        assert!(!crate::openssl::try_openssl(&office.folder, &arguments).0);
    }
    let body = json!({"profile": "tls-client", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "subject": "CN=Ann,OU=Staff,O=Example,C=DE"});
    let certificate = office.alice.issue(&body).await;
    assert_eq!(certificate["subject"], "CN=Ann,OU=Staff,O=Example,C=DE");
    assert_eq!(certificate["common_name"], "Ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intermediate_authority_under_the_root_needs_an_approval() {
    let office = office().await;
    let step = json!([{"name": "Ceremony", "approver_role_id": crate::house::APPROVER, "quorum": 1}]);
    office.workflow("ceremony", "issuance", &step).await;
    let mut rules = at_once();
    rules["profiles"] = json!(["intermediate-ca"]);
    rules["max_validity_seconds"] = json!(1825 * DAY);
    // Without an approval the root refuses, whatever the policy says.
    office.policy("hasty", &rules).await;
    rules["workflows"] = json!({"issuance": "ceremony"});
    office.policy("authorities", &rules).await;
    let key = key(&office.folder, "ecdsa-p384");
    let csr =
        request(&office.folder, &key, "/O=Example/CN=Example CA", &["basicConstraints=critical,CA:TRUE"]);
    let ask = |policy: &str| json!({"profile": "intermediate-ca", "policy": policy, "csr_pem": csr, "validity_seconds": 365 * DAY});
    let answer = office.alice.post("/api/v1/requests", &ask("hasty")).await;
    answer.refused(422, "mandate_outside_envelope");
    let pending = office.alice.post("/api/v1/requests", &ask("authorities")).await.expect(202);
    let path = format!("/api/v1/requests/{}/approve", text(&pending, "id"));
    let done = office.bob.post(&path, &json!({})).await.expect(200);
    assert_eq!(done["status"], "completed", "{done:#}");
    let id = text(&done, "certificate_id");
    let certificate = office.alice.get(&format!("/api/v1/certificates/{id}")).await.expect(200);
    assert_eq!(certificate["authority_id"], office.authority(ROOT).await["id"]);
    std::fs::write(office.folder.join("root.pem"), text(&office.authority(ROOT).await, "certificate_pem"))
        .unwrap();
    std::fs::write(office.folder.join("ca.pem"), office.alice.chain(&certificate).await).unwrap();
    openssl(&office.folder, &["verify", "-x509_strict", "-CAfile", "root.pem", "ca.pem"]);
    let printed = openssl(&office.folder, &["x509", "-in", "ca.pem", "-noout", "-text"]);
    assert!(
        printed.contains("CA:TRUE, pathlen:0") && printed.contains("Certificate Sign, CRL Sign"),
        "{printed}"
    );
    // Names have no place in it.
    let mut with_names = ask("authorities");
    with_names["sans"] = json!(["dns:www.example.com"]);
    let answer = office.alice.post("/api/v1/requests", &with_names).await;
    assert!(answer.status == 422, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_and_its_metadata_tell_the_whole_story() {
    let office = office().await;
    let csr = crate::openssl::request_for(&office.folder, "www.example.com");
    let body = json!({
        "profile": "tls-server", "policy": "at-once", "authority": ISSUING, "csr_pem": csr, "validity_seconds": 5 * DAY,
        "owner_user_id": office.bob.id, "tags": {"team": "web"}, "environment": "production", "category": "shop",
        "custom_fields": {"cost": {"centre": 4711}}, "comment": "for the shop",
    });
    let answer = office.alice.post("/api/v1/requests", &body).await;
    let request = answer.expect(201);
    let id = text(&request, "certificate_id");
    assert_eq!(answer.header("location"), format!("/api/v1/certificates/{id}"));
    assert_eq!(request["status"], "completed");
    assert_eq!(request["requester_user_id"], office.alice.id.as_str());
    let certificate = office.alice.get(answer.header("location")).await.expect(200);
    for (member, value) in [
        ("owner_user_id", json!(office.bob.id)),
        ("organization_id", json!(office.organization)),
        ("operation_id", request["operation_id"].clone()),
        ("request_id", request["id"].clone()),
        ("tags", json!({"team": "web"})),
        ("environment", json!("production")),
        ("category", json!("shop")),
        ("custom_fields", json!({"cost": {"centre": 4711}})),
        ("policy_version", json!(1)),
    ] {
        assert_eq!(certificate[member], value, "{member}");
    }
    verify(&office, &certificate, &[]).await;
    let serial = openssl(&office.folder, &["x509", "-in", "leaf.pem", "-noout", "-serial"]);
    assert_eq!(serial.trim().to_lowercase(), format!("serial={}", text(&certificate, "serial_number")));
    let printed = openssl(&office.folder, &["x509", "-in", "leaf.pem", "-noout", "-fingerprint", "-sha256"]);
    let fingerprint = printed.trim().split_once('=').unwrap().1.replace(':', "").to_lowercase();
    assert_eq!(fingerprint, text(&certificate, "fingerprint_sha256"));
    let parse =
        |member: &str| chrono::DateTime::parse_from_rfc3339(certificate[member].as_str().unwrap()).unwrap();
    let seconds = (parse("not_after") - parse("not_before")).num_seconds();
    assert_eq!(seconds, 5 * 86_400 - 1, "both ends count");
}
