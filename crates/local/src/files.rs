//! Files and folders with an owner and a mode from the first moment.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;
use rustix::process::geteuid;

use crate::os_user::OsUser;

/// More than any file that is read whole.
const LONGEST: u64 = 1 << 20;
/// More than the last lines of a log.
const LONGEST_END: u64 = 1 << 16;

/// Makes a folder in a folder of `owner`, and sets the mode of one that exists.
pub(crate) fn make_folder(path: &Path, mode: u32, owner: &OsUser) -> Result<()> {
    owner.act(|| {
        let folder = make(path, mode)?;
        let uid = folder.metadata()?.uid();
        if uid != geteuid().as_raw() {
            bail!("the folder {} belongs to another user (id {uid}): remove it", path.display());
        }
        set_mode(&folder, path, mode)
    })
}

/// Makes a folder for `owner` in a folder of ours; one that exists is handed over with everything in
/// it.
pub(crate) fn make_folder_for(path: &Path, mode: u32, owner: &OsUser) -> Result<()> {
    let folder = make(path, mode)?;
    set_mode(&folder, path, mode)?;
    owner.own_all(folder).with_context(|| format!("cannot hand over {}", path.display()))
}

/// Makes the folder if it is missing and opens it, but never what a link in its place leads to.
fn make(path: &Path, mode: u32) -> Result<File> {
    let result = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    result.with_context(|| format!("cannot make the folder {}", path.display()))?;
    open_folder(path)
}

/// Opens a folder, but never what a link in its place leads to.
pub(crate) fn open_folder(path: &Path) -> Result<File> {
    let flags = flags(OFlags::NOFOLLOW | OFlags::DIRECTORY);
    let folder = OpenOptions::new().read(true).custom_flags(flags).open(path);
    folder.with_context(|| format!("cannot open {} as a folder that is no link", path.display()))
}

fn set_mode(folder: &File, path: &Path, mode: u32) -> Result<()> {
    let set = folder.set_permissions(Permissions::from_mode(mode));
    set.with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// Reads a file in a folder of `owner` with no other rights than `owner` has: a link in its place is
/// not followed, and a pipe holds nobody up.
pub(crate) fn read(path: &Path, owner: &OsUser) -> Result<String> {
    owner
        .act(|| Ok(String::from_utf8(read_whole(path)?)?))
        .with_context(|| format!("cannot read {}", path.display()))
}

/// The end of a log of `owner`, read in the same way.
pub(crate) fn read_end(path: &Path, owner: &OsUser) -> Result<String> {
    owner.act(|| {
        let mut file = open_file(path, OpenOptions::new().read(true))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_END)))?;
        let mut end = Vec::new();
        file.take(LONGEST_END).read_to_end(&mut end)?;
        Ok(String::from_utf8_lossy(&end).into_owned())
    })
}

fn read_whole(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = open_file(path, OpenOptions::new().read(true))?;
    if file.take(LONGEST + 1).read_to_end(&mut content)? as u64 > LONGEST {
        bail!("{} is too long", path.display());
    }
    Ok(content)
}

/// Opens a file, but never what a link in its place leads to, and no pipe or device.
pub(crate) fn open_file(path: &Path, options: &mut OpenOptions) -> Result<File> {
    // Who opens a pipe would wait for its other end.
    let file = options.custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK)).open(path)?;
    if !file.metadata()?.is_file() {
        bail!("{} is no file", path.display());
    }
    Ok(file)
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
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
        let log = open_file(path, OpenOptions::new().append(true).create(true).mode(0o600));
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
    fs::symlink_metadata(path).is_ok_and(is_file) && read_whole(path).is_ok_and(|old| old == content)
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
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

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

    #[test]
    fn a_link_in_the_place_of_a_folder_is_not_followed() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, owner) = (folder.path().join("core"), OsUser::for_databases().unwrap());
        fs::write(elsewhere.path().join("file"), "text").unwrap();
        symlink(elsewhere.path(), &link).unwrap();
        let state = |path: &Path| fs::metadata(path).map(|file| (file.uid(), file.mode())).unwrap();
        let states = || (state(elsewhere.path()), state(&elsewhere.path().join("file")));
        let before = states();
        for error in [
            make_folder(&link, 0o711, &OsUser::current().unwrap()).unwrap_err(),
            make_folder_for(&link, 0o711, &owner).unwrap_err(),
        ] {
            assert!(error.to_string().contains("no link"), "{error}");
        }
        assert_eq!(states(), before);

        // Nor is one that lies in what is handed over.
        fs::create_dir(folder.path().join("below")).unwrap();
        fs::rename(&link, folder.path().join("below/core")).unwrap();
        make_folder_for(&folder.path().join("below"), 0o711, &owner).unwrap();
        assert_eq!(states(), before);
        assert_eq!(state(&folder.path().join("below")).0, owner.uid);
    }

    #[test]
    fn a_folder_of_another_user_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let (path, owner) = (folder.path().join("core"), OsUser::for_databases().unwrap());
        make_folder_for(&path, 0o700, &owner).unwrap();
        let current = OsUser::current().unwrap();
        let again = make_folder(&path, 0o711, &current);
        assert_eq!(again.is_ok(), owner == current);
    }

    #[test]
    fn only_a_file_is_read_and_only_with_the_rights_of_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let owner = OsUser::for_databases().unwrap();
        fs::write(at("file"), "text").unwrap();
        symlink(at("file"), at("link")).unwrap();
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, at("pipe"), FileType::Fifo, mode, 0).unwrap();
        fs::write(at("secret"), "text").unwrap();
        fs::set_permissions(at("secret"), Permissions::from_mode(0o600)).unwrap();
        File::create(at("long")).unwrap().set_len(LONGEST + 1).unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();

        assert_eq!(read(&at("file"), &owner).unwrap(), "text");
        assert_eq!(read_end(&at("file"), &owner).unwrap(), "text");
        for name in ["link", "pipe", "long", "missing", "."] {
            assert!(read(&at(name), &owner).is_err(), "{name}");
        }
        for name in ["link", "pipe"] {
            assert!(read_end(&at(name), &owner).is_err(), "{name}");
            assert!(open_log(&at(name), &OsUser::current().unwrap()).is_err(), "{name}");
        }
        assert_eq!(read_end(&at("long"), &owner).unwrap().len() as u64, LONGEST_END);
        assert_eq!(read(&at("secret"), &owner).is_ok(), owner == OsUser::current().unwrap());
    }
}
