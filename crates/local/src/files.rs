//! Files and folders with an owner and a mode from the first moment.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::os_user::OsUser;

/// Makes a folder of `owner` with `mode`, and sets both on one that exists.
pub(crate) fn make_folder(path: &Path, mode: u32, owner: &OsUser) -> Result<()> {
    let result = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    result.with_context(|| format!("cannot make the folder {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    owner.own(path)
}

/// Writes a file that only `owner` may read, whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8], owner: &OsUser) -> Result<()> {
    write(path, content, 0o600, owner)
}

/// Writes a file that everybody may read, whole or not at all.
pub(crate) fn write_public(path: &Path, content: &[u8], owner: &OsUser) -> Result<()> {
    write(path, content, 0o644, owner)
}

fn write(path: &Path, content: &[u8], mode: u32, owner: &OsUser) -> Result<()> {
    // Another thread may be writing the same file.
    static WRITES: AtomicU32 = AtomicU32::new(0);
    let mut name = path.file_name().context("a file needs a name")?.to_owned();
    name.push(format!(".new{}", WRITES.fetch_add(1, Ordering::Relaxed)));
    let new = path.with_file_name(name);
    write_new(&new, content, mode, owner).with_context(|| format!("cannot write {}", path.display()))?;
    fs::rename(&new, path).with_context(|| format!("cannot replace {}", path.display()))
}

fn write_new(path: &Path, content: &[u8], mode: u32, owner: &OsUser) -> Result<()> {
    // Left by an interrupted run.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    owner.own(path)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    Ok(())
}
