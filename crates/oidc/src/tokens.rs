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
pub(crate) const LEEWAY: TimeDelta = TimeDelta::seconds(60);

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

/// Whether the key that a token names is among these, be it for signatures of another kind.
pub(crate) fn names_one_of(keys: &[Jwk], header: &Header) -> bool {
    header.kid.is_some() && keys.iter().any(|key| key.common.key_id == header.kid)
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
    let is_over = time(claims.exp).is_none_or(|end| end <= now - LEEWAY);
    let is_early = |at: f64| time(at).is_none_or(|at| now + LEEWAY < at);
    if is_over || claims.nbf.is_some_and(is_early) || claims.iat.is_some_and(is_early) {
        return Err(OidcError::refused("the token's time is over or has not come"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use chrono::DateTime;
    use jsonwebtoken::{EncodingKey, encode};
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://login.example.com";

    /// A key of the issuer, and how it is published.
    fn key(id: &str) -> (EncodingKey, Jwk) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let encoded = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "alg": "ES256", "x": encoded(x), "y": encoded(y)});
        let pkcs8 = pair.to_pkcs8v1().unwrap();
        (EncodingKey::from_ec_der(pkcs8.as_ref()), serde_json::from_value(jwk).unwrap())
    }

    fn now() -> Time {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn claims() -> Value {
        let seconds = now().timestamp();
        json!({"iss": ISSUER, "sub": "ann", "aud": "clm", "exp": seconds + 300, "iat": seconds})
    }

    fn signed(signer: &EncodingKey, claims: &Value) -> String {
        let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, signer).unwrap()
    }

    fn read(token: &str, keys: &[Jwk]) -> Result<Claims, OidcError> {
        let header = header(token)?;
        let key = key_for(keys, &header).ok_or_else(|| OidcError::refused("no such key"))?;
        let claims = verified::<Claims>(token, key, &header)?;
        check(&claims, ISSUER, "clm", now())?;
        Ok(claims)
    }

    fn part(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    #[test]
    fn a_token_of_the_issuer_is_read() {
        let (signer, jwk) = key("one");
        let read = read(&signed(&signer, &claims()), &[jwk]).unwrap();
        assert_eq!((read.sub.as_str(), read.verified_email()), ("ann", None));
    }

    #[test]
    fn an_algorithm_that_the_token_chooses_does_not_help() {
        let (signer, jwk) = key("one");
        let keys = [jwk];
        let body = part(&claims());
        // Without a signature, however it is spelled.
        for name in ["none", "None", "NONE", "nOnE"] {
            let bare = format!("{}.{body}.", part(&json!({"alg": name, "kid": "one"})));
            assert!(read(&bare, &keys).is_err(), "{name}");
        }
        // A MAC whose key is what everybody knows: the published key.
        let published = serde_json::to_vec(&keys[0]).unwrap();
        for secret in [published.as_slice(), b"one"] {
            let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
            let token = encode(&header, &claims(), &EncodingKey::from_secret(secret).unwrap()).unwrap();
            assert!(read(&token, &keys).is_err());
        }
        // Another algorithm than that of the key, and a key that the token brings along.
        let whole = signed(&signer, &claims());
        let signature = whole.rsplit('.').next().unwrap();
        for header in [
            json!({"alg": "RS256", "kid": "one"}),
            json!({"alg": "ES384", "kid": "one"}),
            json!({"alg": "ES256", "kid": "one", "crit": ["exp"]}),
        ] {
            assert!(read(&format!("{}.{body}.{signature}", part(&header)), &keys).is_err(), "{header}");
        }
        let (stranger, _) = key("one");
        let header =
            Header { jwk: Some(key("one").1), kid: Some("one".to_owned()), ..Header::new(Algorithm::ES256) };
        assert!(read(&encode(&header, &claims(), &stranger).unwrap(), &keys).is_err());
    }

    #[test]
    fn a_secret_among_the_published_keys_verifies_nothing() {
        let oct = json!({"kty": "oct", "kid": "one", "k": URL_SAFE_NO_PAD.encode("secret"), "alg": "HS256"});
        let keys: [Jwk; 1] = [serde_json::from_value(oct).unwrap()];
        let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
        let token = encode(&header, &claims(), &EncodingKey::from_secret(b"secret").unwrap()).unwrap();
        assert!(read(&token, &keys).is_err());
    }

    #[test]
    fn keys_for_other_purposes_and_other_names_are_not_taken() {
        let (signer, jwk) = key("one");
        let mut for_encryption = jwk.clone();
        for_encryption.common.public_key_use = Some(PublicKeyUse::Encryption);
        let token = signed(&signer, &claims());
        assert!(read(&token, &[for_encryption]).is_err());
        let mut renamed = jwk.clone();
        renamed.common.key_id = Some("two".to_owned());
        assert!(read(&token, std::slice::from_ref(&renamed)).is_err());
        // Without a name, one key must be the only one.
        let unnamed = encode(&Header::new(Algorithm::ES256), &claims(), &signer).unwrap();
        assert!(read(&unnamed, std::slice::from_ref(&jwk)).is_ok());
        assert!(read(&unnamed, &[jwk, renamed]).is_err());
    }

    #[test]
    fn claims_that_do_not_hold_are_refused() {
        let (signer, jwk) = key("one");
        let keys = [jwk];
        let seconds = now().timestamp();
        for (name, value, right) in [
            ("iss", json!("https://login.example.org"), false),
            ("iss", json!("https://login.example.com/"), false),
            ("aud", json!("other"), false),
            ("aud", json!([]), false),
            ("aud", json!(["clm"]), true),
            ("aud", json!(["clm", "other"]), false),
            ("azp", json!("other"), false),
            ("azp", json!("clm"), true),
            ("exp", json!(seconds - 60), false),
            ("exp", json!(seconds - 59), true),
            ("exp", json!("soon"), false),
            ("exp", json!(1e300), false),
            ("exp", json!(8_210_266_876_799_i64), true),
            ("nbf", json!(seconds + 61), false),
            ("nbf", json!(seconds + 60), true),
            ("iat", json!(seconds + 61), false),
            ("iat", json!(1_800_000_000.5), true),
        ] {
            let mut changed = claims();
            changed[name] = value.clone();
            assert_eq!(read(&signed(&signer, &changed), &keys).is_ok(), right, "{name}: {value}");
        }
        let mut endless = claims();
        endless.as_object_mut().unwrap().remove("exp");
        assert!(read(&signed(&signer, &endless), &keys).is_err());
        let mut changed = signed(&signer, &claims());
        changed.replace_range(60..61, if &changed[60..61] == "A" { "B" } else { "A" });
        assert!(read(&changed, &keys).is_err());
        assert!(read(&"a".repeat(LONGEST + 1), &keys).is_err());
    }
}
