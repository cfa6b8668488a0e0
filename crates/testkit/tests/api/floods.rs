//! Floods and slow callers, at a process of its own with low limits: it turns away what is too much, and nobody else.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use clm_testkit::SecondCore;
use clm_types::Entropy;
use reqwest::Method;
use serde_json::{Value, json};
use toml::Table;

use crate::answer::{Answer, text};
use crate::house::{Office, REQUESTER, hire, house, office};
use crate::person::{Person, fresh_key};

const REQUESTS: &str = "/api/v1/requests";

async fn limited(limits: &str) -> (Office, SecondCore) {
    let limits: Table = limits.parse().unwrap();
    let set = |config: &mut Table| {
        config.insert("limits".to_owned(), limits.into());
    };
    let office = office().await;
    let core = SecondCore::start(&house().await.installation, set).await;
    (office, core)
}

fn at(core: &SecondCore, person: &Person) -> Person {
    Person { url: core.api_url(), ..person.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_has_a_budget_of_reads_and_one_of_writes() {
    let (office, core) = limited(
        "reads_per_second = 1\nreads_burst = 5\nwrites_per_second = 1\nwrites_burst = 3\nfailures_per_minute = 30",
    )
    .await;
    let (alice, bob) = (at(&core, &office.alice), at(&core, &office.bob));
    // Known from now on.
    alice.get("/api/v1/me").await.expect(200);
    bob.get("/api/v1/me").await.expect(200);
    let mut refused = None;
    for _ in 0..20 {
        let answer = alice.get("/api/v1/me").await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap();
    refused.refused(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    // Reads are not writes, and alice is not bob, who is at the same address.
    alice.post("/api/v1/mass-revocations/plan", &json!({})).await.refused(400, "invalid_request");
    bob.get("/api/v1/me").await.expect(200);
    // Nor does bob pay for invented keys.
    let mut statuses = BTreeMap::new();
    for _ in 0..40 {
        let token =
            clm_core::tokens::Token::generate(clm_core::tokens::TokenKind::Personal, &Entropy::system());
        let stranger = Person { key: token.expose().to_owned(), ..bob.clone() };
        *statuses.entry(stranger.get("/api/v1/me").await.status).or_insert(0) += 1;
    }
    assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [401, 429], "{statuses:?}");
    bob.get("/api/v1/me").await.expect(200);
    let mut changes = Vec::new();
    for _ in 0..20 {
        changes.push(bob.post("/api/v1/mass-revocations/plan", &json!({})).await.status);
    }
    assert!(changes.contains(&429), "{changes:?}");
}

fn asked(number: usize) -> Value {
    json!({"profile": "tls-server", "policy": "at-once", "key_algorithm": "ecdsa-p256",
        "sans": [format!("dns:flood-{number}.example.com")]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_turned_away_and_loses_nothing_that_was_acknowledged() {
    let (office, core) = limited(
        "concurrent_requests = 8\nconcurrent_per_caller = 6\nwrites_per_second = 20\nwrites_burst = 60\n\
         reads_per_second = 300\nreads_burst = 300",
    )
    .await;
    let mut callers = vec![at(&core, &office.alice)];
    for number in 0..3 {
        let name = format!("flood-{number}-{}", core.api_port());
        callers.push(at(&core, &hire(&office.admin, &name, &[REQUESTER]).await));
    }
    let calls = (0..400).map(|number| {
        let person = callers[number % callers.len()].clone();
        async move {
            if number % 2 == 0 {
                return (person.get(REQUESTS).await, false);
            }
            let call = person.call(Method::POST, REQUESTS).header("idempotency-key", fresh_key());
            (person.send(call.json(&asked(number))).await, true)
        }
    });
    let answers: Vec<(Answer, bool)> = futures::future::join_all(calls).await;
    let mut statuses: BTreeMap<u16, u32> = BTreeMap::new();
    for (answer, _) in &answers {
        *statuses.entry(answer.status).or_default() += 1;
        match answer.status {
            200..=202 => {}
            429 => assert!(answer.refused(429, "rate_limited")["retryable"].as_bool().unwrap()),
            _ => assert!(answer.refused(503, "unavailable")["retryable"].as_bool().unwrap()),
        }
    }
    println!("{statuses:?}");
    assert!(statuses.contains_key(&200) && statuses.contains_key(&201), "{statuses:?}");
    assert!(statuses.contains_key(&429) && statuses.contains_key(&503), "{statuses:?}");
    for (answer, _) in answers.iter().filter(|(answer, is_write)| *is_write && answer.status < 300) {
        let id = text(&answer.expect(answer.status), "id");
        let request = office.alice.get(&format!("{REQUESTS}/{id}")).await.expect(200);
        assert_eq!(request["id"], id.as_str());
    }
    let acknowledged = answers.iter().filter(|(answer, is_write)| *is_write && answer.status < 300).count();
    let rows = house().await.rows(&office.organization);
    assert!(rows["workflow_instances"] >= i64::try_from(acknowledged).unwrap(), "{rows:?}");
    // Afterwards it is as before.
    at(&core, &office.carol).get(REQUESTS).await.expect(200);
}

/// Reads until the other side closes: what came.
fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_no_head_is_cut_off() {
    let (_, core) = limited("head_seconds = 1").await;
    let port = core.validation_port();
    tokio::task::spawn_blocking(move || {
        for beginning in ["", "PRI * HT", "GET /crl/x.crl HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
            let mut stream = connect(port);
            stream.write_all(beginning.as_bytes()).unwrap();
            let began = Instant::now();
            let said = rest(&mut stream);
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{beginning:?}: {said}");
            assert!(began.elapsed() < Duration::from_secs(10), "{beginning:?}: {:?}", began.elapsed());
        }
        // Nor who says nothing after an answer.
        let mut stream = connect(port);
        stream.write_all(b"GET /crl/x.crl HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let began = Instant::now();
        assert!(rest(&mut stream).starts_with("HTTP/1.1 404"));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let (office, core) = limited("").await;
    let alice = at(&core, &office.alice);
    let mut many = alice.call(Method::GET, "/api/v1/me");
    for number in 0..200 {
        many = many.header(format!("x-field-{number}"), "x".repeat(300));
    }
    // A peer that refuses the head of a request in HTTP/2 may do so with the stream.
    let refused = many.send().await.map_or(431, |answer| answer.status().as_u16());
    assert_eq!(refused, 431);
    let port = core.validation_port();
    let said = tokio::task::spawn_blocking(move || {
        let fields: String = (0..200).map(|number| format!("x-field-{number}: x\r\n")).collect();
        let mut stream = connect(port);
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n").as_bytes()).unwrap();
        rest(&mut stream)
    });
    assert!(said.await.unwrap().starts_with("HTTP/1.1 431"));
    alice.get("/api/v1/me").await.expect(200);
}

/// A connection that is kept, after its first answer.
fn served(port: u16) -> TcpStream {
    let mut stream = connect(port);
    stream.write_all(b"GET /crl/x.crl HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 404");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_so_many_connections_at_a_listener() {
    let (_, core) = limited("connections_per_address = 3").await;
    let port = core.validation_port();
    tokio::task::spawn_blocking(move || {
        let ask = |mut stream: TcpStream| {
            let sent = stream.write_all(b"GET /crl/x.crl HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            if sent.is_ok() { rest(&mut stream) } else { String::new() }
        };
        let held: Vec<_> = (0..3).map(|_| served(port)).collect();
        assert_eq!(ask(connect(port)), "");
        drop(held);
        let end = Instant::now() + Duration::from_secs(20);
        while !ask(connect(port)).starts_with("HTTP/1.1 404") {
            assert!(Instant::now() < end, "the places are not given back");
        }
    })
    .await
    .unwrap();
}
