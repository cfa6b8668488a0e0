use chrono::TimeDelta;
use clm_core::idempotency::{Begun, Call, StoredResponse};
use clm_core::{AskedOperation, Ctx};
use clm_types::{ErrorCode, OperationId};

use crate::office::{FIRST, Office, new_key, refused};

fn call(key: &str, body: u8) -> Call<'_> {
    Call { route: "POST /api/v1/requests", key, body_sha256: [body; 32] }
}

fn answer() -> StoredResponse {
    StoredResponse {
        status: 201,
        headers: vec![("location".to_owned(), "/api/v1/requests/1".to_owned())],
        body: b"{}".to_vec(),
    }
}

async fn begin(office: &Office, ctx: &Ctx, key: &str) -> uuid::Uuid {
    match office.core.begin_call(ctx, call(key, 1)).await.unwrap() {
        Begun::New(id) => id,
        other => panic!("must be new: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_sent_twice_is_run_once_and_answered_the_same() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let id = begin(&office, &ctx, "k").await;
    assert_eq!(office.core.begin_call(&ctx, call("k", 1)).await.unwrap(), Begun::InFlight);
    office.core.finish_call(id, &answer()).await.unwrap();
    assert_eq!(office.core.begin_call(&ctx, call("k", 1)).await.unwrap(), Begun::Replay(answer()));
    assert_eq!(office.core.begin_call(&ctx, call("k", 2)).await.unwrap(), Begun::Mismatch);
    begin(&office, &ctx, "other").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_is_run() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let attempts = (0..16).map(|_| office.core.begin_call(&ctx, call("k", 1)));
    let begun = futures::future::join_all(attempts).await;
    let new = begun.iter().filter(|each| matches!(each, Ok(Begun::New(_)))).count();
    let waiting = begun.iter().filter(|each| matches!(each, Ok(Begun::InFlight))).count();
    assert_eq!((new, waiting), (1, 15));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_lost_with_its_process_is_run_again_after_a_minute() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    begin(&office, &ctx, "k").await;
    office.core.clock.advance(TimeDelta::seconds(59));
    let later = office.as_administrator().await;
    assert_eq!(office.core.begin_call(&later, call("k", 1)).await.unwrap(), Begun::InFlight);
    office.core.clock.advance(TimeDelta::seconds(1));
    let later = office.as_administrator().await;
    assert_eq!(office.core.begin_call(&later, call("k", 2)).await.unwrap(), Begun::Mismatch);
    begin(&office, &later, "k").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_given_up_may_be_sent_again_and_old_answers_are_forgotten() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let id = begin(&office, &ctx, "k").await;
    office.core.abandon_call(id).await.unwrap();
    let id = begin(&office, &ctx, "k").await;
    office.core.finish_call(id, &answer()).await.unwrap();
    office.core.clock.advance(TimeDelta::hours(24));
    let later = office.as_administrator().await;
    begin(&office, &later, "k").await;
    office.core.clock.advance(TimeDelta::hours(24));
    assert_eq!(office.core.purge_calls().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_in_another_organization_is_a_mismatch() {
    let office = Office::open().await;
    let other = office.new_organization("other").await;
    let ctx = office.as_administrator().await;
    let id = begin(&office, &ctx, "k").await;
    office.core.finish_call(id, &answer()).await.unwrap();
    let inside = office.as_administrator_of(other).await;
    assert_eq!(office.core.begin_call(&inside, call("k", 1)).await.unwrap(), Begun::Mismatch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_run_again_keeps_its_id_until_it_is_forgotten() {
    let office = Office::open().await;
    let ctx = office.as_administrator().await;
    let first = begin(&office, &ctx, "k").await;
    office.core.release_call(first).await.unwrap();
    // It may have had its effect: only the very same call may follow.
    assert_eq!(office.core.begin_call(&ctx, call("k", 2)).await.unwrap(), Begun::Mismatch);
    assert_eq!(begin(&office, &ctx, "k").await, first);
    office.core.clock.advance(TimeDelta::hours(24));
    let later = office.as_administrator().await;
    assert_ne!(begin(&office, &later, "k").await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_call_is_run_again_after_a_crash_is_not_made_twice() {
    let office = Office::open().await;
    let mut ctx = office.as_administrator().await;
    let id = begin(&office, &ctx, "k").await;
    ctx.asked = Some(AskedOperation { operation_id: OperationId(id), call_sha256: String::new() });
    let (made, _) = office.core.create_api_key(&ctx, &new_key(None, &[])).await.unwrap();
    assert_eq!(made.id, id);
    let again = office.core.create_api_key(&ctx, &new_key(None, &[])).await;
    assert_eq!(refused(again), ErrorCode::AlreadyExists);
    let keys = office.core.list_api_keys(&ctx, (None, None), FIRST).await.unwrap();
    // The other one is that of the first administrator.
    assert_eq!(keys.items.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_old_answers_are_deleted_however_many_they_are() {
    let office = Office::open().await;
    let pool = office.database.pool("clm_core_migrator").await;
    sqlx::query(
        "INSERT INTO idempotency_keys (principal_id, route, idempotency_key, body_sha256, status, expires_at, created_at,
             updated_at)
         SELECT uuid_generate_v7(), 'r', 'k', sha256(''), 'done', now() - interval '1 day', now(), now()
         FROM generate_series(1, 20001)",
    )
    .execute(&pool)
    .await
    .unwrap();
    assert_eq!(office.core.purge_calls().await.unwrap(), 20_001);
}
