//! What a provider says of itself (Discovery 1.0), and its keys (RFC 7517). Believed for an hour; read anew, not more often than
//! every half minute, when a token names a key that is not known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::Jwk;
use reqwest::Client;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use crate::OidcError;
use crate::fetch::{address, get};

const BELIEVED: Duration = Duration::from_hours(1);
const AT_MOST_EVERY: Duration = Duration::from_secs(30);
/// Most keys that are read of a provider.
const MOST_KEYS: usize = 100;

/// The parts of a provider's own description that are used.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) issuer: String,
    pub(crate) authorization_endpoint: Option<String>,
    pub(crate) token_endpoint: Option<String>,
    pub(crate) userinfo_endpoint: Option<String>,
    jwks_uri: String,
    #[serde(default)]
    pub(crate) token_endpoint_auth_methods_supported: Vec<String>,
}

/// What is known of a provider.
pub(crate) struct Known {
    pub(crate) metadata: Metadata,
    pub(crate) keys: Vec<Jwk>,
    read_at: Instant,
}

/// The memory of one provider.
pub(crate) struct Discovery {
    issuer: String,
    client: Client,
    known: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    known: Option<Arc<Known>>,
    tried_at: Option<Instant>,
}

impl Discovery {
    pub(crate) fn new(issuer: String, client: Client) -> Self {
        Self { issuer, client, known: Mutex::default() }
    }

    /// What is known, read anew if it is old.
    pub(crate) async fn known(&self) -> Result<Arc<Known>, OidcError> {
        let mut memory = self.known.lock().await;
        if let Some(known) = memory.known.as_ref().filter(|known| known.read_at.elapsed() < BELIEVED) {
            return Ok(Arc::clone(known));
        }
        self.read(&mut memory).await
    }

    /// The same, read anew unless that was done a moment ago: a key is missing in it.
    pub(crate) async fn renewed(&self) -> Result<Arc<Known>, OidcError> {
        let mut memory = self.known.lock().await;
        match &memory.known {
            Some(known) if was_a_moment_ago(memory.tried_at) => Ok(Arc::clone(known)),
            _ => self.read(&mut memory).await,
        }
    }

    /// One call at a time: others wait for its result.
    async fn read(&self, memory: &mut Memory) -> Result<Arc<Known>, OidcError> {
        memory.tried_at = Some(Instant::now());
        let url = description_of(&self.issuer)?;
        let metadata: Metadata = get(&self.client, url).await?;
        if metadata.issuer != self.issuer {
            let detail =
                format!("{} calls itself {}: the names must be the same", self.issuer, metadata.issuer);
            return Err(OidcError::unavailable(detail));
        }
        let set: KeySet = get(&self.client, address(&metadata.jwks_uri)?).await?;
        // Keys of kinds that are not known here are no fault of the others.
        let keys = set.keys.into_iter().take(MOST_KEYS).filter_map(|key| serde_json::from_value(key).ok());
        let known = Arc::new(Known { metadata, keys: keys.collect(), read_at: Instant::now() });
        memory.known = Some(Arc::clone(&known));
        Ok(known)
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

fn was_a_moment_ago(tried_at: Option<Instant>) -> bool {
    tried_at.is_some_and(|at| at.elapsed() < AT_MOST_EVERY)
}

/// Discovery 1.0, section 4.
fn description_of(issuer: &str) -> Result<Url, OidcError> {
    address(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))
}
