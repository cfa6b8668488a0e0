//! The audit chain against somebody who may do everything in the database.

use base64::{Engine, engine::general_purpose::STANDARD};
use clm_secure::audit::BrokenChain;
use clm_secure::audit_exports::check_export;
use clm_secure::audit_keys::{public_key_pem, read_public_key};
use clm_secure::verification::Range;

use crate::desk::{Desk, run};

/// What a superuser does, and where it shows: an offset from the last sequence.
const MANIPULATIONS: [(&str, &str, i64); 6] = [
    ("the tail is cut", "DELETE FROM secure_audit_log WHERE sequence = $1", 0),
    ("an entry is deleted", "DELETE FROM secure_audit_log WHERE sequence = $1 - 2", -2),
    ("an entry is changed", "UPDATE secure_audit_log SET actor = 'operator:nobody' WHERE sequence = $1 - 1", -1),
    (
        "two entries are swapped",
        "UPDATE secure_audit_log SET sequence = CASE sequence WHEN $1 THEN $1 - 1 ELSE $1 END WHERE sequence >= $1 - 1",
        -1,
    ),
    (
        "an entry is there twice",
        "INSERT INTO secure_audit_log SELECT (jsonb_populate_record(l, jsonb_build_object('id', uuid_generate_v7()))).*
         FROM secure_audit_log l WHERE sequence = $1 - 1",
        0,
    ),
    (
        "an entry lies beyond the end",
        "INSERT INTO secure_audit_log SELECT (jsonb_populate_record(l,
             jsonb_build_object('id', uuid_generate_v7(), 'sequence', sequence + 5))).*
         FROM secure_audit_log l WHERE sequence = $1",
        5,
    ),
];

#[tokio::test]
async fn what_a_superuser_changes_is_found_where_it_is() {
    let desk = Desk::open().await;
    let superuser = desk.databases.secure.superuser().await;
    let end = desk.secure.verify_audit(|_| {}).await.unwrap().unwrap().entries;
    for (what, manipulation, offset) in MANIPULATIONS {
        let mut tx = superuser.begin().await.unwrap();
        let keep = "CREATE TABLE kept AS SELECT * FROM secure_audit_log";
        sqlx::query(keep).execute(&mut *tx).await.unwrap();
        sqlx::query("ALTER TABLE secure_audit_log DISABLE TRIGGER USER").execute(&mut *tx).await.unwrap();
        let changed = sqlx::query(manipulation).bind(end).execute(&mut *tx).await.unwrap();
        assert!(changed.rows_affected() > 0, "{what}");
        tx.commit().await.unwrap();

        let found: BrokenChain = desk.secure.verify_audit(|_| {}).await.unwrap().expect_err(what);
        assert_eq!(found.sequence, end + offset, "{what}: {found}");

        let mut tx = superuser.begin().await.unwrap();
        for statement in [
            "DELETE FROM secure_audit_log",
            "INSERT INTO secure_audit_log SELECT * FROM kept",
            "ALTER TABLE secure_audit_log ENABLE TRIGGER USER",
            "DROP TABLE kept",
        ] {
            sqlx::query(statement).execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok());
}

/// As somebody does who may do everything in the database: every entry is chained anew after a change.
const REWRITE: &str = "
    DO $$
    DECLARE entry record; previous bytea := decode(repeat('00', 32), 'hex');
    BEGIN
        FOR entry IN SELECT id, sequence, canonical_payload FROM secure_audit_log ORDER BY sequence LOOP
            UPDATE secure_audit_log SET previous_hash = previous, payload_sha256 = sha256(convert_to(canonical_payload, 'UTF8')),
                chain_hash = sha256(previous || int8send(entry.sequence) || sha256(convert_to(canonical_payload, 'UTF8')))
            WHERE id = entry.id RETURNING chain_hash INTO previous;
        END LOOP;
        UPDATE chain_heads SET chain_hash = previous WHERE name = 'audit';
    END $$";

#[tokio::test]
async fn a_chain_that_was_rewritten_as_a_whole_is_found_by_its_checkpoints() {
    let desk = Desk::open().await;
    let kept = desk.secure.make_checkpoint(None).await.unwrap().expect("authorities were made");
    assert!(desk.secure.verify_checkpoints(std::slice::from_ref(&kept)).await.unwrap().is_empty());
    let superuser = desk.databases.secure.superuser().await;
    let mut conn = superuser.acquire().await.unwrap();
    for statement in [
        "SET session_replication_role = replica",
        "ALTER TABLE secure_audit_log DISABLE TRIGGER USER",
        "ALTER TABLE audit_checkpoints DISABLE TRIGGER USER",
        "UPDATE secure_audit_log SET actor = 'operator:nobody',
             canonical_payload = replace(canonical_payload, '\"actor\":\"operator:test\"', '\"actor\":\"operator:nobody\"')
         WHERE actor = 'operator:test'",
        REWRITE,
    ] {
        sqlx::query(statement).execute(&mut *conn).await.unwrap();
    }
    assert!(desk.secure.verify_audit(|_| {}).await.unwrap().is_ok(), "the chain by itself holds");
    let own = desk.secure.verify_checkpoints(&[]).await.unwrap();
    assert_eq!(own.len(), 1);
    assert!(own[0].fault.contains("rewritten"), "{}", own[0]);

    sqlx::query("DELETE FROM audit_checkpoints").execute(&mut *conn).await.unwrap();
    assert!(desk.secure.verify_checkpoints(&[]).await.unwrap().is_empty(), "nothing is left to compare with");
    let others = desk.secure.verify_checkpoints(std::slice::from_ref(&kept)).await.unwrap();
    assert_eq!(others.len(), 2, "but for what others keep: it was deleted here, and the log differs");

    let mut forged = kept;
    forged.chain_hash = desk.secure.chain_hash_at(forged.sequence).await.unwrap().map(hex::encode).unwrap();
    let unsigned = desk.secure.verify_checkpoints(&[forged]).await.unwrap();
    assert!(unsigned.iter().any(|fault| fault.fault.contains("signature")), "{unsigned:?}");
}

#[tokio::test]
async fn an_export_proves_itself_to_openssl_and_to_us() {
    let desk = Desk::open().await;
    let mut file = Vec::new();
    let range = Range { from: 2, to: None };
    let signed = desk.secure.export_audit(range, "test", &mut file, |_| {}).await.unwrap();
    let key = public_key_pem(&desk.secure.list_audit_keys().await.unwrap().remove(0).public_key);
    let (manifest, signature) = (signed.octets().unwrap(), STANDARD.decode(&signed.signature).unwrap());
    let files = [
        desk.file("key.pem", &key),
        desk.file("manifest.json.sig", &signature),
        desk.file("manifest.json", &manifest),
    ];
    run("openssl", &["dgst", "-sha256", "-verify", &files[0], "-signature", &files[1], &files[2]]);

    let key = read_public_key(&key).unwrap();
    let check = |manifest: &[u8], file: &[u8]| check_export(manifest, &signature, &key, file);
    let checked = check(&manifest, &file).unwrap();
    assert_eq!((checked.from, checked.entries), (2, checked.to - 1));
    let text = String::from_utf8(file.clone()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat().join("\n") + "\n";
    for (what, manipulated) in [
        ("an entry is missing", without(2)),
        ("the first one is missing", without(0)),
        ("the last one is missing", without(lines.len() - 1)),
        ("an actor is another one", text.replacen("operator:test", "operator:none", 1)),
        ("a line is there twice", format!("{text}{}\n", lines[lines.len() - 1])),
        ("a space too many", text.replacen("{\"sequence\"", "{ \"sequence\"", 1)),
        ("nothing is left", String::new()),
    ] {
        assert!(check(&manifest, manipulated.as_bytes()).is_err(), "{what}");
    }
    let other = String::from_utf8(manifest).unwrap().replace("\"from\":2", "\"from\":3");
    assert!(check(other.as_bytes(), &file).unwrap_err().to_string().contains("not signed"));
}

#[tokio::test]
async fn a_log_that_does_not_hold_is_not_exported() {
    let desk = Desk::open().await;
    let superuser = desk.databases.secure.superuser().await;
    for sql in [
        "ALTER TABLE secure_audit_log DISABLE TRIGGER USER",
        "UPDATE secure_audit_log SET actor = 'operator:nobody' WHERE sequence = 2",
    ] {
        sqlx::query(sql).execute(&superuser).await.unwrap();
    }
    let refused = desk.secure.export_audit(Range::ALL, "test", Vec::new(), |_| {}).await.unwrap_err();
    assert!(refused.to_refusal().detail.contains("audit entry 2"), "{refused}");
}
