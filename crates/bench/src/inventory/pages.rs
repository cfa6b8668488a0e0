//! Pages as a user asks for them, one after the other.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use clm_api::certificates::Certificate;
use clm_api::page::Page;
use clm_types::Clock;
use hdrhistogram::Histogram;
use reqwest::{Client, Url};

use crate::installation::BenchInstallation;
use crate::load::client;
use crate::tenant::Tenant;

/// Certificates on a page.
pub(crate) const LENGTH: usize = 50;
/// Pages that are turned to come to a late one.
const TURNED: usize = 100;
/// Times that a page is asked for before it counts: until the database has settled on how to find it.
const WARMUP: u32 = 60;

/// The median time of each kind of page.
pub(crate) async fn milliseconds(
    installation: &BenchInstallation,
    tenant: &Tenant,
    repeats: u32,
) -> Result<Vec<(&'static str, f64)>> {
    // Connections of before have been closed while rows were planted.
    let client = client(&installation.ca_file())?;
    let reader = Reader { client, tenant, url: format!("{}/api/v1/certificates", installation.api_url()) };
    let soon = (Clock::system().now() + TimeDelta::days(30)).to_rfc3339();
    let late = reader.turn(TURNED).await?;
    let pages: [(&'static str, Vec<(&str, &str)>); 7] = [
        ("the first", vec![]),
        ("after turning 100", vec![("cursor", &late)]),
        ("of those that end within 30 days", vec![("status", "active"), ("expires_before", &soon)]),
        ("of revoked ones", vec![("status", "revoked")]),
        ("with a tag", vec![("tag", "team=team7")]),
        ("whose name begins so", vec![("text", "host123")]),
        ("with one name", vec![("san", "host777.bench.example")]),
    ];
    let mut figures = Vec::new();
    for (name, query) in pages {
        figures.push((name, reader.median(&query, repeats).await.context(name)?));
    }
    Ok(figures)
}

struct Reader<'a> {
    client: Client,
    tenant: &'a Tenant,
    url: String,
}

impl Reader<'_> {
    async fn page(&self, query: &[(&str, &str)]) -> Result<Page<Certificate>> {
        let url = Url::parse_with_params(&self.url, query)?;
        let answer = self.client.get(url).bearer_auth(&self.tenant.administrator_key).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// The cursor after so many pages.
    async fn turn(&self, pages: usize) -> Result<String> {
        let mut cursor = None;
        for _ in 0..pages {
            let query: Vec<(&str, &str)> =
                cursor.iter().map(|cursor: &String| ("cursor", cursor.as_str())).collect();
            cursor = self.page(&query).await?.next_cursor;
        }
        cursor.context("there are not so many pages: plant more certificates")
    }

    #[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^53 microseconds")]
    async fn median(&self, query: &[(&str, &str)], repeats: u32) -> Result<f64> {
        for _ in 0..WARMUP {
            ensure!(!self.page(query).await?.items.is_empty(), "the page is empty");
        }
        let mut latency = Histogram::<u64>::new_with_max(60_000_000, 3)?;
        for _ in 0..repeats {
            let begin = Instant::now();
            self.page(query).await?;
            latency.saturating_record(u64::try_from(begin.elapsed().as_micros())?);
        }
        Ok(latency.value_at_quantile(0.5) as f64 / 1e3)
    }
}
