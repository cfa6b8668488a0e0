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

/// Replaces a file at once, so that a crash leaves the old or the new content. What is there and no regular file (a
/// device, a pipe) is written to and never replaced.
fn write_with_mode(path: &Path, content: &[u8], mode: u32) -> Result<(), CliError> {
    let failed = |source| CliError::File { action: "write", path: path.to_owned(), source };
    let path = match path.metadata() {
        Ok(found) if !found.is_file() => {
            let mut file = OpenOptions::new().write(true).open(path).map_err(failed)?;
            return file.write_all(content).map_err(failed);
        }
        // Where a link leads is replaced, not the link.
        Ok(_) => &path.canonicalize().map_err(failed)?,
        Err(_) => path,
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // A leftover may have a wider mode than asked for.
    let _ = std::fs::remove_file(&new);
    let mut options = OpenOptions::new();
    let mut file = options.create_new(true).write(true).mode(mode).open(&new).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}

/// Makes a directory that only the user may enter.
pub(crate) fn create_private_directory(path: &Path) -> Result<(), CliError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| CliError::File { action: "make", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_is_no_regular_file_is_never_replaced() {
        let path = std::env::temp_dir().join(format!("clm-socket-{}", std::process::id()));
        let _socket = UnixListener::bind(&path).unwrap();
        assert!(write(&path, b"x").is_err());
        assert!(path.symlink_metadata().unwrap().file_type().is_socket());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_secret_is_readable_by_its_owner_alone_even_over_an_open_file() {
        let path = std::env::temp_dir().join(format!("clm-secret-{}", std::process::id()));
        write(&path, b"open").unwrap();
        write_secret(&path, b"closed").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap(), b"closed");
        std::fs::remove_file(path).unwrap();
    }
}
