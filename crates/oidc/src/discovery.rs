//! What a provider says of itself (Discovery 1.0), and its keys (RFC 7517). Believed for an hour, and on while the provider does
//! not answer; read anew, not more often than every half minute, when a token names a key that is not known. One call at a time
//! reads; whoever comes meanwhile goes by what is known, and is told to come again where a key is missing in it. While nothing is
//! known, few wait for it, and after a failure everybody is told so for some seconds: a provider that does not answer holds up
//! nobody else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::Jwk;
use reqwest::Client;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::OidcError;
use crate::fetch::{address, get};

const BELIEVED: Duration = Duration::from_hours(1);
/// How long after a failure nobody tries again.
const PAUSE: Duration = Duration::from_secs(5);
/// Calls that wait while another one reads for the first time.
const MOST_WAITING: usize = 2;
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

/// What is known of a provider, and whether it was read for this call.
pub(crate) struct Found {
    pub(crate) known: Arc<Known>,
    pub(crate) is_new: bool,
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
    memory: Mutex<Memory>,
    reading: tokio::sync::Mutex<()>,
    waiting: tokio::sync::Semaphore,
}

#[derive(Default, Clone)]
struct Memory {
    known: Option<Arc<Known>>,
    tried_at: Option<Instant>,
}

impl Found {
    const fn old(known: Arc<Known>) -> Self {
        Self { known, is_new: false }
    }
}

impl Memory {
    fn was_tried_within(&self, time: Duration) -> bool {
        self.tried_at.is_some_and(|at| at.elapsed() < time)
    }
}

impl Discovery {
    pub(crate) fn new(issuer: String, client: Client) -> Self {
        Self {
            issuer,
            client,
            memory: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            waiting: tokio::sync::Semaphore::new(MOST_WAITING),
        }
    }

    /// What is known, read anew if it is old.
    pub(crate) async fn known(&self) -> Result<Arc<Known>, OidcError> {
        Ok(self.found().await?.known)
    }

    /// The same, with whether it was read for this call.
    pub(crate) async fn found(&self) -> Result<Found, OidcError> {
        match self.memory().known {
            Some(known) if known.read_at.elapsed() < BELIEVED => Ok(Found::old(known)),
            Some(known) => Ok(self.read_once(PAUSE).await.unwrap_or_else(|_| Found::old(known))),
            None => self.read_once(PAUSE).await,
        }
    }

    /// What is known, read anew: a key is missing in it.
    ///
    /// # Errors
    /// `Unavailable` also while another call reads, and when that was done a moment ago: the key may have been published since, and
    /// whoever invents names of keys does not have them read each time.
    pub(crate) async fn renewed(&self) -> Result<Arc<Known>, OidcError> {
        let found = self.read_once(AT_MOST_EVERY).await?;
        if found.is_new {
            return Ok(found.known);
        }
        Err(OidcError::unavailable("a key (`kid`) is not among those that were read a moment ago"))
    }

    /// Reads, unless that was tried within `pause`.
    async fn read_once(&self, pause: Duration) -> Result<Found, OidcError> {
        let _one_at_a_time = match (self.reading.try_lock(), self.memory().known) {
            (Ok(turn), _) => turn,
            (Err(_), Some(known)) => return Ok(Found::old(known)),
            (Err(_), None) => {
                let busy = |_| OidcError::unavailable("others wait for the provider's first answer");
                let _place = self.waiting.try_acquire().map_err(busy)?;
                self.reading.lock().await
            }
        };
        let memory = self.memory();
        if memory.was_tried_within(pause) {
            let silent = || OidcError::unavailable("the provider did not answer a moment ago");
            return memory.known.map(Found::old).ok_or_else(silent);
        }
        self.remember(None);
        let read = self.read().await.map(Arc::new);
        // Whoever has waited for an answer that did not come does not try again.
        self.remember(read.as_ref().ok().map(Arc::clone));
        Ok(Found { known: read?, is_new: true })
    }

    async fn read(&self) -> Result<Known, OidcError> {
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
        Ok(Known { metadata, keys: keys.collect(), read_at: Instant::now() })
    }

    fn memory(&self) -> Memory {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, known: Option<Arc<Known>>) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.tried_at = Some(Instant::now());
        memory.known = known.or(memory.known.take());
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// Discovery 1.0, section 4.
fn description_of(issuer: &str) -> Result<Url, OidcError> {
    address(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))
}
