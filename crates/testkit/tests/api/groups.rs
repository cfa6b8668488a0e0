//! Groups over REST and by `clm`.

use serde_json::json;

use crate::answer::text;
use crate::cli::Terminal;
use crate::house::{APPROVER, REQUESTER, hire, office};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_made_filled_given_roles_and_deleted() {
    let office = office().await;
    let admin = &office.admin;
    let gina = hire(admin, &format!("gina-{}", office.organization), &[]).await;
    let made = admin.post("/api/v1/groups", &json!({"display_name": "Web", "external_id": "w-1"})).await;
    let path = made.header("location").to_owned();
    assert_eq!(made.header("etag"), "\"1\"");
    made.expect(201);
    let members = format!("{path}/members");
    for wrong in [json!([]), json!(vec![gina.id.clone(); 1001])] {
        let refused = admin.post(&members, &json!({"user_ids": wrong})).await;
        assert_eq!(refused.refused(400, "invalid_request")["errors"][0]["pointer"], "/user_ids");
    }
    let both = json!({"user_ids": [gina.id, office.bob.id]});
    assert_eq!(admin.post(&members, &both).await.status, 204);
    let first = admin.get(&format!("{members}?limit=1")).await.expect(200);
    let next = format!("{members}?limit=1&cursor={}", text(&first, "next_cursor"));
    let mut found = [text(&first["items"][0], "user_id"), text(&admin.list(&next).await[0], "user_id")];
    let mut expected = [gina.id.clone(), office.bob.id.clone()];
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let roles = format!("{path}/roles");
    let requester = json!({"role_id": REQUESTER});
    assert_eq!(admin.post(&roles, &requester).await.status, 204);
    admin.post(&roles, &requester).await.refused(409, "already_exists");
    admin.post(&format!("{roles}/take"), &json!({"role_id": APPROVER})).await.refused(404, "role_not_found");
    let held = admin.list(&format!("/api/v1/role-assignments?user={}", gina.id)).await;
    assert!(path.ends_with(&text(&held[0], "group_id")));
    let end = format!("/api/v1/role-assignments/{}/revoke", text(&held[0], "id"));
    admin.post(&end, &json!({})).await.refused(409, "conflict");
    gina.get("/api/v1/requests").await.expect(200);
    let deleted = admin.change(reqwest::Method::DELETE, &path, &json!(1), &json!({})).await;
    deleted.refused(412, "precondition_failed");
    let version = admin.get(&path).await.expect(200)["version"].clone();
    assert_eq!(admin.change(reqwest::Method::DELETE, &path, &version, &json!({})).await.status, 204);
    admin.get(&path).await.refused(404, "group_not_found");
    gina.get("/api/v1/requests").await.refused(403, "permission_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn clm_manages_groups() {
    let office = office().await;
    let admin = Terminal::sign_in(&office, &office.admin, "admin").await;
    let made = admin.json(&["group", "create", "Web team"]);
    let id = text(&made, "id");
    let done = |arguments: &[&str]| admin.run(&[&["group"], arguments].concat()).done();
    done(&["add", &id, &office.alice.id, &office.bob.id]);
    done(&["give", &id, APPROVER]);
    assert!(done(&["members", &id]).contains(&office.alice.id));
    assert!(done(&["roles", &id]).contains("approver"));
    done(&["remove", &id, &office.bob.id]);
    assert!(!done(&["members", &id]).contains(&office.bob.id));
    assert!(done(&["rename", &id, "Web operations"]).contains("Web operations"));
    done(&["take", &id, APPROVER]);
    assert!(done(&["list"]).contains("Web operations"));
    assert!(done(&["show", &id]).contains("Web operations"));
    done(&["delete", &id]);
    assert!(!done(&["list"]).contains(&id));
}
