//! Authorities over the years: suspended, renewed, succeeded; made by a ceremony. Judged by openssl.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use clm_secure::audit_keys::{SignedStatement, public_key_pem, read_public_key};
use clm_secure::authority_states::AuthorityAction;
use clm_secure::ceremonies::{CeremonyPlan, PlanSignature, Quorum};
use clm_types::{AuthorityId, CertificateSpec, ErrorCode, IssuedCertificate, Refusal};

use crate::desk::{Desk, plan, run};

async fn issue(desk: &Desk, authority_id: AuthorityId) -> Result<IssuedCertificate, Refusal> {
    let spec = CertificateSpec { authority_id, ..desk.csr_spec() };
    let mandate = desk.issue_mandate(&spec, desk.operation());
    desk.issue(&spec, &mandate).await
}

async fn change(desk: &Desk, action: AuthorityAction) -> Result<(), Refusal> {
    let changed = desk.secure.change_authority("Test Issuing", action, "for a test", "operator").await;
    changed.map_err(|error| error.to_refusal())
}

#[tokio::test]
async fn a_suspended_authority_signs_lists_and_answers_but_no_certificates() {
    use AuthorityAction::{Resume, Retire, Suspend};
    let desk = Desk::open().await;
    issue(&desk, desk.issuing).await.unwrap();
    change(&desk, Suspend).await.unwrap();
    assert_eq!(issue(&desk, desk.issuing).await.unwrap_err().code, ErrorCode::AuthoritySuspended);
    let before = desk.secure.newest_crl(desk.issuing, 0, false).await.unwrap().crl_number;
    desk.secure.publish_scope(desk.issuing, 0, true).await.unwrap();
    assert_eq!(desk.secure.newest_crl(desk.issuing, 0, false).await.unwrap().crl_number, before + 1);
    assert_eq!(change(&desk, Suspend).await.unwrap_err().code, ErrorCode::Conflict);
    change(&desk, Resume).await.unwrap();
    issue(&desk, desk.issuing).await.unwrap();
    change(&desk, Retire).await.unwrap();
    assert_eq!(change(&desk, Resume).await.unwrap_err().code, ErrorCode::Conflict, "for ever");
    assert_eq!(issue(&desk, desk.issuing).await.unwrap_err().code, ErrorCode::AuthoritySuspended);
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

#[tokio::test]
async fn what_an_authority_signed_stays_valid_when_it_is_renewed() {
    let desk = Desk::open().await;
    let before = issue(&desk, desk.issuing).await.unwrap();
    let old = desk.authority_file(desk.issuing).await;
    let old = desk.file("old-issuing.pem", std::fs::read(old).unwrap());
    let renewed = desk.secure.renew_authority("Test Issuing", 1_200, "operator").await.unwrap();
    desk.secure.renew_authority("Test Root", 3_000, "operator").await.unwrap();
    let desk = Desk { secure: desk.reopen().await, ..desk };
    let after = issue(&desk, desk.issuing).await.unwrap();
    let (root, new) = (desk.root_file().await, desk.authority_file(desk.issuing).await);
    for (leaf, name) in [(&before, "before.pem"), (&after, "after.pem")] {
        let leaf = desk.file(name, &leaf.pem);
        for issuing in [&old, &new] {
            run("openssl", &["verify", "-x509_strict", "-CAfile", &root, "-untrusted", issuing, &leaf]);
        }
    }
    let certificates = desk.secure.list_authority_certificates("Test Issuing").await.unwrap();
    assert_eq!(certificates.len(), 2);
    assert!(certificates.iter().all(|(kind, _)| kind == "own"));
    let records = desk.secure.list_authorities().await.unwrap();
    assert!(records.iter().any(|record| record.certificate_id == renewed));
    desk.secure.publish_scope(desk.issuing, 0, true).await.expect("the key goes on");
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

#[tokio::test]
async fn who_trusts_the_old_root_trusts_the_new_one_and_the_other_way_round() {
    let desk = Desk::open().await;
    let new_root = desk.secure.create_authority(&plan("New Root", None)).await.unwrap().authority_id;
    let below =
        desk.secure.create_authority(&plan("New Issuing", Some("New Root"))).await.unwrap().authority_id;
    desk.secure.succeed_authority("Test Root", "New Root", "operator").await.unwrap();
    desk.secure.succeed_authority("Test Root", "New Root", "operator").await.expect("once more is no other");
    let again = desk.secure.succeed_authority("Test Root", "Test Issuing", "operator").await.unwrap_err();
    assert_eq!(again.to_refusal().code, ErrorCode::Conflict);

    let cross = |certificates: Vec<(String, String)>| {
        let mut cross = certificates.into_iter().filter(|(kind, _)| kind == "cross").map(|(_, pem)| pem);
        let one = cross.next().unwrap();
        assert!(cross.next().is_none(), "one each");
        one
    };
    let new_by_old = cross(desk.secure.list_authority_certificates("New Root").await.unwrap());
    let old_by_new = cross(desk.secure.list_authority_certificates("Test Root").await.unwrap());
    let (old, new) = (desk.root_file().await, desk.authority_file(new_root).await);
    for (leaf, trusted, between, issuing) in
        [(below, &old, new_by_old, below), (desk.issuing, &new, old_by_new, desk.issuing)]
    {
        let leaf = desk.file("leaf.pem", issue(&desk, leaf).await.unwrap().pem);
        let between = desk.file("cross.pem", between);
        let issuing = desk.authority_file(issuing).await;
        let chain = ["-untrusted", &between, "-untrusted", &issuing, &leaf];
        run("openssl", &[&["verify", "-x509_strict", "-CAfile", trusted][..], &chain].concat());
    }
    let records = desk.secure.list_authorities().await.unwrap();
    let root = records.iter().find(|record| record.authority_id == desk.root).unwrap();
    assert_eq!(root.successor_id, Some(new_root));
}

/// Three operators with keys of openssl.
fn operators(desk: &Desk, threshold: usize) -> Quorum {
    let mut operators = BTreeMap::new();
    for (name, kind) in [("ada", "P-256"), ("bea", "P-384"), ("cem", "rsa")] {
        let key = desk.folder.path().join(format!("{name}.key"));
        let key = key.to_str().unwrap();
        let kind = if kind == "rsa" {
            ["RSA".to_owned(), "rsa_keygen_bits:3072".to_owned()]
        } else {
            ["EC".to_owned(), format!("ec_paramgen_curve:{kind}")]
        };
        run("openssl", &["genpkey", "-algorithm", &kind[0], "-pkeyopt", &kind[1], "-out", key]);
        let public = run("openssl", &["pkey", "-in", key, "-pubout"]);
        operators.insert(name.to_owned(), read_public_key(&public).unwrap());
    }
    Quorum { operators, threshold }
}

fn sign(desk: &Desk, plan: &CeremonyPlan, operator: &str) -> PlanSignature {
    let file = desk.file("plan.json", plan.octets().unwrap());
    let key = desk.folder.path().join(format!("{operator}.key"));
    let output = desk.folder.path().join("plan.sig");
    let hash = if operator == "bea" { "-sha384" } else { "-sha256" };
    run("openssl", &["dgst", hash, "-sign", key.to_str().unwrap(), "-out", output.to_str().unwrap(), &file]);
    PlanSignature { operator: operator.into(), signature: std::fs::read(output).unwrap() }
}

async fn hold(
    desk: &Desk,
    plan: &CeremonyPlan,
    quorum: &Quorum,
    signatures: &[PlanSignature],
) -> Result<SignedStatement, Refusal> {
    desk.secure.hold_ceremony(plan, quorum, signatures, "ada").await.map_err(|error| error.to_refusal())
}

#[tokio::test]
async fn a_ceremony_needs_its_quorum_and_leaves_a_signed_transcript() {
    let desk = Desk::open().await;
    let quorum = operators(&desk, 2);
    let plan: CeremonyPlan = toml::from_str(include_str!("../../../../deploy/ceremony.toml")).unwrap();
    desk.secure.check_ceremony(&plan).await.unwrap();
    let (ada, bea) = (sign(&desk, &plan, "ada"), sign(&desk, &plan, "bea"));
    let other = CeremonyPlan { title: "Another".into(), ..plan.clone() };
    let under_another = sign(&desk, &other, "cem");
    let stranger = PlanSignature { operator: "eve".into(), ..ada.clone() };
    for few in [
        vec![],
        vec![ada.clone()],
        vec![ada.clone(), ada.clone()],
        vec![ada.clone(), under_another],
        vec![ada.clone(), stranger],
    ] {
        let refused = hold(&desk, &plan, &quorum, &few).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::PermissionDenied, "{few:?}");
    }
    assert_eq!(desk.secure.list_authorities().await.unwrap().len(), 2, "nothing was made");

    let transcript = hold(&desk, &plan, &quorum, &[ada.clone(), bea.clone()]).await.unwrap();
    assert_eq!(transcript.statement["operators"].as_object().unwrap().len(), 2);
    assert_eq!(transcript.statement["authorities"].as_array().unwrap().len(), 2);
    assert_eq!(hold(&desk, &plan, &quorum, &[bea, ada]).await.unwrap(), transcript, "held once");
    let keys = desk.secure.list_audit_keys().await.unwrap();
    let key = desk.file("audit.pem", public_key_pem(&keys[0].public_key));
    let statement = desk.file("ceremony.json", transcript.octets().unwrap());
    let signature = desk.file("ceremony.sig", STANDARD.decode(&transcript.signature).unwrap());
    run("openssl", &["dgst", "-sha256", "-verify", &key, "-signature", &signature, &statement]);
    let records = desk.secure.list_authorities().await.unwrap();
    let made = records.iter().find(|record| record.name == "Example Issuing").unwrap();
    issue(&desk, made.authority_id).await.expect_err("its envelope asks for an approval");
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_plan_that_cannot_be_carried_out_makes_nothing() {
    let desk = Desk::open().await;
    let plan: CeremonyPlan = toml::from_str(include_str!("../../../../deploy/ceremony.toml")).unwrap();
    type Fault = fn(&mut CeremonyPlan);
    let faults: [(&str, Fault); 6] = [
        ("no authority", |plan| plan.authorities.clear()),
        ("an unknown parent", |plan| plan.authorities[1].parent = Some("nobody".into())),
        ("a root with a parent", |plan| plan.authorities[0].parent = Some("Test Root".into())),
        ("a subject that is none", |plan| plan.authorities[1].subject = "no name".into()),
        ("one planned twice", |plan| plan.authorities.push(plan.authorities[1].clone())),
        ("a name that is taken", |plan| plan.authorities[0].name = "Test Root".into()),
    ];
    for (what, fault) in faults {
        let mut bad = plan.clone();
        fault(&mut bad);
        hold(&desk, &bad, &Quorum::default(), &[]).await.expect_err(what);
        assert_eq!(desk.secure.list_authorities().await.unwrap().len(), 2, "{what}");
    }
}
