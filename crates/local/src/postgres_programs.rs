//! Where PostgreSQL's own programs are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::files::read;
use crate::os_user::OsUser;

const OLDEST_SUPPORTED: u32 = 15;
const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";

/// The programs of one major version of PostgreSQL.
#[derive(Clone, Debug)]
pub(crate) struct PostgresPrograms {
    folder: PathBuf,
    major: u32,
}

impl PostgresPrograms {
    /// The newest installed version that is supported, or the one that made `data_folder`: a
    /// cluster runs only under the major version that made it. The folder is of the user given with it.
    pub(crate) fn find(data_folder: Option<(&Path, &OsUser)>) -> Result<Self> {
        let wanted = data_folder.and_then(|(data, owner)| read(&data.join("PG_VERSION"), owner).ok());
        let wanted: Option<u32> = wanted.and_then(|text| text.trim().parse().ok());
        let found = installed().into_iter().filter(|programs| match wanted {
            Some(major) => programs.major == major,
            None => programs.major >= OLDEST_SUPPORTED,
        });
        let wanted = wanted.map_or(format!("{OLDEST_SUPPORTED} or newer"), |major| major.to_string());
        found.max_by_key(|programs| programs.major).with_context(|| {
            format!(
                "PostgreSQL {wanted} is not installed: neither in {DEBIAN_FOLDER}/*/bin nor in PATH \
                 (on Debian: apt-get install postgresql postgresql-contrib)"
            )
        })
    }

    /// One of the programs, ready for arguments.
    pub(crate) fn command(&self, program: &str) -> Command {
        Command::new(self.folder.join(program))
    }

    /// The full version, as the server's program tells it.
    pub(crate) fn version(&self) -> Result<String> {
        version_of(&self.folder).context("postgres --version")
    }
}

fn installed() -> Vec<PostgresPrograms> {
    let debian = fs::read_dir(DEBIAN_FOLDER).into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    debian.chain(env::split_paths(&path)).filter_map(|folder| at(folder).ok()).collect()
}

fn at(folder: PathBuf) -> Result<PostgresPrograms> {
    for program in ["postgres", "initdb", "pg_ctl", "psql"] {
        if !folder.join(program).is_file() {
            bail!("{program} is not in {}", folder.display());
        }
    }
    let version = version_of(&folder)?;
    let major = version.split('.').next().and_then(|text| text.parse().ok()).context("no version")?;
    Ok(PostgresPrograms { folder, major })
}

/// `15.20` out of `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`.
fn version_of(folder: &Path) -> Result<String> {
    let output = Command::new(folder.join("postgres")).arg("--version").output()?;
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace().nth(2).map(str::to_owned).context("no version")
}
