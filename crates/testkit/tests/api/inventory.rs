//! The list of certificates: filters, pages, versions, changes of metadata.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::text;
use crate::house::{DAY, ISSUING, Office, office};
use crate::person::Person;

const UNKNOWN: &str = "0198f000-0000-7000-8000-000000000000";

/// Three certificates: `web` is bob's and lives long, `mail` is tagged, `old` is revoked.
async fn filled() -> (Office, [Value; 3]) {
    let office = office().await;
    let make = |name: &str, changes: Value| {
        let mut body = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
            "subject": format!("CN={name}.example.com"), "sans": [format!("dns:{name}.example.com"), "ip:192.0.2.1"]});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let alice = office.alice.clone();
        async move { alice.issue(&body).await }
    };
    let web = make("web", json!({"owner_user_id": office.bob.id, "validity_seconds": 100 * DAY})).await;
    let mail = make("mail", json!({"tags": {"team": "post", "tier": "1"}})).await;
    let old = make("old", json!({"validity_seconds": DAY})).await;
    office.alice.revoke(&old, "superseded").await.expect(201);
    (office, [web, mail, old])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_filter_finds_what_it_names() {
    let (office, [web, mail, old]) = filled().await;
    let now = clm_types::Clock::system().now();
    let day = |days: i64| (now + chrono::TimeDelta::days(days)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let issuing = text(&office.authority(ISSUING).await, "id");
    let serial = text(&web, "serial_number");
    for (query, expected) in [
        (String::new(), vec![&web, &mail, &old]),
        ("status=active".to_owned(), vec![&web, &mail]),
        ("status=revoked".to_owned(), vec![&old]),
        ("status=on_hold".to_owned(), vec![]),
        (format!("owner={}", office.bob.id), vec![&web]),
        (format!("owner={}", office.alice.id), vec![&mail, &old]),
        (format!("authority={issuing}"), vec![&web, &mail, &old]),
        (format!("expires_before={}", day(2)), vec![&old]),
        (format!("expires_before={}&expires_after={}", day(20), day(2)), vec![&mail]),
        (format!("expires_after={}", day(50)), vec![&web]),
        ("san=web.example.com".to_owned(), vec![&web]),
        ("san=dns:mail.example.com".to_owned(), vec![&mail]),
        ("san=ip:192.0.2.1".to_owned(), vec![&web, &mail, &old]),
        ("san=192.0.2.1&status=revoked".to_owned(), vec![&old]),
        ("san=example.com".to_owned(), vec![]),
        ("tag=team".to_owned(), vec![&mail]),
        ("tag=team%3Dpost".to_owned(), vec![&mail]),
        ("tag=team%3Dweb".to_owned(), vec![]),
        ("text=mail".to_owned(), vec![&mail]),
        (format!("text={}", &serial[..8]), vec![&web]),
    ] {
        let found = office.alice.list(&format!("/api/v1/certificates?{query}")).await;
        let ids = |items: &mut dyn Iterator<Item = &Value>| -> BTreeSet<String> {
            items.map(|item| text(item, "id")).collect()
        };
        let expected = ids(&mut expected.into_iter());
        assert_eq!(ids(&mut found.iter()), expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_without_gap_or_double() {
    let (office, certificates) = filled().await;
    let mut path = "/api/v1/certificates?limit=1&status=active".to_owned();
    let mut seen = Vec::new();
    loop {
        let answer = office.alice.get(&path).await;
        let page = answer.expect(200);
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| text(item, "id")));
        assert!(items.len() <= 1);
        let Some(cursor) = page["next_cursor"].as_str() else {
            assert_eq!(answer.header("link"), "");
            break;
        };
        assert!(answer.header("link").contains("rel=\"next\""), "{}", answer.header("link"));
        let link = answer.header("link").split(['<', '>']).nth(1).unwrap().to_owned();
        assert!(
            link.contains(cursor) && link.contains("status=active") && link.contains("limit=1"),
            "{link}"
        );
        path = link;
    }
    let newest_first = [&certificates[1], &certificates[0]].map(|certificate| text(certificate, "id"));
    assert_eq!(seen, newest_first);
    // What comes in between does not move the pages.
    let first = office.alice.get("/api/v1/requests?limit=2").await.expect(200);
    office.alice.revoke(&certificates[0], "superseded").await.expect(201);
    let cursor = text(&first, "next_cursor");
    let rest = office.alice.list(&format!("/api/v1/requests?cursor={cursor}")).await;
    assert_eq!(rest.len(), 2, "three issues and a revocation before, two of them on the first page");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_changes_only_from_the_version_that_was_read() {
    let (office, [web, _, _]) = filled().await;
    let path = format!("/api/v1/certificates/{}", text(&web, "id"));
    let admin = &office.admin;
    let read = admin.get(&path).await;
    let version = read.expect(200)["version"].clone();
    assert_eq!(read.header("etag"), format!("\"{version}\""));
    let body = json!({"tags": {"team": "web"}, "notes": "line\nline", "owner_user_id": office.carol.id});
    let unread = admin.send(admin.call(Method::PATCH, &path).json(&body)).await;
    unread.refused(428, "precondition_required");
    for tag in ["\"999\"", "W/\"1\"", "garbage", "\"99999999999999999999\""] {
        let call = admin.call(Method::PATCH, &path).header("if-match", tag).json(&body);
        admin.send(call).await.refused(412, "precondition_failed");
    }
    let changed = admin.change(Method::PATCH, &path, &version, &body).await;
    let now = changed.expect(200);
    assert_eq!((&now["tags"], &now["owner_user_id"]), (&body["tags"], &body["owner_user_id"]));
    assert_eq!(changed.header("etag"), format!("\"{}\"", now["version"]));
    assert_ne!(now["version"], version);
    admin.change(Method::PATCH, &path, &version, &body).await.refused(412, "precondition_failed");
    let call = admin.call(Method::GET, &path).header("if-none-match", changed.header("etag"));
    assert_eq!(admin.send(call).await.status, 304);
    for (body, status, code) in [
        (json!({"owner_user_id": "0198f000-0000-7000-8000-000000000000"}), 404, "user_not_found"),
        (json!({"owner_user_id": office.stranger().await.alice.id}), 404, "user_not_found"),
        (json!({"notes": "a\0"}), 400, "invalid_request"),
        (json!({"tags": {"a": "\0"}}), 400, "invalid_request"),
        (json!({"serial_number": "01"}), 400, "invalid_request"),
        (json!({"status": "active"}), 400, "invalid_request"),
    ] {
        let answer = admin.change(Method::PATCH, &path, &now["version"], &body).await;
        println!("{body}: {}", answer.text());
        answer.refused(status, code);
    }
    assert_eq!(admin.get(&path).await.expect(200), now);
    office
        .alice
        .change(Method::PATCH, &path, &now["version"], &json!({}))
        .await
        .refused(403, "permission_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_and_workflows_are_changed_by_version_too() {
    let office = office().await;
    let body = json!({"code": "p", "name": "P", "rules": crate::house::at_once()});
    let policy = office.admin.post("/api/v1/policies", &body).await.expect(201);
    office.admin.post("/api/v1/policies", &body).await.refused(409, "already_exists");
    let path = format!("/api/v1/policies/{}", text(&policy, "id"));
    let missing = office.admin.call(Method::PUT, &path).json(&body);
    office.admin.send(missing).await.refused(428, "precondition_required");
    office.put(&path, &json!(77), &body).await.refused(412, "precondition_failed");
    let two = office.put(&path, &policy["version"], &body).await.expect(201);
    assert_eq!((&two["policy_version"], &two["supersedes"]), (&json!(2), &policy["id"]));
    for (member, value) in [
        ("profiles", json!([])),
        ("profiles", json!(["no-such"])),
        ("max_validity_seconds", json!(1)),
        ("key_algorithms", json!(["rsa-1024"])),
        ("names", json!({"dns_suffixes": ["*.example.com"]})),
        ("names", json!({"ip_ranges": ["10.0.0.0/33"]})),
        ("surprise", json!(1)),
        ("workflows", json!({"issuance": 7})),
    ] {
        let mut rules = crate::house::at_once();
        rules[member] = value;
        let body = json!({"code": "q", "name": "Q", "rules": rules});
        let answer = office.admin.post("/api/v1/policies", &body).await;
        println!("{}", answer.text());
        answer.refused(422, "policy_invalid");
    }
    let mut rules = crate::house::at_once();
    rules["workflows"] = json!({"issuance": "no-such"});
    let answer =
        office.admin.post("/api/v1/policies", &json!({"code": "q", "name": "Q", "rules": rules})).await;
    answer.refused(404, "workflow_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_found_by_what_is_printed_on_it_and_downloaded_in_each_form() {
    let (office, [web, _, _]) = filled().await;
    let colons = |hex: &str| {
        hex.to_uppercase()
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).into_owned())
            .collect::<Vec<_>>()
            .join(":")
    };
    let (sha256, serial) = (text(&web, "fingerprint_sha256"), text(&web, "serial_number"));
    let issuing = text(&office.authority(ISSUING).await, "id");
    for query in [
        format!("sha256={sha256}"),
        format!("sha256={}", colons(&sha256)),
        format!("serial={serial}"),
        format!("serial={}&authority={issuing}", colons(&serial)),
    ] {
        let found = office.alice.get(&format!("/api/v1/certificates/lookup?{query}")).await.expect(200);
        assert_eq!(found["id"], web["id"], "{query}");
    }
    let path = format!("/api/v1/certificates/{}", text(&web, "id"));
    let call = office.alice.call(Method::GET, &path).header("accept", "application/pkix-cert");
    let der = office.alice.send(call).await;
    assert_eq!(der.header("content-type"), "application/pkix-cert");
    let pem = office.alice.chain(&web).await;
    assert_eq!(crate::csr::to_der(pem.split_inclusive("END CERTIFICATE-----").next().unwrap()), der.body);
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2, "the certificate and its issuer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_ended_can_neither_be_revoked_nor_renewed() {
    let office = office().await;
    let body = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"], "validity_seconds": 1});
    let certificate = office.alice.issue(&body).await;
    let path = format!("/api/v1/certificates/{}", text(&certificate, "id"));
    while office.alice.get(&path).await.expect(200)["status"] != "expired" {
        tokio::task::yield_now().await;
    }
    assert_eq!(office.alice.list("/api/v1/certificates?status=expired").await.len(), 1);
    assert!(office.alice.list("/api/v1/certificates?status=active").await.is_empty());
    office.alice.revoke(&certificate, "keyCompromise").await.refused(409, "certificate_expired");
    let renewal = office.alice.post(&format!("{path}/renew"), &json!({})).await;
    renewal.refused(409, "certificate_not_active");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_databases_agree_on_what_an_organization_has() {
    let (office, _) = filled().await;
    let begun = office.admin.post("/api/v1/integrity/runs", &json!({})).await;
    let path = begun.header("location").to_owned();
    assert_eq!(path, format!("/api/v1/integrity/runs/{}", text(&begun.expect(202), "id")));
    let mut run = begun.expect(202);
    while run["status"] == "running" {
        run = office.admin.get(&path).await.expect(200);
    }
    assert_eq!(run["status"], "completed", "{run:#}");
    assert!(run["report"]["compared"].as_u64().unwrap() >= 3, "{run:#}");
    office.alice.get(&path).await.refused(403, "permission_denied");
    office
        .admin
        .get("/api/v1/integrity/runs/0198f000-0000-7000-8000-000000000000")
        .await
        .refused(404, "not_found");
    let findings = office.admin.list("/api/v1/integrity/findings").await;
    assert!(findings.is_empty(), "{findings:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_of_all_organizations_lists_any_of_them_and_all() {
    let (office, certificates) = filled().await;
    let (other, theirs) = filled().await;
    let ids = |items: &[Value]| -> BTreeSet<String> { items.iter().map(|item| text(item, "id")).collect() };
    let of = |organization: &str| format!("/api/v1/certificates?organization={organization}");
    let found = office.admin.list(&of(&other.organization)).await;
    assert_eq!(ids(&found), ids(&theirs));
    assert_eq!(ids(&office.alice.list(&of(&office.organization)).await), ids(&certificates));

    let mut seen = Vec::new();
    let mut path = format!("{}&limit=2&san=mail.example.com&status=active", of("all"));
    loop {
        let answer = office.admin.get(&path).await;
        seen.extend(answer.expect(200)["items"].as_array().unwrap().clone());
        let Some(next) = answer.header("link").split(['<', '>']).nth(1) else { break };
        assert!(next.contains("organization=all"), "{next}");
        path = next.to_owned();
    }
    assert!(ids(&seen).is_superset(&ids(&[certificates[1].clone(), theirs[1].clone()])));
    assert_eq!(ids(&seen).len(), seen.len());
    assert!(seen.windows(2).all(|two| text(&two[0], "created_at") >= text(&two[1], "created_at")));
    office.admin.get(&of("nobody")).await.refused(400, "invalid_request");
    office.admin.get(&of(UNKNOWN)).await.refused(404, "organization_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_lists_the_certificates_of_another_organization() {
    let (office, _) = filled().await;
    let (other, _) = filled().await;
    let of = |organization: &str| format!("/api/v1/certificates?organization={organization}");
    // An administrator whose key is for one organization is one of that organization alone.
    let body = json!({"name": "bound"});
    let key = text(&office.admin.post("/api/v1/api-keys", &body).await.expect(201), "secret");
    let bound = Person { key, organization: None, ..office.admin.clone() };
    for person in [&office.alice, &office.carol, &bound] {
        for organization in [other.organization.as_str(), UNKNOWN] {
            person.get(&of(organization)).await.refused(404, "organization_not_found");
        }
        person.get(&of("all")).await.refused(403, "permission_denied");
        assert_eq!(person.list(&of(&office.organization)).await.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn null_clears_a_field_and_what_is_absent_stays() {
    let (office, [web, _, _]) = filled().await;
    let path = format!("/api/v1/certificates/{}", text(&web, "id"));
    let full = json!({"tags": {"team": "web"}, "environment": "production", "category": "edge",
        "custom_fields": {"rack": 7}, "notes": "moved"});
    let set = office.admin.change(Method::PATCH, &path, &web["version"], &full).await.expect(200);
    let some = json!({"notes": null, "environment": null});
    let less = office.admin.change(Method::PATCH, &path, &set["version"], &some).await.expect(200);
    assert_eq!((&less["notes"], &less["environment"]), (&Value::Null, &Value::Null));
    assert_eq!((&less["tags"], &less["category"]), (&full["tags"], &full["category"]));
    let rest = json!({"tags": null, "category": null, "custom_fields": null});
    let none = office.admin.change(Method::PATCH, &path, &less["version"], &rest).await.expect(200);
    assert_eq!((&none["tags"], &none["custom_fields"]), (&json!({}), &json!({})));
    assert_eq!(none["category"], "leaf");
    let nobody = json!({"owner_user_id": null});
    let refused = office.admin.change(Method::PATCH, &path, &none["version"], &nobody).await;
    refused.refused(400, "invalid_request");
    let audit = office.admin.list("/api/v1/audit?action=certificate.update").await;
    assert_eq!(audit[1]["after"], some);
}
