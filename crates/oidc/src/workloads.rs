//! Tokens of workloads: jobs of a CI, service accounts of Kubernetes. Their issuer vouches for a program, to a recipient that the
//! program has named (RFC 7523, RFC 8725).

use chrono::TimeDelta;
use clm_types::Time;
use jsonwebtoken::Header;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::claims::{OneOrMany, time};
use crate::tokens::{self, LEEWAY};
use crate::{OidcError, Provider};

/// What is made for longer is no token of a run, but a password.
const LONGEST_LIFE: TimeDelta = TimeDelta::hours(24);
/// Longest name of a workload, in characters.
const LONGEST_SUBJECT: usize = 1000;
/// Longest name of a token that is kept, in characters.
const LONGEST_ID: usize = 255;
/// Types that tokens of workloads have (RFC 8725 section 3.11); many have none.
const TYPES: [&str; 2] = ["jwt", "jose"];
/// Claims of tokens that are about somebody who signs in or out.
const OF_PEOPLE: [&str; 4] = ["nonce", "events", "at_hash", "c_hash"];

/// For whom a token must be.
#[derive(Debug, Clone, Copy)]
pub struct Recipients<'a> {
    /// It names one or more of these, and nobody else.
    pub audiences: &'a [String],
    /// As whom people sign in at the same provider: tokens for that are not taken.
    pub client_id: Option<&'a str>,
}

/// What a token says whose signature, issuer, audience and times hold.
#[derive(Debug, Clone)]
pub struct WorkloadClaims {
    /// Whom it is about.
    pub subject: String,
    /// Its own name (`jti`).
    pub id: Option<String>,
    /// All of it.
    pub all: Map<String, Value>,
}

impl Provider {
    /// Checks a token by which a workload shows what it is.
    ///
    /// # Errors
    /// `Refused` for a token that does not hold, `Unavailable` while the provider's keys cannot be read.
    pub async fn verify_workload(
        &self,
        token: &str,
        recipients: Recipients<'_>,
        now: Time,
    ) -> Result<WorkloadClaims, OidcError> {
        check_type(&tokens::header(token)?)?;
        let all: Map<String, Value> = self.read_signed(token).await?;
        check(all, self.issuer(), recipients, now)
    }
}

#[derive(Deserialize)]
struct Standard {
    iss: String,
    sub: String,
    aud: OneOrMany,
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    azp: Option<String>,
    jti: Option<Value>,
}

fn check_type(header: &Header) -> Result<(), OidcError> {
    match &header.typ {
        Some(kind) if !TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known)) => {
            Err(OidcError::refused("the token is of another type (`typ`)"))
        }
        _ => Ok(()),
    }
}

fn check(
    all: Map<String, Value>,
    issuer: &str,
    recipients: Recipients<'_>,
    now: Time,
) -> Result<WorkloadClaims, OidcError> {
    let claims = Standard::deserialize(Value::Object(all.clone()))
        .map_err(|error| OidcError::refused(format!("the token lacks what every token has: {error}")))?;
    if claims.iss != issuer {
        return Err(OidcError::refused("the token is of another issuer (`iss`)"));
    }
    check_recipients(&claims, recipients)?;
    if let Some(name) = OF_PEOPLE.iter().find(|name| all.contains_key(**name)) {
        return Err(OidcError::refused(format!("the token is about somebody who signs in (`{name}`)")));
    }
    check_times(&claims, now)?;
    let is_short = (1..=LONGEST_SUBJECT).contains(&claims.sub.chars().count());
    if !is_short || claims.sub.chars().any(char::is_control) {
        return Err(OidcError::refused("the token is about nobody who could be named (`sub`)"));
    }
    let id = claims.jti.as_ref().and_then(Value::as_str);
    let id = id.filter(|id| id.chars().count() <= LONGEST_ID && !id.chars().any(char::is_control));
    Ok(WorkloadClaims { subject: claims.sub, id: id.map(str::to_owned), all })
}

/// Another recipient of the same token could show it here.
fn check_recipients(claims: &Standard, recipients: Recipients<'_>) -> Result<(), OidcError> {
    let named = claims.aud.texts();
    let is_ours = |name: &String| recipients.audiences.contains(name);
    if named.is_empty() || !named.iter().all(is_ours) {
        return Err(OidcError::refused("the token is for somebody else, or for others too (`aud`)"));
    }
    let is_for_people = |name: &str| recipients.client_id == Some(name);
    if named.iter().any(|name| is_for_people(name)) || claims.azp.as_deref().is_some_and(is_for_people) {
        return Err(OidcError::refused("the token is for signing in, not of a workload"));
    }
    Ok(())
}

fn check_times(claims: &Standard, now: Time) -> Result<(), OidcError> {
    let unreadable = || OidcError::refused("the token has no time that could be read");
    let (end, made) = (time(claims.exp).ok_or_else(unreadable)?, time(claims.iat).ok_or_else(unreadable)?);
    let begins = claims.nbf.map_or(Ok(made), |at| time(at).ok_or_else(unreadable))?;
    if end <= now - LEEWAY || now + LEEWAY < made || now + LEEWAY < begins {
        return Err(OidcError::refused("the token's time is over or has not come"));
    }
    if end - made > LONGEST_LIFE {
        let hours = LONGEST_LIFE.num_hours();
        return Err(OidcError::refused(format!("the token was made for more than {hours} hours")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use jsonwebtoken::Algorithm;
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://ci.example.com";
    const NOW: i64 = 1_800_000_000;

    fn checked(changes: &Value) -> Result<WorkloadClaims, OidcError> {
        let mut claims = json!({"iss": ISSUER, "sub": "repo:acme/web", "aud": "clm", "exp": NOW + 300, "iat": NOW, "jti": "1"});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let Value::Object(mut claims) = claims else { unreachable!() };
        // Null stands for a claim that is not there.
        claims.retain(|_, value| !value.is_null());
        let audiences = ["clm".to_owned(), "clm/ci".to_owned(), "people".to_owned()];
        let recipients = Recipients { audiences: &audiences, client_id: Some("people") };
        check(claims, ISSUER, recipients, DateTime::from_timestamp(NOW, 0).unwrap())
    }

    #[test]
    fn a_token_of_a_workload_is_for_this_service_alone_and_for_a_short_time() {
        let read = checked(&json!({})).unwrap();
        assert_eq!((read.subject.as_str(), read.id.as_deref()), ("repo:acme/web", Some("1")));
        for right in [
            json!({"aud": ["clm"]}),
            json!({"aud": ["clm", "clm/ci"]}),
            json!({"exp": NOW - 59}),
            json!({"nbf": NOW + 60, "iat": NOW + 60}),
            json!({"iat": NOW - 3600, "exp": NOW - 3600 + 86_400}),
            json!({"azp": "other"}),
            json!({"jti": null}),
        ] {
            assert!(checked(&right).is_ok(), "{right}");
        }
    }

    #[test]
    fn other_tokens_are_refused() {
        for wrong in [
            json!({"iss": "https://ci.example.com/"}),
            json!({"iss": null}),
            json!({"sub": null}),
            json!({"sub": ""}),
            json!({"sub": "a\u{0}b"}),
            json!({"sub": "a".repeat(1001)}),
            json!({"aud": null}),
            json!({"aud": []}),
            json!({"aud": "other"}),
            json!({"aud": ["clm", "other"]}),
            json!({"aud": "people"}),
            json!({"aud": ["clm", "people"]}),
            json!({"azp": "people"}),
            json!({"nonce": "n"}),
            json!({"events": {}}),
            json!({"at_hash": "h"}),
            json!({"exp": null}),
            json!({"exp": NOW - 60}),
            json!({"exp": 1e300}),
            json!({"iat": null}),
            json!({"iat": NOW + 61, "nbf": NOW}),
            json!({"nbf": NOW + 61}),
            json!({"exp": NOW + 86_401}),
        ] {
            assert!(checked(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unusable_name_of_a_token_is_left_out() {
        for id in [json!(7), json!("a\u{0}"), json!("a".repeat(256))] {
            assert_eq!(checked(&json!({"jti": id})).unwrap().id, None);
        }
    }

    #[test]
    fn tokens_of_other_types_are_refused() {
        let header =
            |kind: Option<&str>| Header { typ: kind.map(str::to_owned), ..Header::new(Algorithm::ES256) };
        for right in [None, Some("JWT"), Some("jwt"), Some("JOSE")] {
            assert!(check_type(&header(right)).is_ok());
        }
        for wrong in ["logout+jwt", "at+jwt", "dpop+jwt", ""] {
            assert!(check_type(&header(Some(wrong))).is_err(), "{wrong}");
        }
    }
}
