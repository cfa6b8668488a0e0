//! How a command ends.

use std::path::PathBuf;

use clm_api::Problem;

use crate::output::clean;

/// What the shell sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitCode {
    Done = 0,
    Refused = 1,
    Usage = 2,
    NotAllowed = 3,
    NotFound = 4,
    Conflict = 5,
    Pending = 6,
    Unavailable = 7,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// A command that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The server refused.
    #[error("{}: {}", .0.code, .0.detail)]
    Problem(Box<Problem>),
    /// The server cannot be reached.
    #[error("cannot reach {url}")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    /// The request was sent and its answer did not arrive.
    #[error("the answer did not arrive; {advice}")]
    Lost {
        advice: &'static str,
        #[source]
        source: reqwest::Error,
    },
    /// The answer is not what this program understands.
    #[error("the server's answer cannot be read: {0}")]
    Answer(String),
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// This machine gives no port.
    #[error("cannot wait for the browser")]
    Browser(#[source] std::io::Error),
    /// The command was used wrongly.
    #[error("{0}")]
    Usage(String),
    /// Not signed in.
    #[error("{0}")]
    NotSignedIn(String),
}

impl CliError {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Problem(problem) => exit_code(problem.status),
            Self::Unreachable { .. } | Self::Lost { .. } => ExitCode::Unavailable,
            Self::Answer(_) | Self::File { .. } => ExitCode::Refused,
            Self::Browser(_) | Self::Usage(_) => ExitCode::Usage,
            Self::NotSignedIn(_) => ExitCode::NotAllowed,
        }
    }

    /// On standard error: what, how to mend it, and by which id to find it in the logs.
    pub(crate) fn print(&self) {
        eprintln!("error: {}", clean(&self.to_string()));
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            eprintln!("  because: {}", clean(&cause.to_string()));
            source = cause.source();
        }
        if let Self::Problem(problem) = self {
            for field in &problem.errors {
                eprintln!("  field: {}", clean(&field.pointer));
            }
            if let Some(hint) = &problem.hint {
                eprintln!("  hint: {}", clean(hint));
            }
            eprintln!("  request id: {}", clean(&problem.request_id));
        }
    }
}

const fn exit_code(status: u16) -> ExitCode {
    match status {
        401 | 403 => ExitCode::NotAllowed,
        404 => ExitCode::NotFound,
        409 | 412 => ExitCode::Conflict,
        429 | 502..=504 => ExitCode::Unavailable,
        _ => ExitCode::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_can_tell_the_kinds_of_failure_apart() {
        let codes = [400, 401, 403, 404, 409, 412, 422, 500, 503].map(|status| exit_code(status) as u8);
        assert_eq!(codes, [1, 3, 3, 4, 5, 5, 1, 1, 7]);
    }
}
