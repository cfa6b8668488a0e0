//! PEM (RFC 7468): strict textual encoding.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Label of a PKCS#10 request.
pub const CERTIFICATE_REQUEST: &str = "CERTIFICATE REQUEST";
/// Label of a revocation list.
pub const CRL: &str = "X509 CRL";

/// A text that is not the PEM that was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PemError {
    /// There is no `-----BEGIN` line.
    NoBlock,
    /// The block has another label.
    Label(String),
    /// The block does not end, or what is in it is not base64.
    Malformed,
    /// There is more after the block.
    TrailingData,
}

/// DER as one PEM block with lines of 64 characters.
pub fn encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for (index, character) in STANDARD.encode(der).chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// The DER of the only block, whose label must be one of `labels`. Text before the block is passed over,
/// text after it is not.
///
/// # Errors
/// Each case of [`PemError`].
pub fn decode_one(labels: &[&str], text: &str) -> Result<Vec<u8>, PemError> {
    let (label, der, rest) = next_block(text)?;
    if !labels.contains(&label) {
        return Err(PemError::Label(label.chars().take(80).collect()));
    }
    if rest.trim().is_empty() { Ok(der) } else { Err(PemError::TrailingData) }
}

/// Label, DER and what follows of the first block.
fn next_block(text: &str) -> Result<(&str, Vec<u8>, &str), PemError> {
    let (_, after_begin) = text.split_once("-----BEGIN ").ok_or(PemError::NoBlock)?;
    let (label, body) = after_begin.split_once("-----").ok_or(PemError::Malformed)?;
    let end = format!("-----END {label}-----");
    let (base64, rest) = body.split_once(&end).ok_or(PemError::Malformed)?;
    let digits: String = base64.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(digits).map_err(|_| PemError::Malformed)?;
    Ok((label, der, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_as_it_was() {
        let der: Vec<u8> = (0..=255).collect();
        let text = encode(CRL, &der);
        assert!(text.lines().all(|line| line.len() <= 64));
        assert_eq!(decode_one(&[CRL], &format!("comment\n{text}\n")), Ok(der));
    }

    #[test]
    fn a_text_that_is_not_one_block_is_refused() {
        let text = encode(CRL, &[1, 2, 3]);
        assert_eq!(decode_one(&[CRL], "hello"), Err(PemError::NoBlock));
        assert_eq!(decode_one(&[CERTIFICATE], &text), Err(PemError::Label(CRL.to_owned())));
        assert_eq!(decode_one(&[CRL], &format!("{text}{text}")), Err(PemError::TrailingData));
        assert_eq!(decode_one(&[CRL], "-----BEGIN X509 CRL-----\nAQID"), Err(PemError::Malformed));
        assert_eq!(
            decode_one(&[CRL], "-----BEGIN X509 CRL-----\nA*ID\n-----END X509 CRL-----"),
            Err(PemError::Malformed)
        );
    }
}
