//! The audit log: what it says of an operation, how it is searched, and how it is exported.

use std::io::{Read, Write};
use std::net::TcpListener;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clm_testkit::totp;
use clm_types::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::{Answer, text};
use crate::approvals::ask;
use crate::cli::Terminal;
use crate::house::{REQUESTER, hire, house, office};
use crate::person::{Person, fresh_key};
use crate::sign_in::{PASSWORD, anonymous, come, enrol, sign_in};

const ADMINISTRATOR: &str = "01900000-0000-7000-8000-000000000001";

fn now() -> DateTime<Utc> {
    Clock::system().now()
}

fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

async fn sql(statement: &str) -> String {
    house().await.installation.databases.core.psql("clm_core_db", statement).unwrap()
}

/// The first `count` entries that a query finds, newest first.
async fn all(person: &Person, query: &str) -> Vec<Value> {
    let mut path = format!("/api/v1/audit?limit=200&{query}");
    let mut items = Vec::new();
    loop {
        let page = person.get(&path).await.expect(200);
        items.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else { return items };
        path = format!("/api/v1/audit?limit=200&{query}&cursor={cursor}");
    }
}

async fn export(person: &Person, since: DateTime<Utc>, until: DateTime<Utc>, more: &str) -> Answer {
    let query = format!("since={}&until={}{more}", written(since), written(until));
    person.get(&format!("/api/v1/audit/export?{query}")).await
}

/// The entries of an export, and its manifest.
#[track_caller]
fn read(answer: &Answer) -> (Vec<Value>, Value) {
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    let mut lines: Vec<Value> =
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let end = lines.pop().unwrap();
    (lines, end["manifest"].clone())
}

/// Entries of this organization as nobody makes them by hand, of which there are many; `NULL` for the installation.
async fn plant(organization: &str, action: &str, count: u32) {
    let statement = format!(
        "INSERT INTO clm.audit_log (id, occurred_at, actor_type, organization_id, ip_address, action, object_type, outcome, created_at)
         SELECT clm.uuid_generate_v7(), clock_timestamp(), 'system', {organization}, '2001:db8::7', '{action}', 'planted', 'failed',
                clock_timestamp() FROM generate_series(1, {count})"
    );
    sql(&statement).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn session_and_key_stand_in_the_entries_of_an_operation() {
    let office = office().await;
    let name = format!("ann-{}", office.organization);
    let (ann, opened) = come(&office, &name, &[REQUESTER]).await;
    let request = ask(&ann, "tls-server").await;
    let approve = format!("/api/v1/requests/{}/approve", text(&request, "id"));
    let done = office.bob.post(&approve, &json!({})).await.expect(200);
    let certificate = json!({"id": done["certificate_id"]});
    let revoked = ann.revoke(&certificate, "superseded").await.expect(201);
    let bob_key = office.bob.get("/api/v1/me").await.expect(200)["api_key_id"].clone();

    let told = all(&office.admin, &format!("operation_id={}", text(&request, "operation_id"))).await;
    let of = |action: &str| {
        let found = told.iter().find(|entry| entry["source"] == "core" && entry["action"] == action);
        found.unwrap_or_else(|| panic!("no {action}: {told:#?}")).clone()
    };
    let asked = of("request.create");
    assert_eq!(asked["session_id"], opened["session_id"]);
    assert_eq!((&asked["actor"], &asked["actor_type"]), (&json!(ann.id), &json!("user")));
    assert_eq!((&asked["api_key_id"], &asked["address"]), (&Value::Null, &json!("127.0.0.1")));
    assert!(asked["request_id"].is_string() && asked["after"].is_object());
    let approved = of("request.approve");
    assert_eq!((&approved["api_key_id"], &approved["session_id"]), (&bob_key, &Value::Null));
    assert_eq!(approved["actor_type"], "api_key");
    let secure: Vec<_> = told.iter().filter(|entry| entry["source"] == "secure").collect();
    assert!(secure.iter().any(|entry| entry["action"] == "certificate.issue"), "{secure:#?}");

    let revocation = all(&office.admin, &format!("operation_id={}", text(&revoked, "operation_id"))).await;
    let sources = |source: &str| revocation.iter().filter(|entry| entry["source"] == source).count();
    assert!(sources("core") > 0 && sources("secure") > 0, "{revocation:#?}");
    assert!(revocation.iter().any(|entry| entry["session_id"] == opened["session_id"]), "{revocation:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_filter_finds_what_is_meant_and_nothing_of_another_tenant() {
    let (office, other) = (office().await, office().await);
    let (ann, opened) = come(&office, &format!("ann-{}", office.organization), &[REQUESTER]).await;
    let request_id = "0199f0c0-1111-7222-8333-444455556666";
    let call = ann.call(Method::POST, "/api/v1/requests").header("x-request-id", request_id);
    let body = json!({"profile": "tls-server", "policy": "tls-server", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"]});
    ann.send(call.header("idempotency-key", fresh_key()).json(&body)).await.expect(202);
    plant(&format!("'{}'", office.organization), "planted.once", 1).await;
    // The same rows, as if another tenant had them.
    let copied = format!(
        "INSERT INTO clm.audit_log (id, occurred_at, actor_user_id, actor_type, api_key_id, session_id, organization_id, ip_address,
             request_id, action, object_type, object_id, outcome, created_at)
         SELECT clm.uuid_generate_v7(), clock_timestamp(), actor_user_id, actor_type, api_key_id, session_id, '{}', ip_address,
             request_id, action, object_type, object_id, outcome, clock_timestamp()
         FROM clm.audit_log WHERE organization_id = '{}'",
        other.organization, office.organization
    );
    sql(&copied).await;
    let until = written(now());
    let everything = all(&office.admin, &format!("until={until}")).await;
    assert!(everything.iter().all(|entry| entry["organization_id"] == office.organization.as_str()));
    let session = text(&opened, "session_id");
    let key = office.admin.get("/api/v1/me").await.expect(200)["api_key_id"].clone();
    let key = key.as_str().unwrap();
    for (filter, member, value) in [
        ("session", "session_id", session.as_str()),
        ("api_key", "api_key_id", key),
        ("request", "request_id", request_id),
        ("address", "address", "2001:db8::7"),
        ("address", "address", "127.0.0.1"),
        ("object_type", "object_type", "user"),
        ("outcome", "outcome", "failed"),
        ("outcome", "outcome", "allowed"),
        ("action", "action", "user.create"),
        ("actor", "actor", ann.id.as_str()),
        ("object", "object_id", ann.id.as_str()),
    ] {
        let expected: Vec<_> = everything.iter().filter(|entry| entry[member] == value).cloned().collect();
        assert!(!expected.is_empty() && expected.len() < everything.len(), "{filter}={value}");
        let found = all(&office.admin, &format!("until={until}&{filter}={value}")).await;
        assert_eq!(found, expected, "{filter}={value}");
        let theirs = all(&other.admin, &format!("until={until}&{filter}={value}")).await;
        let ours = |entry: &Value| entry["organization_id"] != other.organization.as_str();
        assert!(!theirs.is_empty() && !theirs.iter().any(ours), "{filter}={value}");
    }
    let both = format!("session={session}&object_type=user");
    let found = all(&office.admin, &both).await;
    assert!(
        found.iter().all(|entry| entry["session_id"] == session.as_str() && entry["object_type"] == "user")
    );
    for refused in [
        "address=nowhere",
        "session=1",
        "object_type=%00",
        &format!("operation_id={request_id}&outcome=failed"),
    ] {
        office.admin.get(&format!("/api/v1/audit?{refused}")).await.refused(400, "invalid_request");
    }
    assert!(all(&office.admin, "outcome=unheard").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_several_pages_is_what_the_list_says() {
    let (office, other) = (office().await, office().await);
    let since = now();
    for organization in [format!("'{}'", office.organization), format!("'{}'", other.organization)] {
        plant(&organization, "planted.many", 450).await;
    }
    plant("NULL", "planted.installation", 3).await;
    let until = now();
    let (entries, manifest) = read(&export(&office.admin, since, until, "").await);
    let mut listed = all(&office.admin, &format!("since={}&until={}", written(since), written(until))).await;
    listed.reverse();
    assert!(entries.len() >= 450, "{}", entries.len());
    assert_eq!(entries, listed);
    assert!(entries.iter().all(|entry| entry["organization_id"] == office.organization.as_str()));
    assert_eq!(manifest["count"], entries.len());
    assert_eq!(
        (&manifest["first_id"], &manifest["last_id"]),
        (&entries[0]["id"], &entries[entries.len() - 1]["id"])
    );
    assert_eq!(manifest["organization_id"], office.organization.as_str());
    // A range without an entry is an export too, and pages that are exactly full end.
    let (entries, manifest) =
        read(&export(&office.admin, since - TimeDelta::days(3), since - TimeDelta::days(2), "").await);
    assert_eq!((entries.len(), &manifest["first_id"]), (0, &Value::Null));
    let told = all(&office.admin, "action=audit.export").await;
    assert_eq!(told.len(), 2);
    assert_eq!(told[1]["after"]["until"], json!(until));
    assert_eq!(told[1]["actor"], office.admin.id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_the_installation_are_for_those_who_may_see_it() {
    let office = office().await;
    let boss = hire(&office.admin, &format!("boss-{}", office.organization), &[ADMINISTRATOR]).await;
    let since = now();
    plant("NULL", "planted.installation", 3).await;
    let until = now();
    let (entries, manifest) = read(&export(&office.admin, since, until, "&installation=true").await);
    let planted = entries.iter().filter(|entry| entry["action"] == "planted.installation").count();
    assert!(planted >= 3, "{entries:#?}");
    assert!(entries.iter().all(|entry| entry["organization_id"].is_null()));
    assert_eq!(manifest["organization_id"], Value::Null);
    export(&boss, since, until, "&installation=true").await.refused(403, "permission_denied");
    let (entries, _) = read(&export(&boss, since, until, "").await);
    assert!(entries.iter().all(|entry| entry["organization_id"] == office.organization.as_str()));
    export(&office.alice, since, until, "").await.refused(403, "permission_denied");
    for (since, until) in
        [(until, since), (since - TimeDelta::days(367), until), (since, until + TimeDelta::hours(1))]
    {
        export(&office.admin, since, until, "").await.refused(400, "invalid_request");
    }
    for query in ["", "since=2026-01-01T00:00:00Z", "until=2026-01-01T00:00:00Z"] {
        office.admin.get(&format!("/api/v1/audit/export?{query}")).await.refused(400, "invalid_request");
    }
    // What was refused is no export.
    assert_eq!(all(&office.admin, "action=audit.export").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_signing_in_stands_in_an_export() {
    let office = office().await;
    let since = now() - TimeDelta::hours(1);
    let name = format!("sue-{}", office.organization);
    let mut secrets =
        vec![PASSWORD.to_owned(), "wrong horse battery".to_owned(), "seven green umbrellas".to_owned()];
    let (mut sue, opened) = come(&office, &name, &[ADMINISTRATOR]).await;
    secrets.extend([text(&opened, "token"), office.admin.key.clone(), office.alice.key.clone()]);
    sign_in(&office, &name, "wrong horse battery").await.refused(401, "sign_in_failed");
    let (totp_secret, used) = enrol(&mut sue).await;
    secrets.extend([totp_secret.clone(), totp::code(&totp_secret, used), sue.key.clone()]);
    let again = sue.post("/api/v1/me/recovery-codes", &json!({})).await;
    let codes = again.expect(if again.status == 201 { 201 } else { 200 })["recovery_codes"].clone();
    let codes: Vec<String> =
        codes.as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    let second = sign_in(&office, &name, PASSWORD).await.expect(201);
    let partial = Person { key: text(&second, "token"), ..sue.clone() };
    let shown = json!({"recovery_code": codes[0]});
    let whole = partial.post("/api/v1/sessions/current/factor", &shown).await.expect(200);
    secrets.extend([partial.key.clone(), text(&whole, "token")]);
    secrets.extend(codes.iter().cloned().chain(codes.iter().map(|code| code.replace('-', ""))));
    let key = sue.post("/api/v1/api-keys", &json!({"name": "mine"})).await.expect(201);
    secrets.push(text(&key, "secret"));
    let link = office.admin.post(&format!("/api/v1/users/{}/links", sue.id), &json!({})).await.expect(201);
    secrets.push(text(&link, "token"));
    let used = json!({"token": text(&link, "token"), "password": "seven green umbrellas"});
    assert_eq!(anonymous(&office, "/api/v1/links/use", &used).await.status, 204);

    let until = now();
    let text = export(&office.admin, since, until, "").await.text();
    let of_installation = export(&office.admin, since, until, "&installation=true").await.text();
    for action in ["link.create", "session.open", "user.create", "api_key.create"] {
        assert!(text.contains(&format!("\"{action}\"")), "nothing of {action}: {text}");
    }
    for secret in secrets {
        assert!(secret.len() >= 6);
        assert!(!text.contains(&secret) && !of_installation.contains(&secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_at_the_terminal_is_whole_or_not_there() {
    let office = office().await;
    let admin = Terminal::sign_in(&office, &office.admin, "admin").await;
    let since = now();
    plant(&format!("'{}'", office.organization), "planted.many", 450).await;
    let (since, until) = (written(since), written(now()));
    let range = ["audit", "export", "--since", &since, "--until", &until, "--out", "log.ndjson"];
    // What an interrupted attempt left behind is not in the way.
    std::fs::write(office.folder.join("log.ndjson.new"), "half a li").unwrap();
    let manifest: Value = serde_json::from_str(&admin.run(&range).done()).unwrap();
    let file = office.folder.join("log.ndjson");
    assert!(!office.folder.join("log.ndjson.new").exists());
    let whole = std::fs::read_to_string(&file).unwrap();
    assert_eq!(manifest["count"], whole.lines().count() - 1);
    assert_eq!(
        serde_json::from_str::<Value>(&admin.run(&["audit", "check-export", "log.ndjson"]).done()).unwrap(),
        manifest
    );

    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let without = |number: usize| [&lines[..number], &lines[number + 1..]].concat().concat();
    let mut swapped = lines.clone();
    swapped.swap(7, 8);
    for (damaged, fault) in [
        (without(lines.len() - 1), "no manifest"),
        (whole[..whole.len() - 1].to_owned(), "cut off"),
        (whole[..whole.len() / 2].to_owned(), "cut off"),
        (without(0), "its manifest says"),
        (without(200), "its manifest says"),
        (swapped.concat(), "not in order"),
        (whole.replacen("planted.many", "planted.more", 1), "not those"),
        (format!("{whole}{}", lines[0]), "behind its manifest"),
        (String::new(), "no manifest"),
    ] {
        std::fs::write(office.folder.join("damaged.ndjson"), damaged).unwrap();
        admin.fails(&["audit", "check-export", "damaged.ndjson"], 1, fault);
    }
    // What fails leaves the file that was there.
    let late = written(now() + TimeDelta::hours(1));
    admin.fails(
        &["audit", "export", "--since", &since, "--until", &late, "--out", "log.ndjson"],
        1,
        "invalid_request",
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), whole);
    admin.fails(
        &["audit", "export", "--since", &since, "--until", &until, "--out", "/dev/null"],
        2,
        "no regular file",
    );
    // All of an entry is shown where it is asked for.
    let shown = admin.run(&["audit", "list", "--action", "audit.export", "--details"]).done();
    for part in ["actor type", "api key", "127.0.0.1", "request", "since"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let session = ["--session", "0199f0c0-1111-7222-8333-444455556666", "--object-type", "user"];
    let more =
        ["--outcome", "failed", "--address", "::1", "--request", "0199f0c0-1111-7222-8333-444455556666"];
    let key = ["--api-key", "0199f0c0-1111-7222-8333-444455556666"];
    let none = admin.json(&[&["audit", "list"][..], &session, &more, &key].concat());
    assert_eq!(none["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_breaks_off_leaves_nothing() {
    let office = office().await;
    let admin = Terminal::sign_in(&office, &office.admin, "admin").await;
    let whole = {
        let (since, until) = (now() - TimeDelta::hours(1), now());
        export(&office.admin, since, until, "").await.text()
    };
    let first_line = whole.lines().next().unwrap().to_owned();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    // A proxy that ends what it cut off as if it were all; the other one just goes.
    let served = std::thread::spawn(move || {
        for end in ["0\r\n\r\n", ""] {
            let (mut connection, _) = server.accept().unwrap();
            let _ = connection.read(&mut [0; 8192]).unwrap();
            let piece = format!("{first_line}\n");
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
            let answer = format!("{head}{:x}\r\n{piece}\r\n{end}", piece.len());
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });
    let (since, until) = (written(now() - TimeDelta::hours(1)), written(now()));
    let at = ["--url", &url, "--token-file", "key.txt", "--out", "cut.ndjson"];
    let range = ["audit", "export", "--since", &since, "--until", &until];
    let call = [&range[..], &at].concat();
    admin.fails(&call, 1, "no manifest");
    admin.fails(&call, 7, "begin again");
    served.join().unwrap();
    for name in ["cut.ndjson", "cut.ndjson.new"] {
        assert!(!office.folder.join(name).exists(), "{name}");
    }
}
