//! Passwords: argon2id with the parameters that OWASP names first (19 MiB, 2 passes, 1 lane).

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
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
    let hashed = tokio::task::spawn_blocking(move || {
        let hash = hasher()?
            .hash_password_with_salt(password.as_bytes(), &salt)
            .map_err(|error| CoreError::defect_of("a password cannot be hashed", error))?;
        let salt = hash.salt.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(HashedPassword { hash: hash.to_string(), salt })
    });
    hashed.await.map_err(|error| CoreError::defect_of("the hashing thread died", error))?
}

fn hasher() -> Result<Argon2<'static>, CoreError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| CoreError::defect_of("the parameters of argon2", error))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::PasswordVerifier;
    use argon2::password_hash::phc::PasswordHash;

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
        let stored = PasswordHash::new(&first.hash).unwrap();
        assert!(hasher().unwrap().verify_password(b"correct horse battery", &stored).is_ok());
        assert!(hasher().unwrap().verify_password(b"incorrect horse", &stored).is_err());
    }

    #[test]
    fn short_passwords_are_refused() {
        assert!(check_password("eleven char", "/password").is_err());
        assert!(check_password("twelve chars", "/password").is_ok());
    }
}
