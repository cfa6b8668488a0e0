//! Distinguished names: typed attributes, DER, and the text of RFC 4514.

mod text;

use crate::{
    decode::{Malformed, Reader, Value},
    encode::{self, tag},
};
use clm_types::{ErrorCode, Refusal};
use const_oid::ObjectIdentifier;
use serde::{Deserialize, Serialize};

/// An attribute type that a name may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameAttribute {
    /// CN
    CommonName,
    /// SERIALNUMBER: of a device or organization, not of a certificate.
    SerialNumber,
    /// C: two letters (ISO 3166).
    Country,
    /// L
    Locality,
    /// ST
    State,
    /// STREET
    Street,
    /// O
    Organization,
    /// OU
    OrganizationalUnit,
    /// DC
    DomainComponent,
    /// UID
    UserId,
    /// EMAIL (PKCS#9 emailAddress)
    Email,
}

/// Type, text label, object identifier, longest value in characters (RFC 5280 appendix A.1).
const ATTRIBUTES: [(NameAttribute, &str, ObjectIdentifier, usize); 11] = [
    (NameAttribute::CommonName, "CN", ObjectIdentifier::new_unwrap("2.5.4.3"), 64),
    (NameAttribute::SerialNumber, "SERIALNUMBER", ObjectIdentifier::new_unwrap("2.5.4.5"), 64),
    (NameAttribute::Country, "C", ObjectIdentifier::new_unwrap("2.5.4.6"), 2),
    (NameAttribute::Locality, "L", ObjectIdentifier::new_unwrap("2.5.4.7"), 128),
    (NameAttribute::State, "ST", ObjectIdentifier::new_unwrap("2.5.4.8"), 128),
    (NameAttribute::Street, "STREET", ObjectIdentifier::new_unwrap("2.5.4.9"), 128),
    (NameAttribute::Organization, "O", ObjectIdentifier::new_unwrap("2.5.4.10"), 64),
    (NameAttribute::OrganizationalUnit, "OU", ObjectIdentifier::new_unwrap("2.5.4.11"), 64),
    (NameAttribute::DomainComponent, "DC", ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"), 63),
    (NameAttribute::UserId, "UID", ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), 256),
    (NameAttribute::Email, "EMAIL", ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1"), 255),
];

/// Most attributes that a name may hold.
const MOST_ATTRIBUTES: usize = 32;

/// A distinguished name with one attribute per RDN, in the order of its encoding. As text (also in JSON) it
/// is RFC 4514, whose order is the reverse: `CN=www.example.com,O=Example,C=DE`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectName(Vec<(NameAttribute, String)>);

impl SubjectName {
    /// The empty name.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// A name that is only a common name.
    ///
    /// # Errors
    /// As [`Self::with`].
    pub fn common_name_only(common_name: &str) -> Result<Self, Refusal> {
        Self::empty().with(NameAttribute::CommonName, common_name)
    }

    /// Adds an attribute at the end of the encoding, so at the front of the text.
    ///
    /// # Errors
    /// `name_invalid` (empty, too long, too many, a second common name, not a country), `name_control_character`.
    pub fn with(mut self, attribute: NameAttribute, value: &str) -> Result<Self, Refusal> {
        check_value(attribute, value)?;
        // Readers differ in which of several common names they take.
        if attribute == NameAttribute::CommonName && self.common_name().is_some() {
            return Err(invalid("the subject has more than one common name"));
        }
        if self.0.len() >= MOST_ATTRIBUTES {
            return Err(invalid(format!("the subject has more than {MOST_ATTRIBUTES} attributes")));
        }
        self.0.push((attribute, value.to_owned()));
        Ok(self)
    }

    /// Attributes in the order of the encoding.
    pub fn attributes(&self) -> impl Iterator<Item = (NameAttribute, &str)> {
        self.0.iter().map(|(attribute, value)| (*attribute, value.as_str()))
    }

    /// The common name.
    pub fn common_name(&self) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(attribute, _)| *attribute == NameAttribute::CommonName)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the name has no attribute.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// DER of the `Name`.
    pub fn to_der(&self) -> Vec<u8> {
        let rdns: Vec<Vec<u8>> = self.0.iter().map(|(attribute, value)| rdn(*attribute, value)).collect();
        encode::sequence(&rdns)
    }

    /// Reads the DER of a `Name`.
    ///
    /// # Errors
    /// `name_encoding_invalid`, `name_invalid` (also for attribute types that are not in
    /// [`NameAttribute`] and multi-valued RDNs), `name_control_character`.
    pub fn from_der(der: &[u8]) -> Result<Self, Refusal> {
        let mut outer = Reader::new(der);
        let name = outer.expect(tag::SEQUENCE).map_err(not_a_name)?;
        outer.finish().map_err(not_a_name)?;
        let mut rdns = name.reader();
        let mut subject = Self::empty();
        while !rdns.is_empty() {
            let (id, value) = read_rdn(&mut rdns)?;
            let attribute = by_oid(&id)?;
            subject = subject.with(attribute, &read_text(&value)?)?;
        }
        Ok(subject)
    }
}

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::NameInvalid, detail).field("/subject")
}

fn not_a_name(_: Malformed) -> Refusal {
    Refusal::new(ErrorCode::NameEncodingInvalid, "the subject is not a well-formed distinguished name")
        .field("/subject")
}

fn read_rdn<'a>(rdns: &mut Reader<'a>) -> Result<(ObjectIdentifier, Value<'a>), Refusal> {
    let mut set = rdns.expect(tag::SET).map_err(not_a_name)?.reader();
    let mut pair = set.expect(tag::SEQUENCE).map_err(not_a_name)?.reader();
    if !set.is_empty() {
        return Err(invalid("the subject has an RDN of several values"));
    }
    let id = pair.expect(tag::OID).and_then(|value| value.oid()).map_err(not_a_name)?;
    let value = pair.next().map_err(not_a_name)?;
    pair.finish().map_err(not_a_name)?;
    Ok((id, value))
}

fn by_oid(id: &ObjectIdentifier) -> Result<NameAttribute, Refusal> {
    ATTRIBUTES.iter().find(|(_, _, oid, _)| oid == id).map(|(attribute, ..)| *attribute).ok_or_else(|| {
        invalid(format!("the subject has an attribute of type {id}, which is not supported"))
            .hint("CN, O, OU, L, ST, STREET, C, DC, UID, SERIALNUMBER and EMAIL are")
    })
}

/// The text of a DirectoryString or IA5String.
fn read_text(value: &Value<'_>) -> Result<String, Refusal> {
    let wrong = |what: &str| {
        Refusal::new(ErrorCode::NameEncodingInvalid, format!("the subject has {what}"))
            .hint("encode names as UTF8String")
            .field("/subject")
    };
    match value.tag {
        tag::UTF8_STRING => std::str::from_utf8(value.content)
            .map(str::to_owned)
            .map_err(|_| wrong("a UTF8String that is not UTF-8")),
        tag::PRINTABLE_STRING
            if value.content.iter().all(|octet| is_printable(*octet) || octet.is_ascii_control()) =>
        {
            Ok(ascii(value.content))
        }
        tag::PRINTABLE_STRING => Err(wrong("a PrintableString with characters outside its alphabet")),
        tag::IA5_STRING if value.content.is_ascii() => Ok(ascii(value.content)),
        tag::IA5_STRING => Err(wrong("an IA5String that is not ASCII")),
        _ => Err(wrong(
            "a string of a type that is not taken (T61String, BMPString, UniversalString or other)",
        )),
    }
}

fn ascii(octets: &[u8]) -> String {
    octets.iter().map(|octet| char::from(*octet)).collect()
}

/// The alphabet of PrintableString (X.680).
const fn is_printable(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(octet, b' ' | b'\'' | b'(' | b')' | b'+' | b',' | b'-' | b'.' | b'/' | b':' | b'=' | b'?')
}

fn check_value(attribute: NameAttribute, value: &str) -> Result<(), Refusal> {
    let (_, label, _, longest) = describe(attribute);
    refuse_control_characters(value).map_err(|refusal| refusal.field("/subject"))?;
    if value.is_empty() || value.trim() != value {
        return Err(invalid(format!("{label} is empty, or starts or ends with a space")));
    }
    if value.chars().count() > longest {
        return Err(invalid(format!("{label} is longer than {longest} characters")));
    }
    let fits = match attribute {
        NameAttribute::Country => value.len() == 2 && value.bytes().all(|octet| octet.is_ascii_uppercase()),
        NameAttribute::SerialNumber => value.bytes().all(is_printable),
        NameAttribute::DomainComponent | NameAttribute::Email => value.is_ascii(),
        _ => true,
    };
    if fits {
        Ok(())
    } else {
        Err(invalid(format!("the value of {label} has characters that it may not have"))
            .hint("C is two capital letters, DC and EMAIL are ASCII, SERIALNUMBER is a PrintableString"))
    }
}

/// Refuses NUL, other control characters, and characters that turn the direction of writing: they make a
/// name read as another one.
///
/// # Errors
/// `name_control_character`.
pub(crate) fn refuse_control_characters(text: &str) -> Result<(), Refusal> {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    match text.chars().find(|c| odd(*c)) {
        None => Ok(()),
        Some(found) => Err(Refusal::new(
            ErrorCode::NameControlCharacter,
            format!("a name contains the control character U+{:04X}", u32::from(found)),
        )),
    }
}

fn describe(attribute: NameAttribute) -> (NameAttribute, &'static str, ObjectIdentifier, usize) {
    let [common_name, ..] = ATTRIBUTES;
    ATTRIBUTES.into_iter().find(|(each, ..)| *each == attribute).unwrap_or(common_name)
}

fn rdn(attribute: NameAttribute, value: &str) -> Vec<u8> {
    let (_, _, id, _) = describe(attribute);
    let string = match attribute {
        NameAttribute::Country | NameAttribute::SerialNumber => tag::PRINTABLE_STRING,
        NameAttribute::DomainComponent | NameAttribute::Email => tag::IA5_STRING,
        _ => tag::UTF8_STRING,
    };
    let pair = encode::sequence(&[encode::oid(&id), encode::tlv(string, value.as_bytes())]);
    encode::tlv(tag::SET, &pair)
}

impl TryFrom<String> for SubjectName {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        text.parse()
    }
}

impl From<SubjectName> for String {
    fn from(name: SubjectName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_reverse_of_the_encoding() {
        let name: SubjectName = "CN=www.example.com, O=Example\\, Inc., C=DE".parse().unwrap();
        assert_eq!(name.attributes().next(), Some((NameAttribute::Country, "DE")));
        assert_eq!(name.common_name(), Some("www.example.com"));
        assert_eq!(name.to_string(), "CN=www.example.com,O=Example\\, Inc.,C=DE");
        assert_eq!(SubjectName::from_der(&name.to_der()).unwrap(), name);
    }

    #[test]
    fn names_that_mislead_are_refused() {
        for (text, code) in [
            ("CN=a\0b", ErrorCode::NameControlCharacter),
            ("CN=a\u{202e}b", ErrorCode::NameControlCharacter),
            ("CN=", ErrorCode::NameInvalid),
            ("C=Germany", ErrorCode::NameInvalid),
            ("C=de", ErrorCode::NameInvalid),
            ("X=1", ErrorCode::NameInvalid),
            ("CN=a+O=b", ErrorCode::NameInvalid),
            ("nonsense", ErrorCode::NameInvalid),
            ("CN=a\\", ErrorCode::NameInvalid),
            ("CN=\\FF", ErrorCode::NameInvalid),
        ] {
            assert_eq!(text.parse::<SubjectName>().unwrap_err().code, code, "{text:?}");
        }
        let long = format!("CN={}", "x".repeat(65));
        assert_eq!(long.parse::<SubjectName>().unwrap_err().code, ErrorCode::NameInvalid);
    }

    #[test]
    fn strings_of_a_wrong_type_are_refused() {
        let name = |string: u8, value: &[u8]| {
            let pair = encode::sequence(&[
                encode::oid(&ObjectIdentifier::new_unwrap("2.5.4.3")),
                encode::tlv(string, value),
            ]);
            let der = encode::sequence(&[encode::tlv(tag::SET, &pair)]);
            SubjectName::from_der(&der).map_err(|refusal| refusal.code)
        };
        assert!(name(tag::PRINTABLE_STRING, b"host").is_ok());
        assert!(name(tag::IA5_STRING, b"host").is_ok());
        assert_eq!(name(tag::PRINTABLE_STRING, b"ho*t"), Err(ErrorCode::NameEncodingInvalid));
        assert_eq!(name(tag::UTF8_STRING, b"h\xffst"), Err(ErrorCode::NameEncodingInvalid));
        assert_eq!(name(tag::IA5_STRING, b"h\xffst"), Err(ErrorCode::NameEncodingInvalid));
        assert_eq!(name(0x1e, b"\0h\0o"), Err(ErrorCode::NameEncodingInvalid));
        assert_eq!(name(0x14, b"host"), Err(ErrorCode::NameEncodingInvalid));
        assert_eq!(name(tag::UTF8_STRING, b"ho\0st"), Err(ErrorCode::NameControlCharacter));
        assert_eq!(name(tag::PRINTABLE_STRING, b"ho\0st"), Err(ErrorCode::NameControlCharacter));
    }
}
