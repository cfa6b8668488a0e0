//! No octets make a reader panic.

use crate::{
    certificates::{Authority, Order},
    keys::TestKey,
    revocation::{entry, list},
};
use clm_types::{KeyAlgorithm, RevocationReason};
use clm_x509::{
    Certificate, Crl, Csr, PublicKey, San, SubjectName,
    lint::lint_tbs,
    ocsp::{CertId, OcspRequest, OcspResponse},
    pem,
};
use proptest::prelude::*;
use std::sync::LazyLock;

struct Samples {
    authority: Authority,
    order: Order,
    all: Vec<Vec<u8>>,
}

static SAMPLES: LazyLock<Samples> = LazyLock::new(|| {
    let (_, authority) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let key = TestKey::p256();
    let order = Order::new("tls-server", "CN=a.example,O=Example", &["a.example", "192.0.2.1"], 30);
    let leaf = authority.issue(&order, &key.public_key());
    let request =
        OcspRequest { cert_ids: vec![CertId::new(&authority.info, leaf.serial())], nonce: Some(vec![1; 32]) };
    let crl = list(&authority, 1, vec![entry(leaf.serial(), Some(RevocationReason::Superseded))]);
    let subject = order.subject.to_der();
    let info = crate::der::sequence(&[&[2, 1, 0], &subject, key.public_key().spki_der(), &[0xa0, 0]]);
    let all = vec![leaf.der().to_vec(), leaf.tbs_der().to_vec(), request.to_der(), crl, key.request(&info)];
    Samples { authority, order, all }
});

fn read_everything(octets: &[u8]) {
    let samples = &*SAMPLES;
    if let Ok(csr) = Csr::parse(octets) {
        let _ = csr.verify();
    }
    if let Ok(certificate) = Certificate::parse(octets) {
        let _ = certificate.verify_signed_by(&samples.authority.info);
    }
    let _ = Crl::read(octets, &samples.authority.info);
    let _ = OcspRequest::parse(octets);
    let _ = OcspResponse::parse(octets);
    let _ = PublicKey::from_spki_der(octets);
    let _ = lint_tbs(octets, &samples.order.profile, &samples.authority.info, &samples.order.urls);
    if let Ok(name) = SubjectName::from_der(octets) {
        assert_eq!(name.to_string().parse::<SubjectName>().unwrap(), name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_octets_do_not_panic(
        which in 0..5_usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut octets = SAMPLES.all[which].clone();
        for (index, octet) in changes {
            let position = index.index(octets.len());
            octets[position] = octet;
        }
        if let Some(cut) = cut {
            octets.truncate(cut.index(octets.len()));
        }
        read_everything(&octets);
    }

    #[test]
    fn random_octets_do_not_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_everything(&octets);
    }

    #[test]
    fn random_text_does_not_panic(text in "\\PC{0,60}") {
        if let Ok(name) = text.parse::<San>() {
            prop_assert_eq!(name.to_string().parse::<San>().unwrap(), name);
        }
        if let Ok(name) = text.parse::<SubjectName>() {
            prop_assert_eq!(SubjectName::from_der(&name.to_der()).unwrap(), name.clone());
            prop_assert_eq!(name.to_string().parse::<SubjectName>().unwrap(), name);
        }
        let _ = pem::decode_one(&[pem::CERTIFICATE], &text);
    }
}
