//! `clm cert inspect`: what a certificate file says.

use std::path::Path;

use chrono::DateTime;
use serde::Serialize;
use x509_parser::pem::Pem;
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

use crate::arguments::Output;
use crate::error::{CliError, ExitCode};
use crate::{files, output};

/// What it says, for `-o json`.
#[derive(Serialize)]
struct Inspected {
    subject: String,
    issuer: String,
    serial_number: String,
    sans: Vec<String>,
    not_before: String,
    not_after: String,
    key_algorithm: String,
    signature_algorithm: String,
    is_authority: bool,
    sha256: String,
}

pub(crate) fn run(file: &Path, form: Output) -> Result<ExitCode, CliError> {
    let der = der(&files::read(file)?)?;
    let one = inspect(&der)
        .map_err(|error| CliError::Usage(format!("{} holds no certificate: {error}", file.display())))?;
    let fields = vec![
        ("subject", one.subject.clone()),
        ("names", one.sans.join(" ")),
        ("issuer", one.issuer.clone()),
        ("serial", one.serial_number.clone()),
        ("not before", one.not_before.clone()),
        ("not after", one.not_after.clone()),
        ("key", one.key_algorithm.clone()),
        ("signature", one.signature_algorithm.clone()),
        ("authority", one.is_authority.to_string()),
        ("sha256", one.sha256.clone()),
    ];
    output::object(form, &one, fields);
    Ok(ExitCode::Done)
}

/// The first certificate of a PEM file, or the file itself.
fn der(content: &[u8]) -> Result<Vec<u8>, CliError> {
    if !content.starts_with(b"-----") && !content.windows(11).any(|part| part == b"-----BEGIN ") {
        return Ok(content.to_vec());
    }
    Pem::iter_from_buffer(content)
        .filter_map(Result::ok)
        .find(|block| block.label == "CERTIFICATE")
        .map(|block| block.contents)
        .ok_or_else(|| CliError::Usage("the file holds no PEM block CERTIFICATE".to_owned()))
}

fn inspect(der: &[u8]) -> Result<Inspected, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    Ok(Inspected {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial_number: certificate.raw_serial_as_string().replace(':', ""),
        sans: names.map(|names| names.value.general_names.iter().map(name).collect()).unwrap_or_default(),
        not_before: time(certificate.validity().not_before),
        not_after: time(certificate.validity().not_after),
        key_algorithm: certificate.public_key().algorithm.algorithm.to_string(),
        signature_algorithm: certificate.signature_algorithm.algorithm.to_string(),
        is_authority: certificate.is_ca(),
        sha256: hex::encode(digest),
    })
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("dns:{name}"),
        GeneralName::RFC822Name(name) => format!("email:{name}"),
        GeneralName::URI(name) => format!("uri:{name}"),
        GeneralName::IPAddress(octets) => address(octets),
        other => other.to_string(),
    }
}

fn address(octets: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(octets).map(std::net::IpAddr::from);
    let v6 = <[u8; 16]>::try_from(octets).map(std::net::IpAddr::from);
    v4.or(v6).map_or_else(|_| format!("ip:{}", hex::encode(octets)), |address| format!("ip:{address}"))
}

/// RFC 3339.
pub(crate) fn time(time: ASN1Time) -> String {
    DateTime::from_timestamp(time.timestamp(), 0).map(output::time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_an_error() {
        assert!(inspect(b"junk").is_err());
        assert!(der(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").is_err());
    }

    #[test]
    fn addresses_are_readable() {
        assert_eq!(address(&[127, 0, 0, 1]), "ip:127.0.0.1");
        assert_eq!(address(&[0; 16]), "ip:::");
        assert_eq!(address(&[1]), "ip:01");
    }
}
