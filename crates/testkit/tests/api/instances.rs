//! Two processes of Core on one pair of databases: what one takes away, the other no longer grants a second later.

use std::time::{Duration, Instant};

use clm_testkit::SecondCore;
use serde_json::{Value, json};

use crate::answer::{Answer, text};
use crate::house::{HOUSE, Office, REQUESTER, hire, house, office};
use crate::person::Person;
use crate::sign_in::come;

/// How soon a change must hold everywhere.
const SOON: Duration = Duration::from_secs(1);
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(20);
const REQUESTS: &str = "/api/v1/requests";

/// An office with a second process.
struct Pair {
    office: Office,
    second: SecondCore,
}

impl Pair {
    async fn start() -> Self {
        Self { office: office().await, second: SecondCore::start(&house().await.installation, |_| {}).await }
    }

    /// The same person at the second process, which knows them from now on.
    async fn there(&self, person: &Person) -> Person {
        let there = Person { url: self.second.api_url(), ..person.clone() };
        there.get(REQUESTS).await.expect(200);
        there
    }

    async fn post(&self, path: &str) -> Answer {
        self.office.admin.post(path, &json!({})).await
    }

    /// The assignments of a user.
    async fn assignments(&self, person: &Person) -> Vec<Value> {
        self.office.admin.list(&format!("/api/v1/role-assignments?user={}", person.id)).await
    }

    async fn take_roles_away(&self, person: &Person) {
        for assignment in self.assignments(person).await {
            let path = format!("/api/v1/role-assignments/{}/revoke", text(&assignment, "id"));
            let answer = self.post(&path).await;
            assert!((200..300).contains(&answer.status), "{}", answer.text());
        }
    }
}

/// Fails unless the second process refuses within a second from `changed` on; meanwhile nothing but 200 comes.
async fn refused_soon(there: &Person, changed: Instant, status: u16) {
    loop {
        let asked = Instant::now();
        let answer = there.get(REQUESTS).await;
        if answer.status == status {
            return;
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(asked < changed + SOON, "still granted {:?} after the change", changed.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_at_one_process_is_gone_at_the_other() {
    let pair = Pair::start().await;
    let (alice, carol) = (&pair.office.alice, &pair.office.carol);

    let there = pair.there(alice).await;
    pair.take_roles_away(alice).await;
    refused_soon(&there, Instant::now(), 403).await;

    let (visitor, opened) =
        come(&pair.office, &format!("visitor-{}", pair.second.api_port()), &[REQUESTER]).await;
    let there = pair.there(&visitor).await;
    let session = text(&opened, "session_id");
    let answer = visitor.post(&format!("/api/v1/sessions/{session}/revoke"), &json!({})).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    refused_soon(&there, Instant::now(), 401).await;

    let there = pair.there(carol).await;
    pair.post(&format!("/api/v1/users/{}/disable", carol.id)).await.expect(200);
    refused_soon(&there, Instant::now(), 403).await;

    let dora = hire(&pair.office.admin, &format!("dora-{}", pair.second.api_port()), &[REQUESTER]).await;
    let there = pair.there(&dora).await;
    let keys = pair.office.admin.list(&format!("/api/v1/api-keys?user={}", dora.id)).await;
    let answer = pair.post(&format!("/api/v1/api-keys/{}/revoke", text(&keys[0], "id"))).await;
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    refused_soon(&there, Instant::now(), 401).await;

    let there = pair.there(&pair.office.bob).await;
    // From the administrator's own organization.
    let elsewhere = Person { organization: None, ..pair.office.admin.clone() };
    let path = format!("/api/v1/organizations/{}/suspend", pair.office.organization);
    elsewhere.post(&path, &json!({})).await.expect(200);
    refused_soon(&there, Instant::now(), 403).await;
}

/// Cuts every connection on which a process of Core hears notices: how many they were.
fn cut_listeners() -> usize {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = 'clm_core_db' AND query LIKE 'LISTEN %' AND pid <> pg_backend_pid()";
    let databases = &HOUSE.get().unwrap().installation.databases;
    databases.core.psql("clm_core_db", sql).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_notice_leaves_nothing_standing() {
    let pair = Pair::start().await;
    let alice = &pair.office.alice;
    let there = pair.there(alice).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (began, cut) = tokio::sync::oneshot::channel();
    let cutter = tokio::task::spawn_blocking(move || {
        let (mut stopped, mut began) = (stopped, Some(began));
        let end = Instant::now() + PATIENCE;
        while stopped.try_recv().is_err() && Instant::now() < end {
            if cut_listeners() > 0
                && let Some(began) = began.take()
            {
                began.send(()).unwrap();
            }
        }
    });
    cut.await.unwrap();
    there.get(REQUESTS).await.expect(200);
    pair.take_roles_away(alice).await;
    refused_soon(&there, Instant::now(), 403).await;
    stop.send(()).unwrap();
    cutter.await.unwrap();
    // And it hears again.
    let bob = pair.there(&pair.office.bob).await;
    pair.take_roles_away(&pair.office.bob).await;
    refused_soon(&bob, Instant::now(), 403).await;
}
