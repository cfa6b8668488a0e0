//! `clm ca`: certificate authorities.

use std::path::PathBuf;

use clap::Subcommand;
use clm_api::Page;
use clm_api::authorities::Authority;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{files, output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the authorities
    #[command(after_help = "Example:\n  clm ca list")]
    List,
    /// Show an authority
    #[command(after_help = "Example:\n  clm ca show 'CLM Sandbox Root'")]
    Show {
        /// Name or id
        authority: String,
    },
    /// Download an authority's certificate, PEM
    #[command(after_help = "Example:\n  clm ca download 'CLM Sandbox Root' --out root.pem")]
    Download {
        /// Name or id
        authority: String,
        /// Where to (`-` for standard output)
        #[arg(long, default_value = "-", value_name = "FILE")]
        out: PathBuf,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::List => list(session).await?,
        Command::Show { authority } => print(&find(&authority, session).await?, session),
        Command::Download { authority, out } => {
            let authority = find(&authority, session).await?;
            files::write(&out, authority.certificate_pem.as_bytes())?;
        }
    }
    Ok(ExitCode::Done)
}

/// The authority of this name or id.
pub(crate) async fn find(name: &str, session: &Session) -> Result<Authority, CliError> {
    if uuid::Uuid::parse_str(name).is_ok() {
        let path = format!("/api/v1/authorities/{name}");
        return Ok(session.client.get(&path).await?.body);
    }
    let all = all(session).await?;
    let names: Vec<&str> = all.items.iter().map(|one| one.name.as_str()).collect();
    let missing = CliError::Usage(format!("there is no authority `{name}`; known: {}", names.join(", ")));
    all.items.iter().find(|one| one.name == name).cloned().ok_or(missing)
}

async fn all(session: &Session) -> Result<Page<Authority>, CliError> {
    let everything = PageArguments { all: true, ..PageArguments::default() };
    session.client.list("/api/v1/authorities", &(), &everything).await
}

async fn list(session: &Session) -> Result<(), CliError> {
    let page = all(session).await?;
    let headers = ["ID", "NAME", "STATUS", "KEY", "NOT AFTER", "CRL", "PROFILES"];
    output::list(session.output, &page, &headers, |one| {
        vec![
            one.id.to_string(),
            one.name.clone(),
            one.status.clone(),
            one.key_algorithm.to_string(),
            output::time(one.not_after),
            one.crl_number.to_string(),
            one.profiles.join(" "),
        ]
    });
    Ok(())
}

fn print(one: &Authority, session: &Session) {
    let fields = vec![
        ("authority", one.id.to_string()),
        ("name", one.name.clone()),
        ("status", one.status.clone()),
        ("subject", one.subject.clone()),
        ("parent", output::maybe(one.parent_id.as_ref())),
        ("key", one.key_algorithm.to_string()),
        ("sha256", one.fingerprint_sha256.clone()),
        ("not before", output::time(one.not_before)),
        ("not after", output::time(one.not_after)),
        ("profiles", one.profiles.join(" ")),
        ("crl", one.crl_url.clone()),
        ("crl number", one.crl_number.to_string()),
        ("crl shards", one.crl_shards.to_string()),
        ("delta crls", one.delta_crls.to_string()),
        ("next crl", output::maybe_time(one.next_crl_at)),
        ("ocsp", one.ocsp_url.clone()),
        ("issuer", one.issuer_url.clone()),
    ];
    output::object(session.output, one, fields);
}
