//! Passwords that nobody may take, for many have had them: a list that comes with the program, and one of the operator.

use std::collections::HashSet;
use std::sync::LazyLock;

use zeroize::Zeroizing;

use crate::passwords::{LONGEST, SHORTEST};

/// Entries of an operator's list at most: some hundred MiB of memory.
const MOST_ENTRIES: usize = 2_000_000;

/// Where it comes from: `data/README.md`.
static BUNDLED: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("../data/common-passwords.txt").lines().collect());

/// The operator's list, in small letters; empty unless there is one.
#[derive(Default)]
pub struct CommonPasswords(HashSet<Box<str>>);

impl CommonPasswords {
    /// Reads a list, one password to a line. What is too short or too long for a password is passed over.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut entries = HashSet::new();
        for line in text.lines() {
            let fits = (SHORTEST..=LONGEST).contains(&line.chars().count());
            if fits {
                entries.insert(line.to_lowercase().into_boxed_str());
            }
            if entries.len() > MOST_ENTRIES {
                return Err(format!("more than {MOST_ENTRIES} entries of {SHORTEST} characters and more"));
            }
        }
        if entries.is_empty() {
            return Err(format!("no entry has {SHORTEST} to {LONGEST} characters"));
        }
        Ok(Self(entries))
    }

    /// Whether a list has the password, in whatever case, or with digits and signs behind it.
    pub(crate) fn contain(&self, password: &str) -> bool {
        let lower = Zeroizing::new(password.to_lowercase());
        shorter(&lower).any(|one| BUNDLED.contains(one) || self.0.contains(one))
    }
}

/// A password, and what is left as one digit or sign after another is taken off its end: an entry may end in some itself.
fn shorter(password: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(password), |one| without_last(one)).take(LONGEST)
}

fn without_last(password: &str) -> Option<&str> {
    let last = password.chars().next_back().filter(|last| !last.is_alphabetic())?;
    password.get(..password.len() - last.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_more_than_the_three_thousand_that_asvs_asks_for() {
        assert!(BUNDLED.len() > 15_000, "{}", BUNDLED.len());
        assert!(BUNDLED.iter().all(|one| (SHORTEST..=LONGEST).contains(&one.chars().count())));
        assert!(BUNDLED.iter().all(|one| *one == one.to_lowercase()));
    }

    #[test]
    fn a_common_password_is_known_in_any_case_and_with_a_tail() {
        let none = CommonPasswords::default();
        for common in ["sojdlg123aljg", "Sojdlg123aljg", "gfhjkmgfhjkm", "Gfhjkmgfhjkm1!", "GFHJKMGFHJKM2024"]
        {
            assert!(none.contain(common), "{common}");
        }
        for other in ["correct horse battery", "seven green umbrellas", "", "2024!"] {
            assert!(!none.contain(other), "{other}");
        }
    }

    #[test]
    fn the_operators_list_is_taken_as_well() {
        let own = CommonPasswords::parse("short\r\nExample Inc 2024\r\nseven green umbrellas\n").unwrap();
        assert!(own.contain("example inc 2024") && own.contain("Seven Green Umbrellas 7"));
        assert!(!own.contain("correct horse battery"));
        for longer in ["Example Inc 2024!", "example inc 2024 !1", "EXAMPLE INC 2024??"] {
            assert!(own.contain(longer), "{longer}");
        }
        assert!(!own.contain("example inc 202") && !own.contain("example inc 2024a"));
        assert!(CommonPasswords::parse("short\n").is_err() && CommonPasswords::parse("").is_err());
    }
}
