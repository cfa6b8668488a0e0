//! PEM of certificates (RFC 7468).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Base64 of a certificate as a PEM block, 64 characters to the line.
pub(crate) fn certificate(base64: &str) -> String {
    let mut text = format!("{BEGIN}\n");
    for (place, character) in base64.chars().enumerate() {
        if place > 0 && place % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push('\n');
    text.push_str(END);
    text.push('\n');
    text
}

/// DER of the first certificate in PEM text.
pub(crate) fn to_der(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once(BEGIN)?;
    let (base64, _) = rest.split_once(END)?;
    STANDARD.decode(base64.split_ascii_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_has_64_characters_to_the_line() {
        let text = certificate(&"A".repeat(130));
        let lengths: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(lengths, [27, 64, 64, 2, 25]);
        assert_eq!(certificate(&"A".repeat(64)).lines().count(), 3);
    }

    #[test]
    fn pem_is_read_back() {
        let der: Vec<u8> = (0..=255).collect();
        assert_eq!(to_der(&certificate(&STANDARD.encode(&der))), Some(der));
        assert_eq!(to_der("junk"), None);
    }
}
