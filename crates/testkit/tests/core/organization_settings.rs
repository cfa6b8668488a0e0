use chrono::TimeDelta;
use clm_core::actor::MissingFactor;
use clm_core::organizations::OrganizationChange;
use clm_core::roles::REQUESTER;
use clm_core::{CoreError, Ctx};
use clm_types::{ErrorCode, UserId};
use serde_json::{Value, json};

use crate::office::{Office, new_key, new_user, refused};
use crate::sign_in::PASSWORD;

async fn set(office: &Office, ctx: &Ctx, settings: Value) -> Result<(), CoreError> {
    let own = office.core.show_organization(ctx, ctx.organization_id).await?;
    let change = OrganizationChange { name: own.org_name, settings };
    office.core.update_organization(ctx, ctx.organization_id, own.version, &change).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_settings_are_refused_unless_they_stand_there() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    for bad in [json!({"locale": "de"}), json!({"sign_in": {"session_idle_minutes": 1}}), json!([])] {
        assert_eq!(refused(set(&office, &ctx, bad).await), ErrorCode::InvalidRequest);
    }
    sqlx::query(r#"UPDATE organizations SET settings = '{"locale": "de"}'"#)
        .execute(&office.database.superuser().await)
        .await
        .unwrap();
    set(&office, &ctx, json!({"locale": "de", "sign_in": {"second_factor": "optional"}})).await.unwrap();
    assert_eq!(refused(set(&office, &ctx, json!({"locale": "fr"})).await), ErrorCode::InvalidRequest);
    set(&office, &ctx, json!({})).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_where_the_organization_says_so() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let session = office.sign_in("ann", PASSWORD).await.unwrap();
    let token = session.token.expose();
    for (settings, minutes) in [
        (json!({"sign_in": {"session_idle_minutes": 5}}), 5),
        (json!({"sign_in": {"session_lifetime_hours": 1}}), 60),
    ] {
        set(&office, &ctx, settings).await.unwrap();
        let sql = "UPDATE sessions SET created_at = $1, last_seen_at = $2";
        let pool = office.database.superuser().await;
        let ends_now = ctx.now - TimeDelta::minutes(minutes);
        let is_idle = minutes == 5;
        let used = if is_idle { ends_now } else { ctx.now };
        sqlx::query(sql).bind(ends_now).bind(used).execute(&pool).await.unwrap();
        office.core.forget_everything();
        assert_eq!(refused(office.enter(token).await), ErrorCode::SessionTooOld);
        let second = TimeDelta::seconds(1);
        sqlx::query(sql).bind(ends_now + second).bind(used + second).execute(&pool).await.unwrap();
        office.core.forget_everything();
        office.enter(token).await.unwrap();
    }
    set(&office, &ctx, json!({"sign_in": {"second_factor": "required"}})).await.unwrap();
    assert_eq!(office.sign_in("ann", PASSWORD).await.unwrap().missing, Some(MissingFactor::Enrolment));
}

/// Rows of before there were bounds.
#[tokio::test(flavor = "multi_thread")]
async fn stored_settings_out_of_bounds_lock_nobody_out() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    office.welcome(&ctx, "ann", REQUESTER).await;
    let session = office.sign_in("ann", PASSWORD).await.unwrap();
    for value in ["0", "4294967295", "-1"] {
        let sql = "UPDATE organizations SET settings = jsonb_build_object('sign_in',
            jsonb_build_object('session_idle_minutes', $1::bigint, 'session_lifetime_hours', $1::bigint),
            'api_keys', jsonb_build_object('longest_days', $1::bigint))";
        let number: i64 = value.parse().unwrap();
        sqlx::query(sql).bind(number).execute(&office.database.superuser().await).await.unwrap();
        office.core.forget_everything();
        office.enter(session.token.expose()).await.unwrap();
        office.core.create_api_key(&ctx, &new_key(None, &["*"])).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lives_no_longer_than_the_organization_says() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let ann = office.core.create_user(&ctx, &new_user("ann")).await.unwrap();
    let new = new_key(Some(UserId(ann.id)), &["request:read"]);
    let (old, _) = office.core.create_api_key(&ctx, &new).await.unwrap();
    set(&office, &ctx, json!({"api_keys": {"longest_days": 30}})).await.unwrap();
    let latest = ctx.now + TimeDelta::days(30);
    let (usual, _) = office.core.create_api_key(&ctx, &new).await.unwrap();
    assert_eq!(usual.expires_at, Some(latest));
    for (asked, is_taken) in [(latest, true), (latest + TimeDelta::seconds(1), false)] {
        let asked = clm_core::api_keys::NewApiKey { expires_at: Some(asked), ..new.clone() };
        let made = office.core.create_api_key(&ctx, &asked).await;
        assert_eq!(made.is_ok(), is_taken);
    }
    // What follows an older key is cut down.
    let (next, _) = office.core.rotate_api_key(&ctx, old.id.into(), TimeDelta::zero()).await.unwrap();
    assert_eq!(next.expires_at, Some(latest));
    // So do keys for all organizations that are made here.
    let (everywhere, _) = office
        .core
        .create_api_key(&ctx, &clm_core::api_keys::NewApiKey { everywhere: true, ..new_key(None, &["*"]) })
        .await
        .unwrap();
    assert_eq!(everywhere.expires_at, Some(latest));
}
