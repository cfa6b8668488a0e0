//! Secrets: from files, zeroed in memory, never shown.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

const LONGEST: u64 = 64 * 1024;
/// Nothing for others, and no more than reading for the group.
const FORBIDDEN_MODE: u32 = 0o037;

/// A secret's octets; `Debug` shows nothing of them.
pub struct Secret(Zeroizing<Vec<u8>>);

/// A secret file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is not there or may not be read.
    #[error("cannot read the secret file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Other users of the machine could read or replace the secret.
    #[error("the secret file {} has mode {mode:04o}: others could read it; run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds nothing, or more than any secret.
    #[error("the secret file {} is empty or longer than 64 KiB", path.display())]
    Length {
        /// The file.
        path: PathBuf,
    },
}

impl Secret {
    /// Reads a secret, without a line end at its end. Refuses a file that others may read.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & FORBIDDEN_MODE != 0 {
            return Err(SecretError::Exposed { path: path.to_owned(), mode });
        }
        // Room for everything at once: growing would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(LONGEST).unwrap_or_default() + 1));
        file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        while bytes.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
            bytes.pop();
        }
        if bytes.is_empty() || bytes.len() as u64 > LONGEST {
            return Err(SecretError::Length { path: path.to_owned() });
        }
        Ok(Self(bytes))
    }

    /// The octets.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::fs::Permissions;

    fn secret(content: &str, mode: u32) -> Result<Secret, SecretError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Secret::from_file(&path)
    }

    #[test]
    fn a_secret_is_read_without_its_line_end_and_never_shown() {
        let secret = secret("hunter2\r\n", 0o600).unwrap();
        assert_eq!(secret.expose(), b"hunter2");
        assert_eq!(format!("{secret:?}"), "[redacted]");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        for mode in [0o604, 0o644, 0o602, 0o620, 0o666] {
            assert!(matches!(secret("x", mode), Err(SecretError::Exposed { .. })), "{mode:o}");
        }
        for mode in [0o400, 0o600, 0o440, 0o640] {
            assert!(secret("x", mode).is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn an_empty_or_endless_file_is_no_secret() {
        assert!(matches!(secret("\n", 0o600), Err(SecretError::Length { .. })));
        assert!(matches!(secret(&"x".repeat(70_000), 0o600), Err(SecretError::Length { .. })));
    }
}
