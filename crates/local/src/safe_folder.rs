//! A folder in which root can work: what is there, nobody else can have put there.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::process::{getegid, geteuid};

const STICKY: u32 = 0o1000;

/// Fails if others could change `folder`, or put another one in its place. It may be missing.
pub(crate) fn check(folder: &Path) -> Result<()> {
    if let Some(parent) = folder.parent() {
        check_way(parent, folder)?;
    }
    let Some(found) = look(folder)? else { return Ok(()) };
    let shown = folder.display();
    if !found.is_dir() {
        bail!("{shown} is a link or no folder: name the folder itself with --dir, or a new one");
    }
    if found.uid() != geteuid().as_raw() {
        bail!(
            "{shown} belongs to another user (id {}): choose a new folder, or an empty one of your own, with \
             --dir",
            found.uid()
        );
    }
    if found.mode() & 0o022 != 0 {
        bail!(
            "others may write into {shown}: see that nothing in it is theirs, then run `chmod go-w {shown}`, or \
             choose another folder with --dir"
        );
    }
    Ok(())
}

/// Every folder from the root down to `end`, also where links lead.
fn check_way(end: &Path, folder: &Path) -> Result<()> {
    let mut way: Vec<&Path> = end.ancestors().collect();
    way.reverse();
    for step in way {
        // What is missing will be made by us.
        let Some(found) = look(step)? else { return Ok(()) };
        let refuse = |why: &str| {
            let (folder, step) = (folder.display(), step.display());
            bail!("{folder} is reached through {step}, {why}: choose another folder with --dir")
        };
        if found.uid() != 0 && found.uid() != geteuid().as_raw() {
            return refuse("which belongs to another user");
        }
        if found.is_symlink() {
            // Fails for links in a circle.
            fs::metadata(step).with_context(|| format!("cannot use {}", step.display()))?;
            check_way(&step.parent().unwrap_or(step).join(fs::read_link(step)?), folder)?;
        } else if others_may_write(&found) && found.mode() & STICKY == 0 {
            return refuse("which others may write");
        }
    }
    Ok(())
}

/// The group of one's own has often no other member.
fn others_may_write(found: &Metadata) -> bool {
    let is_own_group = found.gid() == 0 || found.gid() == getegid().as_raw();
    found.mode() & 0o002 != 0 || (found.mode() & 0o020 != 0 && !is_own_group)
}

fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot use {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path) -> String {
        check(path).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_of_ours_is_good_also_below_a_sticky_one_and_before_it_is_made() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("clm");
        check(&folder).unwrap();
        check(&folder.join("deeper")).unwrap();
        fs::create_dir(&folder).unwrap();
        set_mode(&folder, 0o711);
        check(&folder).unwrap();
        set_mode(top.path(), 0o1777);
        check(&folder).unwrap();
    }

    #[test]
    fn what_others_can_change_is_refused_with_advice() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("clm");
        fs::create_dir(&folder).unwrap();
        for mode in [0o777, 0o1777, 0o775] {
            set_mode(&folder, mode);
            assert!(refusal(&folder).contains("chmod go-w"), "{mode:o}");
        }
        set_mode(&folder, 0o755);
        set_mode(top.path(), 0o777);
        for folder in [&folder, &folder.join("missing"), &top.path().join("missing")] {
            let error = refusal(folder);
            assert!(error.contains("others may write") && error.contains("--dir"), "{error}");
        }
    }

    #[test]
    fn a_link_is_refused_in_place_of_the_folder_and_followed_on_the_way() {
        let (top, open) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (good, link) = (top.path().join("good"), top.path().join("link"));
        fs::create_dir(&good).unwrap();
        symlink("good", &link).unwrap();
        assert!(refusal(&link).contains("is a link"));
        check(&link.join("clm")).unwrap();
        set_mode(open.path(), 0o777);
        symlink(open.path(), good.join("open")).unwrap();
        assert!(refusal(&link.join("open/clm")).contains("others may write"));
        symlink("circle", top.path().join("circle")).unwrap();
        assert!(refusal(&top.path().join("circle/clm")).contains("cannot use"));
        fs::write(top.path().join("file"), "").unwrap();
        assert!(refusal(&top.path().join("file")).contains("no folder"));
    }

    #[test]
    fn a_folder_of_another_user_is_refused_and_so_is_what_lies_in_it() {
        if !geteuid().is_root() {
            assert!(refusal(Path::new("/usr")).contains("belongs to another user"));
            return;
        }
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("clm");
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(1), Some(1)).unwrap();
        assert!(refusal(&folder).contains("belongs to another user (id 1)"));
        assert!(refusal(&folder.join("below")).contains("which belongs to another user"));
    }
}
