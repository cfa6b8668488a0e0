//! Resident memory of a process, watched.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

const LOOK: Duration = Duration::from_millis(100);

/// Watches until it is stopped.
pub(crate) struct MemoryWatch {
    pid: i32,
    before: u64,
    most: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl MemoryWatch {
    pub(crate) fn start(pid: i32) -> Result<Self> {
        let before = resident_mib(pid)?;
        let most = Arc::new(AtomicU64::new(before));
        let seen = Arc::clone(&most);
        let task = tokio::spawn(async move {
            while let Ok(now) = resident_mib(pid) {
                seen.fetch_max(now, Ordering::Relaxed);
                tokio::time::sleep(LOOK).await;
            }
        });
        Ok(Self { pid, before, most, task })
    }

    /// Before, at most, now.
    pub(crate) fn stop(self) -> Result<String> {
        self.task.abort();
        let most = self.most.load(Ordering::Relaxed);
        Ok(format!("{} MiB, {most} MiB, {} MiB", self.before, resident_mib(self.pid)?))
    }
}

fn resident_mib(pid: i32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024)
}
