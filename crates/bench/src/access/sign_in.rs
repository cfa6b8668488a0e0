//! Sign-ins with a password, beside the hashes that they cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clm_api::sessions::{LinkUse, NewSession, OneTimeLink};
use clm_api::users::{NewUser, User};
use clm_core::passwords::PasswordCost;
use clm_local::cluster::Database;
use serde_json::json;
use tokio::task::JoinSet;

use crate::installation::BenchInstallation;
use crate::load::client;
use crate::options::AccessOptions;
use crate::tenant::{DOMAIN, Tenant};

const NAME: &str = "bench-person";
/// More than are hashed at once, and fewer than may be under way without credentials.
const CLIENTS: usize = 8;

/// Makes a user with a password, and gives the password.
pub(crate) async fn prepare(installation: &BenchInstallation, tenant: &Tenant) -> Result<String> {
    let client = client(&installation.ca_file())?;
    let api = format!("{}/api/v1", installation.api_url());
    let administrator = Tenant {
        organization_id: tenant.organization_id,
        api_key: tenant.administrator_key.clone(),
        administrator_key: tenant.administrator_key.clone(),
    };
    let user = NewUser {
        username: NAME.to_owned(),
        email: format!("{NAME}@{DOMAIN}"),
        display_name: None,
        invited: true,
    };
    let user: User = administrator.post(&client, &format!("{api}/users"), &user).await?;
    let url = format!("{api}/users/{}/links", user.id);
    let link: OneTimeLink = administrator.post(&client, &url, &json!({})).await?;
    let password = format!("bench {}", uuid::Uuid::new_v4());
    let body = LinkUse { token: link.token.context("the link was not shown")?, password: password.clone() };
    client.post(format!("{api}/links/use")).json(&body).send().await?.error_for_status()?;
    Ok(password)
}

/// Sign-ins that clients get, each waiting for its own.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) async fn per_second(
    installation: &BenchInstallation,
    password: &str,
    options: &AccessOptions,
) -> Result<f64> {
    let client = client(&installation.ca_file())?;
    let url = format!("{}/api/v1/sessions", installation.api_url());
    let until = Instant::now() + options.window();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let body = NewSession { username: NAME.to_owned(), password: password.to_owned() };
        let (client, url) = (client.clone(), url.clone());
        clients.spawn(async move {
            let mut count = 0_u64;
            while Instant::now() < until {
                let answer = client.post(&url).json(&body).send().await?;
                ensure!(answer.status().is_success(), "a sign-in was answered with {}", answer.status());
                count += u64::from(Instant::now() < until);
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

/// Hashes at the cost of the user's password, one thread on each core of the services.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn hashes_per_second(
    installation: &BenchInstallation,
    cores: usize,
    window: Duration,
) -> Result<f64> {
    let sql =
        format!("SELECT substring(password_hash FROM 't=([0-9]+)') FROM users WHERE username = '{NAME}'");
    let passes: f64 = installation.sql(Database::Core, &sql)?.trim().parse().context("the user's hash")?;
    let cost = PasswordCost::times_least(passes / 2.0);
    let (until, total) = (Instant::now() + window, Arc::new(AtomicU64::new(0)));
    let hash = |_| {
        let total = Arc::clone(&total);
        thread::spawn(move || {
            while Instant::now() < until && cost.spend().is_ok() {
                total.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let threads: Vec<_> = (0..cores).map(hash).collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("hashing panicked"))?;
    }
    Ok(total.load(Ordering::Relaxed) as f64 / window.as_secs_f64())
}
