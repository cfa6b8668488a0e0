//! OCSP requests.

use super::{CertId, NONCE};
use crate::{
    decode::{Malformed, Reader, Value},
    encode::{self, tag},
    extension as ext,
};
use clm_types::{ErrorCode, Refusal};

/// Largest request that is read, in octets.
pub const LARGEST: usize = 16 * 1024;
/// Most certificates asked about at once.
const MOST_CERTIFICATES: usize = 64;
/// Longest nonce (RFC 9654 §2.1).
const LONGEST_NONCE: usize = 128;

/// What a client asks. A signature on it is passed over: nothing here depends on who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspRequest {
    /// The certificates asked about, in their order; at least one.
    pub cert_ids: Vec<CertId>,
    /// To be repeated in the response.
    pub nonce: Option<Vec<u8>>,
}

impl OcspRequest {
    /// Reads one request and nothing after it.
    ///
    /// # Errors
    /// `ocsp_malformed`, also for a nonce of 0 or more than 128 octets, a critical extension that is not
    /// understood, and more certificates than are answered at once.
    pub fn parse(der: &[u8]) -> Result<Self, Refusal> {
        if der.len() > LARGEST {
            return Err(malformed(Malformed));
        }
        Self::read(der).map_err(malformed)
    }

    fn read(der: &[u8]) -> Result<Self, Malformed> {
        let mut outer = Reader::new(der);
        let mut request = outer.expect(tag::SEQUENCE)?.reader();
        outer.finish()?;
        let mut tbs = request.expect(tag::SEQUENCE)?.reader();
        let _signature = request.optional(tag::context_constructed(0))?;
        request.finish()?;
        let version = tbs.optional(tag::context_constructed(0))?;
        if let Some(version) = version
            && version.only(tag::INTEGER)?.small()? != 0
        {
            return Err(Malformed);
        }
        let _requestor = tbs.optional(tag::context_constructed(1))?;
        let cert_ids = read_list(&tbs.expect(tag::SEQUENCE)?)?;
        let nonce = match tbs.optional(tag::context_constructed(2))? {
            Some(extensions) => read_nonce(&extensions.only(tag::SEQUENCE)?)?,
            None => None,
        };
        tbs.finish()?;
        Ok(Self { cert_ids, nonce })
    }

    /// DER of a request, for asking other responders and for tests.
    pub fn to_der(&self) -> Vec<u8> {
        let single = |cert_id: &CertId| encode::sequence(&[&cert_id.der]);
        let list: Vec<Vec<u8>> = self.cert_ids.iter().map(single).collect();
        let extensions = self.nonce.as_deref().map(|nonce| nonce_extension(2, nonce));
        let tbs = encode::sequence(&[encode::sequence(&list), extensions.unwrap_or_default()]);
        encode::sequence(&[tbs])
    }
}

/// The nonce as the only extension of a request (tag 2) or response (tag 1).
pub(super) fn nonce_extension(tag_number: u8, nonce: &[u8]) -> Vec<u8> {
    let value = encode::tlv(tag::OCTET_STRING, nonce);
    let extensions = encode::sequence(&[encode::extension(&NONCE, false, &value)]);
    encode::tlv(tag::context_constructed(tag_number), &extensions)
}

fn malformed(_: Malformed) -> Refusal {
    Refusal::new(ErrorCode::OcspMalformed, "this is not an OCSP request that can be answered")
}

fn read_list(list: &Value<'_>) -> Result<Vec<CertId>, Malformed> {
    let mut reader = list.reader();
    let mut cert_ids = Vec::new();
    while !reader.is_empty() {
        let mut single = reader.expect(tag::SEQUENCE)?.reader();
        cert_ids.push(CertId::read(&single.expect(tag::SEQUENCE)?)?);
        if let Some(extensions) = single.optional(tag::context_constructed(0))? {
            refuse_critical(&extensions.only(tag::SEQUENCE)?)?;
        }
        single.finish()?;
    }
    if cert_ids.is_empty() || cert_ids.len() > MOST_CERTIFICATES {
        return Err(Malformed);
    }
    Ok(cert_ids)
}

fn refuse_critical(extensions: &Value<'_>) -> Result<(), Malformed> {
    let critical = ext::read_list(extensions)?.iter().any(|extension| extension.critical);
    if critical { Err(Malformed) } else { Ok(()) }
}

/// The nonce, wrapped in its OCTET STRING as RFC 8954 made clear.
pub(super) fn read_nonce(extensions: &Value<'_>) -> Result<Option<Vec<u8>>, Malformed> {
    let list = ext::read_list(extensions)?;
    if list.iter().any(|extension| extension.critical && extension.id != NONCE)
        || ext::duplicate(&list).is_some()
    {
        return Err(Malformed);
    }
    let Some(extension) = ext::find(&list, &NONCE) else {
        return Ok(None);
    };
    let mut reader = Reader::new(&extension.value);
    let nonce = reader.expect(tag::OCTET_STRING)?.content;
    reader.finish()?;
    if nonce.is_empty() || nonce.len() > LONGEST_NONCE {
        return Err(Malformed);
    }
    Ok(Some(nonce.to_vec()))
}
