//! `clm factor`: the second factor of whoever is signed in.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use clm_api::sessions::{NewToken, NewTotp, RecoveryCodes, ShownFactor, TotpConfirmation, TotpSetup};
use reqwest::Method;
use serde_json::json;

use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{files, output, secrets};

/// What to do when it is not known whether a call that changes the token was carried out.
pub(crate) const LOST_TOKEN: &str = "sign in again: `clm login`";
const LOST_CODES: &str = "call it again";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the second factor: completes a sign-in, or makes it fresh for five minutes
    #[command(after_help = "Examples:\n  clm factor show\n  clm factor show --code-file -")]
    Show(Code),
    /// Set up one-time codes: prints the secret for an authenticator program
    #[command(after_help = "Example:\n  clm factor totp")]
    Totp {
        /// File with your password (`-` for standard input); asked for unless given
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// Put one-time codes to use, with a first code; writes the recovery codes
    #[command(after_help = "Example:\n  clm factor confirm --recovery-codes-file recovery-codes.txt")]
    Confirm {
        /// File with a code (`-` for standard input); asked for unless given
        #[arg(long)]
        code_file: Option<PathBuf>,
        /// Where the recovery codes go
        #[arg(long)]
        recovery_codes_file: PathBuf,
    },
    /// New recovery codes in place of those before
    #[command(after_help = "Example:\n  clm factor recovery-codes --recovery-codes-file recovery-codes.txt")]
    RecoveryCodes {
        /// Where they go
        #[arg(long)]
        recovery_codes_file: PathBuf,
    },
    /// Take your one-time codes away
    #[command(after_help = "Example:\n  clm factor remove")]
    Remove,
}

/// A one-time code or a recovery code.
#[derive(Args, Clone, Default)]
pub(crate) struct Code {
    /// File with a one-time code (`-` for standard input); asked for unless given
    #[arg(long)]
    pub(crate) code_file: Option<PathBuf>,
    /// File with a recovery code, when the authenticator program is lost
    #[arg(long, conflicts_with = "code_file")]
    pub(crate) recovery_code_file: Option<PathBuf>,
}

impl Code {
    /// What is to be sent.
    pub(crate) fn read(&self) -> Result<ShownFactor, CliError> {
        if let Some(path) = &self.recovery_code_file {
            let recovery_code = Some(files::read_secret(path)?);
            return Ok(ShownFactor { recovery_code, ..ShownFactor::default() });
        }
        let code =
            secrets::ask(self.code_file.as_deref(), "One-time code: ", "--code-file")?.trim().to_owned();
        Ok(ShownFactor { totp: Some(code), ..ShownFactor::default() })
    }
}

pub(crate) async fn run(command: Command, session: &Session) -> Result<ExitCode, CliError> {
    match command {
        Command::Show(code) => {
            let shown = code.read()?;
            let path = "/api/v1/sessions/current/factor";
            let new: NewToken = session.client.post_once(path, &shown, LOST_TOKEN).await?;
            session.keep_token(&new.token)?;
            eprintln!("shown; it counts as fresh for five minutes");
        }
        Command::Totp { password_file } => set_up(password_file.as_deref(), session).await?,
        Command::Confirm { code_file, recovery_codes_file } => {
            files::check_secret_file(&recovery_codes_file)?;
            let totp =
                secrets::ask(code_file.as_deref(), "One-time code: ", "--code-file")?.trim().to_owned();
            let path = "/api/v1/me/totp/confirm";
            let made: RecoveryCodes =
                session.client.post_once(path, &TotpConfirmation { totp }, LOST_TOKEN).await?;
            if let Some(token) = &made.token {
                session.keep_token(token)?;
            }
            keep_codes(&made, &recovery_codes_file)?;
        }
        Command::RecoveryCodes { recovery_codes_file } => {
            files::check_secret_file(&recovery_codes_file)?;
            let path = "/api/v1/me/recovery-codes";
            let made: RecoveryCodes = session.client.post_once(path, &json!({}), LOST_CODES).await?;
            keep_codes(&made, &recovery_codes_file)?;
        }
        Command::Remove => session.client.call::<(), ()>(Method::DELETE, "/api/v1/me/totp", None).await?,
    }
    Ok(ExitCode::Done)
}

async fn set_up(password_file: Option<&Path>, session: &Session) -> Result<(), CliError> {
    let password = secrets::ask(password_file, "Password: ", "--password-file")?;
    let body = NewTotp { current_password: Some(password) };
    let made: TotpSetup = session.client.post_once("/api/v1/me/totp", &body, LOST_CODES).await?;
    let fields = vec![("secret", made.secret.clone()), ("address", made.url.clone())];
    output::object(session.output, &made, fields);
    eprintln!("add it to an authenticator program; then: clm factor confirm --recovery-codes-file FILE");
    Ok(())
}

fn keep_codes(made: &RecoveryCodes, path: &Path) -> Result<(), CliError> {
    let text = made.recovery_codes.join("\n") + "\n";
    files::write_secret(path, text.as_bytes())?;
    eprintln!(
        "{} recovery codes are in {}; keep them apart from this machine",
        made.recovery_codes.len(),
        path.display()
    );
    Ok(())
}
