//! Certificate signing requests: PKCS#10 (RFC 2986), read strictly.

use crate::{
    algorithm,
    decode::{Malformed, Reader, Signed, Value},
    encode::tag,
    extension::{
        self, BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, Extension, KEY_USAGE, SUBJECT_ALT_NAME,
        SUBJECT_KEY_IDENTIFIER,
    },
    name::SubjectName,
    pem::{self, PemError},
    public_key::PublicKey,
    san::{self, San},
};
use clm_types::{ErrorCode, Refusal};
use const_oid::ObjectIdentifier;

/// Largest request that is read, in octets, PEM or DER.
pub const LARGEST: usize = 64 * 1024;
/// Most subject alternative names that are read.
pub const MOST_NAMES: usize = 100;

const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const CHALLENGE_PASSWORD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");
const UNSTRUCTURED_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.2");
/// What Windows adds of itself: version, provider, client.
const WINDOWS: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.13.2.3"),
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.13.2.2"),
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.21.20"),
];

/// What may be asked for. Only names are taken over into the certificate: the profile decides the rest.
const ALLOWED_EXTENSIONS: [ObjectIdentifier; 5] =
    [SUBJECT_ALT_NAME, KEY_USAGE, EXTENDED_KEY_USAGE, BASIC_CONSTRAINTS, SUBJECT_KEY_IDENTIFIER];

/// A request whose form, names and key have been checked. Its signature has not: see [`Self::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csr {
    der: Vec<u8>,
    tbs: Vec<u8>,
    signature_algorithm: Vec<u8>,
    signature: Vec<u8>,
    subject: SubjectName,
    names: Vec<San>,
    extensions: Vec<Extension>,
    asks_for_authority: bool,
    public_key: PublicKey,
}

impl Csr {
    /// Reads PEM or DER. That the requester holds the key is a matter of [`Self::verify`].
    ///
    /// # Errors
    /// The `csr_*` codes, those of [`PublicKey::from_spki_der`], [`SubjectName::from_der`] and [`San`],
    /// `too_many_names`.
    pub fn parse(octets: &[u8]) -> Result<Self, Refusal> {
        let csr = Self::parse_for_authority(octets)?;
        if csr.asks_for_authority {
            return Err(Refusal::new(
                ErrorCode::CsrCaTrue,
                "the request asks to be a certificate authority (basicConstraints CA:TRUE)",
            )
            .hint("leave basicConstraints out: the profile decides what the certificate may do"));
        }
        Ok(csr)
    }

    /// As [`Self::parse`], for a profile of authorities: CA:TRUE may be asked for, and changes nothing.
    ///
    /// # Errors
    /// As [`Self::parse`], without `csr_ca_true`.
    pub fn parse_for_authority(octets: &[u8]) -> Result<Self, Refusal> {
        if octets.len() > LARGEST {
            return Err(Refusal::new(
                ErrorCode::CsrTooLarge,
                format!("the request has {} octets, {LARGEST} are the most", octets.len()),
            ));
        }
        Self::from_der(&der_of(octets)?)
    }

    fn from_der(der: &[u8]) -> Result<Self, Refusal> {
        let mut outer = Reader::new(der);
        let request = outer.expect(tag::SEQUENCE).map_err(malformed)?;
        if !outer.is_empty() {
            return Err(trailing());
        }
        let signed = Signed::read(&request).map_err(malformed)?;
        let info = Info::read(&signed.tbs).map_err(malformed)?;
        let extensions = read_attributes(info.attributes)?;
        let asks_for_authority = check_extensions(&extensions)?;
        let names = match extension::find(&extensions, &SUBJECT_ALT_NAME) {
            Some(extension) => san::read_names(&extension.value, MOST_NAMES)?,
            None => Vec::new(),
        };
        Ok(Self {
            der: der.to_vec(),
            tbs: signed.tbs.whole.to_vec(),
            signature_algorithm: signed.signature_algorithm.to_vec(),
            signature: signed.signature.to_vec(),
            subject: SubjectName::from_der(info.subject)?,
            names,
            extensions,
            asks_for_authority,
            public_key: PublicKey::from_spki_der(info.spki)?,
        })
    }

    /// Verifies the self-signature, on the octets as received.
    ///
    /// # Errors
    /// `csr_signature_invalid`, `csr_signature_algorithm_unsupported`.
    pub fn verify(&self) -> Result<(), Refusal> {
        algorithm::verify_as(&self.public_key, &self.signature_algorithm, &self.tbs, &self.signature).map_err(
            |refusal| match refusal.code {
                ErrorCode::SignatureInvalid => Refusal::new(
                    ErrorCode::CsrSignatureInvalid,
                    "the request's signature does not verify under the key in it",
                )
                .hint("the request was altered, or was signed with another key"),
                _ => refusal,
            },
        )
    }

    /// DER of the request as received.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The request as PEM.
    pub fn pem(&self) -> String {
        pem::encode(pem::CERTIFICATE_REQUEST, &self.der)
    }

    /// The subject asked for.
    pub const fn subject(&self) -> &SubjectName {
        &self.subject
    }

    /// The subject alternative names asked for, in their order, without doubles.
    pub fn names(&self) -> &[San] {
        &self.names
    }

    /// The extensions asked for.
    pub fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    /// The key to be certified.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }
}

/// The parts of a CertificationRequestInfo.
struct Info<'a> {
    subject: &'a [u8],
    spki: &'a [u8],
    attributes: Option<Value<'a>>,
}

impl<'a> Info<'a> {
    fn read(tbs: &Value<'a>) -> Result<Self, Malformed> {
        let mut fields = tbs.reader();
        if fields.expect(tag::INTEGER)?.small()? != 0 {
            return Err(Malformed);
        }
        let subject = fields.expect(tag::SEQUENCE)?.whole;
        let spki = fields.expect(tag::SEQUENCE)?.whole;
        // Some programs leave the attributes out although RFC 2986 does not make them optional.
        let attributes = fields.optional(tag::context_constructed(0))?;
        fields.finish()?;
        Ok(Self { subject, spki, attributes })
    }
}

fn malformed(_: Malformed) -> Refusal {
    Refusal::new(ErrorCode::CsrMalformed, "this is not a PKCS#10 request, or it is truncated")
        .hint("send the output of `openssl req -new`, PEM or DER")
}

fn trailing() -> Refusal {
    Refusal::new(ErrorCode::CsrTrailingData, "there is something after the request")
        .hint("send one request and nothing else")
}

/// DER as it is, PEM decoded.
fn der_of(octets: &[u8]) -> Result<Vec<u8>, Refusal> {
    if octets.first() == Some(&tag::SEQUENCE) {
        return Ok(octets.to_vec());
    }
    let text = std::str::from_utf8(octets).map_err(|_| malformed(Malformed))?;
    let labels = [pem::CERTIFICATE_REQUEST, "NEW CERTIFICATE REQUEST"];
    pem::decode_one(&labels, text).map_err(|error| match error {
        PemError::TrailingData => trailing(),
        PemError::Label(label) => Refusal::new(
            ErrorCode::CsrMalformed,
            format!("this is a PEM block `{label}`, not a certificate request"),
        ),
        PemError::NoBlock | PemError::Malformed => malformed(Malformed),
    })
}

/// The requested extensions. Challenge password and unstructured name are passed over: they say nothing
/// about the certificate.
fn read_attributes(attributes: Option<Value<'_>>) -> Result<Vec<Extension>, Refusal> {
    let Some(attributes) = attributes else {
        return Ok(Vec::new());
    };
    let mut reader = attributes.reader();
    let mut seen = Vec::new();
    let mut extensions = Vec::new();
    while !reader.is_empty() {
        let (id, value) = read_attribute(&mut reader)?;
        if seen.contains(&id) {
            return Err(Refusal::new(
                ErrorCode::CsrDuplicateAttribute,
                format!("the request has the attribute {id} twice"),
            ));
        }
        seen.push(id);
        if id == EXTENSION_REQUEST {
            extensions = extension::read_list(&value).map_err(malformed)?;
        } else if id != CHALLENGE_PASSWORD && id != UNSTRUCTURED_NAME && !WINDOWS.contains(&id) {
            return Err(Refusal::new(
                ErrorCode::CsrAttributeForbidden,
                format!("the request has the attribute {id}, which is not understood"),
            ));
        }
    }
    Ok(extensions)
}

/// An attribute with exactly one value.
fn read_attribute<'a>(reader: &mut Reader<'a>) -> Result<(ObjectIdentifier, Value<'a>), Refusal> {
    let mut fields = reader.expect(tag::SEQUENCE).map_err(malformed)?.reader();
    let id = fields.expect(tag::OID).and_then(|value| value.oid()).map_err(malformed)?;
    let mut values = fields.expect(tag::SET).map_err(malformed)?.reader();
    fields.finish().map_err(malformed)?;
    let value = values.next().map_err(malformed)?;
    if !values.is_empty() {
        return Err(Refusal::new(
            ErrorCode::CsrDuplicateAttribute,
            format!("the attribute {id} has more than one value"),
        ));
    }
    if id == EXTENSION_REQUEST && value.tag != tag::SEQUENCE {
        return Err(malformed(Malformed));
    }
    Ok((id, value))
}

/// Refuses what may not be asked for, and says whether the request is for an authority.
fn check_extensions(extensions: &[Extension]) -> Result<bool, Refusal> {
    if let Some(id) = extension::duplicate(extensions) {
        return Err(Refusal::new(
            ErrorCode::CsrDuplicateExtension,
            format!("the request has the extension {id} twice"),
        ));
    }
    if let Some(extension) = extensions.iter().find(|each| !ALLOWED_EXTENSIONS.contains(&each.id)) {
        return Err(Refusal::new(
            ErrorCode::CsrExtensionForbidden,
            format!("the request asks for the extension {}, which only the authority may set", extension.id),
        )
        .hint("subjectAltName, keyUsage, extendedKeyUsage, basicConstraints and subjectKeyIdentifier may be asked for"));
    }
    let Some(constraints) = extension::find(extensions, &BASIC_CONSTRAINTS) else {
        return Ok(false);
    };
    let (is_ca, path_length) = extension::read_basic_constraints(&constraints.value).map_err(malformed)?;
    Ok(is_ca || path_length.is_some())
}
