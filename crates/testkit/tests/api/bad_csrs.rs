//! Certificate signing requests that are refused, each with its code, and without a trace in the databases.

use std::path::Path;

use serde_json::json;

use crate::csr::{bend, break_signature, modulus_place, to_der, to_pem};
use crate::house::{DAY, Office, house, office};
use crate::openssl::{key, openssl, request, request_for};

/// What is wrong, the request, the status and the code.
type Case = (&'static str, String, u16, &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_to_sign_is_refused_with_its_code_and_leaves_no_row() {
    let office = office().await;
    office.policy("narrow", &narrow()).await;
    let rows = house().await.rows(&office.organization);
    let folder = &office.folder;
    let cases = [forms(folder), keys(folder), extensions(folder), names(folder)].concat();
    for (what, csr_pem, status, code) in &cases {
        let body = json!({"profile": "tls-server", "policy": "narrow", "csr_pem": csr_pem});
        let answer = office.alice.post("/api/v1/requests", &body).await;
        println!("{what}: {}", answer.text());
        let problem = answer.refused(*status, code);
        assert!(!problem["detail"].as_str().unwrap().contains("-----BEGIN"), "{what}");
    }
    assert_eq!(house().await.rows(&office.organization), rows);
    // The very same way is open to a good one.
    accepts(&office, &request_for(folder, "www.example.com")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_programs_add_of_themselves_is_taken() {
    let office = office().await;
    office.policy("narrow", &narrow()).await;
    let folder = &office.folder;
    let key = key(folder, "ecdsa-p256");
    let names = "subjectAltName=DNS:www.example.com,DNS:www.example.com";
    for extensions in [
        vec![names, "keyUsage=digitalSignature,keyEncipherment", "extendedKeyUsage=serverAuth"],
        vec![names, "basicConstraints=CA:FALSE", "subjectKeyIdentifier=hash"],
    ] {
        accepts(&office, &request(folder, &key, "/", &extensions)).await;
    }
    let pem = request(folder, &key, "/CN=www.example.com", &[names]);
    accepts(&office, &pem.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")).await;
    accepts(&office, &pem.replace('\n', "\r\n")).await;
    accepts(&office, &format!("some words of a mail\n\n{pem}")).await;
}

async fn accepts(office: &Office, csr_pem: &str) {
    let body = json!({"profile": "tls-server", "policy": "narrow", "csr_pem": csr_pem});
    let certificate = office.alice.issue(&body).await;
    assert_eq!(certificate["sans"], json!(["dns:www.example.com"]));
}

fn narrow() -> serde_json::Value {
    json!({
        "profiles": ["tls-server", "tls-client"],
        "key_algorithms": ["ecdsa-p256"],
        "key_sources": ["csr"],
        "names": {"dns_suffixes": ["example.com"]},
        "max_names": 3,
        "max_validity_seconds": 30 * DAY,
        "default_validity_seconds": DAY,
    })
}

fn forms(folder: &Path) -> Vec<Case> {
    let good = request_for(folder, "www.example.com");
    let der = to_der(&good);
    let half: String = good.chars().take(good.len() / 2).collect();
    let certificate = good.replace("CERTIFICATE REQUEST", "CERTIFICATE");
    let sha1 =
        openssl(folder, &["req", "-new", "-sha1", "-key", "ecdsa-p256.key", "-subj", "/CN=www.example.com"]);
    let cut = |octets: usize| to_pem(&der[..octets]);
    vec![
        ("nothing", String::new(), 422, "csr_malformed"),
        ("no PEM", "a certificate, please".to_owned(), 422, "csr_malformed"),
        ("half a PEM block", half, 422, "csr_malformed"),
        ("another label", certificate, 422, "csr_malformed"),
        ("no base64", good.replace('M', "!"), 422, "csr_malformed"),
        ("NUL in the PEM", good.replace("-----\nM", "-----\n\0M"), 422, "csr_malformed"),
        ("one octet short", cut(der.len() - 1), 422, "csr_malformed"),
        ("half", cut(der.len() / 2), 422, "csr_malformed"),
        ("one octet", cut(1), 422, "csr_malformed"),
        ("an indefinite length", to_pem(&[0x30, 0x80, 0, 0]), 422, "csr_malformed"),
        ("a length of 4 GiB", to_pem(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), 422, "csr_malformed"),
        ("octets after it", to_pem(&[&der[..], &[0]].concat()), 422, "csr_trailing_data"),
        ("two of them", format!("{good}{good}"), 422, "csr_trailing_data"),
        ("a broken signature", break_signature(&good), 422, "csr_signature_invalid"),
        (
            "another name than signed",
            bend(&good, b"www.example.com", b"wwx.example.com"),
            422,
            "csr_signature_invalid",
        ),
        ("SHA-1", sha1, 422, "csr_signature_algorithm_unsupported"),
        ("very large", to_pem(&vec![0x30; 80 * 1024]), 413, "csr_too_large"),
    ]
}

fn keys(folder: &Path) -> Vec<Case> {
    let made = |file: &str, arguments: &[&str]| {
        openssl(folder, &[&["genpkey", "-out", file, "-algorithm"], arguments].concat());
        request(folder, file, "/CN=www.example.com", &["subjectAltName=DNS:www.example.com"])
    };
    let rsa = made("rsa.key", &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let modulus = |octets: &dyn Fn(&mut [u8])| {
        let mut der = to_der(&rsa);
        let place = modulus_place(&der);
        octets(&mut der[place]);
        to_pem(&der)
    };
    let even = bend(&rsa, &[2, 3, 1, 0, 1], &[2, 3, 1, 0, 0]);
    let exponent_3 =
        made("three.key", &["RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-pkeyopt", "rsa_keygen_pubexp:3"]);
    let p256 = request_for(folder, "www.example.com");
    let der = to_der(&p256);
    let point = der.windows(4).position(|window| window == [3, 0x42, 0, 4]).unwrap() + 4;
    let bent_point = |change: &dyn Fn(&mut [u8])| {
        let mut der = der.clone();
        change(&mut der[point - 1..point + 64]);
        to_pem(&der)
    };
    let curve =
        |name: &str| made(&format!("{name}.key"), &["EC", "-pkeyopt", &format!("ec_paramgen_curve:{name}")]);
    vec![
        ("RSA 1024", made("1024.key", &["RSA", "-pkeyopt", "rsa_keygen_bits:1024"]), 422, "key_too_weak"),
        ("an even exponent", even, 422, "rsa_exponent_invalid"),
        ("the exponent 3", exponent_3, 422, "rsa_exponent_invalid"),
        // 2^2048 - 1 is a multiple of 3.
        ("a modulus with a small factor", modulus(&|octets| octets.fill(0xff)), 422, "rsa_modulus_weak"),
        ("an even modulus", modulus(&|octets| octets[255] &= 0xfe), 422, "rsa_modulus_weak"),
        ("a point off the curve", bent_point(&|point| point[64] ^= 1), 422, "ec_point_invalid"),
        ("the point at infinity", bent_point(&|point| point.fill(0)), 422, "ec_point_invalid"),
        ("a coordinate over the prime", bent_point(&|point| point[1..].fill(0xff)), 422, "ec_point_invalid"),
        ("a compressed form", bent_point(&|point| point[0] = 2), 422, "ec_point_invalid"),
        ("another curve", curve("secp256k1"), 422, "key_algorithm_unsupported"),
        ("P-521", curve("P-521"), 422, "key_algorithm_unsupported"),
        ("Ed448", made("ed448.key", &["ED448"]), 422, "key_algorithm_unsupported"),
        ("RSA where the policy has EC only", rsa.clone(), 422, "key_algorithm_not_allowed"),
    ]
}

fn extensions(folder: &Path) -> Vec<Case> {
    let key = key(folder, "ecdsa-p256");
    let with = |extension: &str| {
        let names = "subjectAltName=DNS:www.example.com";
        request(folder, &key, "/CN=www.example.com", &[names, extension])
    };
    let twice = bend(
        &with("subjectKeyIdentifier=hash"),
        &[0x06, 0x03, 0x55, 0x1d, 0x0e],
        &[0x06, 0x03, 0x55, 0x1d, 0x11],
    );
    vec![
        ("CA:TRUE", with("basicConstraints=critical,CA:TRUE"), 422, "csr_ca_true"),
        ("a path length", with("basicConstraints=CA:TRUE,pathlen:0"), 422, "csr_ca_true"),
        (
            "name constraints",
            with("nameConstraints=permitted;DNS:example.com"),
            422,
            "csr_extension_forbidden",
        ),
        ("policies", with("certificatePolicies=1.2.3.4"), 422, "csr_extension_forbidden"),
        (
            "its own revocation address",
            with("crlDistributionPoints=URI:http://evil.example/"),
            422,
            "csr_extension_forbidden",
        ),
        ("an unknown extension", with("1.2.3.4=ASN1:NULL"), 422, "csr_extension_forbidden"),
        ("an extension twice", twice, 422, "csr_duplicate_extension"),
    ]
}

fn names(folder: &Path) -> Vec<Case> {
    let key = key(folder, "ecdsa-p256");
    let sans = |names: &str| request(folder, &key, "/", &[&format!("subjectAltName={names}")]);
    let many = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("DNS:n{number}.example.com")).collect();
        sans(&names.join(","))
    };
    let subject = |subject: &str| request(folder, &key, subject, &["subjectAltName=DNS:www.example.com"]);
    let bent_san = |new: &[u8]| bend(&sans("DNS:wwwXX.example.com"), b"wwwXX", new);
    vec![
        ("outside the policy", sans("DNS:www.example.net"), 422, "name_not_allowed"),
        ("a look-alike suffix", sans("DNS:badexample.com"), 422, "name_not_allowed"),
        ("one of two outside", sans("DNS:www.example.com,DNS:example.org"), 422, "name_not_allowed"),
        ("a wildcard", sans("DNS:*.example.com"), 422, "wildcard_not_allowed"),
        ("a partial wildcard", sans("DNS:w*.example.com"), 422, "wildcard_misplaced"),
        ("a wildcard over one label", sans("DNS:*.com"), 422, "wildcard_misplaced"),
        ("an IP address", sans("IP:192.0.2.1"), 422, "name_not_allowed"),
        ("an e-mail address", sans("email:ann@example.com"), 422, "name_kind_not_allowed"),
        ("another kind of name", sans("otherName:1.2.3.4;UTF8:x"), 422, "name_kind_not_allowed"),
        ("a registered id", sans("RID:1.2.3.4"), 422, "name_kind_not_allowed"),
        ("four names where three are allowed", many(4), 422, "too_many_names"),
        ("1,000 names", many(1000), 422, "too_many_names"),
        ("no name", request(folder, &key, "/", &[]), 422, "name_missing"),
        ("a common name alone", request(folder, &key, "/CN=www.example.com", &[]), 422, "name_missing"),
        (
            "a common name that is no other name",
            subject("/CN=mail.example.com"),
            422,
            "common_name_not_in_names",
        ),
        ("two common names", subject("/CN=www.example.com/CN=www.example.com"), 422, "name_invalid"),
        ("an embedded NUL", bent_san(b"www\0X"), 422, "name_control_character"),
        ("a U-label", bent_san("wwüX".as_bytes()), 422, "name_not_ascii"),
        ("Latin-1", bent_san(b"ww\xfcXX"), 422, "name_encoding_invalid"),
        ("a space", bent_san(b"www X"), 422, "name_invalid"),
        ("an empty label", bent_san(b"www.."), 422, "name_invalid"),
        (
            "NUL in the common name",
            bend(&subject("/CN=wwwX.example.com"), b"wwwX", b"www\0"),
            422,
            "name_control_character",
        ),
        (
            "a common name that is not UTF-8",
            bend(&subject("/CN=wwwX.example.com"), b"wwwX", b"www\xfc"),
            422,
            "name_encoding_invalid",
        ),
        ("an attribute that is not known", subject("/title=Dr"), 422, "name_invalid"),
    ]
}
