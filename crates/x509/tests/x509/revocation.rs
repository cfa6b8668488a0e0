//! Revocation lists and OCSP.

use crate::{
    certificates::{Authority, Order, instant},
    der,
    keys::TestKey,
};
use clm_types::{ErrorCode, KeyAlgorithm, RevocationReason, SerialNumber};
use clm_x509::{
    Crl, PublicKey,
    crl::{self, CrlHeader, RevokedEntry},
    ocsp::{self, CertId, CertStatus, OcspError, OcspRequest, OcspResponse, ResponseData, SingleResponse},
};

pub(crate) fn header(number: u64) -> CrlHeader {
    CrlHeader {
        number,
        this_update: instant("2026-01-03T00:00:00Z"),
        next_update: instant("2036-01-04T00:00:00Z"),
    }
}

pub(crate) fn entry(serial: &SerialNumber, reason: Option<RevocationReason>) -> RevokedEntry {
    RevokedEntry {
        serial: serial.clone(),
        revoked_at: instant("2026-01-02T12:00:00Z"),
        reason,
        invalidity_date: Some(instant("2025-12-24T00:00:00Z")),
    }
}

pub(crate) fn list(authority: &Authority, number: u64, entries: Vec<RevokedEntry>) -> Vec<u8> {
    let tbs = crl::encode_tbs(&authority.info, &header(number), entries.into_iter());
    crl::assemble(&authority.info, &tbs, &authority.key.sign(&tbs)).unwrap()
}

/// The answer about each certificate asked about.
pub(crate) fn respond(
    responder: &PublicKey,
    request: &OcspRequest,
    status: impl Fn(&CertId) -> CertStatus,
) -> Vec<u8> {
    let single = |cert_id: &CertId| SingleResponse {
        cert_id: cert_id.clone(),
        status: status(cert_id),
        this_update: instant("2026-01-03T00:00:00Z"),
        next_update: instant("2036-01-04T00:00:00Z"),
    };
    ResponseData {
        responder,
        produced_at: instant("2026-01-03T00:00:00Z"),
        responses: request.cert_ids.iter().map(single).collect(),
        nonce: request.nonce.clone(),
    }
    .encode_tbs()
}

fn numbered(number: u32) -> SerialNumber {
    let mut octets = [0x40; 16];
    octets[12..].copy_from_slice(&number.to_be_bytes());
    SerialNumber::from_bytes(&octets).unwrap()
}

#[test]
fn a_list_of_every_reason_reads_back_as_it_was_written() {
    let (root, issuing) = Authority::chain(KeyAlgorithm::EcdsaP384);
    let mut entries: Vec<RevokedEntry> = RevocationReason::ALL
        .iter()
        .zip(1..)
        .map(|(reason, number)| entry(&numbered(number), Some(*reason)))
        .collect();
    entries.push(RevokedEntry { invalidity_date: None, ..entry(&numbered(99), None) });
    let parsed = Crl::parse(&list(&issuing, 7, entries.clone())).unwrap();
    parsed.verify_signed_by(&issuing.info).unwrap();
    assert_eq!(parsed.verify_signed_by(&root.info).unwrap_err().code, ErrorCode::SignatureInvalid);
    assert_eq!(parsed.header, header(7));
    assert_eq!(parsed.authority_key_identifier, issuing.info.key_identifier());
    entries[0].reason = None; // `unspecified` is written as no reason
    assert_eq!(parsed.entries, entries);
    assert_eq!(parsed.find(&numbered(99)), entries.last());
}

#[test]
fn an_empty_list_has_no_list_of_entries() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let der = list(&issuing, u64::MAX, Vec::new());
    let parsed = Crl::parse(&der).unwrap();
    assert!(parsed.entries.is_empty());
    assert_eq!(parsed.header.number, u64::MAX);
    assert_eq!(Crl::parse(&der[..der.len() - 1]).unwrap_err().code, ErrorCode::CrlMalformed);
}

#[test]
fn a_large_list_is_encoded_from_an_iterator() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let count = 100_000;
    let entries = (0..count).map(|number| RevokedEntry {
        invalidity_date: None,
        ..entry(&numbered(number), Some(RevocationReason::Superseded))
    });
    let tbs = crl::encode_tbs(&issuing.info, &header(1), entries);
    assert!(tbs.len() < 50 * count as usize, "{} octets per entry", tbs.len() / count as usize);
    let der = crl::assemble(&issuing.info, &tbs, &issuing.key.sign(&tbs)).unwrap();
    assert_eq!(Crl::parse(&der).unwrap().entries.len(), count as usize);
}

#[test]
fn a_list_signed_by_another_key_is_not_put_together() {
    let (root, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let tbs = crl::encode_tbs(&issuing.info, &header(1), std::iter::empty());
    let refusal = crl::assemble(&issuing.info, &tbs, &root.key.sign(&tbs)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::SignatureInvalid);
}

#[test]
fn responses_of_every_algorithm_say_what_is_known() {
    for algorithm in KeyAlgorithm::ALL {
        let (_, issuing) = Authority::chain(*algorithm);
        let serials = [numbered(1), numbered(2), numbered(3)];
        let request = OcspRequest {
            cert_ids: serials.iter().map(|serial| CertId::new(&issuing.info, serial)).collect(),
            nonce: Some(vec![7; 32]),
        };
        let received = OcspRequest::parse(&request.to_der()).unwrap();
        assert_eq!(received, request);
        assert!(received.cert_ids.iter().all(|cert_id| cert_id.matches(&issuing.info)));
        let revoked = CertStatus::Revoked {
            revoked_at: instant("2026-01-02T00:00:00Z"),
            reason: Some(RevocationReason::KeyCompromise),
        };
        let status = |cert_id: &CertId| match cert_id.serial() {
            serial if *serial == serials[0] => CertStatus::Good,
            serial if *serial == serials[1] => revoked,
            _ => CertStatus::Unknown,
        };
        let responder = issuing.key.public_key();
        let tbs = respond(&responder, &received, status);
        let der = ocsp::assemble(&responder, &tbs, &issuing.key.sign(&tbs), None).unwrap();
        let response = OcspResponse::parse(&der).unwrap();
        response.verify_signed_by(&responder).unwrap();
        assert_eq!(response.nonce, request.nonce);
        let told: Vec<CertStatus> = response.responses.iter().map(|each| each.status).collect();
        assert_eq!(told, [CertStatus::Good, revoked, CertStatus::Unknown]);
        let other = TestKey::p256();
        assert!(response.verify_signed_by(&other.public_key()).is_err());
        assert!(ocsp::assemble(&responder, &tbs, b"nonsense", None).is_err());
    }
}

#[test]
fn a_delegated_responder_sends_its_certificate() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let key = TestKey::p256();
    let certificate =
        issuing.issue(&Order::new("ocsp-responder", "CN=Responder", &[], 30), &key.public_key());
    let request = OcspRequest { cert_ids: vec![CertId::new(&issuing.info, &numbered(1))], nonce: None };
    let tbs = respond(&key.public_key(), &request, |_| CertStatus::Good);
    let der = ocsp::assemble(&key.public_key(), &tbs, &key.sign(&tbs), Some(&certificate)).unwrap();
    assert!(der.windows(certificate.der().len()).any(|window| window == certificate.der()));
    OcspResponse::parse(&der).unwrap().verify_signed_by(&key.public_key()).unwrap();
}

#[test]
fn a_certificate_of_another_issuer_does_not_match() {
    let (root, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let cert_id = CertId::new(&issuing.info, &numbered(1));
    assert!(cert_id.matches(&issuing.info));
    assert!(!cert_id.matches(&root.info));
}

#[test]
fn requests_that_cannot_be_answered_are_malformed() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let cert_id = CertId::new(&issuing.info, &numbered(1));
    let with = |count: usize, nonce: Option<Vec<u8>>| {
        OcspRequest { cert_ids: vec![cert_id.clone(); count], nonce }.to_der()
    };
    let good = with(1, None);
    assert!(OcspRequest::parse(&with(1, Some(vec![1; 128]))).is_ok());
    assert!(OcspRequest::parse(&with(1, Some(vec![1]))).is_ok());
    for (what, octets) in [
        ("nothing", Vec::new()),
        ("text", b"hello".to_vec()),
        ("an empty list", with(0, None)),
        ("too many", with(65, None)),
        ("an empty nonce", with(1, Some(Vec::new()))),
        ("a nonce of 129 octets", with(1, Some(vec![1; 129]))),
        ("octets after it", [&good[..], &[0]].concat()),
        ("too large", der::sequence(&[&vec![0; 17_000]])),
    ] {
        assert_eq!(OcspRequest::parse(&octets).unwrap_err().code, ErrorCode::OcspMalformed, "{what}");
    }
    for length in 0..good.len() {
        assert!(OcspRequest::parse(&good[..length]).is_err(), "{length}");
    }
}

#[test]
fn error_responses_are_five_octets() {
    for (error, code) in [
        (OcspError::MalformedRequest, 1),
        (OcspError::InternalError, 2),
        (OcspError::TryLater, 3),
        (OcspError::Unauthorized, 6),
    ] {
        assert_eq!(ocsp::error_response(error), [0x30, 3, 0x0a, 1, code]);
        assert!(OcspResponse::parse(&ocsp::error_response(error)).is_err());
    }
}
