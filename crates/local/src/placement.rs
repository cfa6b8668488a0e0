//! Programs where the services' users can run them: the folder of a build may be closed to them.

use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};

/// Everybody may read and run it, and nobody but its owner may write it.
const MODE: u32 = 0o755;

/// Makes `target` the same program as `source`, unless it is. A process that runs the old one keeps
/// it.
pub(crate) fn place(source: &Path, target: &Path) -> Result<()> {
    let wanted = fs::metadata(source).with_context(|| format!("cannot read {}", source.display()))?;
    if fs::metadata(target).is_ok_and(|placed| is_same(&placed, &wanted)) {
        return Ok(());
    }
    let new = target.with_extension("new");
    // Left by an interrupted run.
    let _ = fs::remove_file(&new);
    if !(may_be_linked(&wanted) && fs::hard_link(source, &new).is_ok()) {
        copy(source, &wanted, &new).with_context(|| format!("cannot copy {}", source.display()))?;
    }
    fs::rename(&new, target).with_context(|| format!("cannot replace {}", target.display()))
}

fn is_same(placed: &Metadata, wanted: &Metadata) -> bool {
    let is_link = (placed.dev(), placed.ino()) == (wanted.dev(), wanted.ino());
    let time = |file: &Metadata| (file.mtime(), file.mtime_nsec());
    // A copy keeps the time.
    is_link || (time(placed) == time(wanted) && placed.len() == wanted.len())
}

/// A link has owner and mode of the source: only root's programs are linked.
fn may_be_linked(source: &Metadata) -> bool {
    source.uid() == 0 && source.mode() & 0o777 == MODE
}

fn copy(source: &Path, wanted: &Metadata, target: &Path) -> Result<()> {
    fs::copy(source, target)?;
    fs::set_permissions(target, Permissions::from_mode(MODE))?;
    File::open(target)?.set_modified(wanted.modified()?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_program_is_placed_once_and_replaced_when_it_was_built_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("source"), folder.path().join("target"));
        let build = |text: &str, mode| {
            let _ = fs::remove_file(&source);
            fs::write(&source, text).unwrap();
            fs::set_permissions(&source, Permissions::from_mode(mode)).unwrap();
        };
        // The first can be linked if it is root's, the second never.
        for mode in [0o755, 0o700] {
            for text in ["one", "two"] {
                build(text, mode);
                place(&source, &target).unwrap();
                let placed = fs::metadata(&target).unwrap();
                assert_eq!(fs::read_to_string(&target).unwrap(), text);
                assert_eq!(placed.mode() & 0o777, MODE);
                place(&source, &target).unwrap();
                assert_eq!(fs::metadata(&target).unwrap().ino(), placed.ino());
            }
        }
        let later = fs::metadata(&source).unwrap().modified().unwrap() + Duration::from_secs(1);
        File::open(&source).unwrap().set_modified(later).unwrap();
        place(&source, &target).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().modified().unwrap(), later);
        assert!(place(&folder.path().join("missing"), &target).is_err());
    }
}
