//! Checks of the short texts that people type: codes, names, addresses.

use clm_types::{ErrorCode, Refusal};

/// Longest description or reason, in octets.
const LONGEST_PROSE: usize = 4096;

fn invalid(field: &str, detail: &str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, detail).field(field)
}

/// Fails unless it is 1 to 64 lower-case letters, digits and hyphens, beginning with a letter or digit.
pub(crate) fn check_code(code: &str, field: &str) -> Result<(), Refusal> {
    let allowed = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    if code.is_empty() || code.len() > 64 || code.starts_with('-') || !code.bytes().all(allowed) {
        return Err(invalid(field, "a code is 1 to 64 lower-case letters, digits and hyphens"));
    }
    Ok(())
}

/// Controls, and what makes text look like another: characters that reorder it, and ends of lines that are no controls.
pub(crate) fn is_forbidden(character: char) -> bool {
    let misleads = matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || misleads
}

/// Fails unless it is 1 to 200 characters, none of them a control character, not only blanks.
pub(crate) fn check_name(name: &str, field: &str) -> Result<(), Refusal> {
    if name.trim().is_empty() || name.chars().count() > 200 || name.chars().any(is_forbidden) {
        return Err(invalid(
            field,
            "a name is 1 to 200 characters without control characters and those that reorder text",
        ));
    }
    Ok(())
}

/// Fails unless it is at most 4 KiB, without control characters but line ends and tabs.
pub(crate) fn check_prose(text: &str, field: &str) -> Result<(), Refusal> {
    let forbidden = |character: char| is_forbidden(character) && !matches!(character, '\n' | '\r' | '\t');
    if text.len() > LONGEST_PROSE || text.chars().any(forbidden) {
        return Err(invalid(
            field,
            "this is at most 4096 octets without control characters and those that reorder text",
        ));
    }
    Ok(())
}

/// Fails unless it is 1 to 100 letters, digits and `.`, `_`, `-`, `@`, `+`.
pub(crate) fn check_username(username: &str, field: &str) -> Result<(), Refusal> {
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"._-@+".contains(&octet);
    if username.is_empty() || username.len() > 100 || !username.bytes().all(allowed) {
        return Err(invalid(field, "a username is 1 to 100 ASCII letters, digits and . _ - @ +"));
    }
    Ok(())
}

/// Fails unless it is an e-mail address.
pub(crate) fn check_email(address: &str, field: &str) -> Result<(), Refusal> {
    clm_x509::San::email(address).map(|_| ()).map_err(|_| invalid(field, "this is not an e-mail address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_short_and_plain() {
        assert!(check_code("tls-server-2", "/code").is_ok());
        for wrong in ["", "-a", "A", "a b", "ä", &"a".repeat(65)] {
            assert!(check_code(wrong, "/code").is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_have_no_control_characters() {
        assert!(check_name("Größe ✓", "/name").is_ok());
        for wrong in
            [" \t", "a\0b", "a\nb", "\u{1b}[31m", "a\u{9b}b", "a\u{202e}b", "a\u{2066}b", "a\u{2028}b"]
        {
            assert!(check_name(wrong, "/name").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn descriptions_have_lines_and_an_end() {
        assert!(check_prose("one\r\n\ttwo", "/reason").is_ok() && check_prose("", "/reason").is_ok());
        assert!(check_prose(&"a".repeat(4096), "/reason").is_ok());
        assert!(check_prose(&"a".repeat(4097), "/reason").is_err() && check_prose("a\0", "/reason").is_err());
        assert!(check_prose("a\u{202e}b", "/reason").is_err());
    }

    #[test]
    fn usernames_may_be_addresses() {
        assert!(check_username("ann@example.com", "/username").is_ok());
        assert!(check_username("ann example", "/username").is_err());
        assert!(check_email("ann@example.com", "/email").is_ok());
        assert!(check_email("ann", "/email").is_err());
    }
}
