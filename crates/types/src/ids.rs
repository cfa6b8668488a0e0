//! Typed identifiers. Those of rows are UUIDv7 (RFC 9562 §5.7): their order is the order of creation.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::Entropy;

/// A new UUIDv7 for the millisecond of `now`.
pub fn new_uuid(now: DateTime<Utc>, entropy: &Entropy) -> Uuid {
    let mut random = [0u8; 10];
    entropy.fill(&mut random);
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident,)+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new identifier for the millisecond of `now`.
            pub fn generate(now: DateTime<Utc>, entropy: &Entropy) -> Self {
                Self(new_uuid(now, entropy))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )+};
}

ids! {
    /// `api_keys.id`.
    ApiKeyId,
    /// `certificate_authorities.id`: the public identity of an authority.
    AuthorityId,
    /// `certificates.certificate_id`: the public identity of a certificate.
    CertificateId,
    /// `groups.id`.
    GroupId,
    /// `jobs.id`.
    JobId,
    /// Identifies one mandate that Core gave to Secure.
    MandateId,
    /// `mass_revocations.id`.
    MassRevocationId,
    /// `notifications.id`.
    NotificationId,
    /// One operation across both databases; the same id always gives the same effect and answer.
    OperationId,
    /// `organizations.id`.
    OrganizationId,
    /// `policies.id` (one row per version).
    PolicyId,
    /// `private_keys.id`.
    PrivateKeyId,
    /// `external_identities.id`.
    ExternalIdentityId,
    /// `passkeys.id`.
    PasskeyId,
    /// `certificate_requests.id`.
    RequestId,
    /// `roles.id`.
    RoleId,
    /// `sessions.id`.
    SessionId,
    /// `users.id`.
    UserId,
    /// `workflows.id`.
    WorkflowId,
    /// `workflow_instances.id`.
    WorkflowInstanceId,
    /// `workflow_steps.id`.
    WorkflowStepId,
    /// `workload_rules.id`.
    WorkloadRuleId,
}

impl OperationId {
    /// From a SHA-256: what has the same digest is the same operation (UUIDv8, RFC 9562 §5.8).
    pub fn of_digest(sha256: [u8; 32]) -> Self {
        let mut octets = [0; 16];
        octets.iter_mut().zip(sha256).for_each(|(to, from)| *to = from);
        Self(uuid::Builder::from_custom_bytes(octets).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_carry_version_7() {
        let entropy = Entropy::seeded(1);
        let early = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let late = DateTime::from_timestamp(1_700_000_001, 0).unwrap();
        let (a, b) = (CertificateId::generate(early, &entropy), CertificateId::generate(late, &entropy));
        assert!(a < b);
        assert_eq!(a.0.get_version_num(), 7);
    }
}
