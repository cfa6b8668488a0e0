//! What a command works with: the API of the chosen installation, and how to print.

use std::path::PathBuf;

use clm_types::OrganizationId;
use url::Url;

use crate::arguments::{Global, Output};
use crate::client::Client;
use crate::contexts::{self, Contexts};
use crate::error::CliError;
use crate::files;

/// Built once per command.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) output: Output,
    /// Where its token lies.
    token_file: PathBuf,
}

impl Session {
    /// From the options, the environment and the context, in this order.
    pub(crate) fn open(global: &Global) -> Result<Self, CliError> {
        let stored = Contexts::load(&contexts::directory()?)?;
        let context = stored.select(global.context.as_deref())?;
        let missing = || CliError::NotSignedIn("not signed in; see `clm login --help`".to_owned());
        let url: Url =
            global.url.clone().or_else(|| context.map(|known| known.url.clone())).ok_or_else(missing)?;
        // Key, trust anchors and organization of a context are for the address of that context and for no other.
        let own = context.filter(|known| known.url == url);
        let ca_file: Option<PathBuf> =
            global.ca_file.clone().or_else(|| own.and_then(|known| known.ca_file.clone()));
        let token_file = global.token_file.clone();
        let token_file =
            token_file.or_else(|| own.map(|known| known.token_file.clone())).ok_or_else(missing)?;
        let organization: Option<OrganizationId> =
            global.organization.or_else(|| own.and_then(|known| known.organization));
        if own.is_some_and(|known| known.token_file == token_file) && !token_file.exists() {
            return Err(CliError::NotSignedIn("signed out; see `clm login --help`".to_owned()));
        }
        let token = files::read_secret(&token_file)?;
        Ok(Self {
            client: Client::new(url, ca_file.as_deref(), Some(token), organization)?,
            output: global.output,
            token_file,
        })
    }

    /// Keeps the token that has taken the place of the one in use.
    pub(crate) fn keep_token(&self, token: &str) -> Result<(), CliError> {
        files::write_secret(&self.token_file, token.as_bytes())
    }

    /// Forgets a token that has ended; a file of the user's own is left alone.
    pub(crate) fn forget_token(&self) -> Result<(), CliError> {
        if !self.token_file.starts_with(contexts::directory()?) {
            return Ok(());
        }
        std::fs::remove_file(&self.token_file).map_err(|source| CliError::File {
            action: "remove",
            path: self.token_file.clone(),
            source,
        })
    }
}
