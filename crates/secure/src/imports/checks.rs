//! Everything about an import that can be refused before anything is written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use clm_secure_db::imports;
use clm_types::{ErrorCode, Refusal, SerialNumber};
use clm_x509::crl::RevokedEntry;
use clm_x509::foreign::{ForeignCertificate, ForeignCrl};
use clm_x509::{Certificate, IssuerInfo, KeyUsage};

use super::{AuthorityImport, ImportedKey, IssuedFile};
use crate::authorities::Authority;
use crate::private_keys::PrivateKey;
use crate::signing_keys::SigningKey;
use crate::{Secure, SecureError};

/// Longest chain that is followed.
const LONGEST_CHAIN: usize = 8;

/// An import that nothing speaks against.
pub struct CheckedImport {
    /// Without `issued`, which is below.
    pub(super) import: AuthorityImport,
    pub(super) certificate: ForeignCertificate,
    pub(super) issuer: IssuerInfo,
    pub(super) key: SigningKey,
    pub(super) parent: Option<Arc<Authority>>,
    pub(super) self_issued: bool,
    pub(super) issuer_chain_pem: Option<String>,
    pub(super) crl: Option<ForeignCrl>,
    pub(super) issued: Vec<ForeignCertificate>,
    /// Certificates that cannot be imported, and why.
    pub left_out: Vec<(String, Refusal)>,
}

impl CheckedImport {
    pub(super) fn entries(&self) -> &[RevokedEntry] {
        self.crl.as_ref().map(|crl| crl.entries.as_slice()).unwrap_or_default()
    }

    /// How many certificates there are to import, and how many entries the list has.
    pub fn counts(&self) -> (usize, usize) {
        (self.issued.len(), self.entries().len())
    }
}

impl Secure {
    /// Reads and verifies everything that an import brings along.
    ///
    /// Certificates that are not the authority's, or that cannot be read, are in `left_out`: whoever asks decides whether
    /// to go on without them.
    ///
    /// # Errors
    /// `certificate_malformed`, `certificate_expired`, `certificate_not_active`, `key_mismatch`, `key_compromised`,
    /// `authority_not_found` when the issuer is neither here nor in the chain, `crl_malformed`, `signature_invalid`,
    /// `invalid_request`, or trouble of ours.
    pub async fn check_import(&self, mut import: AuthorityImport) -> Result<CheckedImport, SecureError> {
        let at = |field: &'static str| move |refusal: Refusal| refusal.field(field);
        let certificate = ForeignCertificate::parse(&import.certificate).map_err(at("/certificate"))?;
        let signer = self.check_authority_certificate(&import.certificate).map_err(at("/certificate"))?;
        let key = self.open_imported_key(&import.key, &signer).await?;
        self.require_unblocked(signer.public_key()).await?;
        let self_issued = certificate.verify_signed_by(&signer).is_ok();
        let parent = if self_issued { None } else { self.issuer_here(&certificate).await? };
        if let Some(parent) = &parent {
            self.require_unrevoked(&certificate, parent).await?;
        }
        let issuer_chain_pem = match &parent {
            None if !self_issued => Some(check_chain(&certificate, &import.chain)?),
            _ => None,
        };
        let crl = import.crl.as_deref().map(|der| ForeignCrl::read(der, &signer));
        let crl = crl.transpose().map_err(at("/crl"))?;
        check_crl(crl.as_ref(), import.crl_is_complete)?;
        let files = std::mem::take(&mut import.issued);
        let (issued, left_out) = check_issued(files, &certificate, &signer)?;
        if !issued.is_empty() && import.owner.is_none() {
            let detail = "certificates are of an organization, and somebody answers for them";
            return Err(Refusal::new(ErrorCode::InvalidRequest, detail).hint("name both").into());
        }
        Ok(CheckedImport {
            import,
            certificate,
            issuer: signer,
            key,
            parent,
            self_issued,
            issuer_chain_pem,
            crl,
            issued,
            left_out,
        })
    }

    /// Its issuer, which is here, may have revoked it.
    async fn require_unrevoked(
        &self,
        certificate: &ForeignCertificate,
        parent: &Authority,
    ) -> Result<(), SecureError> {
        let (fingerprint, serial) =
            (certificate.fingerprint().to_vec(), certificate.serial.as_bytes().to_vec());
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let known = imports::list_known(&mut conn, parent.row.id, &[fingerprint], &[]).await?;
        let alone = imports::list_revoked_alone(&mut conn, parent.row.id, &[serial]).await?;
        if known.iter().all(|known| known.status == "active") && alone.is_empty() {
            return Ok(());
        }
        let detail = format!("the certificate is revoked by `{}`", parent.row.name);
        Err(Refusal::new(ErrorCode::CertificateNotActive, detail).field("/certificate").into())
    }

    fn check_authority_certificate(&self, der: &[u8]) -> Result<IssuerInfo, Refusal> {
        let certificate = Certificate::parse(der)?;
        let issuer = IssuerInfo::from_certificate(&certificate)?;
        let usage = certificate.key_usage();
        let may = |usages: &[KeyUsage]| usages.iter().all(|one| usage.contains(one));
        if !usage.is_empty() && !may(&[KeyUsage::KeyCertSign, KeyUsage::CrlSign]) {
            let detail = "its key may not sign certificates and revocation lists";
            return Err(Refusal::new(ErrorCode::CertificateMalformed, detail));
        }
        if certificate.not_after() <= self.parts.clock.now() {
            let detail = format!("it ended at {}", certificate.not_after());
            return Err(Refusal::new(ErrorCode::CertificateExpired, detail));
        }
        Ok(issuer)
    }

    async fn open_imported_key(
        &self,
        key: &ImportedKey,
        issuer: &IssuerInfo,
    ) -> Result<SigningKey, SecureError> {
        let public = issuer.public_key();
        let algorithm = public.algorithm();
        let refuse = |detail: String| Refusal::new(ErrorCode::KeyMismatch, detail).field("/key");
        let key = match key {
            ImportedKey::Pkcs8(octets) => {
                let read = PrivateKey::from_pkcs8(algorithm, octets);
                let mismatch = |_| refuse(format!("it is no PKCS#8 key of type {algorithm}"));
                SigningKey::Software(read.map_err(mismatch)?)
            }
            ImportedKey::Token(id) => SigningKey::Token(self.find_token_pair(*id, algorithm).await?),
        };
        if key.public() == public {
            return Ok(key);
        }
        Err(refuse("its public half is not the certified one".into()).into())
    }

    /// The authority of this installation that signed the certificate.
    async fn issuer_here(
        &self,
        certificate: &ForeignCertificate,
    ) -> Result<Option<Arc<Authority>>, SecureError> {
        let authorities = self.authorities().await?;
        let signer = authorities.values().find(|one| certificate.verify_signed_by(&one.issuer).is_ok());
        Ok(signer.cloned())
    }
}

/// Each certificate signs the one before; PEM of those below the root.
fn check_chain(certificate: &ForeignCertificate, chain: &[Vec<u8>]) -> Result<String, Refusal> {
    if chain.is_empty() {
        let detail = format!("its issuer `{}` is no authority of this installation", certificate.issuer);
        return Err(Refusal::new(ErrorCode::AuthorityNotFound, detail)
            .hint("import that one first, or give the chain: the issuer's certificate, and those above it")
            .field("/chain"));
    }
    if chain.len() > LONGEST_CHAIN {
        let detail = format!("a chain has {LONGEST_CHAIN} certificates at most");
        return Err(Refusal::new(ErrorCode::InvalidRequest, detail).field("/chain"));
    }
    let mut below = certificate.clone();
    let mut pem = String::new();
    for (index, der) in chain.iter().enumerate() {
        let point = |refusal: Refusal| refusal.field(format!("/chain/{index}"));
        let above = ForeignCertificate::parse(der).map_err(point)?;
        let issuer = IssuerInfo::from_certificate(&Certificate::parse(der).map_err(point)?).map_err(point)?;
        below.verify_signed_by(&issuer).map_err(point)?;
        if above.verify_signed_by(&issuer).is_err() {
            pem.push_str(&above.pem());
        }
        below = above;
    }
    Ok(pem)
}

fn check_crl(crl: Option<&ForeignCrl>, is_complete: bool) -> Result<(), Refusal> {
    let Some(crl) = crl else { return Ok(()) };
    let refuse = |detail: String| Err(Refusal::new(ErrorCode::CrlMalformed, detail).field("/crl"));
    if crl.of_one_point && !is_complete {
        let detail = "it names a distribution point: what others name may be on another list";
        return Err(Refusal::new(ErrorCode::CrlMalformed, detail)
            .hint("if it is the only list of the authority, say so: --crl-is-complete")
            .field("/crl"));
    }
    // The next numbers must fit too.
    if crl.number.is_some_and(|number| number > i64::MAX.unsigned_abs() / 2) {
        return refuse("its number is too large to go on from".into());
    }
    let mut serials = HashSet::new();
    match crl.entries.iter().find(|entry| !serials.insert(&entry.serial)) {
        Some(twice) => refuse(format!("it names {} twice", twice.serial)),
        None => Ok(()),
    }
}

/// Those that the authority signed, once each, without its own; and those that cannot be taken.
#[expect(clippy::type_complexity, reason = "two lists")]
fn check_issued(
    files: Vec<IssuedFile>,
    own: &ForeignCertificate,
    signer: &IssuerInfo,
) -> Result<(Vec<ForeignCertificate>, Vec<(String, Refusal)>), Refusal> {
    let (mut certificates, mut left_out) = (Vec::new(), Vec::new());
    let mut seen = HashMap::<SerialNumber, [u8; 32]>::new();
    for IssuedFile { source, der } in files {
        let read = ForeignCertificate::parse(&der);
        let read = read.and_then(|one| one.verify_signed_by(signer).map(|()| one));
        let certificate = match read {
            Ok(certificate) if certificate.der == own.der => continue,
            Ok(certificate) => certificate,
            Err(refusal) => {
                left_out.push((source, refusal));
                continue;
            }
        };
        match seen.insert(certificate.serial.clone(), certificate.fingerprint()) {
            Some(same) if same == certificate.fingerprint() => {}
            Some(_) => return Err(twice(&certificate.serial)),
            None => certificates.push(certificate),
        }
    }
    certificates.sort_by(|one, other| one.serial.cmp(&other.serial));
    Ok((certificates, left_out))
}

/// What no list and no answer could tell apart.
pub(super) fn twice(serial: &SerialNumber) -> Refusal {
    let detail = format!("there are two different certificates with the serial number {serial}");
    Refusal::new(ErrorCode::Conflict, detail).hint("leave out the one that is not in use")
}
