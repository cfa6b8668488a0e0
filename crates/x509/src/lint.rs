//! Lint: judges the very octets that are about to be signed.
//!
//! They are parsed anew, by another implementation (`x509-cert`) than the one that wrote them, and held against
//! profile, issuer and the issuer's addresses. Nothing else of the template is known here.

mod extensions;

use crate::{
    certificate::Fields, issuer::IssuerInfo, profile::Profile, public_key::PublicKey, tbs::AuthorityUrls,
};
use chrono::{DateTime, Utc};
use der::{Decode, Encode};
use x509_cert::TbsCertificate;

/// Fewest octets of a serial number: CAs must put 64 random bits into it.
const SHORTEST_SERIAL: usize = 8;
/// Most octets of a serial number (RFC 5280 §4.1.2.2).
const LONGEST_SERIAL: usize = 20;

/// One thing that is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A stable name of the rule.
    pub rule: &'static str,
    /// What was found.
    pub detail: String,
}

/// Holds a to-be-signed certificate against its profile, its issuer and the issuer's addresses. No finding means that it
/// may be signed.
pub fn lint_tbs(
    tbs_der: &[u8],
    profile: &Profile,
    issuer: &IssuerInfo,
    urls: &AuthorityUrls,
) -> Vec<Finding> {
    let parsed = TbsCertificate::from_der(tbs_der);
    let (Ok(tbs), Ok(raw)) = (parsed, Fields::read(tbs_der)) else {
        return vec![Finding {
            rule: "malformed",
            detail: "the octets are not a version 3 TBSCertificate".to_owned(),
        }];
    };
    let mut lint = Lint { profile, issuer, urls, tbs: &tbs, raw: &raw, key: None, findings: Vec::new() };
    lint.encoding(tbs_der);
    lint.serial();
    lint.issuer_fields();
    lint.validity();
    lint.key();
    lint.extension_list();
    lint.basic_constraints();
    lint.usages();
    lint.key_identifiers();
    lint.names();
    lint.policies();
    lint.addresses();
    lint.findings
}

struct Lint<'a> {
    profile: &'a Profile,
    issuer: &'a IssuerInfo,
    urls: &'a AuthorityUrls,
    tbs: &'a TbsCertificate,
    raw: &'a Fields<'a>,
    /// The certified key, once it has been read.
    key: Option<PublicKey>,
    findings: Vec<Finding>,
}

impl Lint<'_> {
    fn require(&mut self, holds: bool, rule: &'static str, detail: &str) {
        if !holds {
            self.findings.push(Finding { rule, detail: detail.to_owned() });
        }
    }

    fn encoding(&mut self, tbs_der: &[u8]) {
        let stable = self.tbs.to_der().is_ok_and(|der| der == tbs_der);
        self.require(stable, "encoding", "decoding and encoding again gives other octets");
    }

    fn serial(&mut self) {
        let octets = self.tbs.serial_number().as_bytes();
        let positive = octets.first().is_some_and(|octet| octet & 0x80 == 0);
        self.require(positive, "serial_negative", "the serial is not a positive number");
        self.require(octets.len() <= LONGEST_SERIAL, "serial_too_long", "the serial has more than 20 octets");
        let significant = octets.iter().skip_while(|octet| **octet == 0).count();
        self.require(
            significant >= SHORTEST_SERIAL,
            "serial_too_short",
            "the serial has fewer than 8 octets",
        );
    }

    fn issuer_fields(&mut self) {
        let algorithm = self.raw.signature_algorithm == self.issuer.signature_algorithm_der();
        self.require(
            algorithm,
            "signature_algorithm",
            "the signature algorithm is not that of the issuer's key",
        );
        let name = self.tbs.issuer().to_der().is_ok_and(|der| der == self.issuer.name_der);
        self.require(name, "issuer_name", "the issuer's name is not, octet by octet, that of the issuer");
        if self.issuer.is_self_signed() {
            let same =
                self.raw.subject == self.raw.issuer && self.raw.spki == self.issuer.public_key.spki_der();
            self.require(
                same,
                "self_signed",
                "subject and key of a self-signed certificate are not the issuer's",
            );
            self.require(self.profile.is_ca(), "self_signed", "only an authority may be self-signed");
        }
    }

    fn validity(&mut self) {
        let validity = self.tbs.validity();
        let seconds = |time: x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_secs())
                .ok()
                .and_then(|at| DateTime::<Utc>::from_timestamp(at, 0))
        };
        let (Some(not_before), Some(not_after)) = (seconds(validity.not_before), seconds(validity.not_after))
        else {
            return self.require(false, "validity", "the validity cannot be read");
        };
        let length = (not_after - not_before).num_seconds() + 1;
        self.require(length > 0, "validity", "the validity ends before it begins");
        let fits = length <= self.profile.longest_validity_seconds;
        self.require(fits, "validity_too_long", "the validity is longer than the profile allows");
        if let Some(bounds) = self.issuer.bounds {
            let inside = not_after <= bounds.not_after;
            self.require(inside, "validity_beyond_issuer", "the certificate would outlive its issuer");
        }
    }

    fn key(&mut self) {
        match PublicKey::from_spki_der(self.raw.spki) {
            Ok(key) => {
                let allowed = self.profile.key_algorithms.contains(&key.algorithm());
                self.require(allowed, "key_algorithm", "the profile does not allow the key's algorithm");
                self.key = Some(key);
            }
            Err(refusal) => self.require(false, "key", &refusal.detail),
        }
    }
}
