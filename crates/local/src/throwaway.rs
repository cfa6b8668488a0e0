//! Folders and ports for tests: whatever was started in the folder dies with the test process, even
//! when that is killed.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use clm_types::Entropy;

use crate::files::make_folder;
use crate::os_user::OsUser;

/// Waits until its standard input is closed, that is until the test process is gone; then kills what
/// runs with a configuration below the folder and the servers whose ids stand in pid files there,
/// and removes the folder.
const REAPER: &str = r#"
cat >/dev/null
for file in $(grep -lFz -e "$1/core/core.toml" -e "$1/secure/secure.toml" /proc/[0-9]*/cmdline); do
    file=${file#/proc/}
    kill -KILL "${file%/cmdline}"
done
for file in "$1"/databases/*/data/postmaster.pid; do
    [ -f "$file" ] && kill -QUIT "$(head -n 1 "$file")"
done
for _ in 1 2 3 4 5 6 7 8 9 10; do
    ls "$1"/databases/*/data/postmaster.pid && sleep 0.1
done
rm -rf "$1"
"#;

/// Below what the system hands out for outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A temporary folder that cleans up after itself and after what was started in it.
pub struct ThrowawayFolder {
    path: PathBuf,
    reaper: Child,
}

impl ThrowawayFolder {
    /// Makes the folder. The database servers' user may enter it.
    pub fn new() -> Result<Self> {
        let suffix = hex::encode(Entropy::system().bytes::<6>());
        let path = std::env::temp_dir().join(format!("clm-test-{suffix}"));
        make_folder(&path, 0o711, &OsUser::current()?)?;
        let mut command = Command::new("sh");
        command.args(["-c", REAPER, "clm-test-reaper"]).arg(&path);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Not reached by an interrupt from the keyboard, which ends the tests.
        let reaper = command.process_group(0).spawn().context("cannot start a shell")?;
        Ok(Self { path, reaper })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ThrowawayFolder {
    fn drop(&mut self) {
        drop(self.reaper.stdin.take());
        let _ = self.reaper.wait();
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Ports that this process was given: it does not listen on them at once, nor all the time.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Ports on 127.0.0.1 that nobody listens on now, and that nobody else in this process was given.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let span = PORTS.end - PORTS.start;
    let offset = u16::from_le_bytes(Entropy::system().bytes()) % span;
    let candidates = (0..span).map(|step| PORTS.start + (offset + step) % span);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let free: Vec<u16> = candidates.filter(|port| !given.contains(port) && is_free(*port)).take(N).collect();
    given.extend(&free);
    free.try_into().ok().context("there are no free ports")
}

/// Whether somebody could listen on `port` of 127.0.0.1.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
