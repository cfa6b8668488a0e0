//! clm, the command line of users: speaks only the REST API.

mod access;
mod api_keys;
mod approvals;
mod arguments;
mod audit;
mod audit_exports;
mod authorities;
mod browser;
mod certificates;
mod client;
mod completion;
mod contexts;
mod crl;
mod error;
mod factors;
mod files;
mod groups;
mod identities;
mod inspect;
mod integrity;
mod key_files;
mod keys;
mod login;
mod mass_revocations;
mod memberships;
mod notifications;
mod organizations;
mod output;
mod passkeys;
mod passwords;
mod policies;
mod requests;
mod roles;
mod sealing;
mod secrets;
mod session;
mod sessions;
mod users;
mod workflows;
mod workload_rules;

use clap::Parser;
use clap::error::ErrorKind;

use arguments::{Arguments, Command};
use error::{CliError, ExitCode};
use session::Session;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            return if is_help { ExitCode::Done } else { ExitCode::Usage }.into();
        }
    };
    match run(arguments).await {
        Ok(code) => code.into(),
        Err(error) => {
            error.print();
            error.exit_code().into()
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode, CliError> {
    let Arguments { command, global } = arguments;
    match command {
        Command::Completion { shell } => {
            completion::print(shell);
            return Ok(ExitCode::Done);
        }
        Command::Login(login) => return login::run(*login, &global).await,
        Command::Context { command } => return contexts::run(command, &global),
        Command::Password { command: passwords::Command::Set(set) } => {
            return passwords::set(set, &global).await;
        }
        Command::Password { command: passwords::Command::Forgot(forgot) } => {
            return passwords::forgot(forgot, &global).await;
        }
        Command::Cert { command: certificates::Command::Inspect { file } } => {
            return inspect::run(&file, global.output);
        }
        _ => {}
    }
    let session = Session::open(&global)?;
    match command {
        Command::Completion { .. } | Command::Login(_) | Command::Context { .. } => Ok(ExitCode::Done),
        Command::Me => login::me(&session).await,
        Command::Can(can) => access::run(can, &session).await,
        Command::Logout => sessions::logout(&session).await,
        Command::Session { command } => sessions::run(command, &session).await,
        Command::Factor { command } => factors::run(command, &session).await,
        Command::Identity { command } => identities::run(command, &session).await,
        Command::Passkey { command } => passkeys::run(command, &session).await,
        Command::Password { command } => passwords::run(command, &session).await,
        Command::Request { command } => requests::run(*command, &session).await,
        Command::Approve { ids, comment } => approvals::decide("approve", &ids, comment, &session).await,
        Command::Reject { ids, comment } => approvals::decide("reject", &ids, comment, &session).await,
        Command::Approvals(page) => approvals::list(&page, &session).await,
        Command::Cert { command } => certificates::run(command, &session).await,
        Command::Revoke(revoke) => certificates::revoke(revoke, &session).await,
        Command::MassRevocation { command } => mass_revocations::run(command, &session).await,
        Command::Ca { command } => authorities::run(command, &session).await,
        Command::Crl { command } => crl::run(command, &session).await,
        Command::Policy { command } => policies::run(command, &session).await,
        Command::Workflow { command } => workflows::run(command, &session).await,
        Command::User { command } => users::run(command, &session).await,
        Command::Member { command } => memberships::run_member(command, &session).await,
        Command::Membership { command } => memberships::run_membership(command, &session).await,
        Command::Role { command } => roles::run(command, &session).await,
        Command::Group { command } => groups::run(command, &session).await,
        Command::Org { command } => organizations::run(command, &session).await,
        Command::WorkloadRule { command } => workload_rules::run(command, &session).await,
        Command::Key { command } => api_keys::run(command, &session).await,
        Command::Audit { command } => audit::run(command, &session).await,
        Command::Integrity { command } => integrity::run(command, &session).await,
        Command::Notification { command } => notifications::run(command, &session).await,
    }
}
