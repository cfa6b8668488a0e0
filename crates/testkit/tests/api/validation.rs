//! What relying parties fetch, asked by openssl.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method};
use serde_json::Value;

use crate::answer::{Answer, text};
use crate::house::{ISSUING, Office, ROOT, house, office};
use crate::openssl::{openssl, try_openssl, write_chain};
use crate::revocations::issue;

/// The issuer alone is trusted: it signs answers itself, or certified who does.
const TRUST: [&str; 5] = ["-CAfile", "issuer.pem", "-partial_chain", "-verify_other", "issuer.pem"];

/// The status of a certificate by `openssl ocsp`, at the address that stands in the certificate.
pub(crate) async fn ocsp(office: &Office, certificate: &Value, options: &[&str]) -> String {
    let folder = &office.folder;
    write_chain(folder, &office.alice.chain(certificate).await);
    let url = ocsp_url(folder);
    // A digest must stand before the certificate that it is for.
    let ask = ["-issuer", "issuer.pem", "-cert", "leaf.pem", "-url", &url];
    let printed = openssl(folder, &[&["ocsp"], options, &ask[..], &TRUST].concat());
    assert!(printed.contains("Response verify OK"), "{printed}");
    assert!(
        !printed.contains("WARNING: no nonce in response") || options.contains(&"-no_nonce"),
        "{printed}"
    );
    printed
}

pub(crate) fn ocsp_url(folder: &Path) -> String {
    openssl(folder, &["x509", "-in", "leaf.pem", "-noout", "-ocsp_uri"]).trim().to_owned()
}

pub(crate) async fn fetch(client: &Client, url: &str) -> Answer {
    Answer::read(client.get(url).send().await.unwrap()).await
}

/// An OCSP request for `leaf.pem`, DER.
pub(crate) fn ocsp_request(folder: &Path, options: &[&str]) -> Vec<u8> {
    let ask = ["ocsp", "-issuer", "issuer.pem", "-cert", "leaf.pem", "-reqout", "request.der"];
    openssl(folder, &[&ask[..], options].concat());
    std::fs::read(folder.join("request.der")).unwrap()
}

/// What a response says, verified.
fn read_response(folder: &Path, response: &[u8]) -> String {
    std::fs::write(folder.join("response.der"), response).unwrap();
    let read = ["ocsp", "-respin", "response.der", "-issuer", "issuer.pem", "-cert", "leaf.pem"];
    let printed = openssl(folder, &[&read[..], &TRUST, &["-no_nonce", "-text"]].concat());
    assert!(printed.contains("Response verify OK"), "{printed}");
    printed
}

/// The revocation list that names this certificate, from the address that stands in it: address, answer, and what
/// openssl prints of it.
pub(crate) async fn wait_for_listed(office: &Office, certificate: &Value) -> (String, Answer, String) {
    let folder = &office.folder;
    write_chain(folder, &office.alice.chain(certificate).await);
    let printed = openssl(folder, &["x509", "-in", "leaf.pem", "-noout", "-ext", "crlDistributionPoints"]);
    let url = printed.split_once("URI:").unwrap().1.split_whitespace().next().unwrap().to_owned();
    let serial = text(certificate, "serial_number").to_uppercase();
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = fetch(&office.alice.client, &url).await;
        std::fs::write(folder.join("list.crl"), &answer.body).unwrap();
        let printed = openssl(folder, &["crl", "-inform", "DER", "-in", "list.crl", "-noout", "-text"]);
        if printed.contains(&serial) {
            return (url, answer, printed);
        }
        assert!(Instant::now() < until, "not listed within 30 s: {printed}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ocsp_answers_post_and_get_with_and_without_nonce() {
    let office = office().await;
    let certificate = issue(&office, "at-once").await;
    let client = &office.alice.client;
    for digest in ["-sha1", "-sha256"] {
        let with_nonce = ocsp(&office, &certificate, &[digest, "-nonce", "-text"]).await;
        assert!(with_nonce.contains("leaf.pem: good"), "{with_nonce}");
        assert_eq!(with_nonce.matches("OCSP Nonce").count(), 2, "{with_nonce}");
        assert!(!ocsp(&office, &certificate, &[digest, "-no_nonce", "-text"]).await.contains("OCSP Nonce"));
    }
    let folder = &office.folder;
    let url = ocsp_url(folder);
    for (options, kept) in [(["-no_nonce"], true), (["-nonce"], false)] {
        let request = ocsp_request(folder, &options);
        let base64 = STANDARD.encode(&request);
        let escaped = base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        for address in [format!("{url}/{escaped}"), format!("{url}/{base64}")] {
            let answer = fetch(client, &address).await;
            assert_eq!((answer.status, answer.header("content-type")), (200, "application/ocsp-response"));
            assert!(read_response(folder, &answer.body).contains("Cert Status: good"));
            assert_eq!(
                answer.header("cache-control").contains("max-age="),
                kept,
                "{}",
                answer.header("cache-control")
            );
            assert_eq!(answer.headers.contains_key("etag"), kept);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_shows_at_once_also_where_the_old_answer_was_cached() {
    let office = office().await;
    let certificate = issue(&office, "at-once").await;
    let client = &office.alice.client;
    write_chain(&office.folder, &office.alice.chain(&certificate).await);
    let request =
        STANDARD.encode(ocsp_request(&office.folder, &["-no_nonce"])).replace('/', "%2F").replace('+', "%2B");
    let address = format!("{}/{request}", ocsp_url(&office.folder));
    for _ in 0..3 {
        assert!(
            read_response(&office.folder, &fetch(client, &address).await.body).contains("Cert Status: good")
        );
    }
    for (reason, expected) in [("certificateHold", "revoked"), ("keyCompromise", "revoked")] {
        office.alice.revoke(&certificate, reason).await.expect(201);
        let told = read_response(&office.folder, &fetch(client, &address).await.body);
        assert!(told.contains(&format!("Cert Status: {expected}")) && told.contains(reason), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ocsp_knows_its_limits() {
    let office = office().await;
    let certificate = issue(&office, "at-once").await;
    ocsp(&office, &certificate, &[]).await;
    let folder = &office.folder;
    let url = ocsp_url(folder);
    // A serial number that was never given out is not good.
    let ask = ["ocsp", "-issuer", "issuer.pem", "-serial", "0x1234567890", "-url", &url];
    let printed = openssl(folder, &[&ask[..], &TRUST].concat());
    assert!(!printed.contains(": good"), "{printed}");
    // Another authority's certificates are none of its business.
    std::fs::write(folder.join("root.pem"), text(&office.authority(ROOT).await, "certificate_pem")).unwrap();
    let ask = ["ocsp", "-issuer", "root.pem", "-cert", "issuer.pem", "-url", &url];
    let printed = try_openssl(folder, &[&ask[..], &TRUST].concat()).1;
    assert!(!printed.contains(": good"), "{printed}");
    let client = &office.alice.client;
    for body in [vec![], b"garbage".to_vec(), vec![0x30, 0x80], vec![0x30; 10_000]] {
        let call = client.post(&url).header("content-type", "application/ocsp-request").body(body);
        let answer = Answer::read(call.send().await.unwrap()).await;
        assert_eq!(answer.status, 200);
        // responseStatus malformedRequest (1), unsigned (RFC 6960 §2.3).
        assert_eq!(answer.body, [0x30, 3, 0x0a, 1, 1]);
    }
    let request = ocsp_request(folder, &["-no_nonce"]);
    let call = client.post(&url).header("content-type", "text/plain").body(request.clone());
    assert_eq!(call.send().await.unwrap().status(), 415);
    let call = client.post(&url).header("content-type", "application/ocsp-request").body(vec![0; 100_000]);
    assert!([413, 400].contains(&call.send().await.unwrap().status().as_u16()));
    let unknown = url.replace(url.rsplit('/').next().unwrap(), "0198f000-0000-7000-8000-000000000000");
    let call = client.post(&unknown).header("content-type", "application/ocsp-request").body(request);
    assert_eq!(call.send().await.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_revocation_list_names_what_was_revoked() {
    let office = office().await;
    let certificate = issue(&office, "at-once").await;
    let client = &office.alice.client;
    office.alice.revoke(&certificate, "keyCompromise").await.expect(201);
    let folder = &office.folder;
    let (url, answer, listed) = wait_for_listed(&office, &certificate).await;
    assert!(listed.contains("Key Compromise") && listed.contains("X509v3 CRL Number"), "{listed}");
    assert_eq!(answer.header("content-type"), "application/pkix-crl");
    for name in ["etag", "expires", "last-modified", "cache-control"] {
        assert!(!answer.header(name).is_empty(), "{name}");
    }
    let known = client.get(&url).header("if-none-match", answer.header("etag"));
    assert_eq!(known.send().await.unwrap().status(), 304);
    let printed =
        openssl(folder, &["crl", "-inform", "DER", "-in", "list.crl", "-CAfile", "issuer.pem", "-noout"]);
    assert!(printed.contains("verify OK"), "{printed}");
    std::fs::write(folder.join("root.pem"), text(&office.authority(ROOT).await, "certificate_pem")).unwrap();
    openssl(folder, &["crl", "-inform", "DER", "-in", "list.crl", "-out", "list.pem"]);
    let check = [
        "verify",
        "-crl_check",
        "-CAfile",
        "root.pem",
        "-untrusted",
        "issuer.pem",
        "-CRLfile",
        "list.pem",
        "leaf.pem",
    ];
    let (good, printed) = try_openssl(folder, &check);
    assert!(!good && printed.contains("certificate revoked"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_authorities_are_served_where_certificates_say() {
    let office = office().await;
    let client = &office.alice.client;
    for name in [ROOT, ISSUING] {
        let authority = office.authority(name).await;
        let url = text(&authority, "issuer_url");
        let answer = fetch(client, &url).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/pkix-cert"));
        assert!(answer.header("cache-control").contains("max-age="));
        let pem = text(&authority, "certificate_pem");
        assert_eq!(crate::csr::to_der(&pem), answer.body);
        let served = fetch(client, &url.replace(".crt", ".pem")).await.text();
        assert_eq!(crate::csr::to_der(&served), answer.body);
        let crl = fetch(client, &text(&authority, "crl_url")).await;
        assert_eq!((crl.status, crl.body.first()), (200, Some(&0x30)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_served_there() {
    let office = office().await;
    let base = house().await.installation.validation_url();
    let issuing = text(&office.authority(ISSUING).await, "id");
    let client = &office.alice.client;
    for path in [
        "",
        "/",
        "/api/v1/me",
        "/api/v1/certificates",
        "/openapi.json",
        "/problems/internal",
        "/metrics",
        "/livez",
        "/readyz",
        "/crl/",
        "/crl/x.crl",
        "/ca/x.crt",
        "/crl/0198f000-0000-7000-8000-000000000000.crl",
        "/ocsp",
        "/crl/..%2Fca",
    ] {
        let answer = Answer::read(client.get(format!("{base}{path}")).send().await.unwrap()).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    for (method, path) in [
        (Method::POST, format!("/crl/{issuing}.crl")),
        (Method::DELETE, format!("/ca/{issuing}.crt")),
        (Method::PUT, format!("/ocsp/{issuing}")),
        (Method::GET, format!("/ocsp/{issuing}")),
    ] {
        let answer = client.request(method.clone(), format!("{base}{path}")).send().await.unwrap();
        assert!([404, 405].contains(&answer.status().as_u16()), "{method} {path}");
    }
}
