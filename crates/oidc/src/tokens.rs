//! Signed tokens (RFC 7519, RFC 8725): which algorithms and keys are taken, and which claims must hold.

use chrono::TimeDelta;
use clm_types::Time;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::de::DeserializeOwned;

use crate::OidcError;
use crate::claims::{Claims, time};

/// Signatures by keys whose other half only the issuer has. No MAC: its key would be known to all who verify.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// Longest token, in octets.
const LONGEST: usize = 16 * 1024;
/// By how much clocks may differ.
const LEEWAY: TimeDelta = TimeDelta::seconds(60);

/// The header of a token that may be worth a look at its signature.
pub(crate) fn header(token: &str) -> Result<Header, OidcError> {
    if token.len() > LONGEST {
        return Err(OidcError::refused("the token is too long"));
    }
    let header =
        decode_header(token).map_err(|error| OidcError::refused(format!("no signed token: {error}")))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(OidcError::refused(format!("tokens signed by {:?} are not taken", header.alg)));
    }
    if header.crit.is_some() {
        return Err(OidcError::refused("the token asks for an extension (`crit`)"));
    }
    Ok(header)
}

/// The key that a token names, or the only one that could have signed it.
pub(crate) fn key_for<'a>(keys: &'a [Jwk], header: &Header) -> Option<&'a Jwk> {
    let mut fitting = keys.iter().filter(|key| fits(key, header.alg));
    match &header.kid {
        Some(id) => fitting.find(|key| key.common.key_id.as_ref() == Some(id)),
        None => fitting.next().filter(|_| fitting.next().is_none()),
    }
}

/// Whether a key is meant for signatures by this algorithm.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let common = &key.common;
    let is_for_signatures =
        common.public_key_use.as_ref().is_none_or(|kind| *kind == PublicKeyUse::Signature)
            && common.key_operations.as_ref().is_none_or(|list| list.contains(&KeyOperations::Verify));
    let is_named = common.key_algorithm.is_none_or(|named| named == algorithm.into());
    let is_of_kind = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => matches!(key.algorithm, AlgorithmParameters::EllipticCurve(_)),
        Algorithm::EdDSA => matches!(key.algorithm, AlgorithmParameters::OctetKeyPair(_)),
        _ => matches!(key.algorithm, AlgorithmParameters::RSA(_)),
    };
    is_for_signatures && is_named && is_of_kind
}

/// What stands in a token that this key has signed.
pub(crate) fn verified<T: DeserializeOwned>(token: &str, key: &Jwk, header: &Header) -> Result<T, OidcError> {
    let refused =
        |error: jsonwebtoken::errors::Error| OidcError::refused(format!("the token does not hold: {error}"));
    let key = DecodingKey::from_jwk(key).map_err(refused)?;
    let mut validation = Validation::new(header.alg);
    // Times and audience are judged below, by the clock that everything else goes by.
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
    Ok(decode::<T>(token, &key, &validation).map_err(refused)?.claims)
}

/// Fails unless a token is of this issuer, for this audience, and now.
pub(crate) fn check(claims: &Claims, issuer: &str, audience: &str, now: Time) -> Result<(), OidcError> {
    if claims.iss != issuer {
        return Err(OidcError::refused(format!("the token is of {}, not of {issuer}", claims.iss)));
    }
    if !claims.aud.contains(audience) {
        return Err(OidcError::refused(format!("the token is not for {audience} (`aud`)")));
    }
    if claims.azp.as_deref().map_or(claims.aud.is_several(), |party| party != audience) {
        return Err(OidcError::refused("the token was made for another party (`azp`)"));
    }
    let is_over = time(claims.exp).is_none_or(|end| end + LEEWAY <= now);
    let is_early = |at: f64| time(at).is_none_or(|at| now + LEEWAY < at);
    if is_over || claims.nbf.is_some_and(is_early) || claims.iat.is_some_and(is_early) {
        return Err(OidcError::refused("the token's time is over or has not come"));
    }
    Ok(())
}
