use clm_types::checkpoint::AuditCheckpoint;

use crate::house::House;
use crate::integrity::findings;

async fn kept(house: &House) -> Vec<AuditCheckpoint> {
    let administrator = house.administrator().await;
    house.core.list_checkpoints(&administrator, None, 50).await.unwrap()
}

#[tokio::test]
async fn core_keeps_what_secure_signed_and_notices_when_the_log_says_otherwise() {
    let house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "one").await;
    let first = house.secure.make_checkpoint(None).await.unwrap().expect("the chain has grown");
    assert_eq!(house.secure.make_checkpoint(None).await.unwrap(), None, "nothing was done since");
    house.issue(&service, "two").await;
    let second = house.secure.make_checkpoint(None).await.unwrap().unwrap();
    house.follow().await;
    assert_eq!(kept(&house).await, [second.clone(), first.clone()]);
    house.core.compare_databases().await.unwrap();
    assert!(findings(&house, "audit_chain_differs").await.is_empty());

    // The log as an older backup has it: without its end.
    house
        .tamper_with_secure(
            "SET session_replication_role = replica;
             ALTER TABLE secure_audit_log DISABLE TRIGGER USER;
             ALTER TABLE audit_checkpoints DISABLE TRIGGER USER;
             DELETE FROM secure_audit_log WHERE sequence > (SELECT min(sequence) FROM audit_checkpoints);
             DELETE FROM audit_checkpoints WHERE sequence > (SELECT min(sequence) FROM audit_checkpoints);
             UPDATE chain_heads SET sequence = l.sequence, chain_hash = l.chain_hash
             FROM (SELECT sequence, chain_hash FROM secure_audit_log ORDER BY sequence DESC LIMIT 1) l WHERE name = 'audit'",
        )
        .await;
    assert!(house.secure.verify_audit(|_| {}).await.unwrap().is_ok(), "the chain by itself holds");
    assert!(
        house.secure.verify_checkpoints(&[]).await.unwrap().is_empty(),
        "and fits what is left of its own"
    );
    let faults = house.secure.verify_checkpoints(&kept(&house).await).await.unwrap();
    let sequences: Vec<_> = faults.iter().map(|fault| fault.sequence).collect();
    assert_eq!(sequences, [second.sequence; 2], "neither the checkpoint nor the entry is there: {faults:?}");
    let report = house.core.compare_databases().await.unwrap();
    assert!(report.alarms > 0);
    assert_eq!(findings(&house, "audit_chain_differs").await.len(), 1);
}

#[tokio::test]
async fn a_checkpoint_under_another_key_is_not_kept() {
    let house = House::open().await;
    let service = house.service().await;
    house.issue(&service, "one").await;
    let first = house.secure.make_checkpoint(None).await.unwrap().unwrap();
    house.follow().await;
    house.issue(&service, "two").await;
    house
        .tamper_with_secure(
            "SET session_replication_role = replica; DELETE FROM audit_keys;
             ALTER TABLE audit_checkpoints DISABLE TRIGGER USER; DELETE FROM audit_checkpoints",
        )
        .await;
    // A Secure that somebody set up anew over the same log.
    let impostor = house.secure_again().await;
    let forged = impostor.make_checkpoint(None).await.unwrap().unwrap();
    assert_ne!(forged.key_reference, first.key_reference);
    house.follow().await;
    assert_eq!(kept(&house).await, [first]);
}
