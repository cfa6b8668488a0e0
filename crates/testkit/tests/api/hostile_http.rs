//! HTTP that is meant to mislead: addresses, headers, cookies, bodies and names (docs/reference/advisories.md).

use std::fs;
use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serde_json::json;

use crate::answer::text;
use crate::cli::Terminal;
use crate::early_answers::Connection;
use crate::house::{REQUESTER, at_once, house, office};
use crate::person::fresh_key;
use crate::revocations::issue;
use crate::sign_in::{PASSWORD, anonymous, come};

#[tokio::test(flavor = "multi_thread")]
async fn other_spellings_of_an_address_and_overriding_headers_open_nothing() {
    let office = office().await;
    let anchors = house().await.installation.ca_file();
    let certificate = text(&issue(&office, "at-once").await, "id");
    let (url, key, admin) = (office.alice.url.clone(), office.alice.key.clone(), office.admin.id.clone());
    tokio::task::spawn_blocking(move || {
        let mut connection = Connection::open(&anchors, &url);
        let mut ask = |line: &str, more: &str| {
            let head =
                format!("{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n{more}\r\n");
            connection.send(head.as_bytes());
            connection.answer()
        };
        for path in [
            "/api/v1/users",
            "//api/v1/users",
            "/api//v1/users",
            "/api/v1//users",
            "/api/v1/users/",
            "/api/v1/./users",
            "/api/v1/me/../users",
            "/api/v1/me/%2e%2e/users",
            "/api/v1/me/..%2fusers",
            "/api/v1/me/..;/users",
            "/api/v1/users;x=1",
            "/api/v1/users%00",
            "/api/v1/users%20",
            "/api/v1/%75sers",
            "/API/V1/USERS",
            "/api/v1/Users",
            "/api/v1/users.json",
            "/api/v1/users?x=/api/v1/me",
            "/api/v1/me%2f..%2fusers",
            "https://localhost/api/v1/users",
            "https://evil.example/api/v1/users",
        ] {
            let (status, said) = ask(&format!("GET {path}"), "");
            assert!(matches!(status, 400 | 403 | 404), "{path}: {status} {said}");
        }
        for id in [
            certificate.replace('-', "%252d"),
            certificate.replacen('0', "%30", 1),
            certificate.to_uppercase(),
            format!("{{{certificate}}}"),
            format!("urn:uuid:{certificate}"),
            certificate.replace('-', ""),
            format!("{certificate}%00"),
            format!("{certificate}/../{certificate}"),
        ] {
            // Another spelling of the id is the same certificate, or none; and nobody's who may not see it.
            let (status, _) = ask(&format!("GET /api/v1/certificates/{id}"), "");
            assert!(matches!(status, 200 | 404), "{id}: {status}");
            let (status, _) = ask(&format!("GET /api/v1/certificates/{id}/key/accesses"), "");
            assert!(matches!(status, 200 | 403 | 404), "{id}: {status}");
        }
        let user = format!("/api/v1/users/{admin}");
        for header in [
            "X-HTTP-Method-Override: DELETE",
            "X-HTTP-Method: DELETE",
            "X-Method-Override: DELETE",
            "X-Original-URL: /api/v1/users",
            "X-Rewrite-URL: /api/v1/users",
            "X-Forwarded-Prefix: /api/v1/users",
            "X-Original-Method: DELETE",
            "Forwarded: for=127.0.0.1;host=localhost",
        ] {
            let (status, said) = ask("GET /api/v1/me", &format!("{header}\r\n"));
            assert!(status == 200 && said.contains("\"permissions\""), "{header}: {status} {said}");
            let (status, _) =
                ask(&format!("POST {user}?_method=DELETE"), &format!("{header}\r\nContent-Length: 0\r\n"));
            assert_eq!(status, 405, "{header}");
            let (status, _) = ask(&format!("GET {user}"), &format!("{header}\r\n"));
            assert_eq!(status, 403, "{header}");
        }
    })
    .await
    .unwrap();
    office.admin.get("/api/v1/me").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_links_come_from_the_configuration_alone() {
    let office = office().await;
    let evil = |call: reqwest::RequestBuilder| {
        call.header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-real-ip", "203.0.113.9")
            .header("forwarded", "for=203.0.113.9;host=evil.example")
    };
    let anchors = house().await.installation.ca_file();
    let url = office.admin.url.clone();
    let told = tokio::task::spawn_blocking(move || {
        let mut connection = Connection::open(&anchors, &url);
        connection.send(b"GET /openapi.json HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        connection.answer()
    });
    let (status, said) = told.await.unwrap();
    assert!(status == 200 && !said.contains("evil.example"), "{status}");
    let body = json!({"display_name": "Web"});
    let call = evil(office.admin.call(Method::POST, "/api/v1/groups")).json(&body);
    let made = office.admin.send(call).await;
    let location = made.header("location").to_owned();
    let id = text(&made.expect(201), "id");
    assert_eq!(location, format!("/api/v1/groups/{id}"));
    let entry = &office.admin.list(&format!("/api/v1/audit?object={id}")).await[0];
    assert_eq!(entry["address"], "127.0.0.1", "the address is that of the connection");
    let link = evil(office.admin.call(Method::POST, &format!("/api/v1/users/{}/links", office.alice.id)));
    let link = office.admin.send(link).await;
    assert!(link.status < 300 && !link.text().contains("evil.example"), "{}", link.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_neither_taken_nor_given_and_no_other_origin_may_read() {
    let office = office().await;
    let (ann, _) = come(&office, &format!("ann-{}", office.organization), &[REQUESTER]).await;
    for name in ["session", "token", "Authorization", "clm", "sid"] {
        let call = ann.client.get(format!("{}/api/v1/me", ann.url));
        let call = call.header("cookie", format!("{name}={}; {name}=Bearer%20{}", ann.key, ann.key));
        ann.send(call).await.refused(401, "unauthenticated");
    }
    for query in ["access_token", "token", "api_key", "key"] {
        let call = ann.client.get(format!("{}/api/v1/me?{query}={}", ann.url, ann.key));
        ann.send(call).await.refused(401, "unauthenticated");
    }
    let body = json!({"username": "nobody", "password": PASSWORD});
    let answers = [
        ann.send(ann.call(Method::GET, "/api/v1/me").header("origin", "https://evil.example")).await,
        ann.send(ann.call(Method::GET, "/api/v1/me").header("origin", "null")).await,
        anonymous(&office, "/api/v1/sessions", &body).await,
        ann.send(
            ann.call(Method::OPTIONS, "/api/v1/requests")
                .header("origin", "https://evil.example")
                .header("access-control-request-method", "POST"),
        )
        .await,
    ];
    for answer in answers {
        for name in answer.headers.keys().map(reqwest::header::HeaderName::as_str) {
            assert!(name != "set-cookie" && !name.starts_with("access-control-"), "{name}");
        }
    }
    // What a form of another page can send is not read.
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let call = ann.call(Method::POST, "/api/v1/requests").header("idempotency-key", fresh_key());
        let call = call.header("content-type", media_type).body("{}");
        ann.send(call).await.refused(415, "unsupported_media_type");
    }
}

fn gzip(folder: &Path, octets: &[u8]) -> Vec<u8> {
    let file = folder.join("body");
    fs::write(&file, octets).unwrap();
    let packed = Command::new("gzip").arg("--stdout").arg(&file).output().unwrap();
    assert!(packed.status.success());
    packed.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_deep_and_huge_bodies_are_refused_as_they_come() {
    let office = office().await;
    let send = |encoding: &'static str, body: Vec<u8>| {
        let call = office.alice.call(Method::POST, "/api/v1/requests").header("idempotency-key", fresh_key());
        let call = call.header("content-type", "application/json").header("content-encoding", encoding);
        office.alice.send(call.body(body))
    };
    // A request that is taken, but for one member.
    let with = |member: &str, value: &str| {
        let others = [
            "\"profile\":\"tls-server\"",
            "\"policy\":\"at-once\"",
            "\"key_algorithm\":\"ecdsa-p256\"",
            "\"sans\":[\"dns:www.example.com\"]",
        ];
        let others = others.iter().filter(|other| !other.starts_with(&format!("\"{member}\"")));
        let others = others.copied().collect::<Vec<_>>().join(",");
        format!("{{{others},\"{member}\":{value}}}").into_bytes()
    };
    send("identity", with("comment", "\"fine\"")).await.expect(201);
    // The same, packed: whoever unpacked it would take it.
    let packed = gzip(&office.folder, &with("comment", "\"fine\""));
    for encoding in ["gzip", "x-gzip", "deflate", "br", "zstd", "gzip, gzip"] {
        let answer = send(encoding, packed.clone()).await;
        assert!(matches!(answer.status, 400 | 415), "{encoding}: {} {}", answer.status, answer.text());
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for (member, value) in [
        ("validity_seconds", "1e400"),
        ("validity_seconds", "1e5"),
        ("validity_seconds", "-1"),
        ("validity_seconds", "18446744073709551616"),
        ("validity_seconds", &"9".repeat(100_000)),
        ("validity_seconds", "NaN"),
        ("custom_fields", &deep),
        ("sans", &deep),
        ("comment", "\"\\u0000\""),
        ("comment", "\"a\u{202e}b\""),
    ] {
        let answer = send("identity", with(member, value)).await;
        let (status, code) = (answer.status, answer.expect(answer.status)["code"].clone());
        assert!(matches!(status, 400 | 422), "{member}: {status} {code}");
    }
    office.alice.get("/api/v1/me").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_others_neither_breaks_lines_of_the_log_nor_acts_on_a_terminal() {
    let office = office().await;
    for name in ["a\nb", "a\r\nb", "\u{1b}[31mred", "a\u{202e}b", "a\u{2066}b", "a\u{9b}31m", "a\0b"] {
        for (path, body) in [
            ("/api/v1/groups", json!({"display_name": name})),
            ("/api/v1/users", json!({"username": name, "email": "a@example.org"})),
            ("/api/v1/users", json!({"username": "a", "email": "a@example.org", "display_name": name})),
            ("/api/v1/roles", json!({"code": "x", "name": name, "permissions": []})),
            ("/api/v1/policies", json!({"code": "x", "name": name, "rules": at_once()})),
            ("/api/v1/organizations", json!({"code": "x", "name": name})),
            ("/api/v1/api-keys", json!({"name": name})),
        ] {
            office.admin.post(path, &body).await.refused(400, "invalid_request");
        }
        let call = office.admin.client.get(format!("{}/api/v1/me", office.admin.url));
        let agent = call.bearer_auth(&office.admin.key).header("user-agent", "\u{202e}agent\u{9b}");
        assert_eq!(office.admin.send(agent).await.status, 200);
    }
    // What may have lines looks like nothing else.
    let id = text(&issue(&office, "at-once").await, "id");
    let notes = json!({"notes": "mine\nstatus  revoked"});
    let call =
        office.admin.call(Method::PATCH, &format!("/api/v1/certificates/{id}")).header("if-match", "*");
    office.admin.send(call.json(&notes)).await.expect(200);
    let printed = Terminal::sign_in(&office, &office.admin, "admin").await.run(&["cert", "show", &id]).done();
    assert!(!printed.lines().any(|line| line.starts_with("status  revoked")), "{printed}");
    let path = "/api/v1/nothing%0aforged%1b[31m";
    office.admin.get(path).await.refused(404, "not_found");
    let log = std::fs::read_to_string(house().await.installation.core.log_file()).unwrap();
    for line in log.lines() {
        assert!(!line.chars().any(|c| c.is_control() && c != '\t'), "{line:?}");
        assert!(!line.starts_with("forged"), "{line:?}");
    }
}
