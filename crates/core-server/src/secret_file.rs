//! Where an operator's command writes a secret: readable by its owner alone.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use anyhow::Context;

/// A file that can be written to, found out before there is a secret.
pub(crate) struct SecretFile {
    path: PathBuf,
    file: File,
}

impl SecretFile {
    /// Opens the file, or makes it; what it holds stays until a secret is written.
    pub(crate) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let opened = open(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file: opened })
    }

    /// Writes the secret and a line feed, and waits for the disk.
    pub(crate) fn write(mut self, secret: &str) -> anyhow::Result<()> {
        let written = self.replace(secret.as_bytes());
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn replace(&mut self, secret: &[u8]) -> std::io::Result<()> {
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.write_all(secret)?;
        self.file.write_all(b"\n")?;
        // A pipe has no disk to wait for.
        if self.file.metadata()?.is_file() { self.file.sync_all() } else { Ok(()) }
    }
}

fn open(path: &std::path::Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.create(true).write(true).truncate(false).mode(0o600).open(path)?;
    // The mode above is for a new file; this one may have been there. A device keeps its mode.
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}
