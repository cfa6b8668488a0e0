//! `clm-secure authority import`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use clm_secure::Secure;
use clm_secure::ceremonies::Quorum;
use clm_secure::imports::{AuthorityImport, CheckedImport, ImportedKey, IssuedFile};
use clm_types::{OrganizationId, PrivateKeyId, UserId};
use indicatif::{ProgressBar, ProgressStyle};
use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::ConfigFile;
use crate::authority::read_envelope;
use crate::ceremony::{named_file, quorum, read_signatures};
use crate::operator::{account, hand_over, print_line};
use crate::serve::open;

/// Certificates that cannot be taken, of which each is told.
const MOST_TOLD: usize = 20;

#[derive(Args)]
pub(crate) struct Import {
    #[command(flatten)]
    config: ConfigFile,
    /// Unique name, for people.
    #[arg(long)]
    name: String,
    /// The authority's certificate (PEM or DER).
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// The certificates above it, from its issuer up (PEM); needed if its issuer is no authority of this installation.
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
    /// Its private key: unencrypted PKCS#8 (PEM or DER), or PKCS#12 with --key-passphrase-file. Delete the file afterwards.
    #[arg(long, value_name = "FILE", required_unless_present = "token_key")]
    key: Option<PathBuf>,
    /// File with the passphrase of the PKCS#12 file.
    #[arg(long, value_name = "FILE", requires = "key")]
    key_passphrase_file: Option<PathBuf>,
    /// Its key is in the token of [hsm] already, and its CKA_ID is these 16 octets (UUID); it stays there.
    #[arg(long, value_name = "UUID", conflicts_with = "key")]
    token_key: Option<PrivateKeyId>,
    #[command(flatten)]
    revoked: Revoked,
    /// Certificates that it signed: a file (PEM, one or many, or DER) or a folder of such files. Repeat.
    #[arg(long, value_name = "PATH", requires_all = ["organization", "owner"])]
    issued: Vec<PathBuf>,
    /// Whose those certificates are: an id of `clm org list`.
    #[arg(long, value_name = "UUID", requires = "owner")]
    organization: Option<OrganizationId>,
    /// Who answers for them: an id of `clm user list`.
    #[arg(long, value_name = "UUID", requires = "organization")]
    owner: Option<UserId>,
    /// Go on without those of --issued that cannot be read or are of another authority.
    #[arg(long)]
    leave_out_unreadable: bool,
    /// Where Core serves CRL, OCSP and certificates, as relying parties reach it.
    #[arg(long, value_name = "URL")]
    base_url: String,
    /// What it may sign (TOML).
    #[arg(long, value_name = "FILE")]
    envelope: PathBuf,
    /// Check everything, import nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where to write exactly what operators sign; see `clm-secure ceremony check`.
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    plan: Option<PathBuf>,
    /// An operator's signature under the plan: NAME=FILE (repeat). Needed with [ceremony] in the configuration.
    #[arg(long = "signature", value_name = "NAME=FILE", value_parser = named_file)]
    signatures: Vec<(String, PathBuf)>,
    /// Folder for the transcript: import.json, and its signature import.json.sig.
    #[arg(long, value_name = "FOLDER")]
    transcript: Option<PathBuf>,
}

/// What it revoked.
#[derive(Args)]
struct Revoked {
    /// Its newest full revocation list (PEM or DER). What it names stays revoked, and numbers go on from its number.
    #[arg(long, value_name = "FILE", required_unless_present = "without_crl")]
    crl: Option<PathBuf>,
    /// The list names a distribution point, but it is the only one: all that was revoked is on it.
    #[arg(long, requires = "crl")]
    crl_is_complete: bool,
    /// It never revoked a certificate, and never made a list.
    #[arg(long, conflicts_with = "crl")]
    without_crl: bool,
}

impl Import {
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        let import = self.read()?;
        let (secure, _) = open(&config).await?;
        let checked = secure.check_import(import).await?;
        let (certificates, entries) = checked.counts();
        eprintln!("{certificates} certificates and a revocation list of {entries} entries can be imported");
        self.tell_left_out(&checked)?;
        if self.dry_run {
            return self.write_plan(&checked);
        }
        self.import(&secure, &checked, &quorum(&config)?).await
    }

    async fn import(&self, secure: &Secure, checked: &CheckedImport, quorum: &Quorum) -> anyhow::Result<()> {
        let style =
            ProgressStyle::with_template("{bar:40} {pos}/{len} certificates and entries, {eta} left")?;
        let bar = ProgressBar::no_length().with_style(style);
        let signatures = read_signatures(&self.signatures)?;
        let progress = |progress: clm_secure::imports::ImportProgress| {
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
        };
        let imported = secure.import_authority(checked, quorum, &signatures, &account(), progress).await;
        bar.finish_and_clear();
        let (outcome, transcript) = imported?;
        eprintln!(
            "authority `{}` is imported: {} new certificates; {} revoked, {} more that only the list names",
            self.name, outcome.certificates, outcome.revoked, outcome.revoked_alone
        );
        if let Some(folder) = &self.transcript {
            return hand_over(&transcript, Some(folder), "import");
        }
        print_line(&outcome.authority_id.to_string());
        Ok(())
    }

    fn read(&self) -> anyhow::Result<AuthorityImport> {
        let key = match (&self.key, self.token_key) {
            (Some(path), _) => ImportedKey::Pkcs8(read_key(path, self.key_passphrase_file.as_deref())?),
            (None, Some(id)) => ImportedKey::Token(id),
            (None, None) => bail!("name the key: --key FILE or --token-key UUID"),
        };
        let mut issued = Vec::new();
        for path in &self.issued {
            read_issued(path, &mut issued)?;
        }
        Ok(AuthorityImport {
            name: self.name.clone(),
            certificate: read_one::<CertificateDer<'_>>(&self.certificate)?,
            chain: self.chain.as_deref().map(read_certificates).transpose()?.unwrap_or_default(),
            key,
            crl: self.revoked.crl.as_deref().map(read_one::<CertificateRevocationListDer<'_>>).transpose()?,
            crl_is_complete: self.revoked.crl_is_complete,
            issued,
            owner: self.organization.zip(self.owner),
            base_url: self.base_url.clone(),
            envelope: read_envelope(&self.envelope)?,
        })
    }

    fn tell_left_out(&self, checked: &CheckedImport) -> anyhow::Result<()> {
        let left_out = &checked.left_out;
        for (source, refusal) in left_out.iter().take(MOST_TOLD) {
            eprintln!("{source}: {refusal}");
        }
        if left_out.is_empty() {
            return Ok(());
        }
        let count = left_out.len();
        if self.leave_out_unreadable {
            eprintln!("{count} certificates are left out: OCSP will not know them");
            return Ok(());
        }
        bail!(
            "{count} certificates cannot be imported; take them away, or go on without them: --leave-out-unreadable"
        )
    }

    fn write_plan(&self, checked: &CheckedImport) -> anyhow::Result<()> {
        print_line(&checked.summary().to_string());
        if let Some(path) = &self.plan {
            std::fs::write(path, checked.octets()?)
                .with_context(|| format!("cannot write {}", path.display()))?;
            eprintln!("operators sign {}", path.display());
        }
        Ok(())
    }
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Whether a file is PEM; else it is DER.
fn is_pem(octets: &[u8]) -> bool {
    std::str::from_utf8(octets).is_ok_and(|text| text.contains("-----BEGIN "))
}

/// One certificate or list, PEM or DER; `openssl ca` writes text before it.
fn read_one<T: PemObject + AsRef<[u8]>>(path: &Path) -> anyhow::Result<Vec<u8>> {
    let octets = read_file(path)?;
    if !is_pem(&octets) {
        return Ok(octets);
    }
    let read = T::pem_slice_iter(&octets).collect::<Result<Vec<_>, _>>();
    let read = read.with_context(|| format!("{} is no PEM file", path.display()))?;
    match read.as_slice() {
        [one] => Ok(one.as_ref().to_vec()),
        blocks => {
            bail!("{} has {} blocks of the kind that is asked for, not one", path.display(), blocks.len())
        }
    }
}

fn read_certificates(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let octets = read_file(path)?;
    if !is_pem(&octets) {
        return Ok(vec![octets]);
    }
    let read = CertificateDer::pem_slice_iter(&octets).map(|one| one.map(|der| der.to_vec()));
    read.collect::<Result<_, _>>().with_context(|| format!("{} is no PEM file", path.display()))
}

/// A file, or the files of a folder in the order of their names.
fn read_issued(path: &Path, issued: &mut Vec<IssuedFile>) -> anyhow::Result<()> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        files = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        files.sort();
    }
    for file in files {
        if file.is_dir() {
            bail!("{} is a folder in a folder: name it by an --issued of its own", file.display());
        }
        let source = file.display().to_string();
        let mut certificates = read_certificates(&file)?;
        if certificates.is_empty() {
            // Whatever it is, it is told as a certificate that cannot be read.
            certificates.push(read_file(&file)?);
        }
        issued.extend(certificates.into_iter().map(|der| IssuedFile { source: source.clone(), der }));
    }
    Ok(())
}

/// The private key as PKCS#8 DER.
fn read_key(path: &Path, passphrase: Option<&Path>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let octets = Zeroizing::new(read_file(path)?);
    if let Some(file) = passphrase {
        let passphrase = Zeroizing::new(String::from_utf8(read_file(file)?)?);
        let passphrase = passphrase.trim_end_matches(['\r', '\n']);
        let store = KeyStore::from_pkcs12(&octets, passphrase, Pkcs12ImportPolicy::Relaxed)
            .with_context(|| format!("{} cannot be read as PKCS#12", path.display()))?;
        let (_, chain) =
            store.private_key_chain().with_context(|| format!("{} holds no private key", path.display()))?;
        return Ok(Zeroizing::new(chain.key().as_der().to_vec()));
    }
    if !is_pem(&octets) {
        return Ok(octets);
    }
    match PrivateKeyDer::from_pem_slice(&octets) {
        Ok(PrivateKeyDer::Pkcs8(key)) => Ok(Zeroizing::new(key.secret_pkcs8_der().to_vec())),
        _ => bail!(
            "{0} is no unencrypted PKCS#8 key; convert it: openssl pkcs8 -topk8 -nocrypt -in {0} -out pkcs8.key",
            path.display()
        ),
    }
}
