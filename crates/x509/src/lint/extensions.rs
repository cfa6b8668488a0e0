//! The rules on extensions.

use super::Lint;
use crate::{extension as ext, name::SubjectName, public_key::PublicKey, san::San, tbs::path_length_fits};
use const_oid::ObjectIdentifier;
use der::Decode;
use std::net::IpAddr;
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies,
    CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, SubjectAltName, SubjectKeyIdentifier,
    name::{DistributionPointName, GeneralName},
};

impl Lint<'_> {
    /// The value of an extension as the independent parser reads it, with its criticality.
    fn extension<'t, T>(&'t self, id: &ObjectIdentifier) -> Option<(bool, Result<T, ()>)>
    where
        T: Decode<'t>,
    {
        let extension = self.tbs.extensions()?.iter().find(|each| each.extn_id == *id)?;
        Some((extension.critical, T::from_der(extension.extn_value.as_bytes()).map_err(|_| ())))
    }

    pub(super) fn extension_list(&mut self) {
        let unique = ext::duplicate(&self.raw.extensions).is_none();
        self.require(unique, "duplicate_extension", "an extension occurs twice");
        let tbs = self.tbs;
        for extension in tbs.extensions().into_iter().flatten() {
            let known = self.expected(&extension.extn_id);
            self.require(known, "unexpected_extension", &format!("extension {}", extension.extn_id));
        }
        let fits = match self.extension::<der::asn1::Null>(&ext::OCSP_NO_CHECK) {
            Some((critical, value)) => self.profile.ocsp_no_check && !critical && value.is_ok(),
            None => !self.profile.ocsp_no_check,
        };
        self.require(fits, "ocsp_no_check", "the no-check extension is not as the profile wants it");
    }

    /// Whether an extension may be there at all; its own rule says the rest.
    fn expected(&self, id: &ObjectIdentifier) -> bool {
        let always = [
            ext::BASIC_CONSTRAINTS,
            ext::KEY_USAGE,
            ext::SUBJECT_KEY_IDENTIFIER,
            ext::AUTHORITY_KEY_IDENTIFIER,
            ext::AUTHORITY_INFORMATION_ACCESS,
        ];
        always.contains(id)
            || (*id == ext::EXTENDED_KEY_USAGE && !self.profile.extended_key_usage.is_empty())
            || (*id == ext::SUBJECT_ALT_NAME && self.profile.most_names > 0)
            || (*id == ext::CERTIFICATE_POLICIES && !self.profile.policies.is_empty())
            || (*id == ext::CRL_DISTRIBUTION_POINTS && !self.profile.ocsp_no_check)
            || *id == ext::OCSP_NO_CHECK
    }

    pub(super) fn basic_constraints(&mut self) {
        let Some((true, Ok(constraints))) = self.extension::<BasicConstraints>(&ext::BASIC_CONSTRAINTS)
        else {
            return self.require(
                false,
                "basic_constraints",
                "basic constraints are missing, not critical or malformed",
            );
        };
        let fits = constraints.ca == self.profile.is_ca()
            && constraints.path_len_constraint == self.profile.path_length();
        self.require(fits, "basic_constraints", "basic constraints are not those of the profile");
        if let (true, Some(bounds)) = (constraints.ca, self.issuer.bounds) {
            let room = path_length_fits(bounds.path_length, constraints.path_len_constraint);
            self.require(room, "path_length", "the issuer's path length leaves no room for this authority");
        }
    }

    pub(super) fn usages(&mut self) {
        let algorithm = self.key.as_ref().map(PublicKey::algorithm);
        let wanted = algorithm.map(|key| self.profile.key_usage_for(key)).unwrap_or_default();
        let bits = wanted.iter().fold(0_u16, |bits, usage| bits | 1 << *usage as u16);
        let usage = self.extension::<KeyUsage>(&ext::KEY_USAGE);
        let fits = matches!(usage, Some((true, Ok(usage))) if usage.0.bits() == bits);
        self.require(fits, "key_usage", "key usage is missing, not critical, or not that of the profile");

        let wanted: Vec<ObjectIdentifier> =
            self.profile.extended_key_usage.iter().map(|usage| usage.oid()).collect();
        let fits = match self.extension::<ExtendedKeyUsage>(&ext::EXTENDED_KEY_USAGE) {
            Some((critical, Ok(purposes))) => !critical && purposes.0 == wanted,
            Some((_, Err(()))) => false,
            None => wanted.is_empty(),
        };
        self.require(fits, "extended_key_usage", "extended key usage is not that of the profile");
    }

    pub(super) fn key_identifiers(&mut self) {
        let own = self.key.as_ref().map(PublicKey::key_identifier);
        let subject = self.extension::<SubjectKeyIdentifier>(&ext::SUBJECT_KEY_IDENTIFIER);
        let fits = matches!(
            (subject, own),
            (Some((false, Ok(found))), Some(own)) if found.0.as_bytes() == own
        );
        self.require(fits, "subject_key_identifier", "the subject key identifier is not that of the key");

        let authority = self.extension::<AuthorityKeyIdentifier>(&ext::AUTHORITY_KEY_IDENTIFIER);
        let fits = matches!(
            authority,
            Some((false, Ok(AuthorityKeyIdentifier {
                key_identifier: Some(identifier),
                authority_cert_issuer: None,
                authority_cert_serial_number: None,
            }))) if identifier.as_bytes() == self.issuer.key_identifier
        );
        self.require(
            fits,
            "authority_key_identifier",
            "the authority key identifier is not the issuer's subject key identifier",
        );
    }

    pub(super) fn names(&mut self) {
        let subject = match SubjectName::from_der(self.raw.subject) {
            Ok(subject) => subject,
            Err(refusal) => return self.require(false, "subject", &refusal.detail),
        };
        let reencoded = subject.to_der() == self.raw.subject;
        self.require(reencoded, "subject", "the subject is not encoded as ours are");
        let names = match self.extension::<SubjectAltName>(&ext::SUBJECT_ALT_NAME) {
            None => Vec::new(),
            Some((critical, Ok(names))) => {
                let fits = critical == subject.is_empty();
                self.require(
                    fits,
                    "names_criticality",
                    "the names are critical if and only if the subject is empty",
                );
                self.read_names(&names.0)
            }
            Some((_, Err(()))) => return self.require(false, "names", "the names are malformed"),
        };
        if let Err(refusal) = self.profile.check_names(&subject, &names) {
            self.require(false, "names", &refusal.detail);
        }
    }

    fn read_names(&mut self, names: &[GeneralName]) -> Vec<San> {
        self.require(!names.is_empty(), "names", "the list of names is empty");
        let mut read = Vec::new();
        for name in names {
            match read_name(name) {
                Some(name) if read.contains(&name) => {
                    self.require(false, "names", &format!("{name} occurs twice"));
                }
                Some(name) => read.push(name),
                None => self.require(false, "names", "a name is invalid, of a wrong kind, or not normalised"),
            }
        }
        read
    }

    pub(super) fn policies(&mut self) {
        let wanted = self.profile.policy_oids().unwrap_or_default();
        let fits = match self.extension::<CertificatePolicies>(&ext::CERTIFICATE_POLICIES) {
            Some((critical, Ok(policies))) => {
                !critical
                    && policies.0.iter().all(|policy| policy.policy_qualifiers.is_none())
                    && policies.0.iter().map(|policy| policy.policy_identifier).eq(wanted)
            }
            Some((_, Err(()))) => false,
            None => wanted.is_empty(),
        };
        self.require(fits, "policies", "the certificate policies are not those of the profile");
    }

    /// The addresses are those of the issuer, all of them and no other.
    pub(super) fn addresses(&mut self) {
        let checked = !self.profile.ocsp_no_check;
        let ocsp = self.urls.ocsp.as_deref().filter(|_| checked).map(|url| (ext::ACCESS_OCSP, url));
        let issuer = self.urls.issuer_certificate.as_deref().map(|url| (ext::ACCESS_CA_ISSUERS, url));
        let wanted: Vec<_> = ocsp.into_iter().chain(issuer).collect();
        let fits = match self.extension::<AuthorityInfoAccessSyntax>(&ext::AUTHORITY_INFORMATION_ACCESS) {
            None => wanted.is_empty(),
            Some((critical, access)) => access.is_ok_and(|access| {
                let found = access.0.iter().map(|each| (each.access_method, http_url(&each.access_location)));
                !critical && found.eq(wanted.iter().map(|(method, url)| (*method, Some(*url))))
            }),
        };
        self.require(
            fits,
            "authority_information_access",
            "the addresses of OCSP and issuer are not the issuer's",
        );

        let wanted = self.urls.crl.as_deref().filter(|_| checked);
        let fits = match self.extension::<CrlDistributionPoints>(&ext::CRL_DISTRIBUTION_POINTS) {
            None => wanted.is_none(),
            Some((critical, points)) => !critical && points.is_ok_and(|points| wanted == only_url(&points)),
        };
        self.require(fits, "crl_distribution_points", "the address of the CRL is not the issuer's");
    }
}

/// The address of one point that covers all reasons and is signed by the issuer itself.
fn only_url(points: &CrlDistributionPoints) -> Option<&str> {
    let [point] = points.0.as_slice() else { return None };
    let Some(DistributionPointName::FullName(names)) = &point.distribution_point else { return None };
    match (names.as_slice(), &point.reasons, &point.crl_issuer) {
        ([name], None, None) => http_url(name),
        _ => None,
    }
}

/// A name that is valid and written in its normal form.
fn read_name(name: &GeneralName) -> Option<San> {
    let same = |san: San, text: &str| (san.value() == text).then_some(san);
    match name {
        GeneralName::DnsName(text) => same(San::dns(text.as_str()).ok()?, text.as_str()),
        GeneralName::Rfc822Name(text) => same(San::email(text.as_str()).ok()?, text.as_str()),
        GeneralName::UniformResourceIdentifier(text) => same(San::uri(text.as_str()).ok()?, text.as_str()),
        GeneralName::IpAddress(octets) => {
            let four = <[u8; 4]>::try_from(octets.as_bytes()).map(IpAddr::from);
            let sixteen = <[u8; 16]>::try_from(octets.as_bytes()).map(IpAddr::from);
            four.or(sixteen).ok().map(San::Ip)
        }
        _ => None,
    }
}

/// Services of an authority are reached without TLS, since TLS may wait for their answer (RFC 5280 §8).
fn http_url(location: &GeneralName) -> Option<&str> {
    let GeneralName::UniformResourceIdentifier(url) = location else { return None };
    Some(url.as_str()).filter(|url| url.starts_with("http://") && San::uri(url).is_ok())
}
