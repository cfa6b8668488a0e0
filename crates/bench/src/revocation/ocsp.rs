//! OCSP over HTTP: answers that Core keeps, and answers that are signed for each request because of their nonce.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clm_local::cluster::Database;
use clm_types::SerialNumber;
use clm_x509::ocsp::{CertId, OcspRequest};
use clm_x509::{Certificate, IssuerInfo};
use reqwest::Client;
use tokio::task::JoinSet;

use super::planted::{ISSUING, issuing_id};
use crate::installation::BenchInstallation;
use crate::options::RevocationOptions;
use crate::progress;
use crate::signing;

/// Names and figures.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) async fn measure(
    installation: &BenchInstallation,
    options: &RevocationOptions,
) -> Result<Vec<(String, String)>> {
    progress("measuring signatures on one core");
    let signatures = signing::signatures_per_second(Duration::from_secs(2))?;
    let id = issuing_id(installation)?;
    let url = format!("{}/ocsp/{id}", installation.validation_url());
    let issuer = issuer(installation)?;
    let serial: SerialNumber = "4000000000000000000000000000000000000001".parse()?;
    let cert_id = CertId::under_sha1(&issuer, &serial);
    let mut figures = Vec::new();
    for (name, nonce, goal) in [("kept by Core", false, 30_000), ("signed on demand", true, 10_000)] {
        progress(&format!("OCSP {name}, {} clients for {} s", options.clients, options.seconds));
        let answers = load(&url, &cert_id, nonce, options).await?;
        let rate = answers as f64 / f64::from(options.seconds);
        figures.push((format!("OCSP answers {name} (goal {goal}/s)"), format!("{rate:.0}/s")));
        if nonce {
            let ratio = rate / signatures;
            figures.push((
                "ceiling: P-256 signatures on one core".to_owned(),
                format!("{signatures:.0}/s, ratio {ratio:.3}"),
            ));
        }
    }
    Ok(figures)
}

fn issuer(installation: &BenchInstallation) -> Result<IssuerInfo> {
    let sql = format!(
        "SELECT replace(encode(c.der_encoded_cert, 'base64'), E'\\n', '') FROM certificates c
         JOIN certificate_authorities a ON a.certificate_id = c.certificate_id WHERE a.name = '{ISSUING}'"
    );
    let der = STANDARD.decode(installation.sql(Database::Secure, &sql)?.trim())?;
    let certificate = Certificate::parse(&der).map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    IssuerInfo::from_certificate(&certificate).map_err(|refusal| anyhow::anyhow!("{refusal}"))
}

/// Answers in the measured time.
async fn load(url: &str, cert_id: &CertId, nonce: bool, options: &RevocationOptions) -> Result<u64> {
    let answered = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(options.seconds.into());
    let mut clients = JoinSet::new();
    for number in 0..options.clients {
        let (url, cert_id, answered) = (url.to_owned(), cert_id.clone(), Arc::clone(&answered));
        clients.spawn(async move {
            let client = Client::builder().tcp_nodelay(true).build()?;
            let mut count = 0_u64;
            while Instant::now() < until {
                count += 1;
                let octets = [u64::from(number).to_be_bytes(), count.to_be_bytes()].concat();
                let request = OcspRequest { cert_ids: vec![cert_id.clone()], nonce: nonce.then_some(octets) };
                let call = client.post(&url).header("content-type", "application/ocsp-request");
                let answer = call.body(request.to_der()).send().await?.error_for_status()?.bytes().await?;
                // An answer that tries later has five octets.
                ensure!(answer.len() > 5, "an answer without status");
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.context("a client ended")??;
    }
    Ok(answered.load(Ordering::Relaxed))
}
