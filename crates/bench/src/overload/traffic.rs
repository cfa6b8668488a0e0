//! Requests of an organization: mostly reads, now and then a request for a certificate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::installation::BenchInstallation;
use crate::load::client;
use crate::tenant::Tenant;

/// The histogram's end.
const LONGEST_MICROS: u64 = 60_000_000;
/// Between two questions to the validation listener.
const PROBE: Duration = Duration::from_millis(20);

/// What is sent.
#[derive(Clone)]
pub(crate) struct Traffic {
    shared: Arc<Shared>,
}

struct Shared {
    /// Keeps a connection for every answer that is waited for.
    client: Client,
    url: String,
    key: String,
    crl_url: String,
    bodies: Vec<Vec<u8>>,
    write_every: u64,
    next: AtomicU64,
}

/// What came of it.
pub(crate) struct Outcome {
    /// Answers by status and code, or why there was none.
    pub(crate) answers: BTreeMap<String, u64>,
    /// Latencies of the good ones in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// Ids of requests that were acknowledged.
    pub(crate) acknowledged: Vec<String>,
    /// Answers of the validation listener.
    pub(crate) validation: BTreeMap<String, u64>,
    good: u64,
}

/// One answer.
struct Answer {
    status: String,
    good: bool,
    id: Option<String>,
    latency: Duration,
}

/// The id of what was made, or the code of a refusal.
#[derive(Default, Deserialize)]
struct Body {
    id: Option<String>,
    code: Option<String>,
}

impl Traffic {
    /// One write in `write_every` requests.
    pub(crate) fn new(
        installation: &BenchInstallation,
        tenant: &Tenant,
        bodies: Vec<Vec<u8>>,
        write_every: u32,
    ) -> Result<Self> {
        let id = installation.sql(
            clm_local::cluster::Database::Secure,
            "SELECT id FROM certificate_authorities WHERE name = 'CLM Sandbox Issuing CA'",
        )?;
        let shared = Shared {
            client: client(&installation.ca_file())?,
            url: installation.api_url(),
            key: tenant.api_key.clone(),
            crl_url: format!("{}/crl/{}.crl", installation.validation_url(), id.trim()),
            bodies,
            write_every: write_every.into(),
            next: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Each client waits for its answer before it asks again.
    pub(crate) async fn closed(&self, clients: u16, window: Duration) -> Result<Outcome> {
        let until = Instant::now() + window;
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let shared = Arc::clone(&self.shared);
            running.spawn(async move {
                let mut answers = Vec::new();
                while Instant::now() < until {
                    answers.push(shared.ask().await);
                }
                answers
            });
        }
        let mut outcome = Outcome::new()?;
        while let Some(answers) = running.join_next().await {
            answers?.into_iter().for_each(|answer| outcome.add(answer));
        }
        self.check_bodies()?;
        Ok(outcome)
    }

    /// So many requests a second, answered or not.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub(crate) async fn open(&self, per_second: f64, window: Duration) -> Result<Outcome> {
        let began = Instant::now();
        let probe = tokio::spawn(Arc::clone(&self.shared).probe(began + window));
        let (mut sent, mut running) = (0_u64, JoinSet::new());
        let mut outcome = Outcome::new()?;
        while began.elapsed() < window {
            let due = began.elapsed().as_secs_f64() * per_second;
            while (sent as f64) < due {
                sent += 1;
                let shared = Arc::clone(&self.shared);
                running.spawn(async move { shared.ask().await });
            }
            while let Some(answer) = running.try_join_next() {
                outcome.add(answer?);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Only what was answered in time counts.
        let good = outcome.good;
        while let Some(answer) = running.join_next().await {
            outcome.add(answer?);
        }
        outcome.good = good;
        outcome.validation = probe.await?;
        self.check_bodies()?;
        Ok(outcome)
    }

    fn check_bodies(&self) -> Result<()> {
        let asked = self.shared.next.load(Ordering::Relaxed) / self.shared.write_every;
        ensure!(asked < self.shared.bodies.len() as u64, "the signing requests did not last");
        Ok(())
    }
}

impl Shared {
    async fn ask(&self) -> Answer {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let body = usize::try_from(number / self.write_every).ok().and_then(|at| self.bodies.get(at));
        let request = match body {
            Some(body) if number.is_multiple_of(self.write_every) => self.write(body),
            _ => self.client.get(format!("{}/api/v1/requests?limit=10", self.url)),
        };
        let began = Instant::now();
        let answer = read(request.bearer_auth(&self.key)).await;
        Answer { latency: began.elapsed(), ..answer }
    }

    fn write(&self, body: &[u8]) -> RequestBuilder {
        let request = self.client.post(format!("{}/api/v1/requests", self.url));
        let request = request.header("idempotency-key", Uuid::now_v7().to_string());
        request.header("content-type", "application/json").body(body.to_vec())
    }

    /// Fetches a CRL again and again.
    async fn probe(self: Arc<Self>, until: Instant) -> BTreeMap<String, u64> {
        let mut answers = BTreeMap::new();
        let client = Client::new();
        while Instant::now() < until {
            let answer = read(client.get(&self.crl_url)).await;
            *answers.entry(answer.status).or_default() += 1;
            tokio::time::sleep(PROBE).await;
        }
        answers
    }
}

async fn read(request: RequestBuilder) -> Answer {
    let failed = |error: reqwest::Error| Answer {
        status: format!("no answer ({})", error.without_url()),
        good: false,
        id: None,
        latency: Duration::ZERO,
    };
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return failed(error),
    };
    let status = answer.status();
    match answer.bytes().await {
        Ok(octets) => {
            let body: Body = serde_json::from_slice(&octets).unwrap_or_default();
            let code = body.code.filter(|_| !status.is_success());
            let words = [Some(status.as_u16().to_string()), code].into_iter().flatten().collect::<Vec<_>>();
            Answer {
                status: words.join(" "),
                good: status.is_success(),
                id: body.id,
                latency: Duration::ZERO,
            }
        }
        Err(error) => failed(error),
    }
}

impl Outcome {
    fn new() -> Result<Self> {
        Ok(Self {
            answers: BTreeMap::new(),
            latency: Histogram::new_with_max(LONGEST_MICROS, 3).context("a histogram")?,
            acknowledged: Vec::new(),
            validation: BTreeMap::new(),
            good: 0,
        })
    }

    fn add(&mut self, answer: Answer) {
        *self.answers.entry(answer.status).or_default() += 1;
        if answer.good {
            self.good += 1;
            self.latency.saturating_record(u64::try_from(answer.latency.as_micros()).unwrap_or(u64::MAX));
            self.acknowledged.extend(answer.id);
        }
    }

    /// Good answers per second.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub(crate) fn goodput(&self, window: Duration) -> f64 {
        self.good as f64 / window.as_secs_f64()
    }
}
