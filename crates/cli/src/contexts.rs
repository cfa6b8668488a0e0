//! Contexts: the installations one has signed in to, and which is meant now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use clm_types::OrganizationId;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::arguments::{Global, Output};
use crate::error::{CliError, ExitCode};
use crate::{files, output};

/// The name of the file that holds them.
pub(crate) const FILE: &str = "contexts.toml";

/// One installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Address of the API.
    pub(crate) url: Url,
    /// Trust anchors; those of the system when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Where the API key is.
    pub(crate) token_file: PathBuf,
    /// Organization to work in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) organization: Option<OrganizationId>,
}

/// `contexts.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one that is meant unless another is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the contexts
    #[command(after_help = "Example:\n  clm context list")]
    List,
    /// Make a context the current one
    #[command(after_help = "Example:\n  clm context use clm.example.com")]
    Use {
        /// Its name
        name: String,
    },
    /// Forget a context and its API key
    #[command(after_help = "Example:\n  clm context remove localhost:8443")]
    Remove {
        /// Its name
        name: String,
    },
}

impl Contexts {
    /// What was stored; nothing on the first use.
    pub(crate) fn load(directory: &Path) -> Result<Self, CliError> {
        let path = directory.join(FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = files::read_text(&path)?;
        toml::from_str(&text)
            .map_err(|error| CliError::Usage(format!("{} cannot be read: {error}", path.display())))
    }

    pub(crate) fn save(&self, directory: &Path) -> Result<(), CliError> {
        files::create_private_directory(directory)?;
        let text = toml::to_string_pretty(self).map_err(|error| CliError::Usage(error.to_string()))?;
        files::write_secret(&directory.join(FILE), text.as_bytes())
    }

    /// The named context, or the current one.
    pub(crate) fn select(&self, name: Option<&str>) -> Result<Option<&Context>, CliError> {
        match name {
            Some(name) => self.named(name).map(Some),
            None => self.current.as_deref().map(|name| self.named(name)).transpose(),
        }
    }

    fn named(&self, name: &str) -> Result<&Context, CliError> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            CliError::Usage(format!("there is no context `{name}`; known: {}", known.join(", ")))
        })
    }
}

/// `$CLM_CONFIG_DIR`, `$XDG_CONFIG_HOME/clm` or `~/.config/clm`.
pub(crate) fn directory() -> Result<PathBuf, CliError> {
    let of = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("CLM_CONFIG_DIR")
        .or_else(|| of("XDG_CONFIG_HOME").map(|home| home.join("clm")))
        .or_else(|| of("HOME").map(|home| home.join(".config/clm")))
        .ok_or_else(|| CliError::Usage("set HOME or CLM_CONFIG_DIR: contexts are kept there".to_owned()))
}

pub(crate) fn run(command: Command, global: &Global) -> Result<ExitCode, CliError> {
    let directory = directory()?;
    let mut contexts = Contexts::load(&directory)?;
    match command {
        Command::List => print(&contexts, global.output),
        Command::Use { name } => {
            contexts.named(&name)?;
            contexts.current = Some(name);
            contexts.save(&directory)?;
        }
        Command::Remove { name } => {
            let token_file = contexts.named(&name)?.token_file.clone();
            contexts.contexts.remove(&name);
            if contexts.current.as_ref() == Some(&name) {
                contexts.current = None;
            }
            contexts.save(&directory)?;
            if token_file.starts_with(&directory) {
                let _ = std::fs::remove_file(token_file);
            }
        }
    }
    Ok(ExitCode::Done)
}

fn print(contexts: &Contexts, form: Output) {
    if form == Output::Json {
        output::json(contexts);
        return;
    }
    let rows = contexts.contexts.iter().map(|(name, context)| {
        let mark = if contexts.current.as_ref() == Some(name) { "*" } else { "" };
        vec![mark.to_owned(), name.clone(), context.url.to_string()]
    });
    output::table(&["", "NAME", "URL"], rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_survive_writing_and_reading() {
        let directory = std::env::temp_dir().join(format!("clm-contexts-{}", std::process::id()));
        let context = Context {
            url: "https://localhost:8443".parse().unwrap(),
            ca_file: Some("/ca.pem".into()),
            token_file: "/token".into(),
            organization: None,
        };
        let contexts = Contexts {
            current: Some("test".to_owned()),
            contexts: BTreeMap::from([("test".to_owned(), context.clone())]),
        };
        contexts.save(&directory).unwrap();
        let loaded = Contexts::load(&directory).unwrap();
        assert_eq!(loaded, contexts);
        assert_eq!(loaded.select(None).unwrap(), Some(&context));
        assert!(loaded.select(Some("other")).is_err());
        std::fs::remove_dir_all(directory).unwrap();
    }
}
