//! One clm-local at a time changes an installation.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Its name.
pub(crate) const LOCK: &str = "clm-local.lock";

/// Held until it is dropped, or the process ends.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the installation in `folder`, or fails at once.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join(LOCK));
        Self::hold(folder, file.with_context(|| format!("cannot lock {}", folder.display()))?)
    }

    /// The same, or nothing where nobody ever took it: nothing was ever started there.
    pub(crate) fn take_existing(folder: &Path) -> Result<Option<Self>> {
        match OpenOptions::new().write(true).open(folder.join(LOCK)) {
            Ok(file) => Self::hold(folder, file).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot lock {}", folder.display())),
        }
    }

    fn hold(folder: &Path, file: File) -> Result<Self> {
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                bail!("another clm-local is at work in {}: wait until it has ended", folder.display())
            }
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
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
}
