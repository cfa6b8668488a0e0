//! States of a certificate.

use crate::{ErrorCode, Refusal, RevocationReason, Time, text_enum};

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
    /// What is stored, read at `now`: the date says whether a certificate has ended, not the word for it, which is
    /// written down later, and never takes away that a certificate can be revoked.
    #[must_use]
    pub fn at(self, now: Time, not_after: Time, reason: Option<RevocationReason>) -> Self {
        match (self, reason) {
            (Self::Active | Self::OnHold | Self::Expired, _) if not_after < now => Self::Expired,
            (Self::Expired, None) => Self::Active,
            (Self::Expired, Some(RevocationReason::CertificateHold)) => Self::OnHold,
            (Self::Expired, Some(_)) => Self::Revoked,
            (status, _) => status,
        }
    }

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
    fn a_certificate_has_ended_when_its_date_says_so() {
        use CertificateStatus::{Active, Expired, OnHold, Revoked};
        let now = chrono::DateTime::UNIX_EPOCH;
        let (past, future) = (now - chrono::TimeDelta::seconds(1), now + chrono::TimeDelta::seconds(1));
        for (stored, reason) in
            [(Active, None), (OnHold, Some(CertificateHold)), (Revoked, Some(KeyCompromise))]
        {
            let ended = if stored == Revoked { Revoked } else { Expired };
            assert_eq!(stored.at(now, past, reason), ended);
            assert_eq!(stored.at(now, future, reason), stored);
            assert_eq!(Expired.at(now, past, reason), Expired);
            assert_eq!(Expired.at(now, future, reason), stored);
        }
    }

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
