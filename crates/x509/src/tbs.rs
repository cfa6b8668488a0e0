//! To-be-signed certificates: from a template to the exact octets.

use crate::{
    encode::{self, tag},
    extension::{self as ext},
    issuer::IssuerInfo,
    key_usage::{ExtendedKeyUsage, KeyUsage},
    name::SubjectName,
    profile::Profile,
    public_key::{PublicKey, sha256},
    san::San,
};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use clm_types::{ErrorCode, Refusal, SerialNumber};
use serde::{Deserialize, Serialize};

/// Everything that goes into a certificate.
#[derive(Debug, Clone)]
pub struct CertificateTemplate<'a> {
    /// The serial number, unique under the issuer.
    pub serial: &'a SerialNumber,
    /// The authority that will sign.
    pub issuer: &'a IssuerInfo,
    /// The subject; may be empty when there are names.
    pub subject: &'a SubjectName,
    /// Subject alternative names.
    pub names: &'a [San],
    /// First second of validity; fractions are cut off.
    pub not_before: DateTime<Utc>,
    /// Last second of validity; fractions are cut off. See [`last_second`].
    pub not_after: DateTime<Utc>,
    /// The key to be certified.
    pub public_key: &'a PublicKey,
    /// The profile, which decides all the rest.
    pub profile: &'a Profile,
    /// Where the issuer's services are.
    pub urls: &'a AuthorityUrls,
}

/// Addresses that go into certificates of an authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityUrls {
    /// OCSP responder.
    #[serde(default)]
    pub ocsp: Option<String>,
    /// The issuer's certificate, DER.
    #[serde(default)]
    pub issuer_certificate: Option<String>,
    /// Full revocation list, DER.
    #[serde(default)]
    pub crl: Option<String>,
}

/// DER of a TBSCertificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TbsCertificate {
    /// The octets to be signed.
    pub der: Vec<u8>,
    /// Their SHA-256.
    pub digest: [u8; 32],
}

/// The last second of a validity of so many seconds: both ends count (RFC 5280 §4.1.2.5).
pub fn last_second(not_before: DateTime<Utc>, seconds: i64) -> DateTime<Utc> {
    not_before.trunc_subsecs(0) + TimeDelta::seconds(seconds - 1)
}

/// Builds the octets to be signed.
///
/// # Errors
/// Those of [`Profile::check`]; `profile_invalid`, `validity_beyond_authority`, `path_length_exceeded`.
pub(crate) fn build(template: &CertificateTemplate<'_>) -> Result<TbsCertificate, Refusal> {
    let not_before = template.not_before.trunc_subsecs(0);
    let not_after = template.not_after.trunc_subsecs(0);
    let seconds = (not_after - not_before).num_seconds() + 1;
    let profile = template.profile;
    profile.check_document()?;
    profile.check(template.subject, template.names, template.public_key.algorithm(), seconds)?;
    check_issuer(template)?;
    let der = encode::sequence(&[
        encode::tlv(tag::context_constructed(0), &encode::unsigned(&[2])),
        encode::unsigned(template.serial.as_bytes()),
        template.issuer.signature_algorithm_der(),
        template.issuer.name_der.clone(),
        encode::sequence(&[encode::time(not_before), encode::time(not_after)]),
        template.subject.to_der(),
        template.public_key.spki_der().to_vec(),
        encode::tlv(tag::context_constructed(3), &encode::sequence(&extensions(template)?)),
    ]);
    Ok(TbsCertificate { digest: sha256(&der), der })
}

/// The certificate may neither outlive its issuer nor be longer a chain than that allows.
fn check_issuer(template: &CertificateTemplate<'_>) -> Result<(), Refusal> {
    let Some(bounds) = template.issuer.bounds else {
        return Ok(());
    };
    if template.not_after > bounds.not_after {
        return Err(Refusal::new(
            ErrorCode::ValidityBeyondAuthority,
            format!(
                "the certificate would outlive its authority, which ends at {}",
                bounds.not_after.to_rfc3339()
            ),
        )
        .hint("ask for a shorter validity"));
    }
    if template.profile.is_ca() && !path_length_fits(bounds.path_length, template.profile.path_length()) {
        return Err(Refusal::new(
            ErrorCode::PathLengthExceeded,
            "the authority's path length leaves no room for an authority of this profile below it",
        ));
    }
    Ok(())
}

/// Whether an authority with the path length `below` may stand below one with `above`.
pub(crate) fn path_length_fits(above: Option<u8>, below: Option<u8>) -> bool {
    match (above, below) {
        (None, _) => true,
        (Some(above), Some(below)) => below < above,
        (Some(_), None) => false,
    }
}

/// The extensions in the order in which they are written.
fn extensions(template: &CertificateTemplate<'_>) -> Result<Vec<Vec<u8>>, Refusal> {
    let profile = template.profile;
    let key = template.public_key;
    let usage = KeyUsage::list_to_der(&profile.key_usage_for(key.algorithm()));
    let mut list = vec![
        encode::extension(
            &ext::BASIC_CONSTRAINTS,
            true,
            &ext::basic_constraints(profile.is_ca(), profile.path_length()),
        ),
        encode::extension(&ext::KEY_USAGE, true, &usage),
    ];
    if !profile.extended_key_usage.is_empty() {
        let purposes = ExtendedKeyUsage::list_to_der(&profile.extended_key_usage);
        list.push(encode::extension(&ext::EXTENDED_KEY_USAGE, false, &purposes));
    }
    let own = ext::subject_key_identifier(&key.key_identifier());
    list.push(encode::extension(&ext::SUBJECT_KEY_IDENTIFIER, false, &own));
    let authority = ext::authority_key_identifier(&template.issuer.key_identifier);
    list.push(encode::extension(&ext::AUTHORITY_KEY_IDENTIFIER, false, &authority));
    if !template.names.is_empty() {
        let names: Vec<Vec<u8>> = template.names.iter().map(San::to_der).collect();
        // RFC 5280 §4.2.1.6: critical when the subject is empty.
        list.push(encode::extension(
            &ext::SUBJECT_ALT_NAME,
            template.subject.is_empty(),
            &encode::sequence(&names),
        ));
    }
    let policies = profile.policy_oids()?;
    if !policies.is_empty() {
        list.push(encode::extension(
            &ext::CERTIFICATE_POLICIES,
            false,
            &ext::certificate_policies(&policies),
        ));
    }
    list.extend(addresses(template));
    if profile.ocsp_no_check {
        list.push(encode::extension(&ext::OCSP_NO_CHECK, false, &[tag::NULL, 0]));
    }
    Ok(list)
}

/// Where to ask for the issuer and for revocation. A certificate that need not be checked names no service
/// that checks it.
fn addresses(template: &CertificateTemplate<'_>) -> Vec<Vec<u8>> {
    let urls = template.urls;
    let checked = !template.profile.ocsp_no_check;
    let ocsp = urls.ocsp.as_deref().filter(|_| checked);
    let access = ext::authority_information_access(ocsp, urls.issuer_certificate.as_deref())
        .map(|value| encode::extension(&ext::AUTHORITY_INFORMATION_ACCESS, false, &value));
    let points = urls.crl.as_deref().filter(|_| checked).map(|url| {
        encode::extension(&ext::CRL_DISTRIBUTION_POINTS, false, &ext::crl_distribution_points(url))
    });
    access.into_iter().chain(points).collect()
}
