//! Authorities that `openssl ca` made, imported with what they signed and revoked; judged by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

use clm_secure::ceremonies::Quorum;
use clm_secure::envelope::Envelope;
use clm_secure::imports::{AuthorityImport, ImportOutcome, ImportedKey, IssuedFile};
use clm_testkit::OldAuthority;
use clm_types::{
    AuthorityId, CertificateId, CertificateSpec, ErrorCode, OrganizationId, Refusal, RevocationReason,
    RevocationSpec, UserId,
};
use clm_x509::ocsp::OcspResponse;
use zeroize::Zeroizing;

use crate::crls::octets;
use crate::desk::{Desk, answer, plan, run};

/// Everything that the old system has, for an import under this name.
pub(crate) fn everything_of(old: &OldAuthority, name: &str) -> AuthorityImport {
    old.openssl("pkcs8 -topk8 -nocrypt -in ca.key -outform DER -out ca.p8");
    let files = std::fs::read_dir(old.folder.join("newcerts")).unwrap();
    let issued = files.map(|file| {
        let path = file.unwrap().path();
        IssuedFile { source: path.display().to_string(), der: old.read_certificate(&path) }
    });
    AuthorityImport {
        name: name.to_owned(),
        certificate: old.certificate(),
        chain: vec![],
        key: ImportedKey::Pkcs8(Zeroizing::new(std::fs::read(old.folder.join("ca.p8")).unwrap())),
        crl: Some(old.crl()),
        crl_is_complete: false,
        issued: issued.collect(),
        owner: Some((OrganizationId(uuid::Uuid::from_u128(7)), UserId(uuid::Uuid::from_u128(8)))),
        base_url: "http://pki.example.com".into(),
        envelope: Envelope { crl_validity_seconds: 86_400, ..plan("x", None).envelope },
    }
}

async fn import(desk: &Desk, import: AuthorityImport) -> Result<ImportOutcome, Refusal> {
    let checked = desk.secure.check_import(import).await.map_err(|error| error.to_refusal())?;
    assert_eq!(checked.left_out.len(), 0, "{:?}", checked.left_out);
    let outcome = desk.secure.import_authority(&checked, &Quorum::default(), &[], "operator", |_| {}).await;
    outcome
        .map(|(outcome, _)| outcome)
        .inspect_err(|error| println!("{error:?}"))
        .map_err(|error| error.to_refusal())
}

/// What openssl says of a certificate with the newest list of the imported authority, whose signature it verified.
async fn verify(desk: &Desk, old: &OldAuthority, authority: AuthorityId, file: &Path) -> String {
    let list = desk.file("new.crl", octets(desk, authority, 0, false).await);
    old.openssl(&format!("crl -inform DER -in {list} -out new.pem"));
    let output = Command::new("openssl")
        .args(["verify", "-CAfile", "ca.pem", "-crl_check", "-CRLfile", "new.pem", file.to_str().unwrap()])
        .current_dir(&old.folder)
        .output()
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What openssl reads in the OCSP answer about a certificate of the old system.
async fn ocsp(desk: &Desk, old: &OldAuthority, authority: AuthorityId, file: &Path) -> String {
    old.openssl(&format!("ocsp -issuer ca.pem -cert {} -reqout ask.der", file.display()));
    let answer = answer(&desk.secure, authority, std::fs::read(old.folder.join("ask.der")).unwrap()).await;
    std::fs::write(old.folder.join("answer.der"), answer.unwrap().der).unwrap();
    let said = old.openssl(&format!(
        "ocsp -issuer ca.pem -cert {} -respin answer.der -CAfile ca.pem -resp_text -no_nonce",
        file.display()
    ));
    assert!(said.contains("Response verify OK"), "{said}");
    said
}

async fn count(desk: &Desk, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&desk.databases.secure.superuser().await).await.unwrap()
}

#[tokio::test]
async fn what_an_authority_signed_and_revoked_before_counts_after_its_import() {
    let desk = Desk::open().await;
    let old = OldAuthority::root(desk.folder.path(), "old-root");
    // A kind of name that is not issued here.
    old.issue_with("user.example.com", ",otherName:1.3.6.1.4.1.311.20.2.3;UTF8:user@example.com");
    let [good, lost, held, stolen] =
        ["good.example.com", "lost.example.com", "held.example.com", "stolen.example.com"]
            .map(|name| old.issue(name));
    old.revoke(&lost, "superseded");
    old.revoke(&held, "certificateHold");
    old.revoke(&stolen, "keyCompromise");
    // Nobody has this certificate any more: it is the third.
    std::fs::remove_file(old.folder.join("newcerts/1002.pem")).unwrap();

    let brought = everything_of(&old, "Old Root");
    let owner = brought.owner.unwrap();
    let outcome = import(&desk, brought).await.unwrap();
    assert_eq!((outcome.certificates, outcome.revoked, outcome.revoked_alone), (4, 2, 1));
    let authority = outcome.authority_id;
    let list = desk.secure.newest_crl(authority, 0, false).await.unwrap();
    assert_eq!(list.crl_number, 0x21, "the number after the last one of the old system");
    assert!(verify(&desk, &old, authority, &good).await.contains("OK"));
    for file in [&lost, &held, &stolen] {
        assert!(verify(&desk, &old, authority, file).await.contains("certificate revoked"));
    }
    desk.secure.renew_ocsp_responders().await.unwrap();
    assert!(ocsp(&desk, &old, authority, &good).await.contains(": good"));
    assert!(ocsp(&desk, &old, authority, &lost).await.contains("superseded"));
    assert!(ocsp(&desk, &old, authority, &held).await.contains("certificateHold"));
    let never = old.issue("never.example.com");
    assert!(ocsp(&desk, &old, authority, &never).await.contains(": unknown"));

    // It signs, and its key is one that Secure keeps.
    let spec = CertificateSpec { authority_id: authority, ..desk.csr_spec() };
    let issued = desk.issue(&spec, &desk.issue_mandate(&spec, desk.operation())).await.unwrap();
    let leaf = PathBuf::from(desk.file("issued.pem", &issued.pem));
    assert!(verify(&desk, &old, authority, &leaf).await.contains("OK"));
    assert_eq!(issued.chain_pem, "", "a root does not belong into the chain");
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
    // The stolen key is blocked.
    assert_eq!(count(&desk, "SELECT count(*) FROM blocked_keys").await, 1);

    // What is in the inventory is released and revoked there, whatever names it has. The desk's orders are for this authority.
    let desk = Desk { issuing: authority, ..desk };
    let order = async |name: &str, reason| {
        let certificate_id = id_of(&desk, name).await;
        let (organization_id, requested_by) = owner;
        let spec = RevocationSpec {
            certificate_id,
            organization_id,
            reason,
            invalidity_date: None,
            requested_by,
            comment: None,
        };
        desk.revoke(&spec, desk.operation()).await.unwrap();
    };
    order("held.example.com", RevocationReason::RemoveFromCrl).await;
    order("user.example.com", RevocationReason::KeyCompromise).await;
    assert_eq!(count(&desk, "SELECT count(*) FROM blocked_keys").await, 2);
    desk.secure.publish_due_crls().await.unwrap();
    assert!(verify(&desk, &old, authority, &held).await.contains("OK"));
    // The old list still says that it is on hold: what was released here stays so.
    let again = import(&desk, everything_of(&old, "Old Root")).await.unwrap();
    assert_eq!((again.certificates, again.revoked), (1, 0), "the one that was issued last");
    assert!(ocsp(&desk, &old, authority, &held).await.contains(": good"));
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

/// The certificate with this common name.
async fn id_of(desk: &Desk, name: &str) -> CertificateId {
    let query = "SELECT certificate_id FROM certificates WHERE common_name = $1";
    let superuser = desk.databases.secure.superuser().await;
    CertificateId(sqlx::query_scalar(query).bind(name).fetch_one(&superuser).await.unwrap())
}

#[tokio::test]
async fn a_certificate_that_comes_after_its_revocation_is_revoked() {
    let desk = Desk::open().await;
    let old = OldAuthority::root(desk.folder.path(), "old-root");
    let (lost, held) = (old.issue("lost.example.com"), old.issue("held.example.com"));
    old.revoke(&lost, "keyCompromise");
    old.revoke(&held, "certificateHold");
    let none = AuthorityImport { issued: vec![], ..everything_of(&old, "Old Root") };
    let outcome = import(&desk, none).await.unwrap();
    assert_eq!((outcome.certificates, outcome.revoked_alone), (0, 2));
    let authority = outcome.authority_id;
    // Without a list, and then with one that says more.
    let late = AuthorityImport { crl: None, ..everything_of(&old, "Old Root") };
    let later = import(&desk, late).await.unwrap();
    assert_eq!((later.certificates, later.revoked, later.revoked_alone), (2, 2, 0));
    desk.secure.renew_ocsp_responders().await.unwrap();
    assert!(ocsp(&desk, &old, authority, &lost).await.contains("keyCompromise"));
    assert!(ocsp(&desk, &old, authority, &held).await.contains("certificateHold"));
    assert_eq!(count(&desk, "SELECT count(*) FROM blocked_keys").await, 1);
    old.openssl(&format!(
        "ca -config ca.cnf -batch -revoke {} -crl_reason keyCompromise",
        old.issue("x").display()
    ));
    std::fs::write(
        old.folder.join("index.txt"),
        std::fs::read_to_string(old.folder.join("index.txt"))
            .unwrap()
            .replace("certificateHold", "keyCompromise"),
    )
    .unwrap();
    let worse = import(&desk, everything_of(&old, "Old Root")).await.unwrap();
    assert_eq!((worse.certificates, worse.revoked, worse.revoked_alone), (1, 2, 0));
    assert!(ocsp(&desk, &old, authority, &held).await.contains("keyCompromise"));
    assert_eq!(count(&desk, "SELECT count(*) FROM blocked_keys").await, 3, "also of one that was known");
    desk.secure.publish_due_crls().await.unwrap();
    assert!(verify(&desk, &old, authority, &held).await.contains("certificate revoked"));
    let number = desk.secure.newest_crl(authority, 0, false).await.unwrap().crl_number;
    assert!(number > 0x22, "the numbers of the old system count: {number}");
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

#[tokio::test]
async fn an_import_that_is_repeated_brings_what_came_meanwhile() {
    let desk = Desk::open().await;
    let old = OldAuthority::root(desk.folder.path(), "old-root");
    let first = old.issue("first.example.com");
    let outcome = import(&desk, everything_of(&old, "Old Root")).await.unwrap();
    assert_eq!((outcome.certificates, outcome.revoked), (1, 0));
    let again = import(&desk, everything_of(&old, "Old Root")).await.unwrap();
    assert_eq!((again.authority_id, again.certificates, again.revoked), (outcome.authority_id, 0, 0));

    old.issue("second.example.com");
    old.revoke(&first, "superseded");
    let later = import(&desk, everything_of(&old, "Old Root")).await.unwrap();
    assert_eq!((later.certificates, later.revoked, later.revoked_alone), (1, 1, 0));
    desk.secure.publish_due_crls().await.unwrap();
    assert!(verify(&desk, &old, outcome.authority_id, &first).await.contains("certificate revoked"));
    let twice = import(&desk, everything_of(&old, "Old Root")).await.unwrap();
    assert_eq!((twice.certificates, twice.revoked, twice.revoked_alone), (0, 0, 0));
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
    let other = import(&desk, everything_of(&old, "Other Name")).await.unwrap_err();
    assert_eq!(other.code, ErrorCode::Conflict, "one key is one authority");
}

#[tokio::test]
async fn an_authority_below_another_is_imported_with_its_chain_or_after_it() {
    let desk = Desk::open().await;
    let root = OldAuthority::root(desk.folder.path(), "old-root");
    let middle = root.below(desk.folder.path(), "old-middle");
    let low = middle.below(desk.folder.path(), "old-low");
    let missing = import(&desk, everything_of(&low, "Old Low")).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::AuthorityNotFound);
    let chain = [&middle, &root].map(|one| one.certificate()).to_vec();
    let wrong =
        AuthorityImport { chain: chain.iter().rev().cloned().collect(), ..everything_of(&low, "Old Low") };
    assert_eq!(import(&desk, wrong).await.unwrap_err().code, ErrorCode::SignatureInvalid);
    let low_id = import(&desk, AuthorityImport { chain, ..everything_of(&low, "Old Low") })
        .await
        .unwrap()
        .authority_id;
    let spec = CertificateSpec { authority_id: low_id, ..desk.csr_spec() };
    let issued = desk.issue(&spec, &desk.issue_mandate(&spec, desk.operation())).await.unwrap();
    let (leaf, chain) = (desk.file("leaf.pem", &issued.pem), desk.file("chain.pem", &issued.chain_pem));
    let anchor = root.folder.join("ca.pem");
    run(
        "openssl",
        &["verify", "-x509_strict", "-CAfile", anchor.to_str().unwrap(), "-untrusted", &chain, &leaf],
    );
    let renewed = desk.secure.renew_authority("Old Low", 100, "operator").await.unwrap_err();
    assert_eq!(renewed.to_refusal().code, ErrorCode::AuthorityNotFound, "its issuer is elsewhere");

    // The one in the middle comes after the root, which signed it, and with its own certificate known.
    import(&desk, everything_of(&root, "Old Root")).await.unwrap();
    let middle_id = import(&desk, everything_of(&middle, "Old Middle")).await.unwrap().authority_id;
    let records = desk.secure.list_authorities().await.unwrap();
    let found = records.iter().find(|record| record.authority_id == middle_id).unwrap();
    assert!(found.parent_id.is_some());
    // Neither its key nor its end is a matter of an organization, though its certificate came with one.
    let (organization_id, requested_by) = everything_of(&middle, "x").owner.unwrap();
    let key = desk.secure.find_key_record(found.certificate_id, organization_id).await.unwrap_err();
    assert_eq!(key.to_refusal().code, ErrorCode::KeyNotFound);
    let spec = RevocationSpec {
        certificate_id: found.certificate_id,
        organization_id,
        reason: RevocationReason::KeyCompromise,
        invalidity_date: None,
        requested_by,
        comment: None,
    };
    assert_eq!(desk.revoke(&spec, desk.operation()).await.unwrap_err().code, ErrorCode::PermissionDenied);
    // The lowest came before its issuer, which knows it now.
    desk.secure.renew_ocsp_responders().await.unwrap();
    let low_file = middle.folder.join("below.pem");
    middle.openssl(&format!("ocsp -issuer ca.pem -cert {} -reqout ask.der", low_file.display()));
    let ask = std::fs::read(middle.folder.join("ask.der")).unwrap();
    let answer = answer(&desk.secure, middle_id, ask).await.unwrap().der;
    assert!(format!("{:?}", OcspResponse::parse(&answer).unwrap()).contains("Good"));
    // When its issuer's list revokes it, it signs no more.
    middle.revoke(&low_file, "cACompromise");
    import(&desk, everything_of(&middle, "Old Middle")).await.unwrap();
    let desk = Desk { secure: desk.reopen().await, ..desk };
    let spec = CertificateSpec { authority_id: low_id, ..desk.csr_spec() };
    let refused = desk.issue(&spec, &desk.issue_mandate(&spec, desk.operation())).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::AuthoritySuspended);
    let again = import(&desk, everything_of(&low, "Old Low")).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::KeyCompromised);
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

#[tokio::test]
async fn what_does_not_belong_together_is_refused_and_leaves_nothing() {
    let desk = Desk::open().await;
    let (old, other) = (
        OldAuthority::root(desk.folder.path(), "old-root"),
        OldAuthority::root(desk.folder.path(), "other-root"),
    );
    old.issue("first.example.com");
    other.issue("second.example.com");
    let refused = async |import: AuthorityImport| match desk.secure.check_import(import).await {
        Ok(_) => panic!("it is taken"),
        Err(error) => error.to_refusal().code,
    };
    let brought = || everything_of(&old, "Old Root");
    let foreign = everything_of(&other, "x");
    assert_eq!(refused(AuthorityImport { key: foreign.key, ..brought() }).await, ErrorCode::KeyMismatch);
    assert_eq!(refused(AuthorityImport { crl: foreign.crl, ..brought() }).await, ErrorCode::SignatureInvalid);
    assert_eq!(refused(AuthorityImport { owner: None, ..brought() }).await, ErrorCode::InvalidRequest);
    let part = old.folder.join("part.cnf");
    let config = std::fs::read_to_string(old.folder.join("ca.cnf")).unwrap();
    for (field, hint) in [("fullname = URI:http://old.example.com/1.crl", true), ("onlyuser = TRUE", false)] {
        let text = format!("{config}issuingDistributionPoint = critical,@point\n[point]\n{field}\n");
        std::fs::write(&part, text).unwrap();
        old.openssl("ca -gencrl -config part.cnf -out part.crl");
        let crl = Some(old.read_crl("part.crl"));
        let partial = AuthorityImport { crl, crl_is_complete: !hint, ..brought() };
        assert_eq!(refused(partial).await, ErrorCode::CrlMalformed, "{field}");
    }
    let leaf = old.read_certificate("first.example.com.pem");
    let no_authority = AuthorityImport { certificate: leaf.clone(), ..brought() };
    assert_eq!(refused(no_authority).await, ErrorCode::CertificateMalformed);
    let mut broken = leaf;
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let mut mixed = brought();
    mixed.issued.extend(foreign.issued);
    mixed.issued.push(IssuedFile { source: "broken.der".into(), der: broken });
    mixed.issued.push(IssuedFile { source: "nothing".into(), der: vec![1, 2, 3] });
    let checked = desk.secure.check_import(mixed).await.unwrap();
    let left_out: Vec<_> =
        checked.left_out.iter().map(|(source, refusal)| (source.as_str(), refusal.code)).collect();
    assert_eq!(left_out.len(), 3);
    assert!(left_out[0].0.ends_with("1000.pem"));
    assert_eq!(left_out[1], ("broken.der", ErrorCode::SignatureInvalid));
    assert_eq!(left_out[2], ("nothing", ErrorCode::CertificateMalformed));
    assert_eq!(checked.counts(), (1, 0));
    assert_eq!(count(&desk, "SELECT count(*) FROM certificate_authorities").await, 2, "nothing was written");
}
