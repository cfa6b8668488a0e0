//! Opaque secrets that are shown once: API keys, sessions, one-time links and bootstrap tokens.
//!
//! `clm_pat_` + 30 random base62 digits (178 bits) + CRC-32 of all that in 6 base62 digits. The
//! checksum lets scanners and this service tell a mistyped key without a lookup; it is no proof.

use aws_lc_rs::digest;
use clm_types::Entropy;
use zeroize::Zeroizing;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SECRET_DIGITS: usize = 30;
const CHECKSUM_DIGITS: usize = 6;
/// Of the random digits, those that are stored in the clear to find the key by.
const LOOKUP_DIGITS: usize = 8;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A person's API key.
    Personal,
    /// A program's API key.
    Service,
    /// A person's session.
    Session,
    /// Lets a user set a password.
    Link,
    /// Makes the first administrator.
    Bootstrap,
}

impl TokenKind {
    const ALL: [Self; 5] = [Self::Personal, Self::Service, Self::Session, Self::Link, Self::Bootstrap];

    /// Whether a token that begins like this is one of these.
    pub(crate) fn is_of(self, beginning: &str) -> bool {
        beginning.starts_with(self.prefix())
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Personal => "clm_pat_",
            Self::Service => "clm_svc_",
            Self::Session => "clm_ses_",
            Self::Link => "clm_otl_",
            Self::Bootstrap => "clm_bts_",
        }
    }
}

/// A token in the clear. Not printable by accident; wiped when dropped.
pub struct Token {
    kind: TokenKind,
    text: Zeroizing<String>,
}

impl Token {
    /// A new token.
    pub fn generate(kind: TokenKind, entropy: &Entropy) -> Self {
        let mut text =
            Zeroizing::new(String::with_capacity(kind.prefix().len() + SECRET_DIGITS + CHECKSUM_DIGITS));
        text.push_str(kind.prefix());
        for _ in 0..SECRET_DIGITS {
            text.push(random_digit(entropy));
        }
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Self { kind, text }
    }

    /// Reads a presented token; none when it cannot be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let kind = TokenKind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix()))?;
        let length = kind.prefix().len() + SECRET_DIGITS + CHECKSUM_DIGITS;
        if text.len() != length || !text.is_ascii() {
            return None;
        }
        let (body, given) = text.split_at(length - CHECKSUM_DIGITS);
        (checksum(body) == given).then(|| Self { kind, text: Zeroizing::new(text.to_owned()) })
    }

    /// What it is for.
    pub const fn kind(&self) -> TokenKind {
        self.kind
    }

    /// How it begins: stored in the clear, unique.
    pub fn lookup_prefix(&self) -> &str {
        let end = self.kind.prefix().len() + LOOKUP_DIGITS;
        self.text.get(..end).unwrap_or_default()
    }

    /// SHA-256 of the whole token: what is stored. No slow hash is needed for 178 random bits.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, self.text.as_bytes()).as_ref());
        hash
    }

    /// The token itself, to be shown once.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

fn digit(value: usize) -> char {
    DIGITS.get(value % DIGITS.len()).map_or('0', |octet| char::from(*octet))
}

/// Each digit equally likely: octets from 248 on are thrown away.
fn random_digit(entropy: &Entropy) -> char {
    loop {
        let [octet] = entropy.bytes::<1>();
        if octet < 248 {
            return digit(usize::from(octet));
        }
    }
}

fn checksum(text: &str) -> String {
    let mut value = crc32fast::hash(text.as_bytes()) as usize;
    let mut digits: Vec<char> = (0..CHECKSUM_DIGITS)
        .map(|_| {
            let lowest = digit(value);
            value /= DIGITS.len();
            lowest
        })
        .collect();
    digits.reverse();
    digits.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_says_what_it_is_for() {
        for kind in TokenKind::ALL {
            let token = Token::generate(kind, &Entropy::seeded(7));
            assert_eq!(token.expose().len(), 44);
            let read = Token::parse(token.expose()).unwrap();
            assert_eq!(
                (read.kind(), read.hash(), read.lookup_prefix()),
                (kind, token.hash(), token.lookup_prefix())
            );
            assert_eq!(token.lookup_prefix().len(), 16);
        }
    }

    #[test]
    fn a_mistyped_token_is_known_as_such_without_a_lookup() {
        let token = Token::generate(TokenKind::Personal, &Entropy::seeded(7));
        let text = token.expose();
        for position in 8..text.len() {
            let mut wrong = text.as_bytes().to_vec();
            wrong[position] = if wrong[position] == b'a' { b'b' } else { b'a' };
            assert!(Token::parse(std::str::from_utf8(&wrong).unwrap()).is_none());
        }
        for wrong in ["", "clm_pat_", &text[1..], &format!("{text}0"), "clm_pat_äöü"] {
            assert!(Token::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_not_printed_by_accident() {
        let token = Token::generate(TokenKind::Service, &Entropy::seeded(7));
        assert_eq!(format!("{token:?}"), "[redacted]");
    }
}
