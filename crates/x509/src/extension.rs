//! X.509 extensions: identifiers, the value of each, reading a list.

use crate::{
    decode::{Malformed, Reader, Value},
    encode::{self, tag},
};
use const_oid::ObjectIdentifier;

pub(crate) const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
pub(crate) const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
pub(crate) const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
pub(crate) const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
pub(crate) const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
pub(crate) const REASON_CODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
pub(crate) const INVALIDITY_DATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.24");
pub(crate) const DELTA_CRL_INDICATOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
pub(crate) const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
pub(crate) const CRL_DISTRIBUTION_POINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");
pub(crate) const CERTIFICATE_POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");
pub(crate) const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
pub(crate) const FRESHEST_CRL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.46");
pub(crate) const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
pub(crate) const AUTHORITY_INFORMATION_ACCESS: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.1");
pub(crate) const OCSP_NO_CHECK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.5");

/// id-ad-ocsp
pub(crate) const ACCESS_OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
/// id-ad-caIssuers
pub(crate) const ACCESS_CA_ISSUERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");

/// One extension as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Its object identifier.
    pub id: ObjectIdentifier,
    /// Whether one who does not know it must reject the certificate.
    pub critical: bool,
    /// DER of its value.
    pub value: Vec<u8>,
}

/// Reads an `Extensions` sequence. An empty one is malformed (RFC 5280: SIZE (1..MAX)).
pub(crate) fn read_list(extensions: &Value<'_>) -> Result<Vec<Extension>, Malformed> {
    let mut reader = extensions.reader();
    let mut list = Vec::new();
    while !reader.is_empty() {
        let mut fields = reader.expect(tag::SEQUENCE)?.reader();
        let id = fields.expect(tag::OID)?.oid()?;
        let critical = match fields.optional(tag::BOOLEAN)?.map(|value| value.content) {
            None => false,
            Some([0xff]) => true,
            Some(_) => return Err(Malformed),
        };
        let value = fields.expect(tag::OCTET_STRING)?.content.to_vec();
        fields.finish()?;
        list.push(Extension { id, critical, value });
    }
    if list.is_empty() { Err(Malformed) } else { Ok(list) }
}

/// The first extension that occurs twice.
pub(crate) fn duplicate(list: &[Extension]) -> Option<&ObjectIdentifier> {
    list.iter().enumerate().find_map(|(index, extension)| {
        let before = list.get(..index)?;
        before.iter().any(|each| each.id == extension.id).then_some(&extension.id)
    })
}

/// The value of an extension, if it is in the list.
pub(crate) fn find<'a>(list: &'a [Extension], id: &ObjectIdentifier) -> Option<&'a Extension> {
    list.iter().find(|extension| extension.id == *id)
}

/// `BasicConstraints` (RFC 5280 §4.2.1.9).
pub(crate) fn basic_constraints(is_ca: bool, path_length: Option<u8>) -> Vec<u8> {
    if !is_ca {
        return encode::sequence::<&[u8]>(&[]);
    }
    let path_length = path_length.map(|length| encode::unsigned(&[length])).unwrap_or_default();
    encode::sequence(&[&[tag::BOOLEAN, 1, 0xff][..], &path_length])
}

/// Reads `BasicConstraints`: whether it is an authority, and its path length.
pub(crate) fn read_basic_constraints(der: &[u8]) -> Result<(bool, Option<u8>), Malformed> {
    let mut outer = Reader::new(der);
    let mut fields = outer.expect(tag::SEQUENCE)?.reader();
    outer.finish()?;
    let is_ca = match fields.optional(tag::BOOLEAN)?.map(|value| value.content) {
        None => false,
        Some([0xff]) => true,
        Some(_) => return Err(Malformed),
    };
    let path_length = match fields.optional(tag::INTEGER)? {
        Some(value) => Some(u8::try_from(value.small()?).map_err(|_| Malformed)?),
        None => None,
    };
    fields.finish()?;
    Ok((is_ca, path_length))
}

/// `SubjectKeyIdentifier`.
pub(crate) fn subject_key_identifier(identifier: &[u8]) -> Vec<u8> {
    encode::tlv(tag::OCTET_STRING, identifier)
}

/// `AuthorityKeyIdentifier` with the keyIdentifier only.
pub(crate) fn authority_key_identifier(identifier: &[u8]) -> Vec<u8> {
    encode::sequence(&[encode::tlv(tag::context(0), identifier)])
}

/// Reads the keyIdentifier of an `AuthorityKeyIdentifier`.
pub(crate) fn read_authority_key_identifier(der: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut outer = Reader::new(der);
    let mut fields = outer.expect(tag::SEQUENCE)?.reader();
    outer.finish()?;
    Ok(fields.optional(tag::context(0))?.map(|value| value.content.to_vec()))
}

/// `AuthorityInfoAccessSyntax` (RFC 5280 §4.2.2.1); `None` when there is nothing to say.
pub(crate) fn authority_information_access(ocsp: Option<&str>, issuer: Option<&str>) -> Option<Vec<u8>> {
    let descriptions: Vec<Vec<u8>> = [(ACCESS_OCSP, ocsp), (ACCESS_CA_ISSUERS, issuer)]
        .into_iter()
        .filter_map(|(method, url)| {
            let location = encode::tlv(tag::context(6), url?.as_bytes());
            Some(encode::sequence(&[encode::oid(&method), location]))
        })
        .collect();
    (!descriptions.is_empty()).then(|| encode::sequence(&descriptions))
}

/// `CRLDistributionPoints` with one point by URL (RFC 5280 §4.2.1.13).
pub(crate) fn crl_distribution_points(url: &str) -> Vec<u8> {
    encode::sequence(&[encode::sequence(&[distribution_point_name(url)])])
}

/// Reads `CRLDistributionPoints` with one point by one URL.
pub(crate) fn read_crl_distribution_point(der: &[u8]) -> Result<String, Malformed> {
    let mut outer = Reader::new(der);
    let point = outer.expect(tag::SEQUENCE)?.only(tag::SEQUENCE)?;
    outer.finish()?;
    read_distribution_point_name(&point.only(tag::context_constructed(0))?)
}

/// `IssuingDistributionPoint` of a list about the certificates that name this URL (RFC 5280 §5.2.5).
pub(crate) fn issuing_distribution_point(url: &str) -> Vec<u8> {
    encode::sequence(&[distribution_point_name(url)])
}

/// Reads an `IssuingDistributionPoint` that has one URL and limits the list by nothing else.
pub(crate) fn read_issuing_distribution_point(der: &[u8]) -> Result<String, Malformed> {
    let mut outer = Reader::new(der);
    let name = outer.expect(tag::SEQUENCE)?.only(tag::context_constructed(0))?;
    outer.finish()?;
    read_distribution_point_name(&name)
}

/// `DistributionPointName`, tagged as a `distributionPoint`, with one URL as its full name.
fn distribution_point_name(url: &str) -> Vec<u8> {
    let uri = encode::tlv(tag::context(6), url.as_bytes());
    let full_name = encode::tlv(tag::context_constructed(0), &uri);
    encode::tlv(tag::context_constructed(0), &full_name)
}

fn read_distribution_point_name(name: &Value<'_>) -> Result<String, Malformed> {
    let uri = name.only(tag::context_constructed(0))?.only(tag::context(6))?;
    let text = std::str::from_utf8(uri.content).map_err(|_| Malformed)?;
    Ok(text.to_owned())
}

/// `CertificatePolicies` without qualifiers.
pub(crate) fn certificate_policies(policies: &[ObjectIdentifier]) -> Vec<u8> {
    let information: Vec<Vec<u8>> =
        policies.iter().map(|policy| encode::sequence(&[encode::oid(policy)])).collect();
    encode::sequence(&information)
}
