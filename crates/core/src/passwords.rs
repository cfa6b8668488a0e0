//! Passwords: argon2id with the parameters that OWASP names first (19 MiB, 2 passes, 1 lane).

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use clm_types::{Entropy, ErrorCode, Refusal};
use zeroize::Zeroizing;

use crate::CoreError;

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SHORTEST: usize = 12;
const LONGEST: usize = 256;

/// A password as it is stored.
pub struct HashedPassword {
    /// PHC string, salt and parameters included.
    pub hash: String,
    /// The salt alone, as in the PHC string.
    pub salt: String,
}

/// Fails unless the password is 12 to 256 characters. No rules on which: length is what helps.
///
/// # Errors
/// `invalid_request`.
pub fn check_password(password: &str, field: &str) -> Result<(), Refusal> {
    if (SHORTEST..=LONGEST).contains(&password.chars().count()) {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::InvalidRequest, format!("a password has {SHORTEST} to {LONGEST} characters"))
        .field(field))
}

/// Hashes a password, on a thread of its own: it takes tens of milliseconds.
pub async fn hash_password(
    password: Zeroizing<String>,
    entropy: &Entropy,
) -> Result<HashedPassword, CoreError> {
    let salt = entropy.bytes::<16>();
    on_thread(move || {
        let hash = hasher()?
            .hash_password_with_salt(password.as_bytes(), &salt)
            .map_err(|error| CoreError::defect_of("a password cannot be hashed", error))?;
        let salt = hash.salt.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(HashedPassword { hash: hash.to_string(), salt })
    })
    .await
}

/// Whether the password is the one that was hashed.
pub async fn verify_password(password: Zeroizing<String>, stored: String) -> Result<bool, CoreError> {
    on_thread(move || {
        let stored = PasswordHash::new(&stored)
            .map_err(|error| CoreError::defect_of("a stored password hash cannot be read", error))?;
        Ok(hasher()?.verify_password(password.as_bytes(), &stored).is_ok())
    })
    .await
}

fn hasher() -> Result<Argon2<'static>, CoreError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| CoreError::defect_of("the parameters of argon2", error))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CoreError> + Send + 'static,
) -> Result<T, CoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| CoreError::defect_of("the hashing thread died", error))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_right_password_fits_and_the_salt_is_its_own() {
        let entropy = Entropy::seeded(1);
        let first = hash_password(secret("correct horse battery"), &entropy).await.unwrap();
        let second = hash_password(secret("correct horse battery"), &entropy).await.unwrap();
        assert_ne!(first.salt, second.salt);
        assert!(first.hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(first.hash.contains(&first.salt));
        assert!(verify_password(secret("correct horse battery"), first.hash.clone()).await.unwrap());
        assert!(!verify_password(secret("incorrect horse"), first.hash).await.unwrap());
    }

    #[test]
    fn short_passwords_are_refused() {
        assert!(check_password("eleven char", "/password").is_err());
        assert!(check_password("twelve chars", "/password").is_ok());
    }
}
