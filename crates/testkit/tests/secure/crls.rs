//! Full, delta and divided revocation lists, judged by openssl and pkilint.

use std::path::Path;
use std::process::Command;

use chrono::TimeDelta;
use clm_secure::envelope::Envelope;
use clm_types::{AuthorityId, ErrorCode, IssuedCertificate, RevocationReason, RevocationSpec};

use crate::desk::{Desk, plan, run};

/// The octets of the newest list of a scope.
pub(crate) async fn octets(desk: &Desk, authority: AuthorityId, shard: i16, delta: bool) -> Vec<u8> {
    let crl = desk.secure.newest_crl(authority, shard, delta).await.unwrap();
    let (mut octets, mut place) = (Vec::new(), -1);
    while let Some((position, part)) = desk.secure.next_crl_part(crl.id, place).await.unwrap() {
        octets.extend(part);
        place = position;
    }
    octets
}

async fn number(desk: &Desk, shard: i16, delta: bool) -> i64 {
    desk.secure.newest_crl(desk.issuing, shard, delta).await.unwrap().crl_number
}

/// What openssl reads in the newest list of a scope, whose signature it verified.
async fn read(desk: &Desk, shard: i16, delta: bool) -> String {
    let kind = if delta { "-delta" } else { "" };
    let path = desk.file(&format!("{shard}{kind}.crl"), octets(desk, desk.issuing, shard, delta).await);
    let issuer = desk.authority_file(desk.issuing).await;
    let text =
        run("openssl", &["crl", "-inform", "DER", "-in", &path, "-CAfile", &issuer, "-noout", "-text"]);
    assert!(text.contains("verify OK"), "{text}");
    text
}

async fn set_envelope(desk: &Desk, crl_shards: u16, delta_crls: bool) {
    let envelope = Envelope { crl_shards, delta_crls, ..plan("Test Issuing", None).envelope };
    desk.secure.set_envelope("Test Issuing", &envelope, "test".into()).await.unwrap();
    desk.secure.publish_due_crls().await.unwrap();
}

async fn issue(desk: &Desk) -> IssuedCertificate {
    let request = desk.csr_spec();
    desk.issue(&request, &desk.issue_mandate(&request, desk.operation())).await.unwrap()
}

fn shard_of(issued: &IssuedCertificate) -> i16 {
    let certificate = clm_x509::Certificate::parse_pem(&issued.pem).unwrap();
    let url = clm_x509::certificate::crl_url_of_tbs(certificate.tbs_der()).unwrap();
    url.rsplit('/').next().unwrap().trim_end_matches(".crl").parse().unwrap()
}

/// Revokes, holds or releases, and publishes what that makes due.
async fn change(desk: &Desk, issued: &IssuedCertificate, reason: RevocationReason) {
    let spec = RevocationSpec {
        certificate_id: issued.record.certificate_id,
        organization_id: issued.record.organization_id.unwrap(),
        reason,
        invalidity_date: None,
        requested_by: issued.record.owner_user_id.unwrap(),
        comment: None,
    };
    desk.revoke(&spec, desk.operation()).await.unwrap();
    desk.secure.publish_due_crls().await.unwrap();
}

/// What openssl says of a certificate with these lists at hand, with deltas used and the extended rules for lists.
async fn verify(desk: &Desk, issued: &IssuedCertificate, lists: &[&[u8]]) -> String {
    let lists: String = lists.iter().map(|der| clm_x509::crl::to_pem(der)).collect();
    let (leaf, lists) = (desk.file("verified.pem", &issued.pem), desk.file("lists.pem", lists));
    let (root, issuing) = (desk.root_file().await, desk.authority_file(desk.issuing).await);
    let rules = ["verify", "-x509_strict", "-crl_check", "-use_deltas", "-extended_crl"];
    let files = ["-CRLfile", &lists, "-CAfile", &root, "-untrusted", &issuing, &leaf];
    let output = Command::new("openssl").args(rules).args(files).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn lint(desk: &Desk) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = tests.join("../../target/pkilint/bin/python3");
    let script = tests.join("tests/api/lint_all.py");
    let output = Command::new(python).arg(script).arg(desk.folder.path()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let about_lists: Vec<&str> = printed.lines().filter(|line| line.contains(".crl\"")).collect();
    let (linted, findings) = about_lists.split_last().expect("pkilint says what it read");
    assert!(linted.contains("linted") && findings.is_empty(), "{findings:#?}");
}

#[tokio::test]
async fn a_revocation_makes_only_the_list_of_its_part_anew() {
    let desk = Desk::open().await;
    let before = issue(&desk).await;
    set_envelope(&desk, 3, false).await;
    let mut issued = Vec::new();
    let of_shard =
        |issued: &[IssuedCertificate], shard| issued.iter().filter(|one| shard_of(one) == shard).count();
    while (1..=3).any(|shard| of_shard(&issued, shard) < 2) {
        issued.push(issue(&desk).await);
    }
    let revoked = &issued[0];
    let shard = shard_of(revoked);
    change(&desk, revoked, RevocationReason::Superseded).await;
    for other in 0..=3 {
        assert_eq!(number(&desk, other, false).await, if other == shard { 2 } else { 1 }, "{other}");
    }
    let list = octets(&desk, desk.issuing, shard, false).await;
    let text = read(&desk, shard, false).await;
    assert!(text.contains("Issuing Distribution Point: critical"), "{text}");
    assert!(
        text.contains(&format!("/{shard}.crl"))
            && text.contains(&revoked.record.serial_number.to_uppercase())
    );
    assert!(verify(&desk, revoked, &[&list]).await.contains("certificate revoked"));
    for other in &issued[1..] {
        // A list of another part says nothing of this certificate.
        let fits = shard_of(other) == shard;
        let said = verify(&desk, other, &[&list]).await;
        assert_eq!(said.contains(": OK"), fits, "{said}");
    }
    // One from before is in the list of all; that list is made anew for its like alone.
    change(&desk, &before, RevocationReason::KeyCompromise).await;
    assert_eq!((number(&desk, 0, false).await, number(&desk, shard, false).await), (2, 2));
    let all = octets(&desk, desk.issuing, 0, false).await;
    assert!(verify(&desk, &before, &[&all]).await.contains("certificate revoked"));
    assert!(read(&desk, 0, false).await.contains(&revoked.record.serial_number.to_uppercase()));
    lint(&desk);
    // A part that gets no more certificates keeps its list.
    set_envelope(&desk, 0, false).await;
    let last = issued.iter().find(|one| shard_of(one) == 3 && one.record != revoked.record).unwrap();
    let was = number(&desk, 3, false).await;
    change(&desk, last, RevocationReason::Superseded).await;
    assert_eq!(number(&desk, 3, false).await, was + 1);
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_delta_says_what_changed_since_its_full_list() {
    let desk = Desk::open().await;
    set_envelope(&desk, 0, true).await;
    let (held, gone) = (issue(&desk).await, issue(&desk).await);
    change(&desk, &held, RevocationReason::CertificateHold).await;
    desk.secure.publish_scope(desk.issuing, 0, true).await.unwrap();
    let full = number(&desk, 0, false).await;
    let base = octets(&desk, desk.issuing, 0, false).await;
    assert!(read(&desk, 0, false).await.contains("X509v3 Freshest CRL"));
    assert!(verify(&desk, &held, &[&base]).await.contains("certificate revoked"));
    change(&desk, &held, RevocationReason::RemoveFromCrl).await;
    change(&desk, &gone, RevocationReason::KeyCompromise).await;
    assert_eq!(number(&desk, 0, false).await, full, "the full list stays");
    let text = read(&desk, 0, true).await;
    assert!(
        text.contains("X509v3 Delta CRL Indicator: critical") && text.contains("Remove From CRL"),
        "{text}"
    );
    let delta = octets(&desk, desk.issuing, 0, true).await;
    assert!(verify(&desk, &gone, &[&base]).await.contains(": OK"));
    assert!(verify(&desk, &gone, &[&base, &delta]).await.contains("certificate revoked"));
    assert!(verify(&desk, &held, &[&base, &delta]).await.contains(": OK"));
    lint(&desk);
    // The next full list is complete by itself, and has its own delta.
    desk.secure.publish_scope(desk.issuing, 0, true).await.unwrap();
    let base = octets(&desk, desk.issuing, 0, false).await;
    assert!(verify(&desk, &gone, &[&base]).await.contains("certificate revoked"));
    assert!(verify(&desk, &held, &[&base]).await.contains(": OK"));
    assert_eq!(number(&desk, 0, true).await, number(&desk, 0, false).await + 1);
}

#[tokio::test]
async fn a_list_that_lost_a_revocation_is_not_published() {
    let desk = Desk::open().await;
    let (lost, other) = (issue(&desk).await, issue(&desk).await);
    change(&desk, &lost, RevocationReason::KeyCompromise).await;
    let (was, list) = (number(&desk, 0, false).await, octets(&desk, desk.issuing, 0, false).await);
    let superuser = desk.databases.secure.superuser().await;
    for tamper in [
        "ALTER TABLE certificate_revocations DISABLE TRIGGER USER",
        "UPDATE certificate_revocations SET reason_code = 4, reason = 'superseded'",
    ] {
        sqlx::query(tamper).execute(&superuser).await.unwrap();
    }
    let refused = desk.secure.publish_scope(desk.issuing, 0, true).await.unwrap_err();
    assert!(refused.to_string().contains("says something else"), "{refused}");
    sqlx::query("DELETE FROM certificate_revocations").execute(&superuser).await.unwrap();
    let refused = desk.secure.publish_scope(desk.issuing, 0, true).await.unwrap_err();
    assert!(refused.to_string().contains("is missing"), "{refused}");
    assert_eq!(number(&desk, 0, false).await, was);
    let unpublished =
        "SELECT count(*) FROM crl_parts p WHERE NOT EXISTS (SELECT FROM crls l WHERE l.id = p.crl_id)";
    assert_eq!(sqlx::query_scalar::<_, i64>(unpublished).fetch_one(&superuser).await.unwrap(), 0);
    assert_eq!(octets(&desk, desk.issuing, 0, false).await, list);
    assert!(verify(&desk, &lost, &[&list]).await.contains("certificate revoked"));
    assert!(verify(&desk, &other, &[&list]).await.contains(": OK"));
}

#[tokio::test]
async fn octets_of_superseded_lists_are_deleted_but_for_the_last_of_their_day() {
    let desk = Desk::open().await;
    let superuser = desk.databases.secure.superuser().await;
    for _ in 0..3 {
        desk.secure.publish_scope(desk.issuing, 0, true).await.unwrap();
    }
    let kept = || async {
        let query = "SELECT l.crl_number FROM crls l WHERE l.authority_id = $1
                     AND EXISTS (SELECT FROM crl_parts p WHERE p.crl_id = l.id) ORDER BY 1";
        let rows = sqlx::query_scalar::<_, i64>(query).bind(desk.issuing.0).fetch_all(&superuser);
        rows.await.unwrap()
    };
    assert_eq!(
        desk.secure.delete_superseded_crls(TimeDelta::days(400)).await.unwrap(),
        0,
        "none for an hour"
    );
    // Lists 1 and 2 of three days ago, 3 of two days ago, 4 the newest.
    for aged in [
        "UPDATE crl_parts SET created_at = created_at - interval '2 hours'",
        "ALTER TABLE crls DISABLE TRIGGER USER",
        "UPDATE crls SET this_update = this_update - interval '1 day' * (5 - greatest(crl_number, 2)) WHERE crl_number < 4",
    ] {
        sqlx::query(aged).execute(&superuser).await.unwrap();
    }
    assert!(desk.secure.delete_superseded_crls(TimeDelta::days(400)).await.unwrap() > 0);
    assert_eq!(kept().await, [2, 3, 4]);
    assert!(desk.secure.delete_superseded_crls(TimeDelta::hours(60)).await.unwrap() > 0);
    assert_eq!(kept().await, [3, 4]);
    assert!(!octets(&desk, desk.issuing, 0, false).await.is_empty());
}

#[tokio::test]
async fn a_list_that_a_program_of_the_version_before_published_holds_nothing_up() {
    let desk = Desk::open().await;
    let superuser = desk.databases.secure.superuser().await;
    let old = "INSERT INTO crls (authority_id, crl_number, kind, this_update, next_update, entry_count, der, sha256, created_at)
               SELECT id, 2, 'full', now(), now() + interval '1 day', 0, 'DER', sha256('DER'), now()
               FROM certificate_authorities WHERE id = $1";
    sqlx::query(old).bind(desk.issuing.0).execute(&superuser).await.unwrap();
    desk.secure.publish_scope(desk.issuing, 0, true).await.unwrap();
    assert_eq!(number(&desk, 0, false).await, 3);
}

#[tokio::test]
async fn lists_that_do_not_exist_are_told_apart_from_those_that_are_not_made_yet() {
    let desk = Desk::open().await;
    let code = |shard, delta| {
        let desk = &desk;
        async move { desk.secure.newest_crl(desk.issuing, shard, delta).await.unwrap_err().to_refusal().code }
    };
    assert_eq!(code(1, false).await, ErrorCode::NotFound);
    assert_eq!(code(0, true).await, ErrorCode::NotFound);
    let envelope = Envelope { crl_shards: 1, ..plan("Test Issuing", None).envelope };
    desk.secure.set_envelope("Test Issuing", &envelope, "test".into()).await.unwrap();
    assert_eq!(code(1, false).await, ErrorCode::Unavailable);
    let nobody = AuthorityId::generate(desk.clock.now(), &desk.entropy);
    let refused = desk.secure.newest_crl(nobody, 0, false).await.unwrap_err();
    assert_eq!(refused.to_refusal().code, ErrorCode::AuthorityNotFound);
    let envelope = Envelope { crl_shards: 1025, ..envelope };
    let refused = desk.secure.set_envelope("Test Issuing", &envelope, "test".into()).await.unwrap_err();
    assert_eq!(refused.to_refusal().code, ErrorCode::InvalidRequest);
}
