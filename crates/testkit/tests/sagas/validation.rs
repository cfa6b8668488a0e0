use std::sync::Arc;
use std::time::{Duration, Instant};

use clm_core::revocations::NewRevocation;
use clm_core::validation::CrlName;
use clm_types::{AuthorityId, ErrorCode, IssuedCertificate, RevocationReason, SerialNumber};
use clm_x509::ocsp::{CertId, OcspRequest, OcspResponse};
use clm_x509::{Certificate, IssuerInfo};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::house::{House, WAIT, refused};

/// What a relying party asks about a certificate, without a nonce.
async fn ocsp_request(house: &House, leaf: &IssuedCertificate) -> Vec<u8> {
    let der = house.core.authority_certificate(leaf.record.authority_id).await.unwrap();
    let issuer = IssuerInfo::from_certificate(&Certificate::parse(&der).unwrap()).unwrap();
    let serial: SerialNumber = leaf.record.serial_number.parse().unwrap();
    OcspRequest { cert_ids: vec![CertId::new(&issuer, &serial)], nonce: None }.to_der()
}

#[tokio::test]
async fn a_revocation_shows_in_ocsp_at_once_though_answers_are_kept() {
    let house = House::open().await;
    let service = house.service().await;
    let leaf = house.issue(&service, "www").await;
    let authority = leaf.record.authority_id;
    let request = ocsp_request(&house, &leaf).await;
    let good = house.core.ocsp(authority, &request).await.unwrap();
    assert!(good.next_update.is_some());
    assert_eq!(house.core.ocsp(authority, &request).await.unwrap(), good, "kept");
    let new = NewRevocation { reason: RevocationReason::KeyCompromise, invalidity_date: None, comment: None };
    house.core.revoke_certificate(&service, leaf.record.certificate_id, new, WAIT).await.unwrap();
    let revoked = house.core.ocsp(authority, &request).await.unwrap();
    assert_ne!(revoked.der, good.der);
    let parsed = OcspResponse::parse(&revoked.der).unwrap();
    assert!(format!("{parsed:?}").contains("Revoked"), "{parsed:?}");
}

#[tokio::test]
async fn a_malformed_ocsp_request_gets_an_answer_and_an_unknown_authority_none() {
    let house = House::open().await;
    let service = house.service().await;
    let authority = house.issue(&service, "www").await.record.authority_id;
    let answer = house.core.ocsp(authority, b"nonsense").await.unwrap();
    assert_eq!(answer.der, [0x30, 0x03, 0x0a, 0x01, 0x01]);
    assert_eq!(answer.next_update, None);
    let nobody = AuthorityId(Uuid::now_v7());
    assert_eq!(
        refused(house.core.crl(CrlName { authority: nobody, shard: 0, delta: false }).await),
        ErrorCode::AuthorityNotFound
    );
    assert_eq!(refused(house.core.authority_certificate(nobody).await), ErrorCode::AuthorityNotFound);
}

#[tokio::test]
async fn every_other_process_says_revoked_within_a_second() {
    let house = House::open().await;
    let service = house.service().await;
    let leaf = house.issue(&service, "www").await;
    let authority = leaf.record.authority_id;
    let request = ocsp_request(&house, &leaf).await;
    let shutdown = CancellationToken::new();
    let others = [house.second_core().await, house.second_core().await];
    for other in &others {
        tokio::spawn(Arc::clone(other).run_notices(shutdown.clone()));
    }
    // Both keep an answer from before, once they listen: what they kept earlier they forget then.
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    let end = Instant::now() + WAIT;
    while house.count_in_core(listening).await < 2 {
        assert!(Instant::now() < end, "nobody listens");
    }
    for other in &others {
        // Two answers are alike only if the first was kept.
        while other.ocsp(authority, &request).await.unwrap() != other.ocsp(authority, &request).await.unwrap()
        {
            assert!(Instant::now() < end, "no answer is kept");
        }
    }
    let new = NewRevocation { reason: RevocationReason::KeyCompromise, invalidity_date: None, comment: None };
    house.core.revoke_certificate(&service, leaf.record.certificate_id, new, WAIT).await.unwrap();
    let begun = Instant::now();
    for other in &others {
        loop {
            let answer = other.ocsp(authority, &request).await.unwrap();
            if format!("{:?}", OcspResponse::parse(&answer.der).unwrap()).contains("Revoked") {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(1), "it still says good");
            tokio::task::yield_now().await;
        }
    }
    shutdown.cancel();
}
