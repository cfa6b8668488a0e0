use chrono::TimeDelta;
use clm_core::Ctx;
use clm_core::idempotency::{Begun, Call, StoredResponse};

use crate::office::Office;

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
