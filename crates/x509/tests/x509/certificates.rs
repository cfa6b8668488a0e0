//! Certificates: built, linted, signed, read back.

use crate::keys::TestKey;
use chrono::{DateTime, TimeDelta, Utc};
use clm_types::{Entropy, ErrorCode, KeyAlgorithm, Refusal, SerialNumber};
use clm_x509::{
    AuthorityUrls, Certificate, CertificateTemplate, IssuerInfo, PreparedCertificate, Profile, PublicKey,
    San, SubjectName, lint::lint_tbs, prepare, tbs::last_second,
};

pub(crate) const DAY: i64 = 86_400;

pub(crate) fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// An authority with its key.
pub(crate) struct Authority {
    pub(crate) key: TestKey,
    pub(crate) certificate: Certificate,
    pub(crate) info: IssuerInfo,
}

/// What a test asks an authority for.
pub(crate) struct Order {
    pub(crate) serial: SerialNumber,
    pub(crate) subject: SubjectName,
    pub(crate) names: Vec<San>,
    pub(crate) not_before: DateTime<Utc>,
    pub(crate) days: i64,
    pub(crate) profile: Profile,
    pub(crate) urls: AuthorityUrls,
}

impl Order {
    pub(crate) fn new(profile: &str, subject: &str, names: &[&str], days: i64) -> Self {
        Self {
            serial: SerialNumber::generate(&Entropy::system()),
            subject: subject.parse().unwrap(),
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            not_before: instant("2026-01-02T03:04:05.678901Z"),
            days,
            profile: Profile::built_in(profile).unwrap(),
            urls: AuthorityUrls {
                ocsp: Some("http://localhost:8080/ocsp/1".to_owned()),
                issuer_certificate: Some("http://localhost:8080/ca/1.cer".to_owned()),
                crl: Some("http://localhost:8080/crl/1.crl".to_owned()),
            },
        }
    }

    pub(crate) fn prepare(
        &self,
        issuer: &IssuerInfo,
        key: &PublicKey,
    ) -> Result<PreparedCertificate, Refusal> {
        prepare(&CertificateTemplate {
            serial: &self.serial,
            issuer,
            subject: &self.subject,
            names: &self.names,
            not_before: self.not_before,
            not_after: last_second(self.not_before, self.days * DAY),
            public_key: key,
            profile: &self.profile,
            urls: &self.urls,
        })
    }
}

impl Authority {
    pub(crate) fn root(algorithm: KeyAlgorithm) -> Self {
        let key = TestKey::generate(algorithm);
        let mut order = Order::new("root-ca", "CN=Test Root,O=Example,C=DE", &[], 7305);
        order.urls = AuthorityUrls::default();
        let info = IssuerInfo::self_signed(&order.subject, &key.public_key());
        let certificate = signed(&order, &info, &key, &key.public_key());
        Self::of(key, certificate)
    }

    pub(crate) fn below(&self, profile: &str, subject: &str, algorithm: KeyAlgorithm, days: i64) -> Self {
        let key = TestKey::generate(algorithm);
        let order = Order::new(profile, subject, &[], days);
        let certificate = self.issue(&order, &key.public_key());
        Self::of(key, certificate)
    }

    /// A root and an issuing authority below it.
    pub(crate) fn chain(algorithm: KeyAlgorithm) -> (Self, Self) {
        let root = Self::root(algorithm);
        let issuing = root.below("issuing-ca", "CN=Test Issuing CA,O=Example,C=DE", algorithm, 3650);
        (root, issuing)
    }

    fn of(key: TestKey, certificate: Certificate) -> Self {
        let info = IssuerInfo::from_certificate(&certificate).unwrap();
        Self { key, certificate, info }
    }

    pub(crate) fn issue(&self, order: &Order, key: &PublicKey) -> Certificate {
        signed(order, &self.info, &self.key, key)
    }
}

fn signed(order: &Order, issuer: &IssuerInfo, signer: &TestKey, key: &PublicKey) -> Certificate {
    let prepared = order.prepare(issuer, key).unwrap_or_else(|refusal| panic!("{refusal}"));
    prepared.sign_with(|tbs| Ok::<_, Refusal>(signer.sign(tbs))).unwrap()
}

#[test]
fn a_leaf_of_every_algorithm_reads_back_as_it_was_ordered() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    for algorithm in KeyAlgorithm::ALL {
        let key = TestKey::generate(*algorithm).public_key();
        let order = Order::new(
            "tls-server",
            "CN=www.example.com,O=Example",
            &["www.example.com", "*.example.com", "192.0.2.1", "2001:db8::1", "spiffe://example.com/a"],
            90,
        );
        let certificate = issuing.issue(&order, &key);
        assert_eq!(certificate.serial(), &order.serial);
        assert_eq!(certificate.subject(), &order.subject);
        assert_eq!(certificate.issuer().to_string(), "CN=Test Issuing CA,O=Example,C=DE");
        assert_eq!(certificate.names(), order.names);
        assert_eq!(certificate.public_key(), &key);
        assert_eq!(certificate.not_before(), instant("2026-01-02T03:04:05Z"));
        assert_eq!(certificate.not_after(), instant("2026-04-02T03:04:04Z"));
        assert_eq!(certificate.authority_key_identifier(), Some(issuing.info.key_identifier()));
        assert_eq!(certificate.subject_key_identifier(), Some(&key.key_identifier()[..]));
        assert!(!certificate.is_ca());
        assert_eq!(Certificate::parse_pem(&certificate.pem()).unwrap(), certificate);
        certificate.verify_signed_by(&issuing.info).unwrap();
    }
}

#[test]
fn chains_of_every_algorithm_verify() {
    for algorithm in KeyAlgorithm::ALL {
        let (root, issuing) = Authority::chain(*algorithm);
        root.certificate.verify_signed_by(&root.info).unwrap();
        issuing.certificate.verify_signed_by(&root.info).unwrap();
        assert_eq!(
            issuing.certificate.verify_signed_by(&issuing.info).unwrap_err().code,
            ErrorCode::SignatureInvalid
        );
        let leaf = issuing.issue(&Order::new("tls-client", "CN=a", &[], 1), &TestKey::p256().public_key());
        leaf.verify_signed_by(&issuing.info).unwrap();
    }
}

#[test]
fn names_are_critical_exactly_when_the_subject_is_empty() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    for (subject, critical) in [("", true), ("CN=a.example", false)] {
        let order = Order::new("tls-server", subject, &["a.example"], 1);
        let leaf = issuing.issue(&order, &TestKey::p256().public_key());
        let names = leaf.extensions().iter().find(|each| each.id.to_string() == "2.5.29.17").unwrap();
        assert_eq!(names.critical, critical);
    }
}

#[test]
fn what_issuer_or_profile_do_not_allow_is_not_prepared() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let intermediate =
        issuing.below("intermediate-ca", "CN=Intermediate,O=Example", KeyAlgorithm::EcdsaP256, 100);
    let key = TestKey::p256().public_key();
    let code = |issuer: &Authority, order: &Order| order.prepare(&issuer.info, &key).unwrap_err().code;
    let order = |days| Order::new("tls-server", "", &["a.example"], days);
    assert_eq!(code(&issuing, &order(399)), ErrorCode::ValidityTooLong);
    assert_eq!(code(&issuing, &order(0)), ErrorCode::ValidityInvalid);
    assert_eq!(code(&intermediate, &order(101)), ErrorCode::ValidityBeyondAuthority);
    assert!(order(100).prepare(&intermediate.info, &key).is_ok());
    let below = Order::new("intermediate-ca", "CN=Too deep", &[], 10);
    assert_eq!(code(&intermediate, &below), ErrorCode::PathLengthExceeded);
    let mut rsa_only = order(1);
    rsa_only.profile.key_algorithms = vec![KeyAlgorithm::Rsa2048];
    assert_eq!(code(&issuing, &rsa_only), ErrorCode::KeyAlgorithmNotAllowed);
    let mut tls = order(1);
    tls.urls.crl = Some("https://localhost/crl".to_owned());
    assert_eq!(code(&issuing, &tls), ErrorCode::LintFailed);
    let mut short = order(1);
    short.serial = SerialNumber::from_bytes(&[1, 2, 3]).unwrap();
    assert_eq!(code(&issuing, &short), ErrorCode::LintFailed);
}

#[test]
fn only_a_certificate_of_an_authority_makes_an_issuer() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let leaf = issuing.issue(&Order::new("tls-client", "CN=a", &[], 1), &TestKey::p256().public_key());
    assert_eq!(IssuerInfo::from_certificate(&leaf).unwrap_err().code, ErrorCode::CertificateMalformed);
}

#[test]
fn stored_octets_are_taken_up_again_and_give_the_same_certificate() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::Ed25519);
    let order = Order::new("tls-server-client", "CN=a.example", &["a.example"], 30);
    let key = TestKey::p256().public_key();
    let prepared = order.prepare(&issuing.info, &key).unwrap();
    let stored = prepared.tbs_der().to_vec();
    let resumed = PreparedCertificate::resume(stored, &order.profile, &issuing.info, &order.urls).unwrap();
    assert_eq!(resumed.digest(), prepared.digest());
    let sign = |tbs: &[u8]| Ok::<_, Refusal>(issuing.key.sign(tbs));
    assert_eq!(resumed.sign_with(sign).unwrap(), prepared.sign_with(sign).unwrap());
}

#[test]
fn a_signature_by_a_wrong_key_gives_no_certificate() {
    let (root, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let order = Order::new("tls-client", "CN=a", &[], 1);
    let prepared = order.prepare(&issuing.info, &TestKey::p256().public_key()).unwrap();
    let refusal = prepared.sign_with(|tbs| Ok::<_, Refusal>(root.key.sign(tbs))).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::SignatureInvalid);
}

/// Replaces some octets by as many others.
fn patch(der: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let position = der.windows(from.len()).position(|window| window == from).expect("the pattern is there");
    let mut patched = der.to_vec();
    patched[position..position + to.len()].copy_from_slice(to);
    patched
}

#[test]
fn the_lint_finds_what_was_bent_after_preparing() {
    let (root, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let order = Order::new("tls-server", "CN=a.example,O=Example", &["a.example"], 398);
    let tbs = order.prepare(&issuing.info, &TestKey::p256().public_key()).unwrap().tbs_der().to_vec();
    let rules = |tbs: &[u8], profile: &Profile, issuer: &IssuerInfo| -> Vec<&'static str> {
        lint_tbs(tbs, profile, issuer, &order.urls).into_iter().map(|finding| finding.rule).collect()
    };
    assert!(rules(&tbs, &order.profile, &issuing.info).is_empty());
    let ski = issuing.info.key_identifier();
    let zeros = vec![0; ski.len()];
    for (what, bent, rule) in [
        ("AKI", patch(&tbs, ski, &zeros), "authority_key_identifier"),
        ("year", patch(&tbs, b"270204", b"280204"), "validity_too_long"),
        ("order", patch(&tbs, b"270204", b"250204"), "validity"),
        ("key usage", patch(&tbs, &[3, 2, 7, 0x80], &[3, 2, 1, 0x06]), "key_usage"),
        ("purpose", patch(&tbs, &[5, 5, 7, 3, 1], &[5, 5, 7, 3, 2]), "extended_key_usage"),
        ("SAN", patch(&tbs, b"\x82\x09a.example", b"\x82\x09b.example"), "names"),
        ("SAN case", patch(&tbs, b"\x82\x09a.example", b"\x82\x09A.example"), "names"),
        ("issuer", patch(&tbs, b"Test Issuing CA", b"Test Issuing CB"), "issuer_name"),
        ("algorithm", patch(&tbs, &[0xce, 0x3d, 4, 3, 2], &[0xce, 0x3d, 4, 3, 3]), "signature_algorithm"),
        (
            "URL",
            patch(&tbs, b"http://localhost:8080/crl", b"ldap://localhost:8080/crl"),
            "crl_distribution_points",
        ),
        (
            "other URL",
            patch(&tbs, b"http://localhost:8080/ocsp/1", b"http://localhost:8080/ocsp/2"),
            "authority_information_access",
        ),
        ("policy", patch(&tbs, &[0x55, 0x1d, 0x20, 0], &[0x55, 0x1d, 0x20, 1]), "policies"),
        ("duplicate", patch(&tbs, &[0x55, 0x1d, 0x1f], &[0x55, 0x1d, 0x20]), "duplicate_extension"),
        (
            "criticality",
            patch(&tbs, &[0x55, 0x1d, 0x0f, 1, 1, 0xff], &[0x55, 0x1d, 0x0f, 1, 1, 0]),
            "malformed",
        ),
        ("truncated", tbs[..tbs.len() - 1].to_vec(), "malformed"),
    ] {
        let found = rules(&bent, &order.profile, &issuing.info);
        assert!(found.contains(&rule), "{what}: {found:?}");
        assert_eq!(
            PreparedCertificate::resume(bent, &order.profile, &issuing.info, &order.urls).unwrap_err().code,
            ErrorCode::LintFailed
        );
    }
    assert!(rules(&tbs, &order.profile, &root.info).contains(&"issuer_name"));
    let bare = Order {
        urls: AuthorityUrls::default(),
        ..Order::new("tls-server", "CN=a.example", &["a.example"], 90)
    };
    let bare = bare.prepare(&issuing.info, &TestKey::p256().public_key()).unwrap();
    let found = rules(bare.tbs_der(), &order.profile, &issuing.info);
    assert_eq!(found, ["authority_information_access", "crl_distribution_points"]);
    let client = Profile::built_in("tls-client").unwrap();
    assert!(rules(&tbs, &client, &issuing.info).contains(&"extended_key_usage"));
}

#[test]
fn the_lint_knows_a_leaf_from_an_authority() {
    let (root, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let authority = issuing.certificate.tbs_der();
    let leaf = Profile::built_in("tls-client").unwrap();
    let rules: Vec<&str> = lint_tbs(authority, &leaf, &root.info, &AuthorityUrls::default())
        .into_iter()
        .map(|finding| finding.rule)
        .collect();
    assert!(rules.contains(&"basic_constraints") && rules.contains(&"key_usage"), "{rules:?}");
}

#[test]
fn an_issuance_of_far_future_is_encoded_as_generalized_time() {
    let root = Authority::root(KeyAlgorithm::EcdsaP256);
    let mut order = Order::new("issuing-ca", "CN=Later", &[], 3000);
    order.not_before = instant("2045-12-01T00:00:00Z") - TimeDelta::days(3000 - 10);
    let certificate = root.issue(&order, &TestKey::p256().public_key());
    assert!(certificate.not_after() < root.certificate.not_after());
}
