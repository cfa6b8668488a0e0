//! The person at the command line.

use std::path::Path;

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use clm_secure::audit::Actor;
use clm_secure::audit_keys::SignedStatement;

/// The account behind the command, for the audit log.
pub(crate) fn account() -> String {
    let account =
        std::env::var("SUDO_USER").or_else(|_| std::env::var("LOGNAME")).or_else(|_| std::env::var("USER"));
    account.unwrap_or_else(|_| "unknown".to_owned())
}

/// The account as the audit log names it.
pub(crate) fn actor() -> Actor {
    Actor::Operator(account())
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
pub(crate) fn print_line(line: &str) {
    println!("{line}");
}

/// Prints a signed statement; with a folder, also writes exactly what was signed, and the signature beside it, so that
/// `openssl dgst -sha256 -verify KEY -signature NAME.json.sig NAME.json` checks it.
pub(crate) fn hand_over(signed: &SignedStatement, folder: Option<&Path>, name: &str) -> anyhow::Result<()> {
    print_line(&serde_json::to_string(signed)?);
    let Some(folder) = folder else { return Ok(()) };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, signed.octets()?).with_context(|| format!("cannot write {}", file.display()))?;
    let signature = folder.join(format!("{name}.json.sig"));
    std::fs::write(&signature, STANDARD.decode(&signed.signature)?)?;
    eprintln!("{} and {}", file.display(), signature.display());
    Ok(())
}
