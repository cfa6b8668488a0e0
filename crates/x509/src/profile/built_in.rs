//! The profiles that come with the program.

use super::{AuthorityConstraints, Profile};
use crate::{
    key_usage::{ExtendedKeyUsage, KeyUsage},
    san::SanKind,
};
use clm_types::KeyAlgorithm;

const DAY: i64 = 86_400;
/// anyPolicy (RFC 5280 §4.2.1.4): the installation states no policy of its own.
const ANY_POLICY: &str = "2.5.29.32.0";

/// Names of the built-in profiles that a request may ask for.
pub const REQUESTABLE: [&str; 4] = ["tls-server", "tls-client", "tls-server-client", "intermediate-ca"];

impl Profile {
    /// The built-in profile of this name: those of [`REQUESTABLE`], and `root-ca`, `issuing-ca`, `cross-ca` and
    /// `ocsp-responder`, which only the installation itself uses.
    pub fn built_in(name: &str) -> Option<Self> {
        match name {
            "tls-server" => Some(Self::tls(name, &[ExtendedKeyUsage::ServerAuth], true)),
            "tls-client" => Some(Self::tls(name, &[ExtendedKeyUsage::ClientAuth], false)),
            "tls-server-client" => {
                Some(Self::tls(name, &[ExtendedKeyUsage::ServerAuth, ExtendedKeyUsage::ClientAuth], true))
            }
            "root-ca" => Some(Self::authority(name, None, 7305 * DAY)),
            "intermediate-ca" => Some(Self::authority(name, Some(0), 1827 * DAY)),
            "issuing-ca" => Some(Self::authority(name, Some(1), 3653 * DAY)),
            // For the key of another root, with room for two authorities below it.
            "cross-ca" => Some(Self::authority(name, Some(2), 7305 * DAY)),
            "ocsp-responder" => Some(Self::ocsp_responder()),
            _ => None,
        }
    }

    fn tls(name: &str, purposes: &[ExtendedKeyUsage], server: bool) -> Self {
        let mut name_kinds = vec![SanKind::Dns, SanKind::Ip, SanKind::Uri];
        if !server {
            name_kinds.push(SanKind::Email);
        }
        Self {
            name: name.to_owned(),
            version: 1,
            key_usage: if server {
                vec![KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment]
            } else {
                vec![KeyUsage::DigitalSignature]
            },
            extended_key_usage: purposes.to_vec(),
            authority: None,
            key_algorithms: KeyAlgorithm::ALL.to_vec(),
            name_kinds,
            most_names: 100,
            names_required: server,
            wildcards_allowed: server,
            subject_required: false,
            common_name_among_names: server,
            longest_validity_seconds: 398 * DAY,
            policies: vec![ANY_POLICY.to_owned()],
            ocsp_no_check: false,
        }
    }

    fn authority(name: &str, path_length: Option<u8>, longest_validity_seconds: i64) -> Self {
        Self {
            name: name.to_owned(),
            version: 1,
            key_usage: vec![KeyUsage::DigitalSignature, KeyUsage::KeyCertSign, KeyUsage::CrlSign],
            extended_key_usage: Vec::new(),
            authority: Some(AuthorityConstraints { path_length }),
            key_algorithms: KeyAlgorithm::ALL.to_vec(),
            name_kinds: Vec::new(),
            most_names: 0,
            names_required: false,
            wildcards_allowed: false,
            subject_required: true,
            common_name_among_names: false,
            longest_validity_seconds,
            policies: if name == "root-ca" { Vec::new() } else { vec![ANY_POLICY.to_owned()] },
            ocsp_no_check: false,
        }
    }

    fn ocsp_responder() -> Self {
        Self {
            extended_key_usage: vec![ExtendedKeyUsage::OcspSigning],
            key_usage: vec![KeyUsage::DigitalSignature],
            authority: None,
            ocsp_no_check: true,
            ..Self::authority("ocsp-responder", None, 90 * DAY)
        }
    }
}
