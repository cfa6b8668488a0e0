//! Reading and writing the user's files.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::CliError;

/// The text of a file, or of standard input for `-`.
pub(crate) fn read_text(path: &Path) -> Result<String, CliError> {
    let octets = read(path)?;
    String::from_utf8(octets).map_err(|_| CliError::Usage(format!("{} is not UTF-8 text", path.display())))
}

/// The content of a file, or of standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::File { action: "read", path: path.to_owned(), source };
    if path == Path::new("-") {
        let mut octets = Vec::new();
        std::io::stdin().read_to_end(&mut octets).map_err(failed)?;
        return Ok(octets);
    }
    std::fs::read(path).map_err(failed)
}

/// A JSON document from a file or standard input.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, CliError> {
    let octets = read(path)?;
    serde_json::from_slice(&octets)
        .map_err(|error| CliError::Usage(format!("{} cannot be read: {error}", path.display())))
}

/// A secret from a file or standard input, without surrounding white space.
pub(crate) fn read_secret(path: &Path) -> Result<String, CliError> {
    let secret = read_text(path)?.trim().to_owned();
    if secret.is_empty() {
        return Err(CliError::Usage(format!("{} is empty", path.display())));
    }
    Ok(secret)
}

/// Writes a file that anybody may read, or standard output for `-`.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), CliError> {
    if path == Path::new("-") {
        return std::io::stdout().write_all(content).map_err(|source| CliError::File {
            action: "write",
            path: path.to_owned(),
            source,
        });
    }
    write_with_mode(path, content, 0o644)
}

/// Writes a file that only the user may read.
pub(crate) fn write_secret(path: &Path, content: &[u8]) -> Result<(), CliError> {
    write_with_mode(path, content, 0o600)
}

/// Replaces the file at once, so that a crash leaves the old or the new content.
fn write_with_mode(path: &Path, content: &[u8], mode: u32) -> Result<(), CliError> {
    let failed = |source| CliError::File { action: "write", path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(mode);
    let mut file = options.open(&new).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}

/// Makes a directory that only the user may enter.
pub(crate) fn create_private_directory(path: &Path) -> Result<(), CliError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| CliError::File { action: "make", path: path.to_owned(), source })
}
