//! Subject alternative names: typed, checked, normalised.

mod host;

use crate::{
    decode::{Malformed, Reader, Value},
    encode::{self, tag},
    name::refuse_control_characters,
};
use clm_types::{ErrorCode, Refusal};
use host::{check_authority, check_host, wildcard_base};
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, str::FromStr};

/// A subject alternative name. As text (also in JSON): `dns:www.example.com`, `ip:192.0.2.1`,
/// `email:a@example.com`, `uri:https://example.com/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum San {
    /// A DNS name in lower case, A-labels only; may be a wildcard.
    Dns(String),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// An e-mail address, its domain in lower case.
    Email(String),
    /// An absolute URI, its scheme and host in lower case.
    Uri(String),
}

/// What kind of name a [`San`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SanKind {
    /// DNS name.
    Dns,
    /// IP address.
    Ip,
    /// E-mail address.
    Email,
    /// URI.
    Uri,
}

impl San {
    /// A DNS name; upper case is lowered.
    ///
    /// # Errors
    /// `name_invalid`, `name_not_ascii` (with the A-label as hint), `name_control_character`,
    /// `wildcard_misplaced`.
    pub fn dns(name: &str) -> Result<Self, Refusal> {
        refuse_control_characters(name)?;
        if !name.is_ascii() {
            return Err(not_ascii(name));
        }
        let name = name.to_ascii_lowercase();
        let base = wildcard_base(&name)?;
        check_host(base)?;
        Ok(Self::Dns(name))
    }

    /// An e-mail address (RFC 5321 mailbox with a dot-atom before the `@`).
    ///
    /// # Errors
    /// `name_invalid`, `name_not_ascii`, `name_control_character`.
    pub fn email(address: &str) -> Result<Self, Refusal> {
        refuse_control_characters(address)?;
        let (local, domain) = address
            .rsplit_once('@')
            .ok_or_else(|| invalid(format!("`{}` is not an e-mail address", shown(address))))?;
        if !domain.is_ascii() {
            return Err(not_ascii(domain));
        }
        let atom = |part: &str| !part.is_empty() && part.bytes().all(is_atom);
        if local.len() > 64 || !local.split('.').all(atom) {
            return Err(invalid(format!("`{}` is not an e-mail address that is taken", shown(address))));
        }
        let domain = domain.to_ascii_lowercase();
        check_host(&domain)?;
        Ok(Self::Email(format!("{local}@{domain}")))
    }

    /// An absolute URI (RFC 3986) with a host, or a URN.
    ///
    /// # Errors
    /// `name_invalid`, `name_not_ascii`, `name_control_character`.
    pub fn uri(uri: &str) -> Result<Self, Refusal> {
        refuse_control_characters(uri)?;
        let wrong = || invalid(format!("`{}` is not an absolute URI that is taken", shown(uri)));
        if !uri.is_ascii() {
            return Err(Refusal::new(
                ErrorCode::NameNotAscii,
                format!("the URI `{}` is not ASCII", shown(uri)),
            )
            .hint("percent-encode the path, and write the host as A-labels"));
        }
        let (scheme, rest) = uri.split_once(':').ok_or_else(wrong)?;
        let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet));
        if !scheme_ok || rest.is_empty() || uri.len() > 2048 || !rest.bytes().all(is_uri_octet) {
            return Err(wrong());
        }
        let scheme = scheme.to_ascii_lowercase();
        let Some(after) = rest.strip_prefix("//") else {
            return if scheme == "urn" { Ok(Self::Uri(format!("urn:{rest}"))) } else { Err(wrong()) };
        };
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, path) = after.split_at(end);
        let authority = authority.to_ascii_lowercase();
        check_authority(&authority).map_err(|_| wrong())?;
        Ok(Self::Uri(format!("{scheme}://{authority}{path}")))
    }

    /// What kind of name this is.
    pub const fn kind(&self) -> SanKind {
        match self {
            Self::Dns(_) => SanKind::Dns,
            Self::Ip(_) => SanKind::Ip,
            Self::Email(_) => SanKind::Email,
            Self::Uri(_) => SanKind::Uri,
        }
    }

    /// Whether this is a DNS wildcard.
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Self::Dns(name) if name.starts_with("*."))
    }

    /// The name without its kind, as in a common name.
    pub fn value(&self) -> String {
        match self {
            Self::Dns(text) | Self::Email(text) | Self::Uri(text) => text.clone(),
            Self::Ip(address) => address.to_string(),
        }
    }

    /// DER of the `GeneralName` (RFC 5280 §4.2.1.6).
    pub(crate) fn to_der(&self) -> Vec<u8> {
        match self {
            Self::Email(text) => encode::tlv(tag::context(1), text.as_bytes()),
            Self::Dns(text) => encode::tlv(tag::context(2), text.as_bytes()),
            Self::Uri(text) => encode::tlv(tag::context(6), text.as_bytes()),
            Self::Ip(IpAddr::V4(address)) => encode::tlv(tag::context(7), &address.octets()),
            Self::Ip(IpAddr::V6(address)) => encode::tlv(tag::context(7), &address.octets()),
        }
    }

    fn from_value(value: &Value<'_>) -> Result<Self, Refusal> {
        let text = || {
            std::str::from_utf8(value.content).map_err(|_| {
                Refusal::new(ErrorCode::NameEncodingInvalid, "a subject alternative name is not ASCII")
            })
        };
        match value.tag {
            0x81 => Self::email(text()?),
            0x82 => Self::dns(text()?),
            0x86 => Self::uri(text()?),
            0x87 => address(value.content).map(Self::Ip),
            _ => Err(Refusal::new(
                ErrorCode::NameKindNotAllowed,
                "a subject alternative name is neither DNS name, IP address, e-mail address nor URI",
            )),
        }
    }
}

/// Reads the DER of a `GeneralNames`; doubles are passed over, the order is kept.
///
/// # Errors
/// As the constructors of [`San`]; `too_many_names` above `most`; `name_encoding_invalid`.
pub(crate) fn read_names(der: &[u8], most: usize) -> Result<Vec<San>, Refusal> {
    let broken = |Malformed| {
        Refusal::new(ErrorCode::NameEncodingInvalid, "the subject alternative names are not well-formed")
    };
    let mut outer = Reader::new(der);
    let mut values = outer.expect(tag::SEQUENCE).map_err(broken)?.reader();
    outer.finish().map_err(broken)?;
    let mut names = Vec::new();
    for index in 0.. {
        if values.is_empty() {
            break;
        }
        if index >= most {
            return Err(Refusal::new(
                ErrorCode::TooManyNames,
                format!("there are more than {most} subject alternative names"),
            ));
        }
        let name = San::from_value(&values.next().map_err(broken)?)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Those of a `GeneralNames` that we would issue; whatever else is left out.
pub(crate) fn read_known_names(der: &[u8]) -> Vec<San> {
    let mut names = Vec::new();
    let Ok(list) = Reader::new(der).expect(tag::SEQUENCE) else { return names };
    let mut values = list.reader();
    while let Ok(value) = values.next() {
        names.extend(San::from_value(&value).ok().filter(|name| !names.contains(name)));
    }
    names
}

fn invalid(detail: String) -> Refusal {
    Refusal::new(ErrorCode::NameInvalid, detail)
}

/// A name for a message: not more than 80 characters of it.
fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}

fn not_ascii(name: &str) -> Refusal {
    let refusal =
        Refusal::new(ErrorCode::NameNotAscii, format!("the DNS name `{}` is not ASCII", shown(name)));
    match idna::domain_to_ascii_strict(name) {
        Ok(ascii) => refusal.hint(format!("ask for its A-label: {ascii}")),
        Err(_) => refusal.hint("it is no valid internationalised name either"),
    }
}

const fn is_atom(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(
            octet,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'/'
                | b'='
                | b'?'
                | b'^'
                | b'_'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
                | b'~'
        )
}

/// Reserved, unreserved or percent sign (RFC 3986 §2).
const fn is_uri_octet(octet: u8) -> bool {
    octet.is_ascii_graphic()
        && !matches!(octet, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

fn address(octets: &[u8]) -> Result<IpAddr, Refusal> {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return Ok(four.into());
    }
    <[u8; 16]>::try_from(octets)
        .map(IpAddr::from)
        .map_err(|_| invalid(format!("an IP address has 4 or 16 octets, this one has {}", octets.len())))
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(text) => write!(f, "dns:{text}"),
            Self::Ip(address) => write!(f, "ip:{address}"),
            Self::Email(text) => write!(f, "email:{text}"),
            Self::Uri(text) => write!(f, "uri:{text}"),
        }
    }
}

impl FromStr for San {
    type Err = Refusal;

    /// With its kind in front, or bare: an address, a URI with `://`, something with `@`, else a DNS name.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        if let Some(name) = text.strip_prefix("dns:") {
            Self::dns(name)
        } else if let Some(name) = text.strip_prefix("ip:") {
            name.parse().map(Self::Ip).map_err(|_| invalid(format!("`{}` is not an IP address", shown(name))))
        } else if let Some(name) = text.strip_prefix("email:") {
            Self::email(name)
        } else if let Some(name) = text.strip_prefix("uri:") {
            Self::uri(name)
        } else if let Ok(address) = text.parse() {
            Ok(Self::Ip(address))
        } else if text.contains("://") || text.starts_with("urn:") {
            Self::uri(text)
        } else if text.contains('@') {
            Self::email(text)
        } else {
            Self::dns(text)
        }
    }
}

impl TryFrom<String> for San {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        text.parse()
    }
}

impl From<San> for String {
    fn from(name: San) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_by_kind_and_normalised() {
        for (text, shown) in [
            ("WWW.Example.com", "dns:www.example.com"),
            ("dns:*.example.com", "dns:*.example.com"),
            ("localhost", "dns:localhost"),
            ("xn--bcher-kva.example", "dns:xn--bcher-kva.example"),
            ("192.0.2.1", "ip:192.0.2.1"),
            ("ip:2001:DB8::1", "ip:2001:db8::1"),
            ("First.Last@Example.COM", "email:First.Last@example.com"),
            ("spiffe://Trust.example/ns/A", "uri:spiffe://trust.example/ns/A"),
            ("uri:https://[2001:db8::1]:8443/x?y", "uri:https://[2001:db8::1]:8443/x?y"),
            (
                "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
                "uri:urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            ),
        ] {
            let name: San = text.parse().unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
            assert_eq!(name.to_string(), shown);
            let der = encode::sequence(&[name.to_der()]);
            assert_eq!(read_names(&der, 1).unwrap(), [name]);
        }
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let label = "a".repeat(64);
        let long = format!("{}.example", vec!["a"; 130].join("."));
        for (text, code) in [
            ("", ErrorCode::NameInvalid),
            ("a..b", ErrorCode::NameInvalid),
            (".example.com", ErrorCode::NameInvalid),
            ("example.com.", ErrorCode::NameInvalid),
            ("-a.example", ErrorCode::NameInvalid),
            ("a_b.example", ErrorCode::NameInvalid),
            ("exa mple.com", ErrorCode::NameInvalid),
            ("dns:192.0.2.1", ErrorCode::NameInvalid),
            ("xn--a.example", ErrorCode::NameInvalid),
            (label.as_str(), ErrorCode::NameInvalid),
            (long.as_str(), ErrorCode::NameInvalid),
            ("bücher.example", ErrorCode::NameNotAscii),
            ("a@bücher.example", ErrorCode::NameNotAscii),
            ("www.exam\0ple.com", ErrorCode::NameControlCharacter),
            ("a\nb@example.com", ErrorCode::NameControlCharacter),
            ("*", ErrorCode::WildcardMisplaced),
            ("*.com", ErrorCode::WildcardMisplaced),
            ("w*.example.com", ErrorCode::WildcardMisplaced),
            ("www.*.example.com", ErrorCode::WildcardMisplaced),
            ("*.*.example.com", ErrorCode::WildcardMisplaced),
            ("ip:300.0.0.1", ErrorCode::NameInvalid),
            ("email:nobody", ErrorCode::NameInvalid),
            ("a b@example.com", ErrorCode::NameInvalid),
            ("email:a@", ErrorCode::NameInvalid),
            ("uri:/relative", ErrorCode::NameInvalid),
            ("https://", ErrorCode::NameInvalid),
            ("https://user@example.com/", ErrorCode::NameInvalid),
            ("https://example.com:99999/", ErrorCode::NameInvalid),
            ("uri:javascript:alert(1)", ErrorCode::NameInvalid),
        ] {
            let refusal = text.parse::<San>().expect_err(text);
            assert_eq!(refusal.code, code, "{text:?}");
        }
    }

    #[test]
    fn a_u_label_is_refused_with_its_a_label() {
        let refusal = San::dns("bücher.example").unwrap_err();
        assert_eq!(refusal.hint.as_deref(), Some("ask for its A-label: xn--bcher-kva.example"));
    }

    #[test]
    fn an_address_has_4_or_16_octets() {
        let der = encode::sequence(&[encode::tlv(tag::context(7), &[1, 2, 3])]);
        assert_eq!(read_names(&der, 9).unwrap_err().code, ErrorCode::NameInvalid);
    }

    #[test]
    fn other_kinds_of_names_are_refused() {
        for kind in [tag::context_constructed(0), tag::context_constructed(4), tag::context(8)] {
            let der = encode::sequence(&[encode::tlv(kind, &[0x2a])]);
            assert_eq!(read_names(&der, 9).unwrap_err().code, ErrorCode::NameKindNotAllowed);
        }
    }
}
