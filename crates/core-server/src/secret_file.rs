//! Where an operator's command writes a secret: readable by its owner alone.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use rustix::fs::OFlags;
use rustix::process::geteuid;

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
        self.file.set_len(0)?;
        self.file.write_all(secret)?;
        self.file.write_all(b"\n")?;
        self.file.sync_all()
    }
}

/// Never what a link in the file's place leads to, and no file of another user: that user could
/// read the secret.
fn open(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    // Who opens a pipe would wait for its other end.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    options.create(true).write(true).truncate(false).mode(0o600).custom_flags(flags);
    let file = options.open(path).map_err(|error| {
        let is_link = path.symlink_metadata().is_ok_and(|found| found.is_symlink());
        if is_link { anyhow!("it is a link: name the file itself") } else { error.into() }
    })?;
    let found = file.metadata()?;
    if !found.is_file() {
        bail!("it is no regular file: name a file");
    }
    if found.uid() != geteuid().as_raw() {
        bail!("it belongs to another user: name a new file");
    }
    // The mode above is for a new file; this one may have been there.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{chown, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    fn refusal(path: &Path) -> String {
        format!("{:#}", SecretFile::open(path.to_owned()).err().unwrap())
    }

    #[test]
    fn a_secret_is_readable_by_its_owner_alone_and_replaces_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        SecretFile::open(path.clone()).unwrap().write("a longer one").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let file = SecretFile::open(path.clone()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a longer one\n");
        file.write("short").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "short\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_leads_to_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link, pipe) = ["target", "link", "pipe"].map(|name| folder.path().join(name)).into();
        fs::write(&target, "kept").unwrap();
        fs::set_permissions(&target, Permissions::from_mode(0o644)).unwrap();
        symlink(&target, &link).unwrap();
        assert!(refusal(&link).contains("is a link"));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        refusal(&pipe);
        assert!(refusal(Path::new("/dev/null")).contains("no regular file"));
        if geteuid().is_root() {
            chown(&target, Some(1), None).unwrap();
            assert!(refusal(&target).contains("another user"));
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o644);
    }
}
