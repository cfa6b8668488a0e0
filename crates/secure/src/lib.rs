//! The rules of the Secure Service: key custody, issuing, revocation, CRL, OCSP, audit chain.
//!
//! Nothing here knows the transport. A private key in the clear exists only inside this crate, in zeroizing buffers.

pub mod audit;
pub mod authorities;
pub mod ceremony;
pub mod certificates;
pub mod committer;
pub mod crls;
pub mod custody;
pub mod envelope;
pub mod error;
pub mod events;
pub mod expiry;
pub mod issuance;
pub mod mandates;
pub mod master_key;
pub mod ocsp;
mod order;
pub mod owners;
pub mod private_keys;
mod recall;
pub mod references;
pub mod requests;
pub mod revocations;
mod subject_keys;
mod wrapping;

use std::sync::Arc;

use clm_pg::PgPool;
use clm_types::{Clock, Entropy};

pub use audit::AuditDraft;
pub use error::SecureError;
pub use master_key::MasterKey;

use crate::authorities::AuthorityStore;
use crate::committer::{Committer, Write};
use crate::custody::Custody;

/// The Secure Service without its transport. Cheap to clone.
#[derive(Clone)]
pub struct Secure {
    parts: Arc<Parts>,
}

struct Parts {
    pool: PgPool,
    committer: Committer,
    custody: Custody,
    authorities: AuthorityStore,
    clock: Clock,
    entropy: Entropy,
    /// Wakes the publisher of CRLs after a revocation.
    crl_due: tokio::sync::Notify,
}

impl Secure {
    /// Starts the committer on the current tokio runtime.
    pub fn new(pool: PgPool, master_key: MasterKey, clock: Clock, entropy: Entropy) -> Self {
        let committer = Committer::start(pool.clone(), clock.clone(), entropy.clone());
        let parts = Parts {
            custody: Custody::new(master_key),
            authorities: AuthorityStore::default(),
            crl_due: tokio::sync::Notify::new(),
            pool,
            committer,
            clock,
            entropy,
        };
        Self { parts: Arc::new(parts) }
    }

    async fn commit(&self, write: Write) -> Result<(), SecureError> {
        self.parts.committer.commit(write).await
    }
}
