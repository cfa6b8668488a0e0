//! OCSP answers of responders, and answers signed ahead, judged by openssl.

use chrono::TimeDelta;
use clm_secure::Secure;
use clm_secure::envelope::{Envelope, OcspSigner};
use clm_secure::ocsp::OcspQuestion;
use clm_types::{AuthorityId, Clock, IssuedCertificate, RevocationReason, RevocationSpec};
use clm_x509::ocsp::{CertId, OcspRequest, OcspResponse};
use clm_x509::{Certificate, IssuerInfo};

use crate::desk::{Desk, answer, plan, run};

async fn request(desk: &Desk, issued: &IssuedCertificate, options: &[&str]) -> Vec<u8> {
    let (issuer, leaf) = (desk.authority_file(desk.issuing).await, desk.file("leaf.pem", &issued.pem));
    let path = desk.folder.path().join("request.der");
    let ask = ["-issuer", &issuer, "-cert", &leaf, "-reqout", path.to_str().unwrap()];
    run("openssl", &[&["ocsp"], options, &ask].concat());
    std::fs::read(path).unwrap()
}

/// What openssl says of an answer, with the root as the only trust anchor.
pub(crate) async fn read(desk: &Desk, issued: &IssuedCertificate, der: &[u8]) -> String {
    let (root, issuer) = (desk.root_file().await, desk.authority_file(desk.issuing).await);
    let (leaf, response) = (desk.file("leaf.pem", &issued.pem), desk.file("response.der", der));
    let trust = ["-CAfile", &root, "-verify_other", &issuer, "-no_nonce"];
    let about = ["-issuer", &issuer, "-cert", &leaf, "-respin", &response, "-resp_text"];
    let said = run("openssl", &[&["ocsp"][..], &about, &trust].concat());
    assert!(said.contains("Response verify OK"), "{said}");
    said
}

async fn ask(secure: &Secure, desk: &Desk, issued: &IssuedCertificate, options: &[&str]) -> Vec<u8> {
    let request = request(desk, issued, options).await;
    answer(secure, desk.issuing, request).await.unwrap().der
}

pub(crate) async fn issue(desk: &Desk) -> IssuedCertificate {
    let request = desk.csr_spec();
    desk.issue(&request, &desk.issue_mandate(&request, desk.operation())).await.unwrap()
}

pub(crate) fn revocation(issued: &IssuedCertificate, reason: RevocationReason) -> RevocationSpec {
    RevocationSpec {
        certificate_id: issued.record.certificate_id,
        organization_id: issued.record.organization_id.unwrap(),
        reason,
        invalidity_date: None,
        requested_by: issued.record.owner_user_id.unwrap(),
        comment: None,
    }
}

/// Serial numbers and ends of the responders of the desk's authority, in the order in which they were made.
async fn responders(desk: &Desk) -> Vec<String> {
    let query = "SELECT encode(serial_number, 'hex') FROM certificates
                 WHERE category = 'responder' AND authority_id = $1 ORDER BY not_after";
    let superuser = desk.databases.secure.superuser().await;
    sqlx::query_scalar(query).bind(desk.issuing.0).fetch_all(&superuser).await.unwrap()
}

#[tokio::test]
async fn a_responder_signs_and_is_renewed_when_half_of_its_life_is_over() {
    let desk = Desk::open().await;
    let issued = issue(&desk).await;
    let direct = read(&desk, &issued, &ask(&desk.secure, &desk, &issued, &[]).await).await;
    assert!(!direct.contains("OCSP Signing") && direct.contains(": good"), "{direct}");
    for _ in 0..2 {
        desk.secure.renew_ocsp_responders().await.unwrap();
    }
    let made = responders(&desk).await;
    assert_eq!(made.len(), 1, "one is enough");
    let clock = Clock::fixed(desk.clock.now() + TimeDelta::seconds(6));
    let pool = desk.databases.secure.pool("clm_secure_app").await;
    let secure = Secure::new(pool, desk.master(), clock.clone(), desk.entropy.clone());
    let said = read(&desk, &issued, &ask(&secure, &desk, &issued, &[]).await).await;
    assert!(said.contains("OCSP Signing") && said.contains("OCSP No Check"), "{said}");
    // Before half of its life, nothing; after it, another one.
    clock.advance(TimeDelta::days(7) - TimeDelta::hours(1));
    secure.renew_ocsp_responders().await.unwrap();
    assert_eq!(responders(&desk).await, made);
    clock.advance(TimeDelta::hours(2));
    secure.renew_ocsp_responders().await.unwrap();
    let both = responders(&desk).await;
    assert_eq!((both.len(), &both[0]), (2, &made[0]));
    let der = ask(&secure, &desk, &issued, &[]).await;
    let newest = hex::decode(&both[1]).unwrap();
    assert!(der.windows(newest.len()).any(|part| part == newest), "the newest signs");
    let envelope = Envelope { ocsp_signer: OcspSigner::Authority, ..plan("Test Issuing", None).envelope };
    desk.secure.set_envelope("Test Issuing", &envelope, "test".into()).await.unwrap();
    let direct = read(&desk, &issued, &ask(&desk.secure, &desk, &issued, &[]).await).await;
    assert!(!direct.contains("OCSP Signing"), "{direct}");
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

#[tokio::test]
async fn an_answer_signed_ahead_is_given_until_the_status_changes() {
    let desk = Desk::open().await;
    let envelope = Envelope { presigned_ocsp: true, ..plan("Test Issuing", None).envelope };
    desk.secure.set_envelope("Test Issuing", &envelope, "test".into()).await.unwrap();
    let (issued, other) = (issue(&desk).await, issue(&desk).await);
    desk.secure.renew_ocsp_responders().await.unwrap();
    assert_eq!(desk.secure.presign_ocsp().await.unwrap(), 2);
    assert_eq!(desk.secure.presign_ocsp().await.unwrap(), 0, "they are fresh");
    let ahead = ask(&desk.secure, &desk, &issued, &["-no_nonce"]).await;
    assert_eq!(ask(&desk.secure, &desk, &issued, &["-no_nonce"]).await, ahead);
    assert!(read(&desk, &issued, &ahead).await.contains(": good"));
    // Another hash or a nonce is answered on demand.
    for options in [&["-sha256", "-no_nonce"][..], &[]] {
        assert_ne!(ask(&desk.secure, &desk, &issued, options).await, ahead);
    }
    desk.revoke(&revocation(&issued, RevocationReason::KeyCompromise), desk.operation()).await.unwrap();
    let said = read(&desk, &issued, &ask(&desk.secure, &desk, &issued, &["-no_nonce"]).await).await;
    assert!(said.contains(": revoked"), "before any new answer is signed ahead: {said}");
    assert_eq!(desk.secure.presign_ocsp().await.unwrap(), 1);
    let ahead = ask(&desk.secure, &desk, &issued, &["-no_nonce"]).await;
    assert!(read(&desk, &issued, &ahead).await.contains(": revoked"));
    assert_eq!(ask(&desk.secure, &desk, &issued, &["-no_nonce"]).await, ahead);
    assert!(
        read(&desk, &other, &ask(&desk.secure, &desk, &other, &["-no_nonce"]).await).await.contains(": good")
    );
}

#[tokio::test]
async fn questions_that_come_together_get_each_its_own_answer() {
    let desk = Desk::open().await;
    desk.secure.renew_ocsp_responders().await.unwrap();
    let (good, lost) = (issue(&desk).await, issue(&desk).await);
    desk.revoke(&revocation(&lost, RevocationReason::Superseded), desk.operation()).await.unwrap();
    let der = std::fs::read(desk.authority_file(desk.issuing).await).unwrap();
    let issuer = Certificate::parse_pem(std::str::from_utf8(&der).unwrap()).unwrap();
    let issuer = IssuerInfo::from_certificate(&issuer).unwrap();
    let about = |serials: &[&str]| {
        let cert_ids = serials.iter().map(|serial| CertId::new(&issuer, &serial.parse().unwrap())).collect();
        OcspRequest { cert_ids, nonce: None }.to_der()
    };
    let (good, lost) = (good.record.serial_number.as_str(), lost.record.serial_number.as_str());
    let ask = |authority_id, request| OcspQuestion { authority_id, request };
    let nobody = AuthorityId::generate(desk.clock.now(), &desk.entropy);
    let questions = [
        ask(desk.issuing, about(&[good])),
        ask(desk.issuing, b"nonsense".to_vec()),
        ask(nobody, about(&[good])),
        ask(desk.issuing, about(&["07", lost, good])),
        ask(desk.root, about(&[good])),
        ask(desk.issuing, about(&[lost])),
    ];
    let told = desk.secure.respond_ocsp(&questions).await.into_iter().map(|answer| match answer {
        Ok(answer) => {
            OcspResponse::parse(&answer.der).map(|parsed| format!("{parsed:?}")).unwrap_or_default()
        }
        Err(error) => error.to_refusal().code.to_string(),
    });
    let told: Vec<String> = told.collect();
    let told: Vec<Vec<&str>> = told
        .iter()
        .map(|told| {
            ["Good", "Revoked", "Unknown", "authority_not_found"]
                .into_iter()
                .filter(|one| told.contains(one))
                .collect()
        })
        .collect();
    assert_eq!(told[0], ["Good"]);
    assert_eq!(told[1], [""; 0], "an unsigned error");
    assert_eq!(told[2], ["authority_not_found"]);
    assert_eq!(told[3], ["Good", "Revoked", "Unknown"]);
    assert_eq!(told[4], [""; 0], "it is not about certificates of the root");
    assert_eq!(told[5], ["Revoked"]);
}
