//! Passwords: argon2id, at least with the parameters that OWASP names first (19 MiB, 2 passes, 1 lane), with more passes
//! where the machine has the time.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use clm_types::{Entropy, ErrorCode, Refusal};
use tokio::sync::{OnceCell, Semaphore};
use zeroize::Zeroizing;

use crate::CoreError;
use crate::common_passwords::CommonPasswords;

const MEMORY_KIB: u32 = 19_456;
const LANES: u32 = 1;
/// Fewest characters of a password,
pub(crate) const SHORTEST: usize = 12;
/// and most.
pub(crate) const LONGEST: usize = 256;
/// Hashes at once, each with its memory; fewer where there are fewer processors: more only wait for each other, and push each
/// other's memory out of the processor's cache.
const MOST_AT_ONCE: usize = 4;
/// How many more may wait.
const MOST_WAITING: usize = 256;
/// zxcvbn's verdict "safely unguessable: moderate protection from an offline slow-hash attack".
const STRENGTH: zxcvbn::Score = zxcvbn::Score::Three;
/// More than this costs time in estimating and adds nothing to the estimate.
const ESTIMATED: usize = 100;

/// Passes of argon2id over its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost(u32);

impl PasswordCost {
    /// The fewest that are taken.
    pub const LEAST: Self = Self(2);
    /// The most that are taken, however fast the machine is.
    pub const MOST: Self = Self(10);

    /// As many passes as fit into so many times the time of [`Self::LEAST`].
    pub fn times_least(times: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped, and floats saturate"
        )]
        let passes = (times * f64::from(Self::LEAST.0)) as u32;
        Self(passes.clamp(Self::LEAST.0, Self::MOST.0))
    }

    /// Spends what one password costs: to be measured at the start.
    pub fn spend(self) -> Result<(), CoreError> {
        hash_with(self, b"measured", &[0; 16]).map(|_| ())
    }
}

/// A password as it is stored.
pub struct HashedPassword {
    /// PHC string, salt and parameters included.
    pub hash: String,
    /// The salt alone, as in the PHC string.
    pub salt: String,
}

/// Hashes passwords and checks them, a few at a time.
pub(crate) struct Passwords {
    /// Passes.
    cost: AtomicU32,
    permits: Arc<Semaphore>,
    /// For those who wait for a permit.
    places: Semaphore,
    /// Stands in for the hash of a user who is not there, or who has none: that takes the same time.
    decoy: OnceCell<String>,
}

impl Passwords {
    pub(crate) fn new(cost: PasswordCost) -> Self {
        Self {
            cost: AtomicU32::new(cost.0),
            permits: Arc::new(Semaphore::new(
                thread::available_parallelism().map_or(1, NonZero::get).min(MOST_AT_ONCE),
            )),
            places: Semaphore::new(MOST_WAITING),
            decoy: OnceCell::new(),
        }
    }

    fn cost(&self) -> PasswordCost {
        PasswordCost(self.cost.load(Ordering::Relaxed))
    }

    /// From now on no cheaper than this: otherwise checking a password that was hashed elsewhere would take longer than
    /// finding that there is none.
    pub(crate) fn raise_cost(&self, passes: u32) {
        self.cost.fetch_max(passes.min(PasswordCost::MOST.0), Ordering::Relaxed);
    }

    /// Hashes a password, on a thread of its own: it takes tens of milliseconds.
    ///
    /// # Errors
    /// `unavailable` when too many wait.
    pub(crate) async fn hash(
        &self,
        password: Zeroizing<String>,
        entropy: &Entropy,
    ) -> Result<HashedPassword, CoreError> {
        let (salt, cost) = (entropy.bytes::<16>(), self.cost());
        self.on_thread(move || hash_with(cost, password.as_bytes(), &salt)).await
    }

    /// Whether the password is the one of this hash; it takes as long without a hash, and with a cheaper one.
    ///
    /// # Errors
    /// `unavailable` when too many wait.
    pub(crate) async fn verify(
        &self,
        password: Zeroizing<String>,
        hash: Option<&str>,
        entropy: &Entropy,
    ) -> Result<bool, CoreError> {
        let decoy = async || {
            let password = Zeroizing::new(hex::encode(entropy.bytes::<16>()));
            self.hash(password, entropy).await.map(|hashed| hashed.hash)
        };
        let (stored, known) = match hash {
            Some(hash) => (hash.to_owned(), true),
            None => (self.decoy.get_or_try_init(decoy).await?.clone(), false),
        };
        let cost = self.cost();
        let matches = self.on_thread(move || {
            let stored = PasswordHash::new(&stored)
                .map_err(|error| CoreError::defect_of("a stored password hash", error))?;
            let matches = hasher(PasswordCost::LEAST)?.verify_password(password.as_bytes(), &stored).is_ok();
            let spent = stored.params.get_decimal("t").unwrap_or(cost.0);
            if spent < cost.0 {
                hash_with(PasswordCost(cost.0 - spent), password.as_bytes(), &[0; 16])?;
            }
            Ok(matches)
        });
        Ok(matches.await? && known)
    }

    /// Whether a hash was made at another cost than the present one.
    pub(crate) fn is_outdated(&self, hash: &str) -> bool {
        let wanted = format!("$argon2id$v=19$m={MEMORY_KIB},t={},p={LANES}$", self.cost().0);
        !hash.starts_with(&wanted)
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, CoreError> + Send + 'static,
    ) -> Result<T, CoreError> {
        let busy = |_| Refusal::new(ErrorCode::Unavailable, "too many passwords are being checked at once");
        let closed = |error| CoreError::defect_of("passwords are not hashed any more", error);
        let _place = self.places.try_acquire().map_err(busy)?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let done = tokio::task::spawn_blocking(move || {
            // Whoever asked may be gone: the work is still there, and its memory.
            let _permit = permit;
            work()
        });
        done.await.map_err(|error| CoreError::defect_of("the hashing thread died", error))?
    }
}

/// Fails unless the password is 12 to 256 characters and not one that is guessed early: no common one, no name or address
/// of the user, no pattern of the keyboard. No rules on which characters (NIST SP 800-63B section 3.1.1.2).
///
/// # Errors
/// `invalid_request`, `password_too_weak`.
pub(crate) fn check_password(
    password: &str,
    names: &[&str],
    field: &str,
    common: &CommonPasswords,
) -> Result<(), Refusal> {
    if !(SHORTEST..=LONGEST).contains(&password.chars().count()) {
        let detail = format!("a password has {SHORTEST} to {LONGEST} characters");
        return Err(Refusal::new(ErrorCode::InvalidRequest, detail).field(field));
    }
    if common.contain(password) {
        return Err(too_weak("Many have had this password, or almost this one.".to_owned(), field));
    }
    let estimated: Zeroizing<String> = Zeroizing::new(password.chars().take(ESTIMATED).collect());
    let estimate = zxcvbn::zxcvbn(&estimated, names);
    if estimate.score() >= STRENGTH {
        return Ok(());
    }
    let warning =
        estimate.feedback().and_then(zxcvbn::feedback::Feedback::warning).map(|warning| warning.to_string());
    let detail = warning.unwrap_or_else(|| "This password is guessed early.".to_owned());
    Err(too_weak(detail, field))
}

fn too_weak(detail: String, field: &str) -> Refusal {
    Refusal::new(ErrorCode::PasswordTooWeak, detail).field(field).hint(
        "take several words that have nothing to do with each other, or let a password manager make one",
    )
}

fn hash_with(cost: PasswordCost, password: &[u8], salt: &[u8]) -> Result<HashedPassword, CoreError> {
    let hash = hasher(cost)?
        .hash_password_with_salt(password, salt)
        .map_err(|error| CoreError::defect_of("a password cannot be hashed", error))?;
    let salt = hash.salt.as_ref().map(ToString::to_string).unwrap_or_default();
    Ok(HashedPassword { hash: hash.to_string(), salt })
}

fn hasher(cost: PasswordCost) -> Result<Argon2<'static>, CoreError> {
    let params = Params::new(MEMORY_KIB, cost.0, LANES, None)
        .map_err(|error| CoreError::defect_of("the parameters of argon2", error))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_right_password_fits_and_the_salt_is_its_own() {
        let (entropy, passwords) = (Entropy::seeded(1), Passwords::new(PasswordCost::LEAST));
        let first = passwords.hash(secret("correct horse battery"), &entropy).await.unwrap();
        let second = passwords.hash(secret("correct horse battery"), &entropy).await.unwrap();
        assert_ne!(first.salt, second.salt);
        assert!(first.hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(first.hash.contains(&first.salt));
        let fits = async |password: &str| {
            passwords.verify(secret(password), Some(&first.hash), &entropy).await.unwrap()
        };
        assert!(fits("correct horse battery").await);
        assert!(!fits("incorrect horse").await);
        assert!(!passwords.verify(secret("correct horse battery"), None, &entropy).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_made_at_another_cost_is_still_checked_and_known_as_such() {
        let entropy = Entropy::seeded(1);
        let (cheap, dearer) = (Passwords::new(PasswordCost::LEAST), Passwords::new(PasswordCost(3)));
        let old = cheap.hash(secret("correct horse battery"), &entropy).await.unwrap().hash;
        assert!(dearer.verify(secret("correct horse battery"), Some(&old), &entropy).await.unwrap());
        assert!(dearer.is_outdated(&old) && !cheap.is_outdated(&old));
    }

    #[test]
    fn the_cost_rises_to_what_others_hashed_with() {
        let passwords = Passwords::new(PasswordCost(4));
        for (seen, cost) in [(2, 4), (7, 7), (3, 7), (99, 10)] {
            passwords.raise_cost(seen);
            assert_eq!(passwords.cost(), PasswordCost(cost));
        }
    }

    #[test]
    fn the_cost_follows_the_machine_within_bounds() {
        let costs = [0.2, 1.0, 2.5, 400.0, f64::NAN].map(PasswordCost::times_least);
        assert_eq!(
            costs,
            [PasswordCost(2), PasswordCost(2), PasswordCost(5), PasswordCost(10), PasswordCost(2)]
        );
    }

    #[test]
    fn passwords_that_are_guessed_early_are_refused() {
        let common = CommonPasswords::default();
        let code = |password: &str| {
            check_password(password, &["annexample"], "/password", &common).err().map(|it| it.code)
        };
        assert_eq!(code("eleven char"), Some(ErrorCode::InvalidRequest));
        for weak in ["password1234", "qwertyuiop12", "aaaaaaaaaaaaaa", "123456789012", "annexample12"] {
            assert_eq!(code(weak), Some(ErrorCode::PasswordTooWeak), "{weak}");
        }
        // Common ones that the estimate takes for good.
        for common in ["Sojdlg123aljg", "gfhjkmgfhjkm2024!"] {
            assert_eq!(code(common), Some(ErrorCode::PasswordTooWeak), "{common}");
        }
        assert_eq!(code("correct horse battery"), None);
        assert_eq!(code(&"ab cd".repeat(60)), Some(ErrorCode::InvalidRequest));
    }
}
