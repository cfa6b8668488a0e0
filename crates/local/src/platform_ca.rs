//! The platform's own authority: it certifies databases, services and their clients on this
//! machine. It has nothing to do with the authorities that the product runs for its users.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use clm_types::Entropy;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};
use x509_parser::pem::parse_x509_pem;

use crate::files::{self, make_folder, write_private, write_public};
use crate::os_user::OsUser;

const AUTHORITY_DAYS: i64 = 3650;
const CERTIFICATE_DAYS: i64 = 365;
/// A certificate with less than this left is replaced by the next `up`.
const RENEW_BEFORE_DAYS: i64 = 30;

/// Certificate and key, as files.
#[derive(Clone, Debug)]
pub struct KeyFiles {
    /// PEM certificate.
    pub cert_file: PathBuf,
    /// PEM private key, PKCS#8, readable by its owner only.
    pub key_file: PathBuf,
}

impl KeyFiles {
    /// `<folder>/<stem>.pem` and `<folder>/<stem>.key`.
    pub fn new(folder: &Path, stem: &str) -> Self {
        Self { cert_file: folder.join(format!("{stem}.pem")), key_file: folder.join(format!("{stem}.key")) }
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug)]
enum Use<'a> {
    Client,
    Server(&'a [&'a str]),
}

/// The authority, open for issuing.
pub struct PlatformCa {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    now: DateTime<Utc>,
    entropy: Entropy,
}

impl PlatformCa {
    /// Opens the authority in `folder`, or makes it there. `now` dates what it issues.
    pub fn open_or_create(folder: &Path, now: DateTime<Utc>, entropy: &Entropy) -> Result<Self> {
        let files = KeyFiles::new(folder, "ca");
        if !(files.cert_file.exists() && files.key_file.exists()) {
            create(folder, &files, now, entropy)?;
        }
        let key = KeyPair::from_pem(&read(&files.key_file)?).context("the platform authority's key")?;
        let issuer =
            Issuer::from_ca_cert_pem(&read(&files.cert_file)?, key).context("the platform authority")?;
        Ok(Self { folder: folder.to_owned(), issuer, now, entropy: entropy.clone() })
    }

    /// The authority's certificate, which every party trusts.
    pub fn cert_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Puts a copy of the authority's certificate where `owner` can read it.
    pub fn copy_cert_to(&self, path: &Path, owner: &OsUser) -> Result<()> {
        write_public(path, read(&self.cert_file())?.as_bytes(), owner)
    }

    /// A client certificate with the common name `name`; an existing one that is good for another
    /// month is kept.
    pub fn client(&self, files: &KeyFiles, name: &str, owner: &OsUser) -> Result<()> {
        self.ensure(files, name, Use::Client, owner)
    }

    /// A server certificate for `names` (host names and addresses), kept like a client's.
    pub fn server(&self, files: &KeyFiles, name: &str, names: &[&str], owner: &OsUser) -> Result<()> {
        self.ensure(files, name, Use::Server(names), owner)
    }

    fn ensure(&self, files: &KeyFiles, name: &str, usage: Use<'_>, owner: &OsUser) -> Result<()> {
        // Key and certificate are two files: of one writer.
        static WRITING: Mutex<()> = Mutex::new(());
        let _guard = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        if owner.act(|| Ok(files.key_file.exists()))? && self.is_still_good(&files.cert_file, owner) {
            return Ok(());
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(match usage {
            Use::Client => Vec::new(),
            Use::Server(names) => names.iter().map(ToString::to_string).collect(),
        })?;
        dated(&mut params, name, self.now, CERTIFICATE_DAYS, &self.entropy);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match usage {
            Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Use::Server(_) => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        let certificate = params.signed_by(&key, &self.issuer)?;
        write_private(&files.key_file, key.serialize_pem().as_bytes(), owner)?;
        write_public(&files.cert_file, certificate.pem().as_bytes(), owner)
    }

    fn is_still_good(&self, cert_file: &Path, owner: &OsUser) -> bool {
        let limit = (self.now + TimeDelta::days(RENEW_BEFORE_DAYS)).timestamp();
        let Ok(pem) = files::read(cert_file, owner) else {
            return false;
        };
        let Ok((_, pem)) = parse_x509_pem(pem.as_bytes()) else {
            return false;
        };
        pem.parse_x509().is_ok_and(|certificate| certificate.validity().not_after.timestamp() > limit)
    }
}

fn create(folder: &Path, files: &KeyFiles, now: DateTime<Utc>, entropy: &Entropy) -> Result<()> {
    let owner = OsUser::current()?;
    make_folder(folder, 0o700, &owner)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    dated(&mut params, "CLM local platform authority", now, AUTHORITY_DAYS, entropy);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    write_private(&files.key_file, key.serialize_pem().as_bytes(), &owner)?;
    write_public(&files.cert_file, certificate.pem().as_bytes(), &owner)
}

fn dated(params: &mut CertificateParams, name: &str, now: DateTime<Utc>, days: i64, entropy: &Entropy) {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    let date = |at: DateTime<Utc>| {
        let part = |value: u32| u8::try_from(value).unwrap_or(1);
        date_time_ymd(at.year(), part(at.month()), part(at.day()))
    };
    // From the day before, so that a machine whose clock is a little behind accepts it.
    params.not_before = date(now - TimeDelta::days(1));
    params.not_after = date(now + TimeDelta::days(days));
    let mut serial = entropy.bytes::<16>();
    // Positive, and of full length.
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x3f) | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
