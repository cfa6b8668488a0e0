//! Secrets that people know: from a file, or typed at the terminal; never on the command line.

use std::io::IsTerminal;
use std::path::Path;

use crate::error::CliError;
use crate::files;

/// A secret from a file, or typed without being shown, blanks and all. `option` is the one that names the file.
pub(crate) fn ask(file: Option<&Path>, question: &str, option: &str) -> Result<String, CliError> {
    match file {
        Some(path) => files::read_password(path),
        None => type_in(question, option),
    }
}

/// A new secret: typed twice.
pub(crate) fn ask_new(file: Option<&Path>, question: &str, option: &str) -> Result<String, CliError> {
    let Some(path) = file else {
        let secret = type_in(question, option)?;
        if type_in("Once more: ", option)? != secret {
            return Err(CliError::Usage("the two are not the same".to_owned()));
        }
        return Ok(secret);
    };
    files::read_password(path)
}

fn type_in(question: &str, option: &str) -> Result<String, CliError> {
    if !std::io::stdin().is_terminal() {
        let advice = format!("give {option} FILE (`-` reads standard input), or run this at a terminal");
        return Err(CliError::Usage(advice));
    }
    let typed = rpassword::prompt_password(question);
    let typed = typed.map_err(|error| CliError::Usage(format!("the terminal cannot be read: {error}")))?;
    if typed.is_empty() {
        return Err(CliError::Usage("nothing was typed".to_owned()));
    }
    Ok(typed)
}
