//! Private keys at the command line: one comes in, leaves on two approvals, and everything is on record.

use reqwest::Method;
use serde_json::json;

use crate::answer::text;
use crate::cli::Terminal;
use crate::house::{Office, REQUESTER, hire, office};
use crate::openssl::openssl;

#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_leaves_sealed_to_its_requester_when_two_agree() {
    let office = office().await;
    let [alice, bob, carol, admin] = [
        Terminal::sign_in(&office, &office.alice, "alice").await,
        Terminal::sign_in(&office, &office.bob, "bob").await,
        Terminal::sign_in(&office, &office.carol, "carol").await,
        Terminal::sign_in(&office, &office.admin, "admin").await,
    ];
    let create = ["request", "create", "--profile", "tls-server", "--key-algorithm", "ecdsa-p256"];
    let request = alice.json(&[&create[..], &["--san", "dns:keys.example.com"]].concat());
    bob.run(&["approve", &text(&request, "id")]).done();
    let id = text(&alice.json(&["request", "show", &text(&request, "id")]), "certificate_id");
    assert_eq!(alice.json(&["cert", "key", "show", &id])["origin"], "generated");
    alice.fails(&["cert", "key", "set-access", &id, "--exportable", "true"], 3, "permission_denied");
    named_for_a_key(&office, &id).await;
    admin
        .run(&["cert", "key", "set-access", &id, "--exportable", "true", "--reason", "load balancer"])
        .done();

    let export = ["cert", "key", "export", &id, "--recipient", "keys.recipient", "--reason", "load balancer"];
    let asked = text(&alice.json(&export), "id");
    alice.fails(
        &["cert", "key", "fetch", &asked, "--recipient", "keys.recipient", "--out", "keys.key"],
        5,
        "key_export_not_open",
    );
    assert!(bob.run(&["approvals"]).done().contains("key_export"));
    assert!(bob.run(&["approve", &asked]).done().contains("pending"));
    assert!(carol.run(&["approve", &asked]).done().contains("completed"));
    bob.fails(
        &["cert", "key", "fetch", &asked, "--recipient", "keys.recipient", "--out", "bob.key"],
        4,
        "request_not_found",
    );
    alice.run(&["cert", "key", "fetch", &asked, "--recipient", "keys.recipient", "--out", "keys.key"]).done();
    alice.run(&["cert", "download", &id, "--out", "keys.pem"]).done();
    let key = openssl(&office.folder, &["pkey", "-in", "keys.key", "-pubout"]);
    let certificate = openssl(&office.folder, &["x509", "-in", "keys.pem", "-noout", "-pubkey"]);
    assert_eq!(key, certificate);

    std::fs::write(office.folder.join("pass.txt"), "a passphrase\n").unwrap();
    let fetch = ["cert", "key", "fetch", &asked, "--recipient", "keys.recipient", "--out", "keys.p12"];
    alice.run(&[&fetch[..], &["--passphrase-file", "pass.txt"]].concat()).done();
    let read = ["pkcs12", "-in", "keys.p12", "-passin", "file:pass.txt", "-nodes", "-out", "all.pem"];
    openssl(&office.folder, &read);
    assert_eq!(openssl(&office.folder, &["pkey", "-in", "all.pem", "-pubout"]), certificate);
    let all = std::fs::read_to_string(office.folder.join("all.pem")).unwrap();
    assert!(all.matches("BEGIN CERTIFICATE").count() >= 2, "the chain is in the file");

    let accesses = alice.json(&["audit", "key-access", &id, "--all"]);
    let actions: Vec<_> =
        accesses["items"].as_array().unwrap().iter().map(|one| text(one, "action")).collect();
    assert_eq!(actions.iter().filter(|action| *action == "private_key.export").count(), 2, "{actions:?}");
    admin.run(&["cert", "key", "delete", &id]).done();
    alice.fails(
        &["cert", "key", "fetch", &asked, "--recipient", "keys.recipient", "--out", "late.key"],
        4,
        "key_not_found",
    );
    admin.run(&["cert", "key", "restore", &id, "--reason", "still in use"]).done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_comes_in_as_pkcs8_or_pkcs12() {
    let office = office().await;
    let admin = Terminal::sign_in(&office, &office.admin, "admin").await;
    std::fs::write(office.folder.join("pass.txt"), "a passphrase\n").unwrap();
    for (name, form) in [("one.example.com", "pkcs8"), ("two.example.com", "pkcs12")] {
        let subject = format!("/CN={name}");
        let csr = ["req", "-new", "-newkey", "rsa:3072", "-nodes", "-keyout", "own.key", "-subj", &subject];
        let names = format!("subjectAltName=DNS:{name}");
        openssl(&office.folder, &[&csr[..], &["-addext", &names, "-out", "own.csr"]].concat());
        let create =
            ["request", "create", "--profile", "tls-server", "--policy", "at-once", "--csr", "own.csr"];
        let id = text(&admin.json(&[&create[..], &["--wait", "20"]].concat()), "certificate_id");
        admin.fails(&["cert", "key", "show", &id], 4, "key_not_found");
        let imported = if form == "pkcs8" {
            admin.json(&["cert", "key", "import", &id, "--key", "own.key"])
        } else {
            admin.run(&["cert", "download", &id, "--out", "own.pem"]).done();
            let make =
                ["pkcs12", "-export", "-inkey", "own.key", "-in", "own.pem", "-passout", "file:pass.txt"];
            openssl(&office.folder, &[&make[..], &["-out", "own.p12"]].concat());
            admin.json(&["cert", "key", "import", &id, "--key", "own.p12", "--passphrase-file", "pass.txt"])
        };
        assert_eq!(
            (&imported["origin"], &imported["key_algorithm"]),
            (&"imported".into(), &"rsa-3072".into())
        );
        admin.fails(&["cert", "key", "import", &id, "--key", "own.key"], 5, "key_exists");
    }
}

/// Who is newly named must be of the organization; who was named before may have left it.
async fn named_for_a_key(office: &Office, certificate: &str) {
    let path = format!("/api/v1/certificates/{certificate}/key");
    let dave = hire(&office.admin, &format!("dave-{}", office.organization), &[REQUESTER]).await;
    let stranger = office.stranger().await.alice;
    let name = async |users: &[&str]| {
        let body = json!({"exportable": true, "users": users});
        office.admin.change(Method::PATCH, &path, &json!(1), &body).await
    };
    name(&[&dave.id, &stranger.id]).await.refused(404, "user_not_found");
    name(&[&dave.id]).await.expect(200);
    let disabled = office.admin.post(&format!("/api/v1/users/{}/disable", dave.id), &json!({})).await;
    assert!(disabled.status < 300, "{}", disabled.text());
    name(&[&dave.id, &office.bob.id]).await.expect(200);
    name(&[]).await.expect(200);
    name(&[&dave.id]).await.refused(404, "user_not_found");
}
