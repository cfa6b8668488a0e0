//! Revocation lists and OCSP.

use crate::{
    certificates::{Authority, Order, instant},
    der,
    keys::TestKey,
};
use clm_types::{ErrorCode, KeyAlgorithm, RevocationReason, SerialNumber};
use clm_x509::{
    Crl, PublicKey,
    crl::{CrlFrame, CrlHeader, CrlReader, RevokedEntry},
    ocsp::{self, CertId, CertStatus, OcspError, OcspRequest, OcspResponse, ResponseData, SingleResponse},
};

pub(crate) fn header(number: u64) -> CrlHeader {
    CrlHeader {
        number,
        this_update: instant("2026-01-03T00:00:00Z"),
        next_update: instant("2036-01-04T00:00:00Z"),
        base_number: None,
        distribution_point: None,
        freshest_crl: None,
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
    signed_list(authority, authority, &header(number), entries.into_iter())
}

/// A list in the name of one authority, signed by another.
fn signed_list(
    authority: &Authority,
    signer: &Authority,
    header: &CrlHeader,
    entries: impl Iterator<Item = RevokedEntry>,
) -> Vec<u8> {
    let mut octets = Vec::new();
    entries.for_each(|entry| entry.encode(&mut octets));
    let frame = CrlFrame::new(&authority.info, header, octets.len());
    let tbs = [&frame.tbs_head[..], &octets, &frame.tbs_tail].concat();
    let (head, tail) = frame.sign(&authority.info, &signer.key.sign(&tbs));
    [head, tbs, tail].concat()
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

fn refused(der: &[u8], authority: &Authority) -> ErrorCode {
    Crl::read(der, &authority.info).unwrap_err().code
}

#[test]
fn a_list_of_every_reason_reads_back_as_it_was_written() {
    for algorithm in KeyAlgorithm::ALL {
        let (root, issuing) = Authority::chain(*algorithm);
        let mut entries: Vec<RevokedEntry> = RevocationReason::ALL
            .iter()
            .zip(1..)
            .map(|(reason, number)| entry(&numbered(number), Some(*reason)))
            .collect();
        entries.push(RevokedEntry { invalidity_date: None, ..entry(&numbered(99), None) });
        let der = list(&issuing, 7, entries.clone());
        let read = Crl::read(&der, &issuing.info).unwrap();
        assert_eq!(refused(&der, &root), ErrorCode::CrlMalformed);
        assert_eq!(read.header, header(7));
        entries[0].reason = None; // `unspecified` is written as no reason
        assert_eq!(read.entries, entries);
        assert_eq!(read.find(&numbered(99)), entries.last());
    }
}

#[test]
fn a_delta_of_one_distribution_point_says_so() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let scoped = CrlHeader {
        base_number: Some(300),
        distribution_point: Some("http://localhost/crl/7.crl".to_owned()),
        freshest_crl: Some("http://localhost/crl/7-delta.crl".to_owned()),
        ..header(301)
    };
    let removed = entry(&numbered(1), Some(RevocationReason::RemoveFromCrl));
    let der = signed_list(&issuing, &issuing, &scoped, [removed.clone()].into_iter());
    let read = Crl::read(&der, &issuing.info).unwrap();
    assert_eq!((read.header, read.entries), (scoped, vec![removed]));
}

#[test]
fn an_empty_list_has_no_list_of_entries() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let der = list(&issuing, u64::MAX, Vec::new());
    let read = Crl::read(&der, &issuing.info).unwrap();
    assert!(read.entries.is_empty());
    assert_eq!(read.header.number, u64::MAX);
    for cut in 0..der.len() {
        assert_eq!(refused(&der[..cut], &issuing), ErrorCode::CrlMalformed, "{cut}");
    }
    assert_eq!(refused(&[&der[..], &[0]].concat(), &issuing), ErrorCode::CrlMalformed);
}

#[test]
fn a_list_reads_the_same_in_pieces_of_any_size() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let entries: Vec<_> = (1..200).map(|number| entry(&numbered(number), None)).collect();
    let der = list(&issuing, 7, entries.clone());
    for size in [1, 2, 7, 64, 1_000, der.len()] {
        let mut read = Vec::new();
        let mut reader = CrlReader::new(&issuing.info);
        for piece in der.chunks(size) {
            reader.push(piece, &mut read).unwrap();
        }
        assert_eq!(reader.finish().unwrap(), header(7), "{size}");
        assert_eq!(read, entries, "{size}");
    }
}

#[test]
fn no_octet_of_a_list_can_be_changed() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let der = list(&issuing, 7, vec![entry(&numbered(1), Some(RevocationReason::KeyCompromise))]);
    for place in 0..der.len() {
        let mut changed = der.clone();
        changed[place] ^= 1;
        assert!(Crl::read(&changed, &issuing.info).is_err(), "{place}");
    }
}

#[test]
fn a_large_list_is_encoded_from_an_iterator() {
    let (_, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let count = 100_000;
    let entries = (0..count).map(|number| RevokedEntry {
        invalidity_date: None,
        ..entry(&numbered(number), Some(RevocationReason::Superseded))
    });
    let der = signed_list(&issuing, &issuing, &header(1), entries);
    assert!(der.len() < 50 * count as usize, "{} octets per entry", der.len() / count as usize);
    assert_eq!(Crl::read(&der, &issuing.info).unwrap().entries.len(), count as usize);
}

#[test]
fn a_list_signed_by_another_key_is_refused() {
    let (root, issuing) = Authority::chain(KeyAlgorithm::EcdsaP256);
    let der = signed_list(&issuing, &root, &header(1), std::iter::empty());
    assert_eq!(refused(&der, &issuing), ErrorCode::SignatureInvalid);
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
