//! DER by hand, for what no library would write.

/// One value from the parts of its content.
pub(crate) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let [.., high, middle, low] = content.len().to_be_bytes();
    let length = match content.len() {
        0..0x80 => vec![low],
        0x80..0x100 => vec![0x81, low],
        0x100..0x1_0000 => vec![0x82, middle, low],
        _ => vec![0x83, high, middle, low],
    };
    [vec![tag], length, content].concat()
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
