//! Processor time of processes, from `/proc`.

use std::fs;

use anyhow::{Context, Result};
use clm_local::cluster::Cluster;
use clm_local::process::Pid;

/// Linux counts in these towards programs, whatever the kernel's own clock (`man 5 proc`, `USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuSeconds(pub f64);

/// One process's line in `/proc/<pid>/stat`.
struct Stat {
    parent: i32,
    /// Of the process itself.
    own: CpuSeconds,
    /// Of its children that have ended.
    ended_children: CpuSeconds,
}

/// The time of a process alone.
pub(crate) fn of_process(pid: i32) -> Result<CpuSeconds> {
    Ok(Stat::read(pid)?.own)
}

/// The time of this process alone.
pub(crate) fn of_this_process() -> Result<CpuSeconds> {
    of_process(i32::try_from(std::process::id())?)
}

/// The time of what this process has run to its end.
pub(crate) fn of_ended_children() -> Result<CpuSeconds> {
    Ok(Stat::read(i32::try_from(std::process::id())?)?.ended_children)
}

/// The time of a database server and all its processes, also those that have ended.
pub(crate) fn of_cluster(cluster: &Cluster) -> Result<CpuSeconds> {
    let postmaster = cluster.pid().map(Pid::number).context("the database server has ended")?;
    let stat = Stat::read(postmaster)?;
    let mut total = stat.own.0 + stat.ended_children.0;
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end between the two looks.
        if let Ok(stat) = Stat::read(pid)
            && stat.parent == postmaster
        {
            total += stat.own.0;
        }
    }
    Ok(CpuSeconds(total))
}

/// Busy time of all cores together, whoever was busy.
pub(crate) fn of_machine() -> Result<CpuSeconds> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("/proc/stat")?;
    let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    // user, nice, system, idle, iowait, irq, softirq; idle and iowait are not busy.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|field| ticks.get(*field)).sum();
    Ok(seconds(busy))
}

impl Stat {
    fn read(pid: i32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).with_context(|| format!("/proc/{pid}/stat"))
    }

    fn parse(text: &str) -> Option<Self> {
        // The name in parentheses may contain anything, so count from its end.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: seconds(ticks(11)? + ticks(12)?),
            ended_children: seconds(ticks(13)? + ticks(14)?),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^53 ticks")]
fn seconds(ticks: u64) -> CpuSeconds {
    CpuSeconds(ticks as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) b) S 7 42 42 0 -1 0 1 2 3 4 150 50 25 75 20 0 1 0 9 9 9";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(stat.parent, 7);
        assert!((stat.own.0 - 2.0).abs() < 1e-9);
        assert!((stat.ended_children.0 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn work_costs_time() {
        let (process, machine) = (of_this_process().unwrap(), of_machine().unwrap());
        crate::signing::signatures_per_second(std::time::Duration::from_millis(100)).unwrap();
        assert!(of_this_process().unwrap().0 > process.0);
        assert!(of_machine().unwrap().0 > machine.0);
    }
}
