//! One clm-local at a time changes an installation.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::files::open_file;

/// Its name.
pub(crate) const LOCK: &str = "clm-local.lock";

/// Who can open the file can hold the lock: nobody else.
const MODE: u32 = 0o600;

/// Held until it is dropped, or the process ends.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the installation in `folder`, or fails at once.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        let file = open_file(
            &folder.join(LOCK),
            OpenOptions::new().write(true).create(true).truncate(false).mode(MODE),
        );
        Self::hold(folder, file.with_context(|| format!("cannot lock {}", folder.display()))?)
    }

    /// The same, or nothing where nobody ever took it: nothing was ever started there.
    pub(crate) fn take_existing(folder: &Path) -> Result<Option<Self>> {
        match open_file(&folder.join(LOCK), OpenOptions::new().write(true)) {
            Ok(file) => Self::hold(folder, file).map(Some),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot lock {}", folder.display())),
        }
    }

    fn hold(folder: &Path, file: File) -> Result<Self> {
        // An earlier version let everybody open it.
        file.set_permissions(Permissions::from_mode(MODE))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                bail!("another clm-local is at work in {}: wait until it has ended", folder.display())
            }
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_free_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Lock::take_existing(folder.path()).unwrap().is_none());
        let held = Lock::take(folder.path()).unwrap();
        let error = Lock::take(folder.path()).err().unwrap().to_string();
        assert!(error.contains("another clm-local"), "{error}");
        assert!(Lock::take_existing(folder.path()).is_err());
        drop(held);
        assert!(Lock::take_existing(folder.path()).unwrap().is_some());
    }

    #[test]
    fn nobody_else_can_hold_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCK);
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        drop(Lock::take(folder.path()).unwrap());
        assert_eq!(mode(), MODE);
        for take in [|folder: &Path| Lock::take(folder).map(Some), Lock::take_existing] {
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            drop(take(folder.path()).unwrap());
            assert_eq!(mode(), MODE);
        }
        std::fs::rename(&path, folder.path().join("other")).unwrap();
        std::os::unix::fs::symlink("other", &path).unwrap();
        assert!(Lock::take(folder.path()).is_err());
        assert!(Lock::take_existing(folder.path()).is_err());
    }
}
