//! `clm crl`: what relying parties see.

use clap::Subcommand;
use serde::Serialize;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{authorities, output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Fetch an authority's revocation list as relying parties do, and say how fresh it is
    #[command(after_help = "Example:\n  clm crl status 'CLM Sandbox Root'")]
    Status {
        /// Name or id of the authority
        authority: String,
    },
}

/// What the served list says of itself.
#[derive(Serialize)]
struct CrlStatus {
    url: String,
    issuer: String,
    number: Option<String>,
    this_update: String,
    next_update: Option<String>,
    revoked: usize,
    octets: usize,
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    let Command::Status { authority } = command;
    let authority = authorities::find(&authority, session).await?;
    let der = session.client.fetch_public(&authority.crl_url).await?;
    let status = read(&authority.crl_url, &der)?;
    let fields = vec![
        ("url", status.url.clone()),
        ("issuer", status.issuer.clone()),
        ("number", status.number.clone().unwrap_or_default()),
        ("this update", status.this_update.clone()),
        ("next update", status.next_update.clone().unwrap_or_default()),
        ("revoked", status.revoked.to_string()),
        ("octets", status.octets.to_string()),
    ];
    output::object(session.output, &status, fields);
    Ok(ExitCode::Done)
}

fn read(url: &str, der: &[u8]) -> Result<CrlStatus, CliError> {
    let (_, crl) = CertificateRevocationList::from_der(der)
        .map_err(|error| CliError::Answer(format!("no revocation list: {error}")))?;
    Ok(CrlStatus {
        url: url.to_owned(),
        issuer: crl.issuer().to_string(),
        number: crl.crl_number().map(ToString::to_string),
        this_update: crate::inspect::time(crl.last_update()),
        next_update: crl.next_update().map(crate::inspect::time),
        revoked: crl.iter_revoked_certificates().count(),
        octets: der.len(),
    })
}
