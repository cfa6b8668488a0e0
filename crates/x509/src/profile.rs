//! Profiles: what a certificate of a kind looks like, as a typed document.

mod built_in;

pub use built_in::REQUESTABLE;

use crate::{
    key_usage::{ExtendedKeyUsage, KeyUsage},
    name::SubjectName,
    public_key::sha256,
    san::{San, SanKind},
};
use clm_types::{ErrorCode, KeyAlgorithm, Refusal};
use const_oid::ObjectIdentifier;
use serde::{Deserialize, Serialize};

/// What a certificate under this profile contains and what may be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "a document of independent yes-or-no rules")]
pub struct Profile {
    /// The name by which requests and mandates refer to it.
    pub name: String,
    /// Counts up with each change.
    pub version: u32,
    /// Key usages; those that a key's algorithm cannot do are left out for it.
    pub key_usage: Vec<KeyUsage>,
    /// Purposes; none means that the extension is absent.
    #[serde(default)]
    pub extended_key_usage: Vec<ExtendedKeyUsage>,
    /// Present for certificates of authorities (CA:TRUE).
    #[serde(default)]
    pub authority: Option<AuthorityConstraints>,
    /// Key algorithms that may be certified.
    pub key_algorithms: Vec<KeyAlgorithm>,
    /// Kinds of subject alternative names that may be asked for.
    #[serde(default)]
    pub name_kinds: Vec<SanKind>,
    /// Most subject alternative names.
    pub most_names: usize,
    /// Whether there must be a subject alternative name.
    pub names_required: bool,
    /// Whether DNS wildcards may be asked for.
    pub wildcards_allowed: bool,
    /// Whether there must be a subject.
    pub subject_required: bool,
    /// Whether a common name must be one of the subject alternative names.
    pub common_name_among_names: bool,
    /// Longest validity; both ends count.
    pub longest_validity_seconds: i64,
    /// Certificate policies (object identifiers).
    #[serde(default)]
    pub policies: Vec<String>,
    /// Whether the certificate says that it need not be checked for revocation (RFC 6960 §4.2.2.2.1).
    #[serde(default)]
    pub ocsp_no_check: bool,
}

/// Constraints of an authority's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityConstraints {
    /// How many authorities may follow below it; `None` is no limit.
    pub path_length: Option<u8>,
}

impl Profile {
    /// SHA-256 of the canonical JSON (RFC 8785) of the document: what a mandate pins.
    pub fn version_hash(&self) -> [u8; 32] {
        // Serialization of this struct cannot fail: every key is a string and no number is a float.
        sha256(&serde_json_canonicalizer::to_vec(self).unwrap_or_default())
    }

    /// Whether certificates under this profile are authorities.
    pub const fn is_ca(&self) -> bool {
        self.authority.is_some()
    }

    /// The path length that certificates under this profile state.
    pub fn path_length(&self) -> Option<u8> {
        self.authority.and_then(|authority| authority.path_length)
    }

    /// The key usages for a key of this algorithm.
    pub fn key_usage_for(&self, key: KeyAlgorithm) -> Vec<KeyUsage> {
        self.key_usage.iter().copied().filter(|usage| usage.suits(key)).collect()
    }

    /// The certificate policies.
    ///
    /// # Errors
    /// `profile_invalid`.
    pub fn policy_oids(&self) -> Result<Vec<ObjectIdentifier>, Refusal> {
        let parse = |text: &String| {
            ObjectIdentifier::new(text).map_err(|_| self.broken(&format!("`{text}` is no object identifier")))
        };
        self.policies.iter().map(parse).collect()
    }

    /// Refuses a document that contradicts itself.
    ///
    /// # Errors
    /// `profile_invalid`.
    pub fn check_document(&self) -> Result<(), Refusal> {
        let signs = self.key_usage.contains(&KeyUsage::KeyCertSign);
        let contradiction = if self.name.is_empty() {
            "it has no name"
        } else if self.key_algorithms.is_empty() {
            "it allows no key algorithm"
        } else if self.longest_validity_seconds <= 0 {
            "it allows no validity"
        } else if signs != self.is_ca() {
            "keyCertSign goes with an authority, and only with one"
        } else if self.names_required && (self.most_names == 0 || self.name_kinds.is_empty()) {
            "it requires names and allows none"
        } else if self.key_algorithms.iter().any(|key| self.key_usage_for(*key).is_empty()) {
            "a key algorithm is left without key usage"
        } else {
            return self.policy_oids().map(|_| ());
        };
        Err(self.broken(contradiction))
    }

    fn broken(&self, detail: &str) -> Refusal {
        Refusal::new(ErrorCode::ProfileInvalid, format!("profile `{}`: {detail}", self.name))
    }

    /// Refuses what may not be certified under this profile.
    ///
    /// # Errors
    /// `key_algorithm_not_allowed`, those of [`Self::check_names`] and [`Self::check_validity`].
    pub fn check(
        &self,
        subject: &SubjectName,
        names: &[San],
        key: KeyAlgorithm,
        validity_seconds: i64,
    ) -> Result<(), Refusal> {
        self.check_key(key)?;
        self.check_names(subject, names)?;
        self.check_validity(validity_seconds)
    }

    /// Refuses a key algorithm.
    ///
    /// # Errors
    /// `key_algorithm_not_allowed`.
    pub fn check_key(&self, key: KeyAlgorithm) -> Result<(), Refusal> {
        if self.key_algorithms.contains(&key) {
            return Ok(());
        }
        let allowed: Vec<&str> = self.key_algorithms.iter().map(|each| each.as_str()).collect();
        Err(Refusal::new(
            ErrorCode::KeyAlgorithmNotAllowed,
            format!("profile `{}` does not take keys of type {key}", self.name),
        )
        .hint(format!("it takes {}", allowed.join(", "))))
    }

    /// Refuses a subject and names.
    ///
    /// # Errors
    /// `too_many_names`, `name_missing`, `name_kind_not_allowed`, `wildcard_not_allowed`,
    /// `common_name_not_in_names`.
    pub fn check_names(&self, subject: &SubjectName, names: &[San]) -> Result<(), Refusal> {
        self.check_presence(subject, names)?;
        for name in names {
            if !self.name_kinds.contains(&name.kind()) {
                return Err(self.refuse(ErrorCode::NameKindNotAllowed, &format!("does not take `{name}`")));
            }
            if name.is_wildcard() && !self.wildcards_allowed {
                return Err(self
                    .refuse(ErrorCode::WildcardNotAllowed, &format!("does not take the wildcard `{name}`")));
            }
        }
        match subject.common_name() {
            Some(common_name)
                if self.common_name_among_names
                    && !names.iter().any(|name| name.value().eq_ignore_ascii_case(common_name)) =>
            {
                Err(self
                    .refuse(
                        ErrorCode::CommonNameNotInNames,
                        "wants the common name to be one of the subject alternative names",
                    )
                    .hint(format!("add `{common_name}` to the names, or leave the common name out")))
            }
            _ => Ok(()),
        }
    }

    fn check_presence(&self, subject: &SubjectName, names: &[San]) -> Result<(), Refusal> {
        if names.len() > self.most_names && !names.is_empty() {
            let code =
                if self.most_names == 0 { ErrorCode::NameKindNotAllowed } else { ErrorCode::TooManyNames };
            let most = self.most_names;
            return Err(self.refuse(code, &format!("takes {most} names at most, these are {}", names.len())));
        }
        if self.names_required && names.is_empty() {
            return Err(self
                .refuse(ErrorCode::NameMissing, "wants a subject alternative name")
                .hint("openssl req -addext subjectAltName=DNS:www.example.com"));
        }
        if subject.is_empty() && (self.subject_required || names.is_empty()) {
            return Err(self.refuse(ErrorCode::NameMissing, "wants a subject"));
        }
        Ok(())
    }

    /// Refuses a length of validity (both ends count).
    ///
    /// # Errors
    /// `validity_invalid`, `validity_too_long`.
    pub fn check_validity(&self, seconds: i64) -> Result<(), Refusal> {
        if seconds <= 0 {
            return Err(Refusal::new(ErrorCode::ValidityInvalid, "the validity ends before it begins"));
        }
        if seconds > self.longest_validity_seconds {
            let longest = self.longest_validity_seconds;
            return Err(self
                .refuse(
                    ErrorCode::ValidityTooLong,
                    &format!("takes {longest} s at most, asked for {seconds} s"),
                )
                .hint(format!("ask for {} days or fewer", longest / 86_400)));
        }
        Ok(())
    }

    fn refuse(&self, code: ErrorCode, detail: &str) -> Refusal {
        Refusal::new(code, format!("profile `{}` {detail}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn built_in(name: &str) -> Profile {
        Profile::built_in(name).unwrap()
    }

    #[test]
    fn built_in_profiles_are_sound_and_survive_json() {
        for name in REQUESTABLE.into_iter().chain(["root-ca", "issuing-ca", "ocsp-responder"]) {
            let profile = built_in(name);
            profile.check_document().unwrap();
            let json = serde_json::to_string(&profile).unwrap();
            let again: Profile = serde_json::from_str(&json).unwrap();
            assert_eq!(again.version_hash(), profile.version_hash());
        }
        assert!(Profile::built_in("nonsense").is_none());
    }

    #[test]
    fn any_change_changes_the_version_hash() {
        let profile = built_in("tls-server");
        let longer =
            Profile { longest_validity_seconds: profile.longest_validity_seconds + 1, ..profile.clone() };
        assert_ne!(profile.version_hash(), longer.version_hash());
        assert_ne!(profile.version_hash(), built_in("tls-client").version_hash());
    }

    #[test]
    fn what_is_outside_the_profile_is_refused_by_name() {
        let server = built_in("tls-server");
        let dns: San = "www.example.com".parse().unwrap();
        let email: San = "a@example.com".parse().unwrap();
        let subject = |text: &str| text.parse::<SubjectName>().unwrap();
        let check = |profile: &Profile, name: &str, names: &[San]| {
            profile.check_names(&subject(name), names).map_err(|refusal| refusal.code)
        };
        assert_eq!(check(&server, "CN=WWW.example.com", std::slice::from_ref(&dns)), Ok(()));
        assert_eq!(check(&server, "", std::slice::from_ref(&dns)), Ok(()));
        assert_eq!(check(&server, "CN=www.example.com", &[]), Err(ErrorCode::NameMissing));
        assert_eq!(
            check(&server, "CN=other.example.com", std::slice::from_ref(&dns)),
            Err(ErrorCode::CommonNameNotInNames)
        );
        assert_eq!(check(&server, "", &[email]), Err(ErrorCode::NameKindNotAllowed));
        assert_eq!(check(&server, "", &vec![dns.clone(); 101]), Err(ErrorCode::TooManyNames));
        let client = built_in("tls-client");
        assert_eq!(check(&client, "", &[]), Err(ErrorCode::NameMissing));
        assert_eq!(
            check(&client, "", &["*.example.com".parse().unwrap()]),
            Err(ErrorCode::WildcardNotAllowed)
        );
        assert_eq!(check(&built_in("intermediate-ca"), "CN=x", &[dns]), Err(ErrorCode::NameKindNotAllowed));
    }

    #[test]
    fn validity_has_bounds() {
        let server = built_in("tls-server");
        assert!(server.check_validity(398 * DAY).is_ok());
        assert_eq!(server.check_validity(398 * DAY + 1).unwrap_err().code, ErrorCode::ValidityTooLong);
        assert_eq!(server.check_validity(0).unwrap_err().code, ErrorCode::ValidityInvalid);
    }

    #[test]
    fn a_contradictory_document_is_refused() {
        let broken = [
            Profile { key_algorithms: vec![], ..built_in("tls-server") },
            Profile { most_names: 0, ..built_in("tls-server") },
            Profile { authority: None, ..built_in("root-ca") },
            Profile { policies: vec!["9.9".to_owned()], ..built_in("tls-server") },
            Profile { key_usage: vec![KeyUsage::KeyEncipherment], ..built_in("tls-server") },
        ];
        for profile in broken {
            assert_eq!(profile.check_document().unwrap_err().code, ErrorCode::ProfileInvalid);
        }
    }
}
