//! The operating system's user that owns a file or runs a process.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

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
        let uid = rustix::process::geteuid().as_raw();
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

    /// Makes `command` run as this user, without any other group.
    pub fn run_as(&self, command: &mut Command) {
        if rustix::process::geteuid().is_root() {
            command.uid(self.uid).gid(self.gid);
        }
        // The caller's folder may be closed to this user.
        command.current_dir("/");
    }

    /// Hands a file or folder over to this user.
    pub fn own(&self, path: &Path) -> Result<()> {
        if rustix::process::geteuid().is_root() {
            chown(path, Some(self.uid), Some(self.gid))
                .with_context(|| format!("chown {}", path.display()))?;
        }
        Ok(())
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
}
