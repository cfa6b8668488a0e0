//! OCSP responses.

use super::{BASIC_RESPONSE, CertId, cert_id::sha1, request};
use crate::{
    algorithm,
    certificate::Certificate,
    decode::{Malformed, Reader, Value},
    encode::{self, tag},
    public_key::PublicKey,
};
use chrono::{DateTime, Utc};
use clm_types::{ErrorCode, Refusal, RevocationReason};

/// What a responder says, before it is signed.
#[derive(Debug, Clone)]
pub struct ResponseData<'a> {
    /// The key that will sign: of the authority, or of a responder that it delegated to.
    pub responder: &'a PublicKey,
    /// When it is signed.
    pub produced_at: DateTime<Utc>,
    /// One answer per certificate asked about.
    pub responses: Vec<SingleResponse>,
    /// The nonce of the request.
    pub nonce: Option<Vec<u8>>,
}

/// The answer about one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleResponse {
    /// Which.
    pub cert_id: CertId,
    /// What is known of it.
    pub status: CertStatus,
    /// When that was known to be right.
    pub this_update: DateTime<Utc>,
    /// Until when it may be relied on.
    pub next_update: DateTime<Utc>,
}

/// The status of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertStatus {
    /// Issued and not revoked.
    Good,
    /// Revoked, or on hold.
    Revoked {
        /// Since when.
        revoked_at: DateTime<Utc>,
        /// Why; `unspecified` is not written.
        reason: Option<RevocationReason>,
    },
    /// Not a certificate of this responder's authorities.
    Unknown,
}

/// Why there is no answer (RFC 6960 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OcspError {
    /// The request cannot be read.
    MalformedRequest,
    /// Trouble of the responder.
    InternalError,
    /// Ask again later.
    TryLater,
    /// The responder does not answer for this issuer.
    Unauthorized,
}

impl ResponseData<'_> {
    /// DER of the ResponseData: the octets to be signed. The responder is named by its key's hash.
    pub fn encode_tbs(&self) -> Vec<u8> {
        let key_hash = encode::tlv(tag::OCTET_STRING, &sha1(self.responder.key_octets()));
        let responses: Vec<Vec<u8>> = self.responses.iter().map(SingleResponse::to_der).collect();
        let nonce = self.nonce.as_deref().map(|nonce| request::nonce_extension(1, nonce));
        encode::sequence(&[
            encode::tlv(tag::context_constructed(2), &key_hash),
            encode::generalized_time(self.produced_at),
            encode::sequence(&responses),
            nonce.unwrap_or_default(),
        ])
    }
}

impl SingleResponse {
    fn to_der(&self) -> Vec<u8> {
        let next_update = encode::generalized_time(self.next_update);
        encode::sequence(&[
            self.cert_id.der.clone(),
            self.status.to_der(),
            encode::generalized_time(self.this_update),
            encode::tlv(tag::context_constructed(0), &next_update),
        ])
    }

    fn read(value: &Value<'_>) -> Result<Self, Malformed> {
        let mut fields = value.reader();
        let cert_id = CertId::read(&fields.expect(tag::SEQUENCE)?)?;
        let status = CertStatus::read(&fields.next()?)?;
        let this_update = fields.expect(tag::GENERALIZED_TIME)?.time()?;
        let next_update = fields.expect(tag::context_constructed(0))?.only(tag::GENERALIZED_TIME)?.time()?;
        fields.finish()?;
        Ok(Self { cert_id, status, this_update, next_update })
    }
}

impl CertStatus {
    fn to_der(self) -> Vec<u8> {
        match self {
            Self::Good => encode::tlv(tag::context(0), &[]),
            Self::Unknown => encode::tlv(tag::context(2), &[]),
            Self::Revoked { revoked_at, reason } => {
                let reason = reason.filter(|reason| *reason != RevocationReason::Unspecified).map(|reason| {
                    let code = encode::tlv(tag::ENUMERATED, &[reason.code()]);
                    encode::tlv(tag::context_constructed(0), &code)
                });
                let parts = [encode::generalized_time(revoked_at), reason.unwrap_or_default()];
                encode::constructed(tag::context_constructed(1), &parts)
            }
        }
    }

    fn read(value: &Value<'_>) -> Result<Self, Malformed> {
        match (value.tag, value.content) {
            (0x80, []) => return Ok(Self::Good),
            (0x82, []) => return Ok(Self::Unknown),
            (0xa1, _) => {}
            _ => return Err(Malformed),
        }
        let mut fields = value.reader();
        let revoked_at = fields.expect(tag::GENERALIZED_TIME)?.time()?;
        let reason = match fields.optional(tag::context_constructed(0))? {
            Some(reason) => {
                let code = u8::try_from(reason.only(tag::ENUMERATED)?.small()?).map_err(|_| Malformed)?;
                Some(RevocationReason::from_code(code).ok_or(Malformed)?)
            }
            None => None,
        };
        fields.finish()?;
        Ok(Self::Revoked { revoked_at, reason })
    }
}

/// Verifies the signature and puts the response together, with the responder's certificate when the
/// authority delegated to it.
///
/// # Errors
/// `signature_invalid`.
pub fn assemble(
    responder: &PublicKey,
    tbs: &[u8],
    signature: &[u8],
    certificate: Option<&Certificate>,
) -> Result<Vec<u8>, Refusal> {
    algorithm::verify(responder, tbs, signature)?;
    let certificates = certificate
        .map(|certificate| encode::tlv(tag::context_constructed(0), &encode::sequence(&[certificate.der()])));
    let basic = encode::sequence(&[
        tbs,
        &algorithm::signature_algorithm_der(responder.algorithm()),
        &encode::bit_string(signature),
        &certificates.unwrap_or_default(),
    ]);
    let octets = encode::tlv(tag::OCTET_STRING, &basic);
    let bytes = encode::sequence(&[encode::oid(&BASIC_RESPONSE), octets]);
    Ok(encode::sequence(&[
        encode::tlv(tag::ENUMERATED, &[0]),
        encode::tlv(tag::context_constructed(0), &bytes),
    ]))
}

/// DER of an unsigned response that only says why there is no answer.
pub fn error_response(error: OcspError) -> Vec<u8> {
    let code = match error {
        OcspError::MalformedRequest => 1,
        OcspError::InternalError => 2,
        OcspError::TryLater => 3,
        OcspError::Unauthorized => 6,
    };
    encode::sequence(&[encode::tlv(tag::ENUMERATED, &[code])])
}

/// A signed response, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspResponse {
    /// One answer per certificate.
    pub responses: Vec<SingleResponse>,
    /// When it was signed.
    pub produced_at: DateTime<Utc>,
    /// The nonce of the request.
    pub nonce: Option<Vec<u8>>,
    responder_key_hash: Vec<u8>,
    tbs: Vec<u8>,
    signature: Vec<u8>,
}

impl OcspResponse {
    /// Reads a successful response in the form that [`assemble`] writes.
    ///
    /// # Errors
    /// `ocsp_malformed`, also for a response that only says why there is no answer.
    pub fn parse(der: &[u8]) -> Result<Self, Refusal> {
        Self::read(der).map_err(|Malformed| {
            Refusal::new(ErrorCode::OcspMalformed, "this is not a successful OCSP response")
        })
    }

    fn read(der: &[u8]) -> Result<Self, Malformed> {
        let mut outer = Reader::new(der);
        let mut response = outer.expect(tag::SEQUENCE)?.reader();
        outer.finish()?;
        let status = response.expect(tag::ENUMERATED)?.small()?;
        let mut bytes = response.expect(tag::context_constructed(0))?.only(tag::SEQUENCE)?.reader();
        response.finish()?;
        let kind = bytes.expect(tag::OID)?.oid()?;
        let mut basic = bytes.expect(tag::OCTET_STRING)?.only(tag::SEQUENCE)?.reader();
        bytes.finish()?;
        if status != 0 || kind != BASIC_RESPONSE {
            return Err(Malformed);
        }
        let tbs = basic.expect(tag::SEQUENCE)?;
        let _algorithm = basic.expect(tag::SEQUENCE)?;
        let signature = basic.expect(tag::BIT_STRING)?.bit_string_octets()?.to_vec();
        let _certificates = basic.optional(tag::context_constructed(0))?;
        basic.finish()?;
        Self::read_data(&tbs, signature)
    }

    fn read_data(tbs: &Value<'_>, signature: Vec<u8>) -> Result<Self, Malformed> {
        let mut fields = tbs.reader();
        let responder = fields.expect(tag::context_constructed(2))?.only(tag::OCTET_STRING)?;
        let produced_at = fields.expect(tag::GENERALIZED_TIME)?.time()?;
        let mut list = fields.expect(tag::SEQUENCE)?.reader();
        let nonce = match fields.optional(tag::context_constructed(1))? {
            Some(extensions) => request::read_nonce(&extensions.only(tag::SEQUENCE)?)?,
            None => None,
        };
        fields.finish()?;
        let mut responses = Vec::new();
        while !list.is_empty() {
            responses.push(SingleResponse::read(&list.expect(tag::SEQUENCE)?)?);
        }
        Ok(Self {
            responses,
            produced_at,
            nonce,
            responder_key_hash: responder.content.to_vec(),
            tbs: tbs.whole.to_vec(),
            signature,
        })
    }

    /// Verifies that this key signed the response.
    ///
    /// # Errors
    /// `signature_invalid`.
    pub fn verify_signed_by(&self, responder: &PublicKey) -> Result<(), Refusal> {
        if self.responder_key_hash != sha1(responder.key_octets()) {
            return Err(Refusal::new(ErrorCode::SignatureInvalid, "the response is of another responder"));
        }
        algorithm::verify(responder, &self.tbs, &self.signature)
    }
}
