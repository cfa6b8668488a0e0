//! The text of a distinguished name (RFC 4514).

use super::{ATTRIBUTES, NameAttribute, SubjectName, describe, invalid};
use clm_types::Refusal;
use std::{fmt, str::FromStr};

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (attribute, value)) in self.0.iter().rev().enumerate() {
            let (_, label, ..) = describe(*attribute);
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{label}={}", escape(value))?;
        }
        Ok(())
    }
}

/// RFC 4514 §2.4. Leading and trailing spaces cannot occur.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (index, c) in value.chars().enumerate() {
        if matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') || (index == 0 && c == '#') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

impl FromStr for SubjectName {
    type Err = Refusal;

    /// RFC 4514, without `#hex` values and multi-valued RDNs; spaces around attributes are passed over.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let mut subject = Self::empty();
        if text.trim().is_empty() {
            return Ok(subject);
        }
        for part in split_rdns(text)?.iter().rev() {
            let (label, value) = part
                .split_once('=')
                .ok_or_else(|| invalid(format!("`{part}` is not of the form TYPE=value")))?;
            subject = subject.with(by_label(label.trim())?, &unescape(value.trim())?)?;
        }
        Ok(subject)
    }
}

fn by_label(label: &str) -> Result<NameAttribute, Refusal> {
    let label = match label.to_ascii_uppercase().as_str() {
        "S" => "ST".to_owned(),
        "E" | "EMAILADDRESS" => "EMAIL".to_owned(),
        other => other.to_owned(),
    };
    ATTRIBUTES.iter().find(|(_, each, ..)| *each == label).map(|(attribute, ..)| *attribute).ok_or_else(
        || {
            invalid(format!("the subject has an attribute `{label}`, which is not supported"))
                .hint("CN, O, OU, L, ST, STREET, C, DC, UID, SERIALNUMBER and EMAIL are")
        },
    )
}

/// Cuts at each comma that is not escaped.
fn split_rdns(text: &str) -> Result<Vec<String>, Refusal> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        match c {
            ',' if !escaped => {
                parts.push(String::new());
                continue;
            }
            '+' | ';' | '"' if !escaped => {
                return Err(invalid(format!("`{c}` must be escaped with a backslash")));
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    Ok(parts)
}

/// A backslash before two hexadecimal digits is that octet, before another character that character.
fn unescape(value: &str) -> Result<String, Refusal> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        if octet != b'\\' {
            out.push(octet);
            continue;
        }
        match after {
            [] => return Err(invalid("the subject ends in a backslash")),
            [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = after;
            }
            [first, after @ ..] => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(out).map_err(|_| invalid("the subject's escapes are not UTF-8"))
}

fn hex_digit(digit: u8) -> u8 {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_rfc_4514_are_read() {
        let name: SubjectName = r"CN=\23 Lu\C4\8Di\C4\87\+,O=a\\b".parse().unwrap();
        assert_eq!(name.common_name(), Some("# Lučić+"));
        assert_eq!(name.to_string().parse::<SubjectName>().unwrap(), name);
    }
}
