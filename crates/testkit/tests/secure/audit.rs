//! The audit chain against somebody who may do everything in the database.

use clm_secure::audit::BrokenChain;

use crate::desk::Desk;

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
