//! What each process does alike: its configuration file, secrets from files, logs, metrics, health,
//! TLS of its public listener, shutdown.

mod admin;
mod config;
#[cfg(feature = "failpoints")]
mod failpoint;
mod health;
mod logging;
mod metrics;
mod process;
mod secret;
mod tls;

pub use admin::{AdminConfig, serve_admin};
pub use config::{ConfigError, load};
#[cfg(feature = "failpoints")]
pub use failpoint::{FailpointError, init_failpoints};
pub use health::Health;
pub use logging::{LogConfig, LogError, LogFormat, init_logging};
pub use metrics::Metrics;
pub use process::{harden_process, lock_memory, shutdown_on_signal};
pub use secret::{Secret, SecretError};
pub use tls::{TlsError, install_provider, public_client, public_server};
