//! The rules of the Secure Service: key custody, issuing, revocation, CRL, OCSP, audit chain.
//!
//! Nothing here knows the transport. A private key in the clear exists only inside this crate, in zeroizing buffers.

pub mod audit;
pub mod audit_exports;
pub mod audit_keys;
pub mod authorities;
pub mod authority_certificates;
pub mod authority_states;
pub mod blocked_keys;
pub mod ceremonies;
pub mod certificates;
pub mod checkpoints;
pub mod committer;
mod crl_checks;
mod crl_drafts;
mod crl_rests;
pub mod crls;
pub mod custody;
pub mod encryption_keys;
pub mod envelope;
pub mod error;
pub mod events;
pub mod expiry;
pub mod imports;
pub mod issuance;
pub mod key_exports;
mod key_pool;
pub mod mandates;
pub mod mass_revocations;
pub mod master_key;
pub mod master_rotation;
pub mod new_authorities;
pub mod ocsp;
pub mod ocsp_responders;
mod order;
pub mod owners;
pub mod private_keys;
mod recall;
pub mod references;
pub mod requests;
pub mod revocations;
pub mod rotation;
pub mod row_digests;
mod sealing;
pub mod signing_keys;
pub mod stored_keys;
mod subject_keys;
pub mod token;
pub mod verification;
mod wrapping;

use std::sync::Arc;

use clm_pg::PgPool;
use clm_types::{Clock, Entropy};

pub use audit::AuditDraft;
pub use custody::KeyStores;
pub use error::SecureError;
pub use master_key::MasterKey;
pub use token::{Token, TokenSettings};

use crate::audit_keys::AuditKey;
use crate::authorities::AuthorityStore;
use crate::committer::{Committer, Write};
use crate::custody::Custody;
use crate::key_pool::KeyPool;
use crate::ocsp_responders::Responders;
use crate::sealing::Recipient;

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
    responders: Responders,
    clock: Clock,
    entropy: Entropy,
    /// What private keys are sealed to on their way here.
    recipient: Recipient,
    audit_key: tokio::sync::OnceCell<AuditKey>,
    key_pool: KeyPool,
    /// Wakes the publisher of CRLs after a revocation.
    crl_due: tokio::sync::Notify,
}

impl Secure {
    /// Starts the committer on the current tokio runtime.
    pub fn new(pool: PgPool, stores: impl Into<KeyStores>, clock: Clock, entropy: Entropy) -> Self {
        let committer = Committer::start(pool.clone(), clock.clone(), entropy.clone());
        let parts = Parts {
            custody: Custody::new(stores.into()),
            authorities: AuthorityStore::default(),
            responders: Responders::default(),
            crl_due: tokio::sync::Notify::new(),
            recipient: Recipient::generate(),
            audit_key: tokio::sync::OnceCell::new(),
            key_pool: KeyPool::default(),
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
