//! Key algorithms and where a key comes from.

use crate::text_enum;

text_enum! {
    /// A public-key algorithm with its size.
    pub enum KeyAlgorithm {
        /// ECDSA on NIST P-256.
        EcdsaP256 => "ecdsa-p256",
        /// ECDSA on NIST P-384.
        EcdsaP384 => "ecdsa-p384",
        /// RSA with a 2048-bit modulus.
        Rsa2048 => "rsa-2048",
        /// RSA with a 3072-bit modulus.
        Rsa3072 => "rsa-3072",
        /// RSA with a 4096-bit modulus.
        Rsa4096 => "rsa-4096",
        /// Ed25519 (RFC 8410).
        Ed25519 => "ed25519",
        /// ML-DSA-65 (FIPS 204).
        MlDsa65 => "ml-dsa-65",
    }
}

impl KeyAlgorithm {
    /// The key's size in bits, as people name it (the public key's length for ML-DSA).
    pub const fn bits(self) -> u32 {
        match self {
            Self::EcdsaP256 | Self::Ed25519 => 256,
            Self::EcdsaP384 => 384,
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
            Self::MlDsa65 => 1952 * 8,
        }
    }
}

text_enum! {
    /// Where the key of a request comes from.
    pub enum KeySource {
        /// The requester holds the key and sends a certificate signing request.
        Csr => "csr",
        /// Secure generates the key and keeps it wrapped.
        Generated => "generated",
        /// A renewal that keeps the key of the certificate it replaces.
        Reused => "reused",
    }
}
