//! Requests with a key, as many as a server answers.

use std::time::Instant;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use crate::installation::BenchInstallation;
use crate::load::client;
use crate::options::AccessOptions;

/// Answers a second from `url`, to clients that each wait for theirs.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) async fn per_second(
    installation: &BenchInstallation,
    url: &str,
    key: &str,
    options: &AccessOptions,
) -> Result<f64> {
    let until = Instant::now() + options.window();
    let mut clients = JoinSet::new();
    for _ in 0..options.clients {
        let call = client(&installation.ca_file())?;
        let (url, key) = (url.to_owned(), key.to_owned());
        clients.spawn(async move {
            let mut count = 0_u64;
            while Instant::now() < until {
                let answer = call.get(&url).bearer_auth(&key).send().await?;
                ensure!(answer.status().is_success(), "a request was answered with {}", answer.status());
                answer.bytes().await?;
                count += 1;
            }
            Ok(count)
        });
    }
    let mut total = 0;
    while let Some(count) = clients.join_next().await {
        total += count??;
    }
    Ok(total as f64 / options.window().as_secs_f64())
}
