//! What other platforms had to publish advisories about: roles, keys, certificates and passwords. Which classes there are, and
//! which test of which file looks at each, stands in docs/reference/advisories.md.

use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::text;
use crate::house::{APPROVER, Office, REQUESTER, hire, house, office};
use crate::person::{Person, fresh_key};
use crate::revocations::issue;
use crate::sign_in::{PASSWORD, anonymous, come, sign_in};

const ADMINISTRATOR: &str = "01900000-0000-7000-8000-000000000001";

/// Somebody who assigns roles and runs users, groups and keys, and holds nothing beyond.
async fn clerk(office: &Office) -> (Person, String) {
    let permissions =
        ["role:assign", "user:read", "user:write", "group:write", "api_key:write", "request:read"];
    let body = json!({"code": "clerk", "name": "Clerk", "permissions": permissions});
    let role = text(&office.admin.post("/api/v1/roles", &body).await.expect(201), "id");
    (hire(&office.admin, &format!("clerk-{}", office.organization), &[&role]).await, role)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_more_roles_or_permissions_by_any_way() {
    let office = office().await;
    let (clerk, own) = clerk(&office).await;
    let held = async || clerk.get("/api/v1/me").await.expect(200)["permissions"].clone();
    let before = held().await;
    let boss = hire(&office.admin, &format!("boss-{}", office.organization), &[ADMINISTRATOR]).await;
    let group = clerk.post("/api/v1/groups", &json!({"display_name": "Mine"})).await.expect(201);
    let group = format!("/api/v1/groups/{}", text(&group, "id"));
    let strong = office.admin.post("/api/v1/groups", &json!({"display_name": "Strong"})).await.expect(201);
    let strong = format!("/api/v1/groups/{}", text(&strong, "id"));
    let given = office.admin.post(&format!("{strong}/roles"), &json!({"role_id": APPROVER})).await;
    assert_eq!(given.status, 204);
    let new_role = |more: Value| {
        let mut body = json!({"code": "more", "name": "More", "permissions": ["request:read"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let key = |more: Value| {
        let mut body = json!({"name": "more", "scopes": ["*"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let assignment = |role: &str, everywhere: bool| json!({"user_id": clerk.id, "role_id": role, "everywhere": everywhere});
    for (path, body, status) in [
        ("/api/v1/role-assignments", assignment(ADMINISTRATOR, false), 403),
        ("/api/v1/role-assignments", assignment(ADMINISTRATOR, true), 403),
        ("/api/v1/role-assignments", assignment(REQUESTER, true), 403),
        ("/api/v1/roles", new_role(json!({"permissions": ["*"]})), 403),
        ("/api/v1/roles", new_role(json!({"permissions": ["policy:write"]})), 403),
        ("/api/v1/roles", new_role(json!({"parent_role_id": ADMINISTRATOR})), 403),
        ("/api/v1/roles", new_role(json!({"built_in": true})), 400),
        ("/api/v1/roles", new_role(json!({"is_system": true})), 400),
        ("/api/v1/roles", new_role(json!({"organization_id": null})), 400),
        ("/api/v1/api-keys", key(json!({"user_id": boss.id})), 403),
        ("/api/v1/api-keys", key(json!({"user_id": office.admin.id})), 403),
        ("/api/v1/api-keys", key(json!({"permissions": ["*"]})), 400),
        (&format!("{group}/roles"), json!({"role_id": ADMINISTRATOR}), 403),
        (&format!("{strong}/members"), json!({"user_ids": [clerk.id]}), 403),
        (&format!("{group}/members"), json!({"user_ids": [clerk.id], "role_id": ADMINISTRATOR}), 400),
        // A group is no member of a group.
        (&format!("{strong}/members"), json!({"user_ids": [&group[15..]]}), 403),
        (&format!("/api/v1/users/{}/links", boss.id), json!({}), 403),
        (&format!("/api/v1/members/{}/suspend", boss.id), json!({}), 403),
    ] {
        let answer = clerk.post(path, &body).await;
        assert_eq!(answer.status, status, "POST {path} {body}: {}", answer.text());
    }
    // Nor does whoever may all take a group for a member.
    let body = json!({"user_ids": [&group[15..]]});
    let nested = office.admin.post(&format!("{strong}/members"), &body).await;
    assert!(matches!(nested.status, 400 | 404), "{} {}", nested.status, nested.text());
    let change = |permissions: Value, more: &str| {
        let mut body = json!({"name": "Clerk", "description": "", "permissions": permissions});
        if !more.is_empty() {
            body[more] = json!(ADMINISTRATOR);
        }
        body
    };
    let user = json!({"email": "c@example.org", "display_name": "C"});
    let mut with_role = user.clone();
    with_role["role_ids"] = json!([ADMINISTRATOR]);
    let mut active = user.clone();
    active["status"] = json!("active");
    for (path, body, status) in [
        (format!("/api/v1/roles/{own}"), change(json!(["*"]), ""), 403),
        (format!("/api/v1/roles/{own}"), change(json!(["request:read"]), "parent_role_id"), 400),
        (format!("/api/v1/roles/{APPROVER}"), change(json!([]), ""), 403),
        (format!("/api/v1/roles/{ADMINISTRATOR}"), change(json!(["*"]), ""), 403),
        (format!("/api/v1/users/{}", boss.id), user, 403),
        (format!("/api/v1/users/{}", clerk.id), with_role, 400),
        (format!("/api/v1/users/{}", clerk.id), active, 400),
    ] {
        let answer = clerk.send(clerk.call(Method::PUT, &path).header("if-match", "*").json(&body)).await;
        assert_eq!(answer.status, status, "PUT {path} {body}: {}", answer.text());
    }
    let takes = format!("/api/v1/users/{}/factors", boss.id);
    clerk.send(clerk.call(Method::DELETE, &takes)).await.refused(403, "permission_denied");
    // A key with every scope is more than its maker.
    clerk.post("/api/v1/api-keys", &key(json!({}))).await.refused(403, "permission_denied");
    assert_eq!(held().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn within_an_organization_a_permission_is_good_for_all_certificates_and_beyond_it_for_none() {
    let (office, other) = (office().await, office().await);
    let certificate = issue(&office, "at-once").await;
    let path = format!("/api/v1/certificates/{}", text(&certificate, "id"));
    // The rule of SECURITY.md: carol asks for certificates too, bob only decides.
    office.carol.get(&path).await.expect(200);
    office.carol.post(&format!("{path}/renew"), &json!({})).await.expect(201);
    office.bob.post(&format!("{path}/renew"), &json!({})).await.refused(403, "permission_denied");
    office.bob.revoke(&certificate, "superseded").await.refused(403, "permission_denied");
    other.alice.revoke(&certificate, "superseded").await.refused(404, "certificate_not_found");
    other.alice.post(&format!("{path}/renew"), &json!({})).await.refused(404, "certificate_not_found");
    // Naming the organization of others does not let anybody in.
    let inside = Person { organization: Some(office.organization.clone()), ..other.alice.clone() };
    inside.revoke(&certificate, "superseded").await.refused(404, "organization_not_found");
    office.carol.revoke(&certificate, "superseded").await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_of_idempotency_is_another_one_for_another_caller() {
    let office = office().await;
    let body = json!({"name": "mine", "scopes": ["request:read"]});
    let key = fresh_key();
    let send = async |person: &Person| {
        let call = person.call(Method::POST, "/api/v1/api-keys").header("idempotency-key", &key);
        person.send(call.json(&body)).await
    };
    let ann = hire(&office.admin, &format!("ann-{}", office.organization), &[ADMINISTRATOR]).await;
    let eve = hire(&office.admin, &format!("eve-{}", office.organization), &[ADMINISTRATOR]).await;
    let first = send(&ann).await.expect(201);
    let second = send(&eve).await.expect(201);
    assert_ne!(first["api_key"]["id"], second["api_key"]["id"]);
    assert_eq!(second["api_key"]["user_id"], eve.id.as_str());
    // Nor is the secret told twice to its owner.
    let again = send(&ann).await;
    assert!(!again.text().contains(&text(&first, "secret")), "{}", again.text());
    let request = json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": ["dns:www.example.com"]});
    let ask = async |person: &Person| {
        let call = person.call(Method::POST, "/api/v1/requests").header("idempotency-key", &key);
        text(&person.send(call.json(&request)).await.expect(201), "id")
    };
    assert_ne!(ask(&office.alice).await, ask(&office.carol).await);
}

/// All that is stored, as text.
async fn stored() -> String {
    let databases = &house().await.installation.databases;
    let tables =
        "SELECT relname FROM pg_class WHERE relnamespace = 'clm'::regnamespace AND relkind IN ('r', 'p')
                  AND NOT relispartition";
    let tables = databases.core.psql("clm_core_db", tables).unwrap();
    let rows = tables.lines().map(|table| format!("SELECT to_jsonb(t)::text FROM clm.{table} t"));
    databases.core.psql("clm_core_db", &rows.collect::<Vec<_>>().join(" UNION ALL ")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_or_token_is_kept_or_shown_when_one_is_set_anew() {
    let office = office().await;
    let name = format!("sue-{}", office.organization);
    let (sue, opened) = come(&office, &name, &[REQUESTER]).await;
    let link = office.admin.post(&format!("/api/v1/users/{}/links", sue.id), &json!({})).await.expect(201);
    let token = text(&link, "token");
    let chosen = "nine purple lanterns";
    let weak =
        anonymous(&office, "/api/v1/links/use", &json!({"token": token, "password": "password1234"})).await;
    let used = anonymous(&office, "/api/v1/links/use", &json!({"token": token, "password": chosen})).await;
    assert_eq!((used.status, used.body.len()), (204, 0));
    let again = anonymous(&office, "/api/v1/links/use", &json!({"token": token, "password": chosen})).await;
    again.refused(403, "link_invalid");
    // The session of before has ended, and the password of before is none any more.
    sue.get("/api/v1/me").await.refused(401, "unauthenticated");
    let opened_again = sign_in(&office, &name, chosen).await.expect(201);
    let mut everywhere = stored().await;
    let installation = &house().await.installation;
    everywhere.push_str(&std::fs::read_to_string(installation.core.log_file()).unwrap());
    everywhere.push_str(&std::fs::read_to_string(installation.secure.log_file()).unwrap());
    everywhere.push_str(&weak.text());
    everywhere.push_str(&again.text());
    for secret in
        [&token, chosen, PASSWORD, "password1234", &text(&opened, "token"), &text(&opened_again, "token")]
    {
        assert!(!everywhere.contains(secret), "{secret}");
    }
}

#[test]
fn each_class_of_the_page_has_its_tests() {
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(crates.join("../docs/reference/advisories.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 20);
    for row in rows {
        let tests: Vec<_> = row.split('`').filter_map(|word| word.split_once("::")).collect();
        assert!(!tests.is_empty(), "no test of {row}");
        for (file, name) in tests {
            let folder = if file.contains("/src/") { "." } else { "testkit/tests" };
            let source = std::fs::read_to_string(crates.join(folder).join(file)).unwrap();
            assert!(source.contains(&format!("fn {name}(")), "{file} has no {name}");
        }
    }
}
