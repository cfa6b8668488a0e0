//! Key usage and extended key usage (RFC 5280 §4.2.1.3, §4.2.1.12).

use crate::{
    decode::{Malformed, Reader},
    encode::{self, tag},
};
use clm_types::{KeyAlgorithm, text_enum};
use const_oid::ObjectIdentifier;

text_enum! {
    /// What a key may do, in the order of the bits.
    pub enum KeyUsage {
        /// Bit 0.
        DigitalSignature => "digital-signature",
        /// Bit 1, formerly nonRepudiation.
        ContentCommitment => "content-commitment",
        /// Bit 2: RSA only.
        KeyEncipherment => "key-encipherment",
        /// Bit 3: RSA only.
        DataEncipherment => "data-encipherment",
        /// Bit 4: elliptic-curve Diffie-Hellman only.
        KeyAgreement => "key-agreement",
        /// Bit 5.
        KeyCertSign => "key-cert-sign",
        /// Bit 6.
        CrlSign => "crl-sign",
    }
}

text_enum! {
    /// What a certificate may be used for.
    pub enum ExtendedKeyUsage {
        /// id-kp-serverAuth
        ServerAuth => "server-auth",
        /// id-kp-clientAuth
        ClientAuth => "client-auth",
        /// id-kp-codeSigning
        CodeSigning => "code-signing",
        /// id-kp-emailProtection
        EmailProtection => "email-protection",
        /// id-kp-timeStamping
        TimeStamping => "time-stamping",
        /// id-kp-OCSPSigning
        OcspSigning => "ocsp-signing",
    }
}

impl KeyUsage {
    /// Whether a key of this algorithm can do this at all.
    pub const fn suits(self, key: KeyAlgorithm) -> bool {
        match self {
            Self::KeyEncipherment | Self::DataEncipherment => {
                matches!(key, KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096)
            }
            Self::KeyAgreement => matches!(key, KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384),
            _ => true,
        }
    }

    const fn mask(self) -> u8 {
        0x80 >> self as u8
    }

    /// DER of the BIT STRING: a named bit list, so without trailing zero bits.
    pub(crate) fn list_to_der(usages: &[Self]) -> Vec<u8> {
        let bits = usages.iter().fold(0, |bits, usage| bits | usage.mask());
        if bits == 0 {
            return encode::tlv(tag::BIT_STRING, &[0]);
        }
        let unused = u8::try_from(bits.trailing_zeros()).unwrap_or_default();
        encode::tlv(tag::BIT_STRING, &[unused, bits])
    }

    /// Reads the BIT STRING. decipherOnly (the ninth bit) and unknown bits are not taken.
    pub(crate) fn list_from_der(der: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut reader = Reader::new(der);
        let value = reader.expect(tag::BIT_STRING)?;
        reader.finish()?;
        match value.content {
            [unused, bits] if *bits != 0 && bits.trailing_zeros() == u32::from(*unused) && bits & 1 == 0 => {
                Ok(Self::ALL.iter().copied().filter(|usage| bits & usage.mask() != 0).collect())
            }
            _ => Err(Malformed),
        }
    }
}

impl ExtendedKeyUsage {
    /// The KeyPurposeId.
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::ServerAuth => ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"),
            Self::ClientAuth => ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"),
            Self::CodeSigning => ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3"),
            Self::EmailProtection => ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4"),
            Self::TimeStamping => ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8"),
            Self::OcspSigning => ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9"),
        }
    }

    /// DER of the sequence of purposes.
    pub(crate) fn list_to_der(usages: &[Self]) -> Vec<u8> {
        let purposes: Vec<Vec<u8>> = usages.iter().map(|usage| encode::oid(&usage.oid())).collect();
        encode::sequence(&purposes)
    }

    /// Reads the sequence of purposes; one that is not in the list is malformed here.
    pub(crate) fn list_from_der(der: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut outer = Reader::new(der);
        let mut purposes = outer.expect(tag::SEQUENCE)?.reader();
        outer.finish()?;
        let mut usages = Vec::new();
        while !purposes.is_empty() {
            let oid = purposes.expect(tag::OID)?.oid()?;
            usages.push(Self::ALL.iter().copied().find(|usage| usage.oid() == oid).ok_or(Malformed)?);
        }
        if usages.is_empty() { Err(Malformed) } else { Ok(usages) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_bit_list_has_no_trailing_zeros() {
        assert_eq!(KeyUsage::list_to_der(&[KeyUsage::DigitalSignature]), [3, 2, 7, 0x80]);
        assert_eq!(KeyUsage::list_to_der(&[KeyUsage::CrlSign, KeyUsage::KeyCertSign]), [3, 2, 1, 0x06]);
        assert_eq!(
            KeyUsage::list_from_der(&[3, 2, 1, 0x06]),
            Ok(vec![KeyUsage::KeyCertSign, KeyUsage::CrlSign])
        );
        for odd in [&[3, 2, 0, 0x06][..], &[3, 2, 0, 0], &[3, 1, 0], &[3, 2, 0, 1]] {
            assert!(KeyUsage::list_from_der(odd).is_err());
        }
    }
}
