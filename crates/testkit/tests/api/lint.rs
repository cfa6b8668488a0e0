//! Everything that is signed, looked at by pkilint: `make deps-test` installs it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::text;
use crate::house::{APPROVER, DAY, ISSUING, Office, ROOT, at_once, office};
use crate::openssl::{key, openssl, request, write_chain};
use crate::validation::{fetch, ocsp_request, ocsp_url, wait_for_listed};

/// How many certificates are issued and linted, unless `CLM_LINT_CERTIFICATES` says otherwise.
const CERTIFICATES: usize = 1000;
const ALGORITHMS: [&str; 7] =
    ["ecdsa-p256", "ecdsa-p384", "ed25519", "ml-dsa-65", "rsa-2048", "rsa-3072", "rsa-4096"];
/// So many have keys of every algorithm; the rest goes without RSA, whose keys take up to a second each to make.
const OF_EVERY_ALGORITHM: usize = 63;
const PROFILES: [&str; 3] = ["tls-server", "tls-client", "tls-server-client"];

/// The findings that `docs/reference/pkilint.md` explains: code, part of the path, start of the value.
const EXPLAINED: [(&str, &str, &str); 3] = [
    ("pkix.invalid_domain_name_syntax", "subjectAltName", "*."),
    ("pkix.invalid_domain_name_syntax", "subjectAltName", "intranet"),
    ("pkix.invalid_uri_syntax", "subjectAltName", "spiffe://trust/"),
];

#[tokio::test(flavor = "multi_thread")]
async fn pkilint_finds_nothing_that_is_not_explained() {
    let office = office().await;
    prepare(&office).await;
    let count = std::env::var("CLM_LINT_CERTIFICATES").map_or(CERTIFICATES, |text| text.parse().unwrap());
    let folder = office.folder.join("lint");
    std::fs::create_dir(&folder).unwrap();
    let bodies: Vec<Value> = (0..count).map(|number| body(&office.folder, number)).collect();
    let issued =
        futures::stream::iter(bodies.iter().enumerate().map(|(number, body)| issue(&office, number, body)));
    let certificates: Vec<Value> = issued.buffered(8).collect().await;
    for (number, certificate) in certificates.iter().enumerate() {
        let path = format!("/api/v1/certificates/{}", text(certificate, "id"));
        let call = office.alice.call(Method::GET, &path).header("accept", "application/pkix-cert");
        std::fs::write(folder.join(format!("{number}.der")), office.alice.send(call).await.body).unwrap();
    }
    for name in [ROOT, ISSUING] {
        let authority = office.authority(name).await;
        let served = fetch(&office.alice.client, &text(&authority, "issuer_url")).await.body;
        std::fs::write(folder.join(format!("{name}.der")), served).unwrap();
    }
    answers(&office, &folder, &certificates).await;
    revocation_lists(&office, &folder, &certificates).await;
    let (linted, unexplained) = lint(&folder);
    println!("linted: {linted:?}");
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    assert!(linted[".der"] >= count + 2 && linted[".crl"] == 2 && linted[".ocsp"] >= 12, "{linted:?}");
}

/// A policy for the mixture, and one for authorities.
async fn prepare(office: &Office) {
    let step = json!([{"name": "Ceremony", "approver_role_id": APPROVER, "quorum": 1}]);
    office.workflow("ceremony", "issuance", &step).await;
    let mut rules = at_once();
    rules["profiles"] = json!(["intermediate-ca"]);
    rules["max_validity_seconds"] = json!(1825 * DAY);
    rules["workflows"] = json!({"issuance": "ceremony"});
    office.policy("authorities", &rules).await;
}

/// The request for one certificate of the mixture.
fn body(folder: &Path, number: usize) -> Value {
    if number % 20 == 19 {
        return json!({"profile": "intermediate-ca", "policy": "authorities", "key_algorithm": "ecdsa-p384",
            "subject": format!("CN=Example CA {number},OU=Trust,O=Example,L=Köln,C=DE"), "validity_seconds": 365 * DAY});
    }
    let algorithms = if number < OF_EVERY_ALGORITHM { &ALGORITHMS[..] } else { &ALGORITHMS[..4] };
    let algorithm = algorithms[number % algorithms.len()];
    let profile = PROFILES[number / algorithms.len() % PROFILES.len()];
    let name = format!("n{number}.example.com");
    let mut body =
        json!({"profile": profile, "policy": "at-once", "validity_seconds": (1 + number as u64 % 398) * DAY});
    if algorithm == "ml-dsa-65" {
        body["csr_pem"] = json!(crate::csr::ml_dsa(&name));
    } else if number.is_multiple_of(3) && !algorithm.starts_with("rsa") {
        body["key_algorithm"] = json!(algorithm);
        body["sans"] = json!(sans(profile, number, &name));
    } else {
        let subject = [
            format!("/CN={name}"),
            format!("/C=DE/ST=Köln/L=Köln/O=Ex & Co/OU=Ünit/CN={name}"),
            "/".to_owned(),
        ];
        let names = format!("subjectAltName=DNS:{name},DNS:www.{name},IP:192.0.2.1,IP:2001:db8::1");
        let key = key(folder, algorithm);
        body["csr_pem"] = json!(request(folder, &key, &subject[number % 3], &[&names]));
    }
    body
}

fn sans(profile: &str, number: usize, name: &str) -> Vec<String> {
    let mut sans = vec![format!("dns:{name}"), "uri:https://www.example.com/a?b=c".to_owned()];
    match (profile, number % 4) {
        ("tls-client", 0) => sans.push("email:first.last@example.com".to_owned()),
        ("tls-client", _) => sans.push("uri:spiffe://trust/ns/web".to_owned()),
        (_, 0) => sans.push("dns:*.example.com".to_owned()),
        (_, 1) => sans.push("dns:intranet".to_owned()),
        (_, 2) => sans.extend((0..90).map(|more| format!("dns:m{more}.{name}"))),
        _ => sans.push("dns:xn--bcher-kva.example".to_owned()),
    }
    sans
}

async fn issue(office: &Office, number: usize, body: &Value) -> Value {
    if body["profile"] != "intermediate-ca" {
        return office.alice.issue(body).await;
    }
    let pending = office.alice.post("/api/v1/requests", body).await.expect(202);
    let path = format!("/api/v1/requests/{}/approve", text(&pending, "id"));
    let done = office.bob.post(&path, &json!({"comment": format!("number {number}")})).await.expect(200);
    let id = text(&done, "certificate_id");
    office.alice.get(&format!("/api/v1/certificates/{id}")).await.expect(200)
}

/// OCSP responses of every status, with nonce and without.
async fn answers(office: &Office, folder: &Path, certificates: &[Value]) {
    let reasons =
        ["good", "certificateHold", "unspecified", "keyCompromise", "superseded", "privilegeWithdrawn"];
    for (reason, certificate) in reasons.into_iter().zip(certificates) {
        write_chain(&office.folder, &office.alice.chain(certificate).await);
        if reason != "good" {
            let path = format!("/api/v1/certificates/{}/revoke", text(certificate, "id"));
            let date = if reason == "keyCompromise" { json!("2020-01-02T03:04:05Z") } else { Value::Null };
            office.alice.post(&path, &json!({"reason": reason, "invalidity_date": date})).await.expect(201);
        }
        for option in ["-nonce", "-no_nonce"] {
            let request = ocsp_request(&office.folder, &[option]);
            let response = post(office, &ocsp_url(&office.folder), request).await;
            std::fs::write(folder.join(format!("{reason}{option}.ocsp")), response).unwrap();
        }
    }
    let url = ocsp_url(&office.folder);
    let unknown = ["ocsp", "-issuer", "issuer.pem", "-serial", "0x0123456789", "-reqout", "request.der"];
    openssl(&office.folder, &unknown);
    let request = std::fs::read(office.folder.join("request.der")).unwrap();
    std::fs::write(folder.join("unknown.ocsp"), post(office, &url, request).await).unwrap();
    std::fs::write(folder.join("malformed.ocsp"), post(office, &url, vec![0x30]).await).unwrap();
}

async fn post(office: &Office, url: &str, request: Vec<u8>) -> Vec<u8> {
    let call = office.alice.client.post(url).header("content-type", "application/ocsp-request").body(request);
    call.send().await.unwrap().bytes().await.unwrap().to_vec()
}

/// The lists of both authorities, once they name what was revoked.
async fn revocation_lists(office: &Office, folder: &Path, certificates: &[Value]) {
    for certificate in &certificates[1..6] {
        wait_for_listed(office, certificate).await;
    }
    for name in [ROOT, ISSUING] {
        let served = fetch(&office.alice.client, &text(&office.authority(name).await, "crl_url")).await.body;
        std::fs::write(folder.join(format!("{name}.crl")), served).unwrap();
    }
}

/// How many files of each kind were linted, and the findings that nothing explains.
fn lint(folder: &Path) -> (BTreeMap<String, usize>, Vec<Value>) {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python: PathBuf = crate_folder.join("../../target/pkilint/bin/python3");
    assert!(python.exists(), "pkilint is missing: run `make deps-test`");
    let output =
        Command::new(python).arg(crate_folder.join("tests/api/lint_all.py")).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let linted = serde_json::from_value(lines.pop().unwrap()["linted"].clone()).unwrap();
    let mut explained = BTreeMap::<usize, usize>::new();
    lines.retain(|finding| {
        let fits = |(code, path, value): &(&str, &str, &str)| {
            finding["code"] == *code
                && text(finding, "path").contains(path)
                && text(finding, "value").contains(value)
        };
        let found = EXPLAINED.iter().position(fits);
        if let Some(index) = found {
            *explained.entry(index).or_default() += 1;
        }
        found.is_none()
    });
    println!("explained: {explained:?}");
    (linted, lines)
}
