//! What a relying party checks of a passkey (Web Authentication Level 3, sections 7.1 and 7.2). Attestation is not asked for:
//! which authenticators people may use is not decided here, so statements about them are not read.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use coset::iana::{
    Algorithm, Ec2KeyParameter, EllipticCurve, EnumI64, KeyType, OkpKeyParameter, RsaKeyParameter,
};
use coset::{CborSerializable, CoseKey, Label, RegisteredLabel, RegisteredLabelWithPrivate};
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

/// COSE algorithms that are taken, the preferred one first: ES256, EdDSA, RS256.
pub const ALGORITHMS: [i64; 3] = [-7, -8, -257];
/// Longest credential id (section 5.8.3).
const LONGEST_CREDENTIAL_ID: usize = 1023;

/// Longest COSE_Key that is kept, in octets.
const LONGEST_KEY: usize = 2048;
/// Octets of RSA moduli: 2048 to 8192 bits.
const RSA_OCTETS: std::ops::RangeInclusive<usize> = 256..=1024;

// Authenticator data, section 6.1.
const RP_ID_HASH: usize = 32;
const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const ATTESTED_CREDENTIAL: u8 = 0x40;

/// What is wrong with an answer; for the log, not for whoever sent it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Unsound(pub(crate) &'static str);

/// Whom passkeys are made for: the host of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    /// Host name, `clm.example.com`.
    pub id: String,
    /// Scheme, host and port as browsers say it, `https://clm.example.com:8443`.
    pub origin: String,
}

/// What a browser brings back from making a passkey.
#[derive(Debug, Clone)]
pub struct Registration {
    /// What the browser asked the authenticator, JSON.
    pub client_data: Vec<u8>,
    /// What the authenticator made, CBOR.
    pub attestation_object: Vec<u8>,
}

/// What a browser brings back from using a passkey.
#[derive(Debug, Clone)]
pub struct Assertion {
    /// Which passkey.
    pub credential_id: Vec<u8>,
    /// Whose the authenticator says it is.
    pub user_handle: Option<Vec<u8>>,
    /// What the browser asked the authenticator, JSON.
    pub client_data: Vec<u8>,
    /// What the authenticator says of itself.
    pub authenticator_data: Vec<u8>,
    /// Over authenticator data and the hash of the client data.
    pub signature: Vec<u8>,
}

/// A passkey as its authenticator made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadePasskey {
    /// The authenticator's name for it.
    pub credential_id: Vec<u8>,
    /// COSE_Key.
    pub public_key: Vec<u8>,
    /// AAGUID.
    pub authenticator_model: Uuid,
    /// What the authenticator said of itself.
    pub state: AuthenticatorState,
}

/// What an authenticator says of itself each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthenticatorState {
    /// Its counter, zero where it does not count.
    pub sign_count: u32,
    /// Whether the passkey may be copied to other devices.
    pub backup_eligible: bool,
    /// Whether it is.
    pub backed_up: bool,
}

impl RelyingParty {
    /// Whoever is reached at this address; passkeys need a host name and HTTPS.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn at(public_url: &str) -> Result<Self, String> {
        let url = Url::parse(public_url).map_err(|error| format!("{public_url} is no address: {error}"))?;
        let id = url.host_str().ok_or_else(|| format!("there is no host in {public_url}"))?;
        Ok(Self { id: id.to_owned(), origin: url.origin().ascii_serialization() })
    }

    /// Checks a new passkey.
    ///
    /// # Errors
    /// When it was not made for this party and this challenge by somebody whom the authenticator knows.
    pub fn check_registration(
        &self,
        challenge: &[u8],
        registration: &Registration,
    ) -> Result<MadePasskey, Unsound> {
        self.check_client_data(&registration.client_data, "webauthn.create", challenge)?;
        let object: AttestationObject = ciborium::from_reader(registration.attestation_object.as_slice())
            .map_err(|_| Unsound("the attestation object is not CBOR of the right form"))?;
        let (flags, sign_count, rest) = self.split(&object.auth_data)?;
        if flags & ATTESTED_CREDENTIAL == 0 {
            return Err(Unsound("there is no credential in the authenticator data"));
        }
        let state = state(flags, sign_count)?;
        let (model, credential_id, public_key) = split_credential(rest)?;
        if public_key.len() > LONGEST_KEY {
            return Err(Unsound("the public key is too long"));
        }
        read_key(public_key)?.check()?;
        Ok(MadePasskey {
            credential_id: credential_id.to_vec(),
            public_key: public_key.to_vec(),
            authenticator_model: model,
            state,
        })
    }

    /// Checks an answer of the authenticator that holds the private key to `public_key`.
    ///
    /// # Errors
    /// When it was not given to this party and this challenge, by somebody whom the authenticator knows, or the signature is
    /// wrong.
    pub fn check_assertion(
        &self,
        challenge: &[u8],
        public_key: &[u8],
        assertion: &Assertion,
    ) -> Result<AuthenticatorState, Unsound> {
        self.check_client_data(&assertion.client_data, "webauthn.get", challenge)?;
        let (flags, sign_count, _) = self.split(&assertion.authenticator_data)?;
        let state = state(flags, sign_count)?;
        let hash = digest(&SHA256, &assertion.client_data);
        let signed = [&assertion.authenticator_data, hash.as_ref()].concat();
        verify(public_key, &signed, &assertion.signature)?;
        Ok(state)
    }

    fn check_client_data(&self, json: &[u8], kind: &str, challenge: &[u8]) -> Result<(), Unsound> {
        let data = read_client_data(json)?;
        if data.kind != kind {
            return Err(Unsound("the client data are of another kind"));
        }
        if data.challenge != URL_SAFE_NO_PAD.encode(challenge) {
            return Err(Unsound("the challenge is another one"));
        }
        if data.origin != self.origin || data.cross_origin || data.top_origin.is_some() {
            return Err(Unsound("the page was not one of this service"));
        }
        Ok(())
    }

    /// Flags, counter, and what follows.
    fn split<'a>(&self, data: &'a [u8]) -> Result<(u8, u32, &'a [u8]), Unsound> {
        let short = || Unsound("the authenticator data are too short");
        let (hash, rest) = data.split_first_chunk::<RP_ID_HASH>().ok_or_else(short)?;
        let (flags, rest) = rest.split_first().ok_or_else(short)?;
        let (count, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        if hash.as_slice() != digest(&SHA256, self.id.as_bytes()).as_ref() {
            return Err(Unsound("it was made for another relying party"));
        }
        Ok((*flags, u32::from_be_bytes(*count), rest))
    }
}

/// The challenge that client data speak of, still to be checked.
pub(crate) fn challenge_of(client_data: &[u8]) -> Result<Vec<u8>, Unsound> {
    let data = read_client_data(client_data)?;
    URL_SAFE_NO_PAD.decode(data.challenge).map_err(|_| Unsound("the challenge is not base64url"))
}

fn read_client_data(json: &[u8]) -> Result<ClientData, Unsound> {
    serde_json::from_slice(json).map_err(|_| Unsound("the client data are not JSON of the right form"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
    top_origin: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttestationObject {
    #[serde(with = "serde_bytes")]
    auth_data: Vec<u8>,
}

fn state(flags: u8, sign_count: u32) -> Result<AuthenticatorState, Unsound> {
    let has = |flag| flags & flag != 0;
    if !has(USER_PRESENT) || !has(USER_VERIFIED) {
        return Err(Unsound("the authenticator has not verified its user"));
    }
    let (backup_eligible, backed_up) = (has(BACKUP_ELIGIBLE), has(BACKED_UP));
    if backed_up && !backup_eligible {
        return Err(Unsound("it is copied though it cannot be"));
    }
    Ok(AuthenticatorState { sign_count, backup_eligible, backed_up })
}

/// Model, credential id and key (section 6.5.1); extensions may follow.
fn split_credential(data: &[u8]) -> Result<(Uuid, &[u8], &[u8]), Unsound> {
    let short = || Unsound("the credential is too short");
    let (model, rest) = data.split_first_chunk::<16>().ok_or_else(short)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 || length > LONGEST_CREDENTIAL_ID {
        return Err(Unsound("the credential id is of no such length"));
    }
    let (id, rest) = rest.split_at_checked(length).ok_or_else(short)?;
    let mut after = rest;
    let _: ciborium::Value =
        ciborium::from_reader(&mut after).map_err(|_| Unsound("the public key is not CBOR"))?;
    let key = rest.get(..rest.len() - after.len()).ok_or_else(short)?;
    Ok((Uuid::from_bytes(*model), id, key))
}

/// A public key that can verify.
enum PublicKey {
    Ecdsa(Vec<u8>),
    EdDsa(Vec<u8>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

impl PublicKey {
    /// Fails for one that no signature could ever fit.
    fn check(&self) -> Result<(), Unsound> {
        let fits = match self {
            Self::Ecdsa(point) => ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).is_ok(),
            Self::EdDsa(key) => ParsedPublicKey::new(&ED25519, key).is_ok(),
            Self::Rsa { n, .. } => RSA_OCTETS.contains(&n.len()),
        };
        if fits { Ok(()) } else { Err(Unsound("the public key is none")) }
    }
}

fn read_key(cose: &[u8]) -> Result<PublicKey, Unsound> {
    let key = CoseKey::from_slice(cose).map_err(|_| Unsound("the public key is not a COSE_Key"))?;
    let unfit = || Unsound("the public key is of a kind that is not taken");
    let Some(RegisteredLabelWithPrivate::Assigned(algorithm)) = key.alg else {
        return Err(unfit());
    };
    let read = match (&key.kty, algorithm) {
        (RegisteredLabel::Assigned(KeyType::EC2), Algorithm::ES256) => on_curve(&key, EllipticCurve::P_256)
            .then(|| key.to_sec1_octet_string().ok())
            .flatten()
            .map(PublicKey::Ecdsa),
        (RegisteredLabel::Assigned(KeyType::OKP), Algorithm::EdDSA) => {
            let x =
                octets(&key, OkpKeyParameter::X.to_i64()).filter(|_| on_curve(&key, EllipticCurve::Ed25519));
            x.map(PublicKey::EdDsa)
        }
        (RegisteredLabel::Assigned(KeyType::RSA), Algorithm::RS256) => {
            let parts =
                octets(&key, RsaKeyParameter::N.to_i64()).zip(octets(&key, RsaKeyParameter::E.to_i64()));
            parts.map(|(n, e)| PublicKey::Rsa { n, e })
        }
        _ => None,
    };
    read.ok_or_else(unfit)
}

fn parameter(key: &CoseKey, label: i64) -> Option<&ciborium::Value> {
    key.params.iter().find(|(name, _)| *name == Label::Int(label)).map(|(_, value)| value)
}

fn octets(key: &CoseKey, label: i64) -> Option<Vec<u8>> {
    parameter(key, label)?.as_bytes().cloned()
}

/// `crv` has the same label for both kinds of keys on curves (RFC 9053 section 7).
fn on_curve(key: &CoseKey, curve: EllipticCurve) -> bool {
    parameter(key, Ec2KeyParameter::Crv.to_i64()).and_then(ciborium::Value::as_integer)
        == Some(curve.to_i64().into())
}

fn verify(cose: &[u8], signed: &[u8], signature: &[u8]) -> Result<(), Unsound> {
    let verified = match read_key(cose)? {
        PublicKey::Ecdsa(point) => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(signed, signature)
        }
        PublicKey::EdDsa(key) => UnparsedPublicKey::new(&ED25519, key).verify(signed, signature),
        PublicKey::Rsa { n, e } => {
            RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature)
        }
    };
    verified.map_err(|_| Unsound("the signature is wrong"))
}
