//! The operating system's user that owns a file or runs a process.

use std::ffi::CStr;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, fchown};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, chownat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// A user and its main group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsUser {
    /// Login name, as peer authentication sees it.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl OsUser {
    /// Who runs this program.
    pub fn current() -> Result<Self> {
        let uid = geteuid().as_raw();
        Self::find(|user| user.uid == uid)
            .with_context(|| format!("user id {uid} has no name in /etc/passwd"))
    }

    /// Who runs the database servers: ourselves, but never root. PostgreSQL refuses to run as root,
    /// so then it is the user that the distribution's package made.
    pub fn for_databases() -> Result<Self> {
        let current = Self::current()?;
        if current.uid != 0 {
            return Ok(current);
        }
        Self::find(|user| user.name == "postgres")
            .context("running as root needs the user `postgres`, which the PostgreSQL package makes")
    }

    /// Who runs a service: ourselves, but for root the service's own user, `clm-core` or
    /// `clm-secure`.
    pub(crate) fn for_service(service: &str) -> Result<Self> {
        let current = Self::current()?;
        if current.uid != 0 {
            return Ok(current);
        }
        Self::find(|user| user.name == service).with_context(|| {
            format!(
                "running as root needs the user `{service}`: make it with `useradd --system --user-group \
                 --no-create-home --shell /usr/sbin/nologin {service}`"
            )
        })
    }

    /// Makes `command` run as this user, without any other group.
    pub fn run_as(&self, command: &mut Command) {
        if geteuid().is_root() {
            command.uid(self.uid).gid(self.gid);
        }
        // The caller's folder may be closed to this user.
        command.current_dir("/");
    }

    /// Does `work` with this user's rights to files: what it makes is this user's, and a link that
    /// this user has planted leads nowhere that he could not go himself.
    pub(crate) fn act<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        if self.uid == 0 || !geteuid().is_root() {
            return work();
        }
        thread::scope(|scope| {
            // In Linux each thread has rights of its own; these end with it.
            let worker = scope.spawn(|| {
                self.take_rights().with_context(|| format!("cannot act as {}", self.name))?;
                work()
            });
            worker.join().map_err(|_| anyhow!("acting as {} panicked", self.name))?
        })
    }

    fn take_rights(&self) -> rustix::io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&[gid])?;
        set_thread_res_gid(None, gid, None)?;
        set_thread_res_uid(None, uid, None)
    }

    /// Hands a folder of ours over to this user, with everything in it. One that is this user's
    /// already is not looked into. No link is followed, not even one that comes in meanwhile.
    pub(crate) fn own_all(&self, folder: File) -> Result<()> {
        if !geteuid().is_root() || folder.metadata()?.uid() == self.uid {
            return Ok(());
        }
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                self.own(&folder, name).with_context(|| format!("chown {}", name.to_string_lossy()))?;
            }
        }
        // Last, so that an interrupted handover is taken up again.
        fchown(folder, Some(self.uid), Some(self.gid)).context("chown")
    }

    fn own(&self, folder: &File, name: &CStr) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(folder, name, flags, Mode::empty()) {
            Ok(below) => self.own_all(below.into()),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
                Ok(chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn find(wanted: impl Fn(&Self) -> bool) -> Option<Self> {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        passwd.lines().filter_map(Self::parse).find(|user| wanted(user))
    }

    /// One line of /etc/passwd: name, password, uid, gid, …
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_passwd_gives_name_and_ids() {
        let user = OsUser::parse("postgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash").unwrap();
        assert_eq!(user, OsUser { name: "postgres".to_owned(), uid: 101, gid: 104 });
        assert!(OsUser::parse("+::::::").is_none());
    }

    #[test]
    fn databases_never_run_as_root() {
        assert_ne!(OsUser::for_databases().unwrap().uid, 0);
    }

    #[test]
    fn a_missing_user_is_named_with_the_command_that_makes_it() {
        if !geteuid().is_root() {
            return;
        }
        let error = OsUser::for_service("clm-nobody").unwrap_err().to_string();
        assert!(error.contains("useradd --system") && error.ends_with("clm-nobody`"), "{error}");
    }

    #[test]
    fn who_acts_as_another_user_has_no_rights_but_that_users() {
        let folder = tempfile::tempdir().unwrap();
        let other = OsUser::for_databases().unwrap();
        let path = folder.path().join("file");
        let write = || other.act(|| Ok(fs::write(&path, "text")?));
        if geteuid().is_root() {
            assert!(write().is_err());
            other.own_all(File::open(folder.path()).unwrap()).unwrap();
        }
        write().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().uid(), other.uid);
        assert_eq!(fs::metadata(&path).unwrap().gid(), other.gid);
        assert_eq!(OsUser::current().unwrap().uid, geteuid().as_raw());
    }
}
