//! States of a certificate.

use crate::{ErrorCode, Refusal, RevocationReason, text_enum};

text_enum! {
    /// `certificates.status` and `certificate_metadata.status`.
    pub enum CertificateStatus {
        /// Valid until `not_after`.
        Active => "active",
        /// On hold: revoked with reason `certificateHold`, may be released.
        OnHold => "on_hold",
        /// Revoked for good.
        Revoked => "revoked",
        /// Past `not_after`.
        Expired => "expired",
    }
}

text_enum! {
    /// What a certificate is for, inside Secure.
    pub enum CertificateCategory {
        /// Issued on a mandate of Core.
        Leaf => "leaf",
        /// The certificate of an authority of this installation.
        Authority => "authority",
        /// A delegated OCSP responder.
        Responder => "responder",
    }
}

impl CertificateStatus {
    /// The state after a revocation.
    ///
    /// # Errors
    /// `certificate_already_revoked`, `certificate_expired`, or `certificate_not_on_hold` for a release.
    pub fn revoke(self, reason: RevocationReason) -> Result<Self, Refusal> {
        match (self, reason) {
            (Self::OnHold, RevocationReason::RemoveFromCrl) => Ok(Self::Active),
            (_, RevocationReason::RemoveFromCrl) => Err(Refusal::new(
                ErrorCode::CertificateNotOnHold,
                format!("the certificate is {self}, only one on hold can be released"),
            )),
            (Self::Active, RevocationReason::CertificateHold) => Ok(Self::OnHold),
            (Self::Active | Self::OnHold, reason) if reason != RevocationReason::CertificateHold => {
                Ok(Self::Revoked)
            }
            (Self::Expired, _) => Err(Refusal::new(
                ErrorCode::CertificateExpired,
                "the certificate has expired; nothing is left to revoke",
            )),
            _ => Err(Refusal::new(
                ErrorCode::CertificateAlreadyRevoked,
                format!("the certificate is already {self}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RevocationReason::{CertificateHold, KeyCompromise, RemoveFromCrl, Superseded};

    #[test]
    fn only_a_hold_can_be_released() {
        assert_eq!(CertificateStatus::OnHold.revoke(RemoveFromCrl), Ok(CertificateStatus::Active));
        for status in [CertificateStatus::Active, CertificateStatus::Revoked, CertificateStatus::Expired] {
            assert_eq!(status.revoke(RemoveFromCrl).unwrap_err().code, ErrorCode::CertificateNotOnHold);
        }
    }

    #[test]
    fn a_revoked_certificate_cannot_be_revoked_again() {
        assert_eq!(CertificateStatus::Active.revoke(KeyCompromise), Ok(CertificateStatus::Revoked));
        assert_eq!(CertificateStatus::OnHold.revoke(Superseded), Ok(CertificateStatus::Revoked));
        assert_eq!(
            CertificateStatus::Revoked.revoke(KeyCompromise).unwrap_err().code,
            ErrorCode::CertificateAlreadyRevoked
        );
        assert_eq!(
            CertificateStatus::OnHold.revoke(CertificateHold).unwrap_err().code,
            ErrorCode::CertificateAlreadyRevoked
        );
        assert_eq!(
            CertificateStatus::Expired.revoke(Superseded).unwrap_err().code,
            ErrorCode::CertificateExpired
        );
    }
}
