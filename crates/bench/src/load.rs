//! Clients that ask for certificates, one request after the other on a connection of their own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clm_types::{CertificateId, WorkflowStatus};
use hdrhistogram::Histogram;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::tenant::Tenant;

/// Longer than anything should take; the slow answer is a failure then.
const PATIENCE: Duration = Duration::from_secs(30);
/// The histogram's end.
const LONGEST_MICROS: u64 = 60_000_000;

/// What all clients share.
pub(crate) struct Load {
    url: String,
    headers: HeaderMap,
    bodies: Vec<Vec<u8>>,
    next: AtomicUsize,
    /// The measured time.
    pub from: Instant,
    pub until: Instant,
}

/// What came of it.
pub(crate) struct Outcome {
    /// Answers with a certificate in the measured time.
    pub certificates: u64,
    /// Their latencies in microseconds.
    pub latency: Histogram<u64>,
    /// Every certificate that was answered, in the measured time or not.
    pub issued: Vec<CertificateId>,
    /// Other answers, by status and code.
    pub failures: BTreeMap<String, u64>,
}

/// The parts of a request's representation that matter here.
#[derive(Deserialize)]
struct Answer {
    status: WorkflowStatus,
    certificate_id: Option<CertificateId>,
}

/// The code of a problem document.
#[derive(Deserialize)]
struct Problem {
    code: String,
}

/// A client of the API with at most one connection at a time per user.
pub(crate) fn client(ca_file: &Path) -> Result<Client> {
    let tls = clm_service::public_client(ca_file)?;
    Ok(Client::builder().tls_backend_preconfigured(tls).http1_only().timeout(PATIENCE).build()?)
}

impl Load {
    /// Load that begins now.
    pub(crate) fn new(
        api_url: &str,
        tenant: &Tenant,
        bodies: Vec<Vec<u8>>,
        warmup: Duration,
        window: Duration,
    ) -> Result<Self> {
        let mut headers = HeaderMap::new();
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", tenant.api_key))?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("prefer", HeaderValue::from_static("wait=30"));
        let from = Instant::now() + warmup;
        Ok(Self {
            url: format!("{api_url}/api/v1/requests"),
            headers,
            bodies,
            next: AtomicUsize::new(0),
            from,
            until: from + window,
        })
    }

    /// Runs `clients` of them to the end of the measured time.
    pub(crate) async fn run(self: Arc<Self>, clients: u16, ca_file: &Path) -> Result<Outcome> {
        let mut running = JoinSet::new();
        for _ in 0..clients {
            running.spawn(self.clone().run_client(client(ca_file)?));
        }
        let mut total = Outcome::new()?;
        while let Some(outcome) = running.join_next().await {
            total.add(outcome??)?;
        }
        ensure!(
            self.next.load(Ordering::Relaxed) < self.bodies.len(),
            "the {} signing requests did not last: make more with --requests",
            self.bodies.len()
        );
        Ok(total)
    }

    async fn run_client(self: Arc<Self>, client: Client) -> Result<Outcome> {
        let mut outcome = Outcome::new()?;
        while Instant::now() < self.until {
            let Some(body) = self.bodies.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
            let begin = Instant::now();
            let answer = self.ask(&client, body).await;
            let end = Instant::now();
            match answer {
                Ok(certificate_id) => {
                    outcome.issued.push(certificate_id);
                    if (self.from..self.until).contains(&end) {
                        outcome.certificates += 1;
                        outcome.latency.saturating_record(micros(end - begin));
                    }
                }
                Err(failure) => *outcome.failures.entry(failure).or_default() += 1,
            }
        }
        Ok(outcome)
    }

    /// One certificate; anything but that is a failure, in words.
    async fn ask(&self, client: &Client, body: &[u8]) -> Result<CertificateId, String> {
        let request = client
            .post(&self.url)
            .headers(self.headers.clone())
            .header("idempotency-key", Uuid::now_v7().to_string())
            .body(body.to_vec());
        let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| error.without_url().to_string())?;
        if status != StatusCode::CREATED {
            let problem: Option<Problem> = serde_json::from_slice(&body).ok();
            return Err(format!("{} {}", status.as_u16(), problem.map_or_else(String::new, |p| p.code)));
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        answer
            .certificate_id
            .filter(|_| answer.status == WorkflowStatus::Completed)
            .ok_or_else(|| format!("201 without a certificate: {}", answer.status))
    }
}

impl Outcome {
    fn new() -> Result<Self> {
        Ok(Self {
            certificates: 0,
            latency: Histogram::new_with_max(LONGEST_MICROS, 3).context("a histogram")?,
            issued: Vec::new(),
            failures: BTreeMap::new(),
        })
    }

    fn add(&mut self, mut other: Self) -> Result<()> {
        self.certificates += other.certificates;
        self.latency.add(other.latency)?;
        self.issued.append(&mut other.issued);
        for (failure, count) in other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
        Ok(())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
