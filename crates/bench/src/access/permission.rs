//! From a key to the verdict on a permission, when the answer is kept: what each call of the API begins with.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clm_core::sealed_secrets::SecretsKeys;
use clm_core::sign_in::SignInParts;
use clm_core::webauthn::RelyingParty;
use clm_core::{Core, CoreParts};
use clm_pg::PgConfig;
use clm_rpc::{SecureClient, TlsFiles};
use clm_types::{Clock, Entropy, Permission};
use toml::Table;
use uuid::Uuid;

use crate::installation::BenchInstallation;
use crate::tenant::Tenant;

/// Microseconds of one check. Once in a while the answer is fetched anew, as in the service.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) async fn microseconds(
    installation: &BenchInstallation,
    tenant: &Tenant,
    window: Duration,
) -> Result<f64> {
    let core = core(installation).await?;
    let (began, mut count) = (Instant::now(), 0_u64);
    while began.elapsed() < window {
        for _ in 0..100 {
            let ctx = core.authenticate(&tenant.api_key, None, Uuid::nil(), None).await?;
            ctx.require(Permission::RequestRead)?;
        }
        count += 100;
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / count as f64)
}

async fn core(installation: &BenchInstallation) -> Result<Arc<Core>> {
    let entropy = Entropy::system();
    let file = fs::read_to_string(installation.core.config_file())?;
    let config: Table = file.parse()?;
    let rpc = config.get("rpc").context("core.toml has no [rpc]")?;
    let text = |key: &str| rpc.get(key).and_then(|value| value.as_str()).context("[rpc] is not complete");
    let files = TlsFiles {
        ca_file: text("ca_file")?.into(),
        cert_file: text("cert_file")?.into(),
        key_file: text("key_file")?.into(),
    };
    let pool = async |section: &str| -> Result<_> {
        let config: PgConfig = config.get(section).context("no database")?.clone().try_into()?;
        Ok(clm_pg::connect(&config, "clm-bench").await?)
    };
    let keys = SecretsKeys::parse(&SecretsKeys::generate(&entropy)).map_err(|fault| anyhow!(fault))?;
    let party = RelyingParty::at("https://localhost").map_err(|fault| anyhow!(fault))?;
    Ok(Core::new(CoreParts {
        app: pool("database").await?,
        system: pool("system_database").await?,
        secure: SecureClient::new(text("endpoint")?, text("server_name")?, &files)
            .map_err(|error| anyhow!(error))?,
        clock: Clock::system(),
        entropy,
        sign_in: SignInParts::usual(keys, party),
        mail: None,
    }))
}
