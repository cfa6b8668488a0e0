//! RSA keys made ahead: finding the primes takes up to a second, which no request shall wait for.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use clm_types::KeyAlgorithm;
use tokio::sync::Notify;

use crate::private_keys::PrivateKey;
use crate::{Secure, SecureError};

/// Keys of each size that lie ready. They are in memory in the clear, as every key in use is.
const READY: usize = 2;

const SIZES: [KeyAlgorithm; 3] = [KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa3072, KeyAlgorithm::Rsa4096];

/// Unused keys. Each is given out once.
#[derive(Default)]
pub(crate) struct KeyPool {
    ready: Mutex<VecDeque<PrivateKey>>,
    taken: Notify,
}

impl KeyPool {
    fn take(&self, algorithm: KeyAlgorithm) -> Option<PrivateKey> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let place = ready.iter().position(|key| key.public().algorithm() == algorithm)?;
        self.taken.notify_one();
        ready.remove(place)
    }

    /// The first size of which there are too few.
    fn missing(&self) -> Option<KeyAlgorithm> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |size| ready.iter().filter(|key| key.public().algorithm() == size).count();
        SIZES.into_iter().find(|size| count(*size) < READY)
    }

    fn add(&self, key: PrivateKey) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(key);
    }
}

impl Secure {
    /// Keeps the pool filled, for ever.
    pub async fn fill_key_pool(&self) {
        let pool = &self.parts.key_pool;
        loop {
            match pool.missing() {
                None => pool.taken.notified().await,
                Some(size) => match generate(size).await {
                    Ok(key) => pool.add(key),
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "no key can be made ahead");
                        return std::future::pending().await;
                    }
                },
            }
        }
    }

    /// A new private key, made ahead if it can be.
    pub(crate) async fn new_private_key(&self, algorithm: KeyAlgorithm) -> Result<PrivateKey, SecureError> {
        match self.parts.key_pool.take(algorithm) {
            Some(key) => Ok(key),
            None => generate(algorithm).await,
        }
    }
}

async fn generate(algorithm: KeyAlgorithm) -> Result<PrivateKey, SecureError> {
    let generated = tokio::task::spawn_blocking(move || PrivateKey::generate(algorithm)).await;
    generated.map_err(|_| SecureError::ShuttingDown)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_given_out_once() {
        let pool = KeyPool::default();
        assert_eq!(pool.missing(), Some(KeyAlgorithm::Rsa2048));
        for _ in 0..READY {
            pool.add(PrivateKey::generate(KeyAlgorithm::Rsa2048).unwrap());
        }
        assert_eq!(pool.missing(), Some(KeyAlgorithm::Rsa3072));
        let (one, two) =
            (pool.take(KeyAlgorithm::Rsa2048).unwrap(), pool.take(KeyAlgorithm::Rsa2048).unwrap());
        assert_ne!(one.public(), two.public());
        assert!(pool.take(KeyAlgorithm::Rsa2048).is_none());
    }
}
