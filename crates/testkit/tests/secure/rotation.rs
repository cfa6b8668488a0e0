//! Rotation of encryption keys and of the master key, while certificates are issued.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use clm_secure::audit::Actor;
use clm_secure::audit_keys::{SignedStatement, public_key_pem};
use clm_secure::master_key::{SealedKey, TokenKey};
use clm_secure::rotation::RotationReason;
use clm_secure::{KeyStores, MasterKey, Secure};
use clm_testkit::SoftHsm;
use clm_types::{CertificateId, CertificateSpec, ErrorCode, KeySource, OrganizationId, Refusal};
use sqlx::PgPool;
use uuid::Uuid;

use crate::desk::{Desk, plan};
use crate::tokens::{token, turn};

fn operator() -> Actor {
    Actor::Operator("test".into())
}

async fn issue(desk: &Desk, organization_id: OrganizationId) -> CertificateId {
    let spec = CertificateSpec { organization_id, ..desk.spec(KeySource::Generated) };
    let mandate = desk.issue_mandate(&spec, desk.operation());
    desk.issue(&spec, &mandate).await.unwrap().record.certificate_id
}

/// A renewal with the same key: Secure must open the stored one.
async fn use_key(desk: &Desk, old: CertificateId, organization_id: OrganizationId) -> Result<(), Refusal> {
    let spec = CertificateSpec {
        organization_id,
        renewal_of: Some(old),
        key_algorithm: None,
        ..desk.spec(KeySource::Reused)
    };
    let mandate = desk.issue_mandate(&spec, desk.operation());
    desk.issue(&spec, &mandate).await.map(drop)
}

/// As an auditor does, with openssl alone.
async fn check_receipt(desk: &Desk, receipt: &SignedStatement) {
    assert_eq!(receipt.statement["rows_left"], 0);
    let keys = desk.secure.list_audit_keys().await.unwrap();
    let key = keys.iter().find(|key| key.key_reference == receipt.key_reference).unwrap();
    let key = desk.file("audit.pem", public_key_pem(&key.public_key));
    let signature = desk.file("receipt.sig", STANDARD.decode(&receipt.signature).unwrap());
    let verify = |statement: &str| {
        let arguments = ["dgst", "-sha256", "-verify", &key, "-signature", &signature, statement];
        std::process::Command::new("openssl").args(arguments).output().unwrap().status.success()
    };
    assert!(verify(&desk.file("receipt.json", receipt.octets().unwrap())));
    let mut changed = receipt.clone();
    changed.statement["rows_left"] = 1.into();
    assert!(!verify(&desk.file("changed.json", changed.octets().unwrap())));
}

#[tokio::test]
async fn the_audit_key_is_rotated_like_any_other_and_still_signs() {
    let desk = Desk::open().await;
    let first = desk.secure.sign_statement(serde_json::json!({ "n": 1 })).await.unwrap();
    let name = "audit_keys/installation/1";
    let rotated = desk.secure.rotate_key(name, RotationReason::Operator, &operator(), |_| {}).await.unwrap();
    assert_eq!((rotated.moved, rotated.failed), (1, 0));
    let again = desk.reopen().await.sign_statement(serde_json::json!({ "n": 2 })).await.unwrap();
    assert_eq!(again.key_reference, first.key_reference);
}

#[tokio::test]
async fn an_authority_is_made_though_the_key_that_wraps_was_rotated_meanwhile() {
    let desk = Desk::open().await;
    // As the operator's command does: the service still wraps under the old one.
    let command = desk.reopen().await;
    let name = "authority_keys/installation/1";
    command.rotate_key(name, RotationReason::Operator, &operator(), |_| {}).await.unwrap();
    let made = desk.secure.create_authority(&plan("After", Some("Test Root"))).await.unwrap();
    let spec = CertificateSpec { authority_id: made.authority_id, ..desk.csr_spec() };
    desk.issue(&spec, &desk.issue_mandate(&spec, desk.operation())).await.unwrap();
}

async fn identifier(pool: &PgPool, state: &str) -> String {
    let sql = "SELECT key_identifier FROM encryption_keys WHERE purpose = 'private_keys' AND state = $1 ORDER BY id DESC LIMIT 1";
    sqlx::query_scalar(sql).bind(state).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn the_old_version_is_emptied_destroyed_and_useless() {
    let desk = Desk::open().await;
    let pool = desk.databases.secure.superuser().await;
    let organization = desk.spec(KeySource::Csr).organization_id;
    let mut certificates = Vec::new();
    for _ in 0..5 {
        certificates.push(issue(&desk, organization).await);
    }
    let old_name = identifier(&pool, "active").await;
    let dump: (Uuid, Vec<u8>, Uuid) = sqlx::query_as(
        "SELECT id, encrypted_key_material, encryption_key_id FROM private_keys WHERE certificate_id = $1",
    )
    .bind(Uuid::from(certificates[0]))
    .fetch_one(&pool)
    .await
    .unwrap();
    let radius = desk.secure.blast_radius(dump.2).await.unwrap();
    assert_eq!((radius.private_keys, radius.organizations, radius.authorities.len()), (5, 1, 0));

    let mut heard = 0;
    let rotated = desk
        .secure
        .rotate_key(&old_name, RotationReason::Operator, &operator(), |progress| heard = progress.done)
        .await
        .unwrap();
    assert_eq!((rotated.moved, rotated.failed, heard), (5, 0, 5));
    check_receipt(&desk, &rotated.receipt.unwrap()).await;
    for certificate in &certificates {
        use_key(&desk, *certificate, organization).await.unwrap();
    }
    let history: Vec<(i32, String, i64, i64)> = sqlx::query_as(
        "SELECT batch, status, rows_reencrypted, rows_failed FROM key_rotation_history ORDER BY batch",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(history, [(0, "succeeded".into(), 5, 0), (1, "succeeded".into(), 5, 0)]);

    // What a thief of an old backup puts back does not open: its key is gone.
    sqlx::query("UPDATE private_keys SET encrypted_key_material = $2, encryption_key_id = $3 WHERE id = $1")
        .bind(dump.0)
        .bind(&dump.1)
        .bind(dump.2)
        .execute(&pool)
        .await
        .unwrap();
    let desk = Desk { secure: desk.reopen().await, ..desk };
    assert!(use_key(&desk, certificates[0], organization).await.is_err());
    let again = desk.secure.rotate_key(&old_name, RotationReason::Operator, &operator(), |_| {}).await;
    assert_eq!(again.unwrap_err().to_refusal().code, ErrorCode::Conflict);
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_row_that_does_not_open_is_named_and_keeps_its_key() {
    let desk = Desk::open().await;
    let pool = desk.databases.secure.superuser().await;
    let organization = desk.spec(KeySource::Csr).organization_id;
    let (good, bad) = (issue(&desk, organization).await, issue(&desk, organization).await);
    sqlx::query("UPDATE private_keys SET encrypted_key_material = set_byte(encrypted_key_material, 20, get_byte(encrypted_key_material, 20) # 1) WHERE certificate_id = $1")
        .bind(Uuid::from(bad))
        .execute(&pool)
        .await
        .unwrap();
    let old_name = identifier(&pool, "active").await;
    let rotated =
        desk.secure.rotate_key(&old_name, RotationReason::Operator, &operator(), |_| {}).await.unwrap();
    assert_eq!((rotated.moved, rotated.failed, rotated.receipt.is_none()), (1, 1, true));
    use_key(&desk, good, organization).await.unwrap();
    assert_eq!(desk.secure.find_key(&old_name).await.unwrap().state, "decrypt_only");
    let named: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM key_rotation_history h JOIN private_keys k ON h.failure_details @> jsonb_build_array(jsonb_build_object('row', k.id))
         WHERE k.certificate_id = $1",
    )
    .bind(Uuid::from(bad))
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(named, 1);
    assert_eq!(
        desk.secure.rotate_due_keys(chrono::TimeDelta::days(30)).await.unwrap(),
        0,
        "not every hour anew"
    );
}

#[tokio::test]
async fn certificates_are_issued_while_their_keys_are_rotated() {
    let desk = Desk::open().await;
    let pool = desk.databases.secure.superuser().await;
    let organization = desk.spec(KeySource::Csr).organization_id;
    issue(&desk, organization).await;
    let orders: Vec<_> = (0..60)
        .map(|_| {
            let spec = CertificateSpec { organization_id: organization, ..desk.spec(KeySource::Generated) };
            Desk::documents(&spec, &desk.issue_mandate(&spec, desk.operation()))
        })
        .collect();
    let issuer: Secure = desk.secure.clone();
    let load = tokio::spawn(async move {
        for (spec, mandate) in orders {
            issuer.issue(spec.as_bytes(), mandate.as_bytes()).await.expect("issued during a rotation");
        }
    });
    // As the operator's command does: another process with caches of its own.
    let command = desk.reopen().await;
    let mut rotations = 0;
    while !load.is_finished() {
        let name = identifier(&pool, "active").await;
        let rotated = command.rotate_key(&name, RotationReason::Operator, &operator(), |_| {}).await.unwrap();
        assert_eq!(rotated.failed, 0);
        rotations += 1;
    }
    load.await.unwrap();
    assert!(rotations > 1);
    let lost: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM private_keys k JOIN encryption_keys e ON e.id = k.encryption_key_id WHERE e.state = 'destroyed'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(lost, 0);
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM private_keys WHERE organization_id = $1")
        .bind(Uuid::from(organization))
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(kept, 61);
}

/// The key that wrapped is no longer active at the commit, three times in a row: what a rotation after the other does.
#[tokio::test]
async fn a_certificate_outlasts_several_rotations_beneath_it() {
    let desk = Desk::open().await;
    let pool = desk.databases.secure.superuser().await;
    let organization = desk.spec(KeySource::Csr).organization_id;
    issue(&desk, organization).await;
    for sql in [
        "CREATE SEQUENCE wrappings",
        "GRANT USAGE ON SEQUENCE wrappings TO PUBLIC",
        "CREATE FUNCTION miss_three() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('wrappings') <= 3 THEN RETURN NULL; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER miss_three BEFORE UPDATE OF use_count ON encryption_keys FOR EACH ROW EXECUTE FUNCTION miss_three()",
    ] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    let id = issue(&desk, organization).await;
    use_key(&desk, id, organization).await.unwrap();
    let tries: i64 = sqlx::query_scalar("SELECT last_value FROM wrappings").fetch_one(&pool).await.unwrap();
    assert!(tries > 3, "{tries}");
}

/// A key that leaves its intent while a rotation runs may land behind what the rotation has read.
#[tokio::test]
async fn a_key_that_lands_behind_the_reader_moves_too() {
    let desk = Desk::open().await;
    let pool = desk.databases.secure.superuser().await;
    let organization = desk.spec(KeySource::Csr).organization_id;
    let late = issue(&desk, organization).await;
    issue(&desk, organization).await;
    let name = identifier(&pool, "active").await;
    let (old, late_row) = (desk.secure.find_key(&name).await.unwrap().id, Uuid::from(late));
    for sql in [
        format!(
            "UPDATE private_keys SET encryption_key_id = (SELECT id FROM encryption_keys WHERE id <> '{old}' LIMIT 1)
             WHERE certificate_id = '{late_row}'"
        ),
        format!(
            "CREATE FUNCTION land() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 UPDATE private_keys SET encryption_key_id = '{old}' WHERE certificate_id = '{late_row}'; RETURN NEW; END $$"
        ),
        "CREATE TRIGGER land AFTER INSERT ON key_rotation_history FOR EACH ROW WHEN (NEW.batch = 1)
             EXECUTE FUNCTION land()"
            .to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    }
    let rotated = desk.secure.rotate_key(&name, RotationReason::Operator, &operator(), |_| {}).await.unwrap();
    assert_eq!((rotated.moved, rotated.failed, rotated.receipt.is_some()), (2, 0, true));
    use_key(&desk, late, organization).await.unwrap();
}

#[tokio::test]
async fn a_compromised_version_wraps_no_more() {
    let desk = Desk::open().await;
    let pool = desk.databases.secure.superuser().await;
    let organization = desk.spec(KeySource::Csr).organization_id;
    let first = issue(&desk, organization).await;
    let name = identifier(&pool, "active").await;
    desk.secure.mark_key_compromised(&name, &operator()).await.unwrap();
    issue(&desk, organization).await;
    let under: i64 = sqlx::query_scalar("SELECT use_count FROM encryption_keys WHERE key_identifier = $1")
        .bind(&name)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(under, 1);
    let again = desk.secure.mark_key_compromised(&name, &operator()).await.unwrap_err();
    assert_eq!(again.to_refusal().code, ErrorCode::Conflict);
    assert_eq!(desk.secure.rotate_due_keys(chrono::TimeDelta::days(30)).await.unwrap(), 1);
    assert_eq!(desk.secure.find_key(&name).await.unwrap().state, "destroyed");
    use_key(&desk, first, organization).await.unwrap();
}

#[tokio::test]
async fn limits_of_a_key_are_kept() {
    let desk = Desk::open().await;
    let pool = desk.databases.secure.superuser().await;
    let organization = desk.spec(KeySource::Csr).organization_id;
    issue(&desk, organization).await;
    for limit in ["use_count = max_uses", "expires_at = now() - interval '1 second'"] {
        let name = identifier(&pool, "active").await;
        let sql = format!("UPDATE encryption_keys SET {limit} WHERE key_identifier = $1");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&name).execute(&pool).await.unwrap();
        issue(&desk, organization).await;
        assert_ne!(identifier(&pool, "active").await, name, "{limit}");
        assert_eq!(desk.secure.find_key(&name).await.unwrap().state, "decrypt_only", "{limit}");
    }
}

#[tokio::test]
async fn the_master_key_moves_from_a_file_into_a_token_and_the_file_is_useless() {
    let _turn = turn().await;
    let softhsm = SoftHsm::start("move");
    let token = token(&softhsm);
    let desk = Desk::open().await;
    let organization = desk.spec(KeySource::Csr).organization_id;
    let certificate = issue(&desk, organization).await;
    let in_token = || TokenKey::new(Arc::clone(&token), "master");
    in_token().create().await.unwrap();
    let moving = KeyStores {
        master: desk.master().into(),
        next_master: Some(MasterKey::Token(in_token())),
        token: Some(Arc::clone(&token)),
    };
    let desk = Desk { secure: desk.reopen_with(moving).await, ..desk };
    let rotated = desk.secure.rotate_master_key(&operator(), |_, _| {}).await.unwrap();
    assert!(rotated.moved >= 2 && rotated.failed == 0, "{rotated:?}");
    check_receipt(&desk, &rotated.receipt.unwrap()).await;

    let moved = KeyStores {
        master: MasterKey::Token(in_token()),
        next_master: None,
        token: Some(Arc::clone(&token)),
    };
    let desk = Desk { secure: desk.reopen_with(moved).await, ..desk };
    use_key(&desk, certificate, organization).await.unwrap();
    let file: SealedKey = desk.master();
    let desk = Desk { secure: desk.reopen_with(file).await, ..desk };
    assert!(use_key(&desk, certificate, organization).await.is_err(), "the file opens nothing any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_still_wraps_under_the_old_master_key_is_no_success() {
    let desk = Desk::open().await;
    let organization = desk.spec(KeySource::Csr).organization_id;
    issue(&desk, organization).await;
    let (now, entropy) = (desk.clock.now(), &desk.entropy);
    let path = desk.folder.path().join("next.key");
    let next = SealedKey::create(&path, b"another passphrase", now, entropy).unwrap();
    let moving = KeyStores { master: desk.master().into(), next_master: Some(next.into()), token: None };
    let command = desk.reopen_with(moving).await;
    let mut late = Some(desk.spec(KeySource::Csr).organization_id);
    // The running service, which knows of no next one, makes a key for another organization meanwhile.
    let operator = operator();
    let rotated = command.rotate_master_key(&operator, |_, _| {
        if let Some(other) = late.take() {
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(issue(&desk, other));
            });
        }
    });
    match rotated.await {
        // It came before the last look.
        Ok(rotated) => assert!(rotated.receipt.is_some()),
        Err(error) => assert_eq!(error.to_refusal().code, ErrorCode::Conflict),
    }
    let again = command.rotate_master_key(&operator, |_, _| {}).await.unwrap();
    assert_eq!(again.receipt.unwrap().statement["rows_left"], 0);
    let counts = command.master_key_counts().await.unwrap();
    assert_eq!(counts.len(), 1, "{counts:?}");
}

#[tokio::test]
async fn without_a_next_master_key_nothing_is_rotated() {
    let desk = Desk::open().await;
    let refused = desk.secure.rotate_master_key(&operator(), |_, _| {}).await.unwrap_err();
    assert_eq!(refused.to_refusal().code, ErrorCode::Conflict);
}
