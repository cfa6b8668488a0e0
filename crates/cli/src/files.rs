//! Reading and writing the user's files.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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

/// A password from a file or standard input, as it is there but for one line end after it.
pub(crate) fn read_password(path: &Path) -> Result<String, CliError> {
    let text = read_text(path)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let password = line.strip_suffix('\r').unwrap_or(line);
    if password.is_empty() {
        return Err(CliError::Usage(format!("{} is empty", path.display())));
    }
    Ok(password.to_owned())
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

/// Finds out that a secret can be written here before there is one. What a file holds already is never given up for it.
pub(crate) fn check_secret_file(path: &Path) -> Result<(), CliError> {
    if path.metadata().is_ok_and(|found| found.is_file() && found.len() > 0) {
        let advice = "exists and is not empty; name another file, or remove it";
        return Err(CliError::Usage(format!("{} {advice}", path.display())));
    }
    check_writable(path)
}

/// Finds out that a file can be written or replaced, without doing so.
pub(crate) fn check_writable(path: &Path) -> Result<(), CliError> {
    let failed = |source| CliError::File { action: "write", path: path.to_owned(), source };
    let place = match path.metadata() {
        Ok(found) if found.is_dir() => return Err(failed(std::io::ErrorKind::IsADirectory.into())),
        Ok(found) if !found.is_file() => return Ok(()),
        Ok(_) => path.canonicalize().map_err(failed)?,
        Err(_) => path.to_owned(),
    };
    let new = beside(&place);
    create_anew(&new, 0o600).map_err(failed)?;
    std::fs::remove_file(&new).map_err(failed)
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
    let new = beside(path);
    let mut file = create_anew(&new, mode).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}

/// A file in the making, which only the user may read. It takes its place when it is whole.
pub(crate) struct Replacement {
    file: File,
    new: PathBuf,
    path: PathBuf,
}

impl Replacement {
    /// Begins the file beside its place. What an attempt before left there is overwritten.
    pub(crate) fn begin(path: &Path) -> Result<Self, CliError> {
        check_writable(path)?;
        let failed = |source| CliError::File { action: "write", path: path.to_owned(), source };
        let place = match path.metadata() {
            Ok(found) if !found.is_file() => {
                return Err(CliError::Usage(format!("{} is no regular file; name one", path.display())));
            }
            Ok(_) => path.canonicalize().map_err(failed)?,
            Err(_) => path.to_owned(),
        };
        let new = beside(&place);
        let file = create_anew(&new, 0o600).map_err(failed)?;
        Ok(Self { file, new, path: place })
    }

    /// Where it is until it takes its place.
    pub(crate) fn new_path(&self) -> &Path {
        &self.new
    }

    /// Adds to it.
    pub(crate) fn write(&mut self, content: &[u8]) -> Result<(), CliError> {
        self.file.write_all(content).map_err(|source| self.failed(source))
    }

    /// Puts it in its place.
    pub(crate) fn finish(self) -> Result<(), CliError> {
        let moved = self.file.sync_all().and_then(|()| std::fs::rename(&self.new, &self.path));
        moved.map_err(|source| self.failed(source))
    }

    /// Leaves nothing of it.
    pub(crate) fn discard(self) {
        // What cannot be removed is overwritten by the next attempt.
        let _ = std::fs::remove_file(&self.new);
    }

    fn failed(&self, source: std::io::Error) -> CliError {
        CliError::File { action: "write", path: self.path.clone(), source }
    }
}

/// Where a file is written before it takes its place.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn create_anew(path: &Path, mode: u32) -> std::io::Result<File> {
    // A leftover may have a wider mode than asked for.
    let _ = std::fs::remove_file(path);
    OpenOptions::new().create_new(true).write(true).mode(mode).open(path)
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
    fn a_password_is_read_with_its_blanks() {
        let path = std::env::temp_dir().join(format!("clm-password-{}", std::process::id()));
        for (content, password) in [
            (" a b \n", " a b "),
            ("a b\r\n", "a b"),
            ("a b", "a b"),
            ("a b\n\n", "a b\n"),
            ("\ta\t", "\ta\t"),
        ] {
            write_secret(&path, content.as_bytes()).unwrap();
            assert_eq!(read_password(&path).unwrap(), password);
        }
        for empty in ["", "\n"] {
            write_secret(&path, empty.as_bytes()).unwrap();
            assert!(read_password(&path).is_err());
        }
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

    #[test]
    fn a_file_that_holds_something_is_refused_before_a_secret_exists() {
        let path = std::env::temp_dir().join(format!("clm-existing-{}", std::process::id()));
        check_secret_file(&path).unwrap();
        assert!(!path.exists() && !beside(&path).exists());
        write_secret(&path, b"").unwrap();
        check_secret_file(&path).unwrap();
        write_secret(&path, b"clm_pat_old").unwrap();
        assert!(matches!(check_secret_file(&path), Err(CliError::Usage(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"clm_pat_old");
        std::fs::remove_file(&path).unwrap();
        assert!(check_secret_file(&path.join("nowhere")).is_err());
        check_secret_file(Path::new("/dev/null")).unwrap();
    }
}
