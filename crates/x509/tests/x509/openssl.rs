//! What openssl says of our output, and we of its. OpenSSL 3.0 has no ML-DSA, so that stays with the tests
//! that verify with `aws-lc-rs`.

use crate::{
    certificates::{Authority, Order, instant},
    keys::TestKey,
    revocation::{entry, list, respond},
};
use clm_types::{ErrorCode, KeyAlgorithm, RevocationReason};
use clm_x509::{
    Certificate, Csr, PublicKey,
    ocsp::{self, CertStatus, OcspRequest},
};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};
use tempfile::TempDir;

/// A directory for the files of one test.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn openssl(&self, arguments: &[&str]) -> Output {
        Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap()
    }

    /// Output and errors of a run that must succeed.
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.openssl(arguments);
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "openssl {arguments:?}: {text}");
        text
    }
}

fn known_to_openssl() -> impl Iterator<Item = KeyAlgorithm> {
    KeyAlgorithm::ALL.iter().copied().filter(|algorithm| *algorithm != KeyAlgorithm::MlDsa65)
}

fn leaf_order() -> Order {
    Order::new(
        "tls-server",
        "CN=www.example.com,O=Example,C=DE",
        &["www.example.com", "*.example.com", "192.0.2.1", "2001:db8::1", "spiffe://example.com/a"],
        397,
    )
}

/// The time at which the certificates of these tests are valid, as openssl wants it.
fn at() -> String {
    instant("2026-02-01T00:00:00Z").timestamp().to_string()
}

#[test]
fn openssl_accepts_chains_and_lists_of_every_algorithm() {
    for algorithm in known_to_openssl() {
        let (root, issuing) = Authority::chain(algorithm);
        let key = TestKey::generate(algorithm).public_key();
        let (leaf, revoked) = (issuing.issue(&leaf_order(), &key), issuing.issue(&leaf_order(), &key));
        let nameless = issuing.issue(&Order::new("tls-server-client", "", &["a.example"], 1), &key);
        let desk = Desk::new();
        desk.put("root.pem", root.certificate.pem().as_bytes());
        desk.put("issuing.pem", issuing.certificate.pem().as_bytes());
        desk.put("leaf.pem", leaf.pem().as_bytes());
        desk.put("revoked.pem", revoked.pem().as_bytes());
        desk.put("nameless.pem", nameless.pem().as_bytes());
        let entries = vec![entry(revoked.serial(), Some(RevocationReason::KeyCompromise))];
        let lists = [list(&root, 1, Vec::new()), list(&issuing, 2, entries)];
        desk.put("crls.pem", lists.map(|der| clm_x509::crl::to_pem(&der)).concat().as_bytes());
        desk.put("crl.der", &list(&issuing, 3, Vec::new()));

        let verify = |options: &[&str], file: &str| {
            let at = at();
            let mut arguments = vec!["verify", "-x509_strict", "-attime", &at, "-CAfile", "root.pem"];
            arguments.extend(["-untrusted", "issuing.pem"]);
            arguments.extend(options);
            arguments.push(file);
            desk.openssl(&arguments)
        };
        for file in ["root.pem", "issuing.pem", "leaf.pem", "revoked.pem"] {
            let output = verify(&[], file);
            assert!(
                output.status.success(),
                "{algorithm} {file}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        assert!(
            verify(&["-verify_hostname", "x.example.com", "-purpose", "sslserver"], "leaf.pem")
                .status
                .success()
        );
        assert!(verify(&["-verify_ip", "192.0.2.1"], "leaf.pem").status.success());
        assert!(!verify(&["-verify_hostname", "other.test"], "leaf.pem").status.success());
        let checked = ["-CRLfile", "crls.pem", "-crl_check_all"];
        let output = verify(&checked, "leaf.pem");
        assert!(output.status.success(), "{algorithm}: {}", String::from_utf8_lossy(&output.stderr));
        let output = verify(&checked, "revoked.pem");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("certificate revoked"), "{algorithm}");
        let text =
            desk.succeed(&["crl", "-inform", "DER", "-in", "crl.der", "-CAfile", "issuing.pem", "-noout"]);
        assert!(text.contains("verify OK"), "{text}");
    }
}

#[test]
fn openssl_accepts_a_nameless_leaf() {
    let (root, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let leaf = issuing
        .issue(&Order::new("tls-server-client", "", &["a.example"], 90), &TestKey::p256().public_key());
    let desk = Desk::new();
    desk.put("root.pem", root.certificate.pem().as_bytes());
    desk.put("issuing.pem", issuing.certificate.pem().as_bytes());
    desk.put("leaf.pem", leaf.pem().as_bytes());
    desk.succeed(&[
        "verify",
        "-x509_strict",
        "-attime",
        &at(),
        "-CAfile",
        "root.pem",
        "-untrusted",
        "issuing.pem",
        "leaf.pem",
    ]);
}

/// Asks about both leaves, answers, and gives what openssl says.
fn ask(
    desk: &Desk,
    digest: &str,
    responder: &TestKey,
    certificate: Option<&Certificate>,
    extra: &[&str],
) -> String {
    desk.succeed(&[
        "ocsp",
        digest,
        "-issuer",
        "issuing.pem",
        "-cert",
        "leaf.pem",
        digest,
        "-cert",
        "revoked.pem",
        "-reqout",
        "request.der",
        "-no_cert_checks",
    ]);
    let request = OcspRequest::parse(&fs::read(desk.path("request.der")).unwrap()).unwrap();
    assert_eq!(request.cert_ids.len(), 2);
    assert!(request.nonce.is_some());
    let issuing = Certificate::parse_pem(&fs::read_to_string(desk.path("issuing.pem")).unwrap()).unwrap();
    let issuer = clm_x509::IssuerInfo::from_certificate(&issuing).unwrap();
    let revoked = Certificate::parse_pem(&fs::read_to_string(desk.path("revoked.pem")).unwrap()).unwrap();
    let public: PublicKey = responder.public_key();
    let tbs = respond(&public, &request, |cert_id| {
        assert!(cert_id.matches(&issuer));
        if cert_id.serial() == revoked.serial() {
            CertStatus::Revoked {
                revoked_at: instant("2026-01-02T00:00:00Z"),
                reason: Some(RevocationReason::CessationOfOperation),
            }
        } else {
            CertStatus::Good
        }
    });
    let response = ocsp::assemble(&public, &tbs, &responder.sign(&tbs), certificate).unwrap();
    desk.put("response.der", &response);
    let at = at();
    let mut arguments = vec![
        "ocsp",
        "-no_nonce", // keeps the one of the request
        "-respin",
        "response.der",
        "-reqin",
        "request.der",
        "-issuer",
        "issuing.pem",
        digest,
        "-cert",
        "leaf.pem",
        digest,
        "-cert",
        "revoked.pem",
        "-CAfile",
        "root.pem",
        "-attime",
        &at,
    ];
    arguments.extend(extra);
    desk.succeed(&arguments)
}

#[test]
fn openssl_accepts_responses_of_every_algorithm() {
    for algorithm in known_to_openssl() {
        let (root, issuing) = Authority::chain(algorithm);
        let key = TestKey::p256();
        let desk = Desk::new();
        let mut order = leaf_order();
        order.days = 300;
        desk.put("root.pem", root.certificate.pem().as_bytes());
        desk.put("issuing.pem", issuing.certificate.pem().as_bytes());
        desk.put("leaf.pem", issuing.issue(&order, &key.public_key()).pem().as_bytes());
        desk.put("revoked.pem", issuing.issue(&leaf_order(), &key.public_key()).pem().as_bytes());
        let responder = TestKey::generate(algorithm);
        let delegate =
            issuing.issue(&Order::new("ocsp-responder", "CN=Responder", &[], 90), &responder.public_key());

        let direct = ask(&desk, "-sha256", &issuing.key, None, &["-VAfile", "issuing.pem"]);
        let sha1 = ask(&desk, "-sha1", &issuing.key, None, &["-verify_other", "issuing.pem"]);
        let delegated = ask(&desk, "-sha256", &responder, Some(&delegate), &["-verify_other", "issuing.pem"]);
        for text in [direct, sha1, delegated] {
            assert!(text.contains("Response verify OK"), "{algorithm}: {text}");
            assert!(text.contains("leaf.pem: good"), "{algorithm}: {text}");
            assert!(text.contains("revoked.pem: revoked"), "{algorithm}: {text}");
            assert!(text.contains("Reason: cessationOfOperation"), "{algorithm}: {text}");
            assert!(!text.contains("WARNING"), "{algorithm}: {text}");
        }
    }
}

/// Makes a key and a request by the command line.
fn request(desk: &Desk, key: &[&str], extra: &[&str]) -> Vec<u8> {
    let mut arguments = vec!["genpkey", "-out", "key.pem"];
    arguments.extend(key);
    desk.succeed(&arguments);
    let mut arguments = vec!["req", "-new", "-key", "key.pem", "-out", "request.pem"];
    arguments.extend(extra);
    desk.succeed(&arguments);
    fs::read(desk.path("request.pem")).unwrap()
}

const SUBJECT: [&str; 2] = ["-subj", "/C=DE/O=Example/CN=www.example.com"];

#[test]
fn requests_of_openssl_are_read() {
    let desk = Desk::new();
    let ec = |curve: &'static str| vec!["-algorithm", "EC", "-pkeyopt", curve];
    let rsa = |bits: &'static str| vec!["-algorithm", "RSA", "-pkeyopt", bits];
    for (algorithm, key) in [
        (KeyAlgorithm::EcdsaP256, ec("ec_paramgen_curve:P-256")),
        (KeyAlgorithm::EcdsaP384, ec("ec_paramgen_curve:P-384")),
        (KeyAlgorithm::Rsa2048, rsa("rsa_keygen_bits:2048")),
        (KeyAlgorithm::Rsa3072, rsa("rsa_keygen_bits:3072")),
        (KeyAlgorithm::Ed25519, vec!["-algorithm", "ED25519"]),
    ] {
        let names = [
            "-addext",
            "subjectAltName=DNS:www.example.com,IP:192.0.2.1,email:a@example.com,URI:https://a.example/",
        ];
        let csr = Csr::parse(&request(&desk, &key, &[&SUBJECT[..], &names].concat())).unwrap();
        csr.verify().unwrap();
        assert_eq!(csr.public_key().algorithm(), algorithm);
        assert_eq!(csr.subject().to_string(), "CN=www.example.com,O=Example,C=DE");
        assert_eq!(csr.names().len(), 4);
    }
    let p256 = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    for digest in ["-sha384", "-sha512"] {
        let csr = Csr::parse(&request(&desk, &p256, &[&SUBJECT[..], &[digest]].concat())).unwrap();
        csr.verify().unwrap();
    }
}

#[test]
fn hostile_requests_of_openssl_are_refused() {
    let desk = Desk::new();
    let p256 = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let many: Vec<String> = (0..1000).map(|number| format!("DNS:n{number}.example")).collect();
    let many = format!("subjectAltName={}", many.join(","));
    for (what, key, extra, code) in [
        (
            "RSA 1024",
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"][..],
            "",
            ErrorCode::KeyTooWeak,
        ),
        (
            "RSA exponent 3",
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_pubexp:3"],
            "",
            ErrorCode::RsaExponentInvalid,
        ),
        (
            "P-521",
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
            "",
            ErrorCode::KeyAlgorithmUnsupported,
        ),
        ("Ed448", &["-algorithm", "ED448"], "", ErrorCode::KeyAlgorithmUnsupported),
        ("CA:TRUE", &p256, "basicConstraints=CA:TRUE", ErrorCode::CsrCaTrue),
        ("1000 names", &p256, &many, ErrorCode::TooManyNames),
        (
            "name constraints",
            &p256,
            "nameConstraints=permitted;DNS:example.com",
            ErrorCode::CsrExtensionForbidden,
        ),
        ("inner wildcard", &p256, "subjectAltName=DNS:a*.example.com", ErrorCode::WildcardMisplaced),
        ("registered id", &p256, "subjectAltName=RID:1.2.3", ErrorCode::NameKindNotAllowed),
    ] {
        let extra: &[&str] = if extra.is_empty() { &[] } else { &["-addext", extra] };
        let octets = request(&desk, key, &[&SUBJECT[..], extra].concat());
        let refusal = Csr::parse(&octets).and_then(|csr| csr.verify()).expect_err(what);
        assert_eq!(refusal.code, code, "{what}");
    }
}
