use aws_lc_rs::digest::{SHA256, digest};
use clm_core::roles::{NewRole, REQUESTER};
use clm_core::workload_rules::{WorkloadRule, WorkloadRuleDraft};
use clm_core::{Core, Ctx};
use clm_types::{ErrorCode, Refusal, UserId, WorkloadRuleId};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::office::{FIRST, Office, new_key, refused};
use crate::sign_in::{PASSWORD, visitor};

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => panic!("an object"),
    }
}

fn draft(name: &str, user_id: Uuid) -> WorkloadRuleDraft {
    WorkloadRuleDraft {
        name: name.to_owned(),
        provider: "github".to_owned(),
        audiences: vec!["https://clm.example.com".to_owned()],
        required_claims: map(json!({"sub": "repo:acme/web:ref:refs/heads/main"})),
        user_id: UserId(user_id),
        scopes: vec!["request:create".to_owned(), "request:read".to_owned()],
        lifetime_seconds: 900,
        allowed_addresses: Vec::new(),
        enabled: true,
    }
}

fn id(rule: &WorkloadRule) -> WorkloadRuleId {
    rule.id.into()
}

/// Somebody with these permissions, by a key without limits.
async fn clerk(office: &Office, ctx: &Ctx, name: &str, permissions: &[&str]) -> Ctx {
    let role = NewRole {
        code: name.to_owned(),
        name: name.to_owned(),
        description: String::new(),
        parent_role_id: None,
        permissions: permissions.iter().map(|text| (*text).to_owned()).collect(),
    };
    let role = office.core.create_role(ctx, &role).await.unwrap();
    let user = office.hire(ctx, name, role.id.into()).await;
    as_free(office, ctx, &user).await
}

/// As a key of a user's own, which is not cut down.
async fn as_free(office: &Office, ctx: &Ctx, user: &clm_core::users::User) -> Ctx {
    let key = office.key_for(ctx, user, &["*"]).await;
    let mut free = office.enter(&key).await.unwrap();
    free.actor.restricted = false;
    free
}

async fn entries(core: &Core, ctx: &Ctx, rule: &WorkloadRule) -> Vec<clm_core::audit::AuditRow> {
    let query = clm_core::audit::AuditQuery { object_id: Some(rule.id), ..Default::default() };
    core.list_audit_entries(ctx, query, FIRST).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_made_changed_disabled_and_deleted_on_record() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let robot = office.hire(&ctx, "robot", REQUESTER).await;
    let made = core.create_workload_rule(&ctx, &draft("Deploy", robot.id)).await.unwrap();
    assert_eq!((made.version, made.enabled, made.created_by), (1, true, Some(office.administrator.0)));
    let of_provider = (made.issuer.as_str(), made.vouched_by);
    assert_eq!(of_provider, ("https://token.actions.githubusercontent.com", office.administrator.0));
    assert_eq!(core.show_workload_rule(&ctx, id(&made)).await.unwrap().required_claims, made.required_claims);
    let again = core.create_workload_rule(&ctx, &draft("DEPLOY", robot.id)).await;
    assert_eq!(refused(again), ErrorCode::AlreadyExists);
    let longer = WorkloadRuleDraft { lifetime_seconds: 3600, ..draft("Release", robot.id) };
    let changed = core.update_workload_rule(&ctx, id(&made), 1, &longer).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.lifetime_seconds, changed.version), ("Release", 3600, 2));
    assert_eq!(
        refused(core.update_workload_rule(&ctx, id(&made), 1, &longer).await),
        ErrorCode::PreconditionFailed
    );
    let of_another = WorkloadRuleDraft { user_id: office.administrator, ..longer.clone() };
    assert_eq!(
        refused(core.update_workload_rule(&ctx, id(&made), 2, &of_another).await),
        ErrorCode::InvalidRequest
    );
    assert_eq!(
        refused(core.disable_workload_rule(&ctx, id(&made), Some(1)).await),
        ErrorCode::PreconditionFailed
    );
    let disabled = core.disable_workload_rule(&ctx, id(&made), Some(2)).await.unwrap();
    assert_eq!((disabled.enabled, disabled.version), (false, 3));
    assert_eq!(core.disable_workload_rule(&ctx, id(&made), None).await.unwrap().version, 3);
    core.create_workload_rule(&ctx, &draft("Deploy", robot.id)).await.unwrap();
    assert_eq!(core.list_workload_rules(&ctx, FIRST).await.unwrap().items.len(), 2);
    core.delete_workload_rule(&ctx, id(&made), Some(3)).await.unwrap();
    assert_eq!(refused(core.show_workload_rule(&ctx, id(&made)).await), ErrorCode::WorkloadRuleNotFound);
    assert_eq!(
        refused(core.delete_workload_rule(&ctx, id(&made), Some(4)).await),
        ErrorCode::WorkloadRuleNotFound
    );
    assert_eq!(core.list_workload_rules(&ctx, FIRST).await.unwrap().items.len(), 1);
    let record = entries(core, &ctx, &made).await;
    // All at one moment: in no order.
    let mut actions: Vec<&str> = record.iter().map(|entry| entry.action.as_str()).collect();
    actions.sort_unstable();
    let all = ["create", "delete", "disable", "update"].map(|verb| format!("workload_rule.{verb}"));
    assert_eq!(actions, all);
    let update = record.iter().find(|entry| entry.action == "workload_rule.update").unwrap();
    let (before, after) = (update.before_state.as_ref().unwrap(), update.after_state.as_ref().unwrap());
    assert_eq!(
        (&before["name"], &after["name"], &after["lifetime_seconds"]),
        (&json!("Deploy"), &json!("Release"), &json!(3600))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_says_is_checked() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let robot = office.hire(&ctx, "robot", REQUESTER).await;
    let usual = || draft("Deploy", robot.id);
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    for (wrong, field) in [
        (WorkloadRuleDraft { name: " ".to_owned(), ..usual() }, "/name"),
        (WorkloadRuleDraft { provider: "gitlab".to_owned(), ..usual() }, "/provider"),
        (WorkloadRuleDraft { audiences: Vec::new(), ..usual() }, "/audiences"),
        (WorkloadRuleDraft { audiences: texts(&["https://clm.example.com"; 6]), ..usual() }, "/audiences"),
        (
            WorkloadRuleDraft {
                audiences: texts(&["https://clm.example.com", "sts.amazonaws.com"]),
                ..usual()
            },
            "/audiences/1",
        ),
        (
            WorkloadRuleDraft { audiences: texts(&["https://clm.example.com.evil.org"]), ..usual() },
            "/audiences/0",
        ),
        (
            WorkloadRuleDraft { audiences: texts(&["https://clm.example.com:8443"]), ..usual() },
            "/audiences/0",
        ),
        (WorkloadRuleDraft { audiences: texts(&["https://github.com/acme"]), ..usual() }, "/audiences/0"),
        (WorkloadRuleDraft { audiences: texts(&[""]), ..usual() }, "/audiences/0"),
        (WorkloadRuleDraft { required_claims: Map::new(), ..usual() }, "/required_claims"),
        (WorkloadRuleDraft { required_claims: map(json!({"sub": "repo:*"})), ..usual() }, "/required_claims"),
        (WorkloadRuleDraft { required_claims: map(json!({"iss": "x"})), ..usual() }, "/required_claims/iss"),
        (WorkloadRuleDraft { scopes: Vec::new(), ..usual() }, "/scopes"),
        (WorkloadRuleDraft { scopes: texts(&["*"]), ..usual() }, "/scopes"),
        (WorkloadRuleDraft { scopes: texts(&["moon:land"]), ..usual() }, "/scopes/0"),
        (WorkloadRuleDraft { lifetime_seconds: 59, ..usual() }, "/lifetime_seconds"),
        (WorkloadRuleDraft { lifetime_seconds: 3601, ..usual() }, "/lifetime_seconds"),
        (WorkloadRuleDraft { allowed_addresses: texts(&["here"]), ..usual() }, "/allowed_addresses/0"),
        (
            WorkloadRuleDraft { allowed_addresses: texts(&["10.0.0.0/8"; 51]), ..usual() },
            "/allowed_addresses",
        ),
    ] {
        match core.create_workload_rule(&ctx, &wrong).await {
            Err(clm_core::CoreError::Refused(refusal)) => {
                assert_eq!(
                    (refusal.code, refusal.field.as_deref()),
                    (ErrorCode::InvalidRequest, Some(field))
                );
            }
            other => panic!("{field}: {other:?}"),
        }
    }
    let nobody = draft("Deploy", Uuid::from_u128(1));
    assert_eq!(refused(core.create_workload_rule(&ctx, &nobody).await), ErrorCode::UserNotFound);
    let below = WorkloadRuleDraft {
        audiences: texts(&["https://clm.example.com/ci"]),
        allowed_addresses: texts(&["10.1.2.3"]),
        ..usual()
    };
    assert_eq!(core.create_workload_rule(&ctx, &below).await.unwrap().allowed_addresses, ["10.1.2.3/32"]);
    // The operator has given the cluster to one organization, and GitHub to all.
    let cluster = |user: Uuid| WorkloadRuleDraft {
        provider: "cluster".to_owned(),
        required_claims: map(json!({"/kubernetes.io/namespace": "ci"})),
        ..draft("Cluster", user)
    };
    core.create_workload_rule(&ctx, &cluster(robot.id)).await.unwrap();
    let other = office.new_organization("other").await;
    let there = office.as_administrator_of(other).await;
    let theirs = office.hire(&there, "theirs", REQUESTER).await;
    assert_eq!(
        refused(core.create_workload_rule(&there, &cluster(theirs.id)).await),
        ErrorCode::InvalidRequest
    );
    core.create_workload_rule(&there, &draft("Deploy", theirs.id)).await.unwrap();
    // Nor for users of another organization.
    assert_eq!(
        refused(core.create_workload_rule(&there, &draft("Robot", robot.id)).await),
        ErrorCode::UserNotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_lets_workloads_do_what_they_may_not_do_themselves() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let robot = office.hire(&ctx, "robot", REQUESTER).await;
    let scoped = |scopes: &[&str]| WorkloadRuleDraft {
        scopes: scopes.iter().map(|text| (*text).to_owned()).collect(),
        ..draft("Deploy", robot.id)
    };
    let reader = clerk(&office, &ctx, "reader", &["api_key:read", "request:create", "request:read"]).await;
    assert_eq!(
        refused(core.create_workload_rule(&reader, &draft("Deploy", robot.id)).await),
        ErrorCode::PermissionDenied
    );
    let writer = clerk(&office, &ctx, "writer", &["api_key:write", "api_key:read", "request:read"]).await;
    assert_eq!(
        refused(core.create_workload_rule(&writer, &draft("Deploy", robot.id)).await),
        ErrorCode::PermissionDenied
    );
    let own = core.create_workload_rule(&writer, &scoped(&["request:read"])).await.unwrap();
    assert_eq!(Some(own.vouched_by), writer.actor.user_id.map(|id| id.0));
    // Not by a change either, nor by changing which workloads get more than one holds oneself.
    let wider = scoped(&["request:read", "request:create"]);
    assert_eq!(
        refused(core.update_workload_rule(&writer, id(&own), 1, &wider).await),
        ErrorCode::PermissionDenied
    );
    let strong = core.create_workload_rule(&ctx, &draft("Strong", robot.id)).await.unwrap();
    let mine = WorkloadRuleDraft {
        required_claims: map(json!({"sub": "repo:mallory/web:ref:refs/heads/main"})),
        ..draft("Strong", robot.id)
    };
    assert_eq!(
        refused(core.update_workload_rule(&writer, id(&strong), 1, &mine).await),
        ErrorCode::PermissionDenied
    );
    // To end what goes wrong one need not hold it; who did so vouches for nothing.
    let ended = core.disable_workload_rule(&writer, id(&strong), None).await.unwrap();
    assert_eq!(ended.vouched_by, office.administrator.0);
    // Whoever changes a rule vouches for it from then on.
    let changed = core.update_workload_rule(&ctx, id(&own), 1, &scoped(&["request:read"])).await.unwrap();
    assert_eq!(changed.vouched_by, office.administrator.0);
    assert_eq!(
        refused(core.update_workload_rule(&writer, id(&strong), 2, &draft("Strong", robot.id)).await),
        ErrorCode::PermissionDenied
    );
    core.delete_workload_rule(&writer, id(&strong), Some(2)).await.unwrap();
    // In the name of somebody who reaches further, only who does so too.
    let of_administrator = WorkloadRuleDraft { user_id: office.administrator, ..scoped(&["request:read"]) };
    let attempt = core
        .create_workload_rule(&writer, &WorkloadRuleDraft { name: "Boss".to_owned(), ..of_administrator })
        .await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
    // Nobody lets a workload decide, be it in their own name.
    for scope in [
        "request:approve",
        "role:assign",
        "api_key:write",
        "user:provision",
        "policy:write",
        "key:manage",
        "key:recover",
    ] {
        let own = WorkloadRuleDraft { user_id: office.administrator, ..scoped(&[scope]) };
        assert_eq!(
            refused(core.create_workload_rule(&ctx, &own).await),
            ErrorCode::PermissionDenied,
            "{scope}"
        );
    }
    // A key that is limited makes nothing that outlives it.
    let (_, key) = core.create_api_key(&ctx, &new_key(None, &["*"])).await.unwrap();
    let limited = office.enter(key.expose()).await.unwrap();
    let attempt = core.create_workload_rule(&limited, &draft("Limited", robot.id)).await;
    assert_eq!(refused(attempt), ErrorCode::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_another_organization_is_not_there() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let robot = office.hire(&ctx, "robot", REQUESTER).await;
    let rule = core.create_workload_rule(&ctx, &draft("Deploy", robot.id)).await.unwrap();
    let other = office.new_organization("other").await;
    let there = office.as_administrator_of(other).await;
    let not_found = ErrorCode::WorkloadRuleNotFound;
    assert_eq!(refused(core.show_workload_rule(&there, id(&rule)).await), not_found);
    assert_eq!(
        refused(core.update_workload_rule(&there, id(&rule), 1, &draft("X", robot.id)).await),
        not_found
    );
    assert_eq!(refused(core.disable_workload_rule(&there, id(&rule), None).await), not_found);
    assert_eq!(refused(core.delete_workload_rule(&there, id(&rule), Some(1)).await), not_found);
    assert!(core.list_workload_rules(&there, FIRST).await.unwrap().items.is_empty());
    assert_eq!(core.show_workload_rule(&ctx, id(&rule)).await.unwrap().version, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_has_so_many_rules_and_no_more() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let robot = office.hire(&ctx, "robot", REQUESTER).await;
    let sql = "INSERT INTO workload_rules (organization_id, name, provider, issuer, audiences, required_claims, user_id, scopes,
                   lifetime_seconds, enabled, vouched_by, created_at, updated_at)
               SELECT $1, 'Rule ' || i, 'github', 'https://ci', '{a}', '{\"sub\": \"a\"}', $2, '[\"request:read\"]', 900, true, $2,
                   now(), now()
               FROM generate_series(1, 199) AS i";
    let pool = office.database.superuser().await;
    sqlx::query(sql).bind(office.organization_id.0).bind(robot.id).execute(&pool).await.unwrap();
    core.create_workload_rule(&ctx, &draft("Last", robot.id)).await.unwrap();
    assert_eq!(refused(core.create_workload_rule(&ctx, &draft("More", robot.id)).await), ErrorCode::Conflict);
}

/// Keys as the exchange makes them: of a rule, ending so many seconds from now.
async fn plant_key(office: &Office, rule: &WorkloadRule, prefix: &str, ends: i32) {
    let sql = "INSERT INTO api_keys (organization_id, user_id, key_prefix, key_hash, name, expires_at, workload_rule_id,
                   workload_subject, created_at, updated_at)
               VALUES ($1, $2, $3, sha256(convert_to($3, 'UTF8')), 'k', now() + $4::int * interval '1 second', $5, 'repo:acme/web', now(), now())";
    let pool = office.database.superuser().await;
    let call =
        sqlx::query(sql).bind(rule.organization_id).bind(rule.user_id).bind(prefix).bind(ends).bind(rule.id);
    call.execute(&pool).await.unwrap();
}

async fn working(office: &Office, ctx: &Ctx, rule: &WorkloadRule) -> usize {
    let keys = office.core.list_api_keys(ctx, (None, Some(id(rule))), FIRST).await.unwrap().items;
    keys.iter().filter(|key| key.revoked_at.is_none()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_end_with_what_gave_them() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let robot = office.hire(&ctx, "robot", REQUESTER).await;
    let rule = core.create_workload_rule(&ctx, &draft("Deploy", robot.id)).await.unwrap();
    let other = core.create_workload_rule(&ctx, &draft("Other", robot.id)).await.unwrap();
    plant_key(&office, &other, "clm_svc_00", 900).await;
    plant_key(&office, &rule, "clm_svc_01", 900).await;
    // Whatever else a rule is to give, keys that it gave go on.
    let renamed =
        WorkloadRuleDraft { name: "Renamed".to_owned(), lifetime_seconds: 60, ..draft("", robot.id) };
    let rule = core.update_workload_rule(&ctx, id(&rule), 1, &renamed).await.unwrap();
    assert_eq!(working(&office, &ctx, &rule).await, 1);
    let narrower = WorkloadRuleDraft { scopes: vec!["request:read".to_owned()], ..renamed.clone() };
    let rule = core.update_workload_rule(&ctx, id(&rule), rule.version, &narrower).await.unwrap();
    assert_eq!(working(&office, &ctx, &rule).await, 0);
    plant_key(&office, &rule, "clm_svc_02", 900).await;
    let rule = core.disable_workload_rule(&ctx, id(&rule), None).await.unwrap();
    assert_eq!(working(&office, &ctx, &rule).await, 0);
    plant_key(&office, &rule, "clm_svc_03", 900).await;
    core.delete_workload_rule(&ctx, id(&rule), Some(rule.version)).await.unwrap();
    assert_eq!((working(&office, &ctx, &rule).await, working(&office, &ctx, &other).await), (0, 1));
    // Such a key is replaced by another token, and not by a key that no rule ends.
    let keys = core.list_api_keys(&ctx, (None, Some(id(&other))), FIRST).await.unwrap().items;
    let attempt = core.rotate_api_key(&ctx, keys[0].id.into(), chrono::TimeDelta::zero()).await;
    assert_eq!(refused(attempt), ErrorCode::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_keys_of_workloads_that_have_long_ended_are_deleted() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let robot = office.hire(&ctx, "robot", REQUESTER).await;
    let rule = core.create_workload_rule(&ctx, &draft("Deploy", robot.id)).await.unwrap();
    for (prefix, ends) in [("clm_svc_01", 900), ("clm_svc_02", -3600), ("clm_svc_03", -2 * 86_400)] {
        plant_key(&office, &rule, prefix, ends).await;
    }
    let system = office.database.pool("clm_core_system").await;
    // The service's own role cannot do otherwise.
    let deleted = sqlx::query("DELETE FROM api_keys").execute(&system).await.unwrap();
    assert_eq!(deleted.rows_affected(), 1);
    assert_eq!(working(&office, &ctx, &rule).await, 2);
    office.as_administrator().await;
}

/// The whole answer to a token of no provider.
async fn told(core: &Core, id: WorkloadRuleId) -> Refusal {
    match core.exchange_workload_token(id, "a.b.c", &visitor()).await {
        Err(clm_core::CoreError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_not_there_tells_nothing() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let robot = office.hire(&ctx, "robot", REQUESTER).await;
    let rule = core.create_workload_rule(&ctx, &draft("Deploy", robot.id)).await.unwrap();
    let reasons = async || {
        core.write_refusals().await.unwrap();
        let record = entries(core, &ctx, &rule).await;
        let refused = record.iter().filter(|entry| entry.outcome == "refused");
        assert!(refused.clone().all(|entry| entry.after_state.as_ref().unwrap()["token_sha256"]
            == hex::encode(digest(&SHA256, b"a.b.c"))));
        refused.map(|entry| entry.detail.clone().unwrap()).collect::<Vec<_>>()
    };
    let wrong = told(core, id(&rule)).await;
    assert_eq!(wrong.code, ErrorCode::WorkloadTokenRefused);
    assert!(matches!(&reasons().await[..], [reason] if reason.contains("no signed token")));
    core.disable_workload_rule(&ctx, id(&rule), None).await.unwrap();
    assert_eq!(told(core, id(&rule)).await, wrong);
    core.delete_workload_rule(&ctx, id(&rule), None).await.unwrap();
    assert_eq!(told(core, id(&rule)).await, wrong);
    let disabled = |reason: &&String| reason.contains("the rule is disabled or deleted");
    assert_eq!(reasons().await.iter().filter(disabled).count(), 2);
    assert_eq!(told(core, Uuid::from_u128(1).into()).await, wrong);
    assert_eq!(core.write_refusals().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_ends_with_its_user_and_does_not_come_back_with_them() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let robot = office.welcome(&ctx, "robot", REQUESTER).await;
    let other = office.new_organization("other").await;
    let there = office.as_administrator_of(other).await;
    let opened = office.sign_in("robot", PASSWORD).await.unwrap();
    let inside = office.enter(opened.token.expose()).await.unwrap();
    let join = async |ctx: &Ctx| {
        core.invite_member(ctx, "robot").await.unwrap();
        core.accept_membership(&inside, ctx.organization_id).await.unwrap();
    };
    join(&there).await;
    let here = core.create_workload_rule(&ctx, &draft("Deploy", robot.id)).await.unwrap();
    let theirs = core.create_workload_rule(&there, &draft("Deploy", robot.id)).await.unwrap();
    let enabled = async || {
        let here = core.show_workload_rule(&ctx, id(&here)).await.unwrap().enabled;
        (here, core.show_workload_rule(&there, id(&theirs)).await.unwrap().enabled)
    };
    plant_key(&office, &theirs, "clm_svc_00", 900).await;
    core.remove_member(&there, UserId(robot.id)).await.unwrap();
    assert_eq!(enabled().await, (true, false));
    join(&there).await;
    assert_eq!(enabled().await, (true, false));
    assert_eq!(working(&office, &there, &theirs).await, 0);
    let again = core.show_workload_rule(&there, id(&theirs)).await.unwrap().version;
    core.update_workload_rule(&there, id(&theirs), again, &draft("Deploy", robot.id)).await.unwrap();
    assert_eq!(enabled().await, (true, true));
    // Whoever is deleted is so in all organizations.
    let user = core.show_user(&ctx, UserId(robot.id)).await.unwrap();
    core.delete_user(&ctx, UserId(robot.id), user.version).await.unwrap();
    assert_eq!(enabled().await, (false, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_workload_sees_no_other_key_of_its_user() {
    let office = Office::open().await;
    let (core, ctx) = (&office.core, office.as_administrator().await);
    let robot = office.hire(&ctx, "robot", REQUESTER).await;
    let free = as_free(&office, &ctx, &robot).await;
    let other = office.key_for(&ctx, &robot, &["request:read", "request:create"]).await;
    let other = office.enter(&other).await.unwrap().actor.api_key_id.unwrap();
    let key = office.key_for(&ctx, &robot, &["request:read"]).await;
    let inside = office.enter(&key).await.unwrap();
    let own = core.list_api_keys(&inside, (None, None), FIRST).await.unwrap().items;
    assert_eq!(own.iter().map(|key| key.id).collect::<Vec<_>>(), [inside.actor.api_key_id.unwrap().0]);
    assert_eq!(refused(core.show_api_key(&inside, other).await), ErrorCode::ApiKeyNotFound);
    assert_eq!(refused(core.revoke_api_key(&inside, other).await), ErrorCode::ApiKeyNotFound);
    core.show_api_key(&inside, own[0].id.into()).await.unwrap();
    core.revoke_api_key(&inside, own[0].id.into()).await.unwrap();
    // A key that is not restricted is as good as its user.
    assert_eq!(core.list_api_keys(&free, (None, None), FIRST).await.unwrap().items.len(), 3);
    core.revoke_api_key(&free, other).await.unwrap();
}
