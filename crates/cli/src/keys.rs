//! `clm cert key`: private keys that Secure holds. They are sealed and opened here, so that nobody between can read them.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use clm_api::keys::{
    ExportedKey, KeyAccess, KeyImport, KeyRestoration, NewKeyExport, PrivateKey, TransportKey,
};
use clm_api::requests::Request;
use clm_types::private_key::{EXPORT_INFO, IMPORT_INFO, sealed_for};
use clm_types::{CertificateId, KeyExportPurpose, RequestId, UserId};
use reqwest::Method;

use crate::error::{CliError, ExitCode};
use crate::sealing::{Recipient, seal};
use crate::session::Session;
use crate::{files, key_files, output, requests};

const IMPORT_EXAMPLES: &str = "\
Examples:
  clm cert key import 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --key www.key
  clm cert key import 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --key www.p12 \\
    --passphrase-file www.pass";

const ACCESS_EXAMPLES: &str = "\
Examples:
  clm cert key set-access 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --exportable true \\
    --reason 'load balancer'
  clm cert key set-access 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --exportable false";

const FETCH_EXAMPLES: &str = "\
Examples:
  clm cert key fetch 0199f0c2-6c48-7f03-b5d1-2e7a8f9c0d34 --recipient www.recipient \\
    --out www.key
  clm cert key fetch 0199f0c2-6c48-7f03-b5d1-2e7a8f9c0d34 --recipient www.recipient \\
    --out www.p12 --passphrase-file www.pass";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show what is known of a certificate's private key
    #[command(after_help = "Example:\n  clm cert key show 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12")]
    Show {
        /// The certificate
        id: CertificateId,
    },
    /// Give a certificate's private key to Secure: PKCS#8 (PEM or DER), or PKCS#12 with its passphrase
    #[command(after_help = IMPORT_EXAMPLES)]
    Import {
        /// The certificate
        id: CertificateId,
        /// PKCS#8 or PKCS#12
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The passphrase of a PKCS#12 file, in a file
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Say who may export a private key
    #[command(after_help = ACCESS_EXAMPLES)]
    SetAccess(SetAccess),
    /// Delete a private key; it is kept for a while, then erased for good
    #[command(after_help = "Example:\n  clm cert key delete 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12")]
    Delete {
        /// The certificate
        id: CertificateId,
    },
    /// Take the deletion of a private key back
    #[command(
        after_help = "Example:\n  clm cert key restore 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --reason 'still in use'"
    )]
    Restore {
        /// The certificate
        id: CertificateId,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// Ask for a private key; two others approve
    #[command(
        after_help = "Example:\n  clm cert key export 0199f0c1-1b7d-7e52-8a36-4c0d9e5f7b12 --recipient www.recipient \\\n    --reason 'new load balancer'"
    )]
    Export(Export),
    /// Fetch an approved private key: as PKCS#8, or as PKCS#12 with a passphrase
    #[command(after_help = FETCH_EXAMPLES)]
    Fetch(Fetch),
}

#[derive(Args)]
pub(crate) struct SetAccess {
    /// The certificate
    id: CertificateId,
    /// Whether the key may leave Secure at all
    #[arg(long, action = clap::ArgAction::Set)]
    exportable: bool,
    /// Only these users (repeat); everybody with the permission unless told
    #[arg(long = "user")]
    users: Vec<UserId>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Args)]
pub(crate) struct Export {
    /// The certificate
    id: CertificateId,
    /// A new file: the key pair that the private key will be sealed to. Keep it until you have fetched the key
    #[arg(long, value_name = "FILE")]
    recipient: PathBuf,
    /// Why; the approvers read it
    #[arg(long)]
    reason: String,
    /// The key is another user's, or was deleted
    #[arg(long)]
    recovery: bool,
}

#[derive(Args)]
pub(crate) struct Fetch {
    /// The request
    id: RequestId,
    /// The file that `export` made
    #[arg(long, value_name = "FILE")]
    recipient: PathBuf,
    /// Where to; only you will be able to read it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Make a PKCS#12 file, with the certificate and its chain, under the passphrase in this file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::Show { id } => {
            let reply = session.client.get::<PrivateKey>(&path(id)).await?;
            print(&reply.body, session);
            Ok(ExitCode::Done)
        }
        Command::Import { id, key, passphrase_file } => {
            import(id, &key, passphrase_file.as_deref(), session).await
        }
        Command::SetAccess(arguments) => {
            let SetAccess { id, exportable, users, reason } = arguments;
            let body = KeyAccess { exportable, users, reason };
            change(Method::PATCH, id, Some(&body), session).await
        }
        Command::Delete { id } => change(Method::DELETE, id, None::<&KeyAccess>, session).await,
        Command::Restore { id, reason } => {
            let path = format!("{}/restore", path(id));
            let body = KeyRestoration { reason };
            let reply = session.client.post::<_, PrivateKey>(&path, &body, None).await?;
            print(&reply.body, session);
            Ok(ExitCode::Done)
        }
        Command::Export(arguments) => export(arguments, session).await,
        Command::Fetch(arguments) => fetch(&arguments, session).await,
    }
}

async fn import(
    id: CertificateId,
    key: &Path,
    passphrase_file: Option<&Path>,
    session: &Session,
) -> Result<ExitCode, CliError> {
    let passphrase = passphrase_file.map(files::read_secret).transpose()?;
    let pkcs8 = key_files::read(key, passphrase.as_deref())?;
    let transport = session.client.get::<TransportKey>("/api/v1/transport-key").await?.body;
    let sealed = seal(&transport.public_key, IMPORT_INFO, &sealed_for(id), &pkcs8)?;
    let body = KeyImport { transport_key_id: transport.id, sealed };
    change(Method::PUT, id, Some(&body), session).await
}

async fn change<B: serde::Serialize>(
    method: Method,
    id: CertificateId,
    body: Option<&B>,
    session: &Session,
) -> Result<ExitCode, CliError> {
    let changed = session.client.call::<_, PrivateKey>(method, &path(id), body).await?;
    print(&changed, session);
    Ok(ExitCode::Done)
}

async fn export(arguments: Export, session: &Session) -> Result<ExitCode, CliError> {
    files::check_secret_file(&arguments.recipient)?;
    let recipient = Recipient::generate()?;
    let purpose = if arguments.recovery { KeyExportPurpose::Recovery } else { KeyExportPurpose::Export };
    let body = NewKeyExport { recipient: recipient.public_key.clone(), purpose, reason: arguments.reason };
    // Written first: without it, what is granted could never be opened.
    let text = serde_json::to_vec_pretty(&recipient);
    let text = text.map_err(|error| CliError::Answer(error.to_string()))?;
    files::write_secret(&arguments.recipient, &text)?;
    let path = format!("{}/exports", path(arguments.id));
    let reply = session.client.post::<_, Request>(&path, &body, None).await?;
    requests::print(&reply.body, session);
    Ok(ExitCode::Done)
}

async fn fetch(arguments: &Fetch, session: &Session) -> Result<ExitCode, CliError> {
    let recipient: Recipient = files::read_json(&arguments.recipient)?;
    let passphrase = arguments.passphrase_file.as_deref().map(files::read_secret).transpose()?;
    files::check_secret_file(&arguments.out)?;
    let path = format!("/api/v1/requests/{}/key", arguments.id);
    let key = session.client.call::<(), ExportedKey>(Method::POST, &path, None).await?;
    let pkcs8 = recipient.open(EXPORT_INFO, &sealed_for(key.certificate_id), &key.sealed)?;
    let content = match passphrase {
        None => key_files::pkcs8_pem(&pkcs8).into_bytes(),
        Some(passphrase) => {
            let certificate = format!("/api/v1/certificates/{}", key.certificate_id);
            let chain = session.client.download(&certificate, "application/pem-certificate-chain").await?;
            key_files::pkcs12(&pkcs8, &chain, &passphrase)?
        }
    };
    files::write_secret(&arguments.out, &content)?;
    Ok(ExitCode::Done)
}

fn path(id: CertificateId) -> String {
    format!("/api/v1/certificates/{id}/key")
}

fn print(key: &PrivateKey, session: &Session) {
    let users: Vec<String> = key.users.iter().map(ToString::to_string).collect();
    let fields = vec![
        ("certificate", key.certificate_id.to_string()),
        ("algorithm", key.key_algorithm.to_string()),
        ("origin", key.origin.clone()),
        ("exportable", key.exportable.to_string()),
        ("users", users.join(" ")),
        ("accesses", key.access_count.to_string()),
        ("last access", output::maybe_time(key.last_accessed_at)),
        ("deleted", output::maybe_time(key.deleted_at)),
        ("erased", output::maybe_time(key.destroyed_at)),
        ("stored", output::time(key.created_at)),
    ];
    output::object(session.output, key, fields);
}
