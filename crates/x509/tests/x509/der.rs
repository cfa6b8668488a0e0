//! DER by hand, for what no library would write.

/// One value from the parts of its content.
pub(crate) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len();
    let mut out = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    if length > 0xffff {
        out = vec![tag, 0x83, (length >> 16) as u8, (length >> 8) as u8, length as u8];
    }
    out.extend(content);
    out
}

/// SEQUENCE.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(0x30, parts)
}

/// OBJECT IDENTIFIER from its content octets in hexadecimal.
pub(crate) fn oid(hex: &str) -> Vec<u8> {
    value(6, &[&hex::decode(hex).unwrap()])
}

/// BIT STRING of whole octets.
pub(crate) fn bits(octets: &[u8]) -> Vec<u8> {
    value(3, &[&[0], octets])
}

/// An extension that is not critical.
pub(crate) fn extension(oid_hex: &str, content: &[u8]) -> Vec<u8> {
    sequence(&[&oid(oid_hex), &value(4, &[content])])
}
