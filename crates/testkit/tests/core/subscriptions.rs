use chrono::TimeDelta;
use clm_core::roles::{ADMINISTRATOR, REQUESTER};
use clm_core::subscriptions::Subscription;
use clm_core::{Core, CoreError, Ctx};
use clm_types::{ErrorCode, OrganizationId, SubscriptionStatus, UserId};
use serde_json::Value;

use crate::office::{Office, assignment, new_user, refused};

fn subscription(status: SubscriptionStatus) -> Subscription {
    Subscription {
        plan: "team".to_owned(),
        status,
        expires_at: None,
        max_certificates: None,
        max_users: None,
        max_authorities: None,
    }
}

async fn set(core: &Core, ctx: &Ctx, id: OrganizationId, new: &Subscription) -> Result<(), CoreError> {
    let version = core.show_organization(ctx, id).await?.version;
    core.set_subscription(ctx, id, version, new).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_of_the_installation_alone_say_what_is_subscribed_to() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.hire(&ctx, "ann", ADMINISTRATOR).await;
    let inside = office.enter(&office.key_for(&ctx, &ann, &["*"]).await).await.unwrap();
    let id = ctx.organization_id;
    let new = Subscription { max_users: Some(7), ..subscription(SubscriptionStatus::Trial) };
    assert_eq!(refused(set(&office.core, &inside, id, &new).await), ErrorCode::PermissionDenied);
    set(&office.core, &ctx, id, &new).await.unwrap();
    let shown = office.core.show_organization(&inside, id).await.unwrap();
    assert_eq!(
        (shown.subscription_plan.as_str(), shown.subscription_status.as_str(), shown.license_max_users),
        ("team", "trial", Some(7))
    );
    let late = office.core.set_subscription(&ctx, id, shown.version - 1, &new).await;
    assert_eq!(refused(late), ErrorCode::PreconditionFailed);
    for bad in [
        Subscription { max_users: Some(-1), ..new.clone() },
        Subscription { max_authorities: Some(-1), ..new.clone() },
        Subscription { plan: "Team plan".to_owned(), ..new.clone() },
    ] {
        assert_eq!(refused(set(&office.core, &ctx, id, &bad).await), ErrorCode::InvalidRequest);
    }
    let noted: Vec<(Value, Value)> = sqlx::query_as(
        "SELECT before_state, after_state FROM audit_log WHERE action = 'organization.set_subscription' AND outcome = 'allowed'",
    )
    .fetch_all(&office.database.superuser().await)
    .await
    .unwrap();
    assert_eq!(noted.len(), 1);
    assert_eq!((&noted[0].0["status"], &noted[0].1["status"]), (&"active".into(), &"trial".into()));
    assert_eq!(noted[0].1["max_users"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_under_a_subscription_that_has_ended() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let id = ctx.organization_id;
    let ended = Subscription { expires_at: Some(ctx.now), ..subscription(SubscriptionStatus::Active) };
    for new in [subscription(SubscriptionStatus::Cancelled), subscription(SubscriptionStatus::Expired), ended]
    {
        set(&office.core, &ctx, id, &new).await.unwrap();
        let attempt = office.core.create_user(&ctx, &new_user("ann")).await;
        assert_eq!(refused(attempt), ErrorCode::SubscriptionEnded);
    }
    // A late bill ends nothing whatever the date, nor does an end that is to come.
    let late = Subscription { expires_at: Some(ctx.now), ..subscription(SubscriptionStatus::PastDue) };
    set(&office.core, &ctx, id, &late).await.unwrap();
    let ann = office.core.create_user(&ctx, &new_user("ann")).await.unwrap();
    let later = Some(ctx.now + TimeDelta::seconds(1));
    let good = Subscription { expires_at: later, ..subscription(SubscriptionStatus::Active) };
    set(&office.core, &ctx, id, &good).await.unwrap();
    office.core.create_user(&ctx, &new_user("bob")).await.unwrap();
    set(&office.core, &ctx, id, &subscription(SubscriptionStatus::Expired)).await.unwrap();
    // What there is goes on.
    let given = office.core.assign_role(&ctx, &assignment(UserId(ann.id), REQUESTER)).await;
    given.unwrap();
    let key = office.key_for(&ctx, &ann, &["*"]).await;
    office.enter(&key).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_below_what_there_is_ends_nothing() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.hire(&ctx, "ann", REQUESTER).await;
    let one = Subscription { max_users: Some(1), ..subscription(SubscriptionStatus::Active) };
    set(&office.core, &ctx, ctx.organization_id, &one).await.unwrap();
    let key = office.key_for(&ctx, &ann, &["*"]).await;
    office.enter(&key).await.unwrap();
    let attempt = office.core.create_user(&ctx, &new_user("bob")).await;
    assert_eq!(refused(attempt), ErrorCode::LicenseLimitReached);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_organization_stays_closed() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let other = office.new_organization("other").await;
    let inside = office.as_administrator_of(other).await;
    let ann = office.hire(&inside, "ann", ADMINISTRATOR).await;
    let key = office.key_for(&inside, &ann, &["*"]).await;
    let within = office.enter(&key).await.unwrap();
    assert_eq!(refused(office.core.close_organization(&within, other, 1).await), ErrorCode::Conflict);
    let suspended = office.core.suspend_organization(&ctx, other, 1).await.unwrap();
    assert_eq!(refused(office.enter(&key).await), ErrorCode::OrganizationNotActive);
    let resumed = office.core.resume_organization(&ctx, other, suspended.version).await.unwrap();
    office.enter(&key).await.unwrap();
    // Only what has been suspended for a minute is closed.
    let early = office.core.close_organization(&ctx, other, resumed.version).await;
    assert_eq!(refused(early), ErrorCode::Conflict);
    let suspended = office.core.suspend_organization(&ctx, other, resumed.version).await.unwrap();
    for (age, is_closed) in [("59.9 seconds", false), ("0.1 seconds", true)] {
        let age = format!(
            "UPDATE organizations SET updated_at = updated_at - interval '{age}' WHERE org_code = 'other'"
        );
        sqlx::query(sqlx::AssertSqlSafe(age)).execute(&office.database.superuser().await).await.unwrap();
        let closed = office.core.close_organization(&ctx, other, suspended.version).await;
        assert_eq!(closed.is_ok(), is_closed, "{closed:?}");
    }
    let closed = office.core.show_organization(&ctx, other).await.unwrap();
    assert_eq!(closed.status, "closed");
    // Each is noted where it counts.
    let noted: Vec<Value> = sqlx::query_scalar(
        "SELECT after_state FROM audit_log WHERE action = 'organization.set_status' AND organization_id = $1",
    )
    .bind(uuid::Uuid::from(other))
    .fetch_all(&office.database.superuser().await)
    .await
    .unwrap();
    let mut states: Vec<_> = noted.iter().map(|state| state["status"].as_str().unwrap()).collect();
    states.sort_unstable();
    assert_eq!(states, ["active", "closed", "suspended", "suspended"]);
    assert_eq!(refused(office.enter(&key).await), ErrorCode::OrganizationNotActive);
    let attempt = office.core.resume_organization(&ctx, other, closed.version).await;
    assert_eq!(refused(attempt), ErrorCode::Conflict);
}

/// Whoever was let in a moment before, and is believed for a moment still.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_into_an_organization_that_is_shut() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let other = office.new_organization("other").await;
    let inside = office.as_administrator_of(other).await;
    office.core.create_user(&inside, &new_user("ann")).await.unwrap();
    office.core.suspend_organization(&ctx, other, 1).await.unwrap();
    let attempt = office.core.create_user(&inside, &new_user("bob")).await;
    assert_eq!(refused(attempt), ErrorCode::OrganizationNotActive);
}
