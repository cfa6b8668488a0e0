use clm_core::revocations::NewRevocation;
use clm_core::validation::CrlName;
use clm_types::{AuthorityId, ErrorCode, RevocationReason, SerialNumber};
use clm_x509::ocsp::{CertId, OcspRequest, OcspResponse};
use clm_x509::{Certificate, IssuerInfo};
use uuid::Uuid;

use crate::house::{House, WAIT, refused};

#[tokio::test]
async fn a_revocation_shows_in_ocsp_at_once_though_answers_are_kept() {
    let house = House::open().await;
    let service = house.service().await;
    let leaf = house.issue(&service, "www").await;
    let authority = leaf.record.authority_id;
    let der = house.core.authority_certificate(authority).await.unwrap();
    let issuer = IssuerInfo::from_certificate(&Certificate::parse(&der).unwrap()).unwrap();
    let serial: SerialNumber = leaf.record.serial_number.parse().unwrap();
    let request = OcspRequest { cert_ids: vec![CertId::new(&issuer, &serial)], nonce: None }.to_der();
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
