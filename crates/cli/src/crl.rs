//! `clm crl`: what relying parties see.

use clap::Subcommand;
use serde::Serialize;
use x509_parser::asn1_rs::{Oid, oid};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{authorities, output};

const DELTA_CRL_INDICATOR: Oid<'static> = oid!(2.5.29.27);

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Fetch an authority's revocation list as relying parties do, and say how fresh it is
    #[command(
        after_help = "Examples:\n  clm crl status 'CLM Sandbox Root'\n  clm crl status 'Example Issuing' --shard 7 --delta"
    )]
    Status {
        /// Name or id of the authority
        authority: String,
        /// Which part of its certificates the list is about; 0 for all
        #[arg(long, default_value_t = 0)]
        shard: u16,
        /// The delta to the full list
        #[arg(long)]
        delta: bool,
    },
}

/// What the served list says of itself.
#[derive(Serialize)]
struct CrlStatus {
    url: String,
    issuer: String,
    number: Option<String>,
    /// Of the full list, when this is a delta.
    base_number: Option<String>,
    this_update: String,
    next_update: Option<String>,
    revoked: usize,
    octets: usize,
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    let Command::Status { authority, shard, delta } = command;
    let authority = authorities::find(&authority, session).await?;
    let url = address(&authority.crl_url, shard, delta);
    let der = session.client.fetch_public(&url).await?;
    let status = read(&url, &der)?;
    let fields = vec![
        ("url", status.url.clone()),
        ("issuer", status.issuer.clone()),
        ("number", status.number.clone().unwrap_or_default()),
        ("delta to number", status.base_number.clone().unwrap_or_default()),
        ("this update", status.this_update.clone()),
        ("next update", status.next_update.clone().unwrap_or_default()),
        ("revoked", status.revoked.to_string()),
        ("octets", status.octets.to_string()),
    ];
    output::object(session.output, &status, fields);
    Ok(ExitCode::Done)
}

/// Where a list is, from where that of all certificates is.
fn address(all: &str, shard: u16, delta: bool) -> String {
    let stem = all.trim_end_matches(".crl");
    match (shard, delta) {
        (0, false) => all.to_owned(),
        (_, false) => format!("{stem}/{shard}.crl"),
        (_, true) => format!("{stem}/{shard}-delta.crl"),
    }
}

fn read(url: &str, der: &[u8]) -> Result<CrlStatus, CliError> {
    let (_, crl) = CertificateRevocationList::from_der(der)
        .map_err(|error| CliError::Answer(format!("no revocation list: {error}")))?;
    Ok(CrlStatus {
        url: url.to_owned(),
        issuer: crl.issuer().to_string(),
        number: crl.crl_number().map(ToString::to_string),
        base_number: base_number(&crl),
        this_update: crate::inspect::time(crl.last_update()),
        next_update: crl.next_update().map(crate::inspect::time),
        revoked: crl.iter_revoked_certificates().count(),
        octets: der.len(),
    })
}

/// What the DeltaCRLIndicator says (RFC 5280 §5.2.4).
fn base_number(crl: &CertificateRevocationList<'_>) -> Option<String> {
    let indicator = crl.extensions().iter().find(|extension| extension.oid == DELTA_CRL_INDICATOR)?;
    let (_, number) = u64::from_der(indicator.value).ok()?;
    Some(number.to_string())
}
