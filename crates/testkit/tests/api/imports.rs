//! An authority of another program is taken over: what it issued is in the inventory, and revoked like the rest.

use std::time::{Duration, Instant};

use clm_testkit::OldAuthority;
use serde_json::{Value, json};

use crate::answer::text;
use crate::house::{Office, house, office};

/// Longer than a service takes to follow.
const PATIENCE: Duration = Duration::from_secs(20);

/// The certificate of this name, once Core has followed.
async fn find(office: &Office, name: &str) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let all = office.alice.list("/api/v1/certificates").await;
        if let Some(found) = all.into_iter().find(|one| one["common_name"] == name) {
            return found;
        }
        assert!(Instant::now() < end, "{name} is not in the inventory");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_imported_is_in_the_inventory_and_revoked_like_the_rest() {
    let office = office().await;
    let installation = &house().await.installation;
    let old = OldAuthority::root(&office.folder, "old-root");
    let good = old.issue("imported.example.com");
    let lost = old.issue("lost.example.com");
    old.revoke(&lost, "superseded");
    let url = installation.validation_url();
    let name = format!("Old {}", office.organization);
    let import = old.import_arguments(&name, &office.organization, &office.alice.id, &url);
    let import: Vec<_> = import.iter().map(String::as_str).collect();
    let dry = installation.secure.run(&[&import[..], &["--dry-run"]].concat()).unwrap();
    assert!(dry.contains("\"certificates\":2"), "{dry}");
    let authority = installation.secure.run(&import).unwrap().trim().to_owned();

    let found = find(&office, "imported.example.com").await;
    assert_eq!((&found["status"], &found["profile"]), (&json!("active"), &json!("imported")));
    assert_eq!(text(&found, "owner_user_id"), office.alice.id);
    let revoked = find(&office, "lost.example.com").await;
    assert_eq!(
        (&revoked["status"], &revoked["revocation_reason"]),
        (&json!("revoked"), &json!("superseded"))
    );
    // Running services follow within seconds.
    let end = Instant::now() + PATIENCE;
    while !office.alice.list("/api/v1/authorities").await.iter().any(|one| one["name"] == name) {
        assert!(Instant::now() < end, "the authority is not known");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ask = |file: &std::path::Path| {
        let file = file.display();
        let said = old
            .openssl(&format!("ocsp -issuer ca.pem -cert {file} -url {url}/ocsp/{authority} -CAfile ca.pem"));
        assert!(said.contains("Response verify OK"), "{said}");
        said
    };
    assert!(ask(&good).contains(": good"));
    assert!(ask(&lost).contains(": revoked"));
    office.admin.revoke(&found, "keyCompromise").await.expect(201);
    assert!(ask(&good).contains("Reason: keyCompromise"));

    // Another organization does not see it.
    let stranger = office.stranger().await;
    let path = format!("/api/v1/certificates/{}", text(&found, "id"));
    stranger.alice.get(&path).await.refused(404, "certificate_not_found");
    let audit = office.admin.list("/api/v1/audit?action=certificate.import").await;
    assert_eq!(audit.len(), 2, "each of them is in the audit log");
}
