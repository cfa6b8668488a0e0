//! Revocation reasons.

use crate::text_enum;

text_enum! {
    /// CRLReason of RFC 5280 §5.3.1. Code 7 is not used there.
    pub enum RevocationReason {
        /// Code 0.
        Unspecified => "unspecified",
        /// Code 1.
        KeyCompromise => "keyCompromise",
        /// Code 2.
        CaCompromise => "cACompromise",
        /// Code 3.
        AffiliationChanged => "affiliationChanged",
        /// Code 4.
        Superseded => "superseded",
        /// Code 5.
        CessationOfOperation => "cessationOfOperation",
        /// Code 6: may be released.
        CertificateHold => "certificateHold",
        /// Code 8: releases a hold.
        RemoveFromCrl => "removeFromCRL",
        /// Code 9.
        PrivilegeWithdrawn => "privilegeWithdrawn",
        /// Code 10.
        AaCompromise => "aACompromise",
    }
}

impl RevocationReason {
    /// The ENUMERATED value of RFC 5280.
    pub const fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::CertificateHold => 6,
            Self::RemoveFromCrl => 8,
            Self::PrivilegeWithdrawn => 9,
            Self::AaCompromise => 10,
        }
    }

    /// The reason with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}
