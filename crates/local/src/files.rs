//! Files and folders with an owner and a mode from the first moment.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::os_user::OsUser;

/// Makes a folder in a folder of `owner`, and sets the mode of one that exists.
pub(crate) fn make_folder(path: &Path, mode: u32, owner: &OsUser) -> Result<()> {
    owner.act(|| make(path, mode))
}

/// Makes a folder for `owner` in a folder of ours; one that exists is handed over with everything in
/// it.
pub(crate) fn make_folder_for(path: &Path, mode: u32, owner: &OsUser) -> Result<()> {
    make(path, mode)?;
    owner.own_all(path)
}

fn make(path: &Path, mode: u32) -> Result<()> {
    let result = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    result.with_context(|| format!("cannot make the folder {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// Writes a file in a folder of `owner` that only `owner` may read, whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8], owner: &OsUser) -> Result<()> {
    owner.act(|| write(path, content, 0o600))
}

/// Writes a file in a folder of `owner` that everybody may read, whole or not at all.
pub(crate) fn write_public(path: &Path, content: &[u8], owner: &OsUser) -> Result<()> {
    owner.act(|| write(path, content, 0o644))
}

/// Opens a log of `owner` for more lines.
pub(crate) fn open_log(path: &Path, owner: &OsUser) -> Result<File> {
    owner.act(|| {
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        log.with_context(|| format!("cannot open {}", path.display()))
    })
}

/// Leaves a file alone that is as it should be: its time says when it changed.
fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    // Another thread may be writing the same file.
    static WRITES: AtomicU32 = AtomicU32::new(0);
    if is_written(path, content, mode) {
        return Ok(());
    }
    let mut name = path.file_name().context("a file needs a name")?.to_owned();
    name.push(format!(".new{}", WRITES.fetch_add(1, Ordering::Relaxed)));
    let new = path.with_file_name(name);
    write_new(&new, content, mode).with_context(|| format!("cannot write {}", path.display()))?;
    fs::rename(&new, path).with_context(|| format!("cannot replace {}", path.display()))
}

fn is_written(path: &Path, content: &[u8], mode: u32) -> bool {
    let is_file = |file: fs::Metadata| file.is_file() && file.permissions().mode() & 0o7777 == mode;
    fs::symlink_metadata(path).is_ok_and(is_file) && fs::read(path).is_ok_and(|old| old == content)
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    // Left by an interrupted run.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_anew_only_when_content_or_mode_differ() {
        let folder = tempfile::tempdir().unwrap();
        let (path, owner) = (folder.path().join("file"), OsUser::current().unwrap());
        let is_new_after = |write: &dyn Fn()| {
            let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap());
            // Keeps the inode's number from being given away again.
            let kept = folder.path().join("kept");
            let _ = fs::remove_file(&kept);
            fs::hard_link(&path, kept).unwrap();
            let before = inode();
            write();
            inode() != before
        };
        write_private(&path, b"one", &owner).unwrap();
        assert!(!is_new_after(&|| write_private(&path, b"one", &owner).unwrap()));
        assert!(is_new_after(&|| write_private(&path, b"two", &owner).unwrap()));
        assert!(is_new_after(&|| write_public(&path, b"two", &owner).unwrap()));
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }
}
