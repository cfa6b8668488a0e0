//! One TOML file per process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or may not be read.
    #[error("cannot read the configuration file {}: name an existing file with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A key is unknown, missing or has a wrong value; the text shows the line and what is allowed.
    #[error("the configuration file {} is not right:\n{detail}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, key and what is expected there.
        detail: String,
    },
}

/// Reads a whole configuration file. Sections deny unknown fields, so a misspelt key is an error.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|error| ConfigError::Invalid { path: path.to_owned(), detail: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdminConfig, LogConfig};
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        admin: AdminConfig,
        #[serde(default)]
        log: LogConfig,
    }

    fn load_text(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.toml");
        fs::write(&path, text).unwrap();
        load(&path)
    }

    #[test]
    fn sections_with_defaults_may_be_left_out() {
        let config = load_text("[admin]\nlisten = '127.0.0.1:9441'\n").unwrap();
        assert_eq!(config.admin.listen.port(), 9441);
        assert_eq!(config.log.level, "info");
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_file_and_what_is_allowed() {
        let error = load_text("[admin]\nlisen = '127.0.0.1:1'\n").unwrap_err().to_string();
        for part in ["test.toml", "line 2", "`lisen`", "`listen`"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }

    #[test]
    fn a_missing_file_says_which_option_names_it() {
        let error = load::<Config>(Path::new("/nowhere/core.toml")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/core.toml") && error.contains("--config"), "{error}");
    }
}
