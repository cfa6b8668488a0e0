//! What can be chosen on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// More than two cores have been seen to issue.
const MOST_PER_SECOND: u64 = 3_000;

/// How certificates are asked for.
#[derive(Args, Clone, Debug)]
pub(crate) struct IssueOptions {
    /// Clients at work at once, each with its own connection; also those of pgbench.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=90))]
    pub clients: u16,
    /// Seconds that are measured; also those of pgbench.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    /// Seconds of load before the measured ones.
    #[arg(long, default_value_t = 5)]
    pub warmup: u32,
    /// Signing requests made beforehand; as many as two cores could need unless given.
    #[arg(long)]
    pub requests: Option<u64>,
    /// Shows this many of the costliest statements of each database, which costs a little itself.
    #[arg(long, default_value_t = 0)]
    pub statements: u32,
    /// Writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl IssueOptions {
    /// The measured time.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// The time before it.
    pub(crate) fn warmup(&self) -> Duration {
        Duration::from_secs(self.warmup.into())
    }

    /// How many signing requests are made beforehand.
    pub(crate) fn request_count(&self) -> u64 {
        let seconds = u64::from(self.seconds) + u64::from(self.warmup);
        self.requests.unwrap_or(seconds * MOST_PER_SECOND)
    }
}

/// How much is revoked.
#[derive(Args, Clone, Debug)]
pub(crate) struct RevocationOptions {
    /// Entries of the list.
    #[arg(long, default_value_t = 1_000_000)]
    pub entries: u64,
    /// Certificates that are revoked together.
    #[arg(long, default_value_t = 100_000)]
    pub revoked: u64,
    /// Clients that ask OCSP at once.
    #[arg(long, default_value_t = 32)]
    pub clients: u16,
    /// Seconds that OCSP is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
}

/// How much is audited and moved.
#[derive(Args, Clone, Debug)]
pub(crate) struct CustodyOptions {
    /// Private keys that are moved under a new encryption key.
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,
    /// Seconds that events are measured.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
}

/// How many callers there are.
#[derive(Args, Clone, Debug)]
pub(crate) struct AccessOptions {
    /// Clients that ask at once, each with its own connection.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=120))]
    pub clients: u16,
    /// Seconds that each is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
}

impl AccessOptions {
    /// The measured time.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

/// How much more than can be done is asked for.
#[derive(Args, Clone, Debug)]
pub(crate) struct OverloadOptions {
    /// Clients that find out what can be done at most.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=120))]
    pub clients: u16,
    /// Seconds that each of both is measured.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    /// How many times as much is offered then.
    #[arg(long, default_value_t = 3.0)]
    pub factor: f64,
    /// One request in so many asks for a certificate; the others read.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub write_every: u32,
}

impl OverloadOptions {
    /// The measured time of each.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

/// What can be chosen for every section together.
#[derive(Args, Clone, Debug)]
pub(crate) struct AllOptions {
    #[command(flatten)]
    pub issue: IssueOptions,
    /// Entries of the revocation list.
    #[arg(long, default_value_t = 1_000_000)]
    pub entries: u64,
    /// Certificates that are revoked together.
    #[arg(long, default_value_t = 100_000)]
    pub revoked: u64,
    /// Private keys that are moved under a new encryption key.
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,
}

impl AllOptions {
    /// Those of the section `custody`.
    pub(crate) const fn custody(&self) -> CustodyOptions {
        CustodyOptions { keys: self.keys, seconds: self.issue.seconds }
    }

    /// Those of the section `revocation`.
    pub(crate) fn revocation(&self) -> RevocationOptions {
        RevocationOptions {
            entries: self.entries,
            revoked: self.revoked,
            clients: self.issue.clients,
            seconds: self.issue.seconds,
        }
    }
}

/// How many tenants there are, and what they have.
#[derive(Args, Clone, Debug)]
pub(crate) struct InventoryOptions {
    /// Organizations; one of them is measured, alone first. A thousand with the usual number take 10 GB and half an hour.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..))]
    pub organizations: u32,
    /// Certificates of each.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(6_000..))]
    pub certificates: u32,
    /// Times that each page is measured.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeats: u32,
}
