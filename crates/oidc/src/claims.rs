//! What stands in tokens.

use chrono::DateTime;
use clm_types::Time;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::tokens::LEEWAY;

/// Claims of a token whose signature, issuer, audience and times hold.
#[derive(Debug, Clone, Deserialize)]
pub struct Claims {
    /// Who signed it.
    pub iss: String,
    /// Whom it is about: never given to another by its issuer.
    pub sub: String,
    pub(crate) aud: OneOrMany,
    pub(crate) exp: f64,
    pub(crate) iat: Option<f64>,
    pub(crate) nbf: Option<f64>,
    pub(crate) azp: Option<String>,
    pub(crate) nonce: Option<String>,
    auth_time: Option<f64>,
    /// How the user was authenticated (RFC 8176).
    #[serde(default)]
    pub amr: Vec<String>,
    /// The session at the provider.
    pub sid: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

impl Claims {
    /// A text that is not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        match name {
            "sub" => Some(&self.sub),
            _ => self.others.get(name)?.as_str().filter(|text| !text.is_empty()),
        }
    }

    /// The texts of a list, or of a single one.
    pub fn texts(&self, name: &str) -> Vec<&str> {
        match self.others.get(name) {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(text)) => vec![text],
            _ => Vec::new(),
        }
    }

    /// The address, if the provider has checked it.
    pub fn verified_email(&self) -> Option<&str> {
        let is_verified = self.others.get("email_verified").is_some_and(|value| *value == Value::Bool(true));
        self.text("email").filter(|_| is_verified)
    }

    /// When the user showed who they are; not in the future, but for what clocks may differ by.
    pub fn authenticated_at(&self, now: Time) -> Option<Time> {
        let at = self.auth_time.and_then(time)?;
        (at <= now + LEEWAY).then_some(at.min(now))
    }

    /// Adds what the provider's user info says and the token does not. An address comes with the word on whether it was checked
    /// from one of them alone.
    pub(crate) fn complete(&mut self, mut info: Map<String, Value>) {
        if self.others.contains_key("email") || self.others.contains_key("email_verified") {
            info.remove("email");
            info.remove("email_verified");
        }
        for (name, value) in info {
            self.others.entry(name).or_insert(value);
        }
    }
}

/// Claims of a logout token (Back-Channel Logout 1.0, section 2.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutClaims {
    /// Whose sessions end.
    pub subject: Option<String>,
    /// Which session ends; all if there is none.
    pub session: Option<String>,
}

/// One text, or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn contains(&self, text: &str) -> bool {
        match self {
            Self::One(one) => one == text,
            Self::Many(many) => many.iter().any(|one| one == text),
        }
    }

    pub(crate) const fn texts(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many.as_slice(),
        }
    }

    pub(crate) fn is_several(&self) -> bool {
        matches!(self, Self::Many(many) if many.len() > 1)
    }
}

/// Seconds since 1970, perhaps with a fraction (RFC 7519 section 2).
#[expect(clippy::cast_possible_truncation, reason = "a cast saturates, and no time is so far away")]
pub(crate) fn time(seconds: f64) -> Option<Time> {
    DateTime::from_timestamp(seconds as i64, 0)
}
