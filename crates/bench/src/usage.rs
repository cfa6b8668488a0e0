//! What every process and database has used at one moment.

use anyhow::{Context, Result};
use clm_local::Service;
use clm_local::cluster::Database;
use clm_local::process::Pid;

use crate::cpu::{self, CpuSeconds};
use crate::installation::BenchInstallation;
use crate::statistics::Counters;

/// The part that is none of ours.
pub(crate) const EVERYTHING_ELSE: &str = "everything else";

/// One look at all of them.
pub(crate) struct Usage {
    core: CpuSeconds,
    secure: CpuSeconds,
    core_database: CpuSeconds,
    secure_database: CpuSeconds,
    generator: CpuSeconds,
    machine: CpuSeconds,
    pub core_counters: Counters,
    pub secure_counters: Counters,
}

impl Usage {
    /// Looks now.
    pub(crate) fn read(installation: &BenchInstallation) -> Result<Self> {
        Ok(Self {
            core: of_service(&installation.core)?,
            secure: of_service(&installation.secure)?,
            core_database: cpu::of_cluster(installation.cluster(Database::Core))?,
            secure_database: cpu::of_cluster(installation.cluster(Database::Secure))?,
            generator: cpu::of_this_process()?,
            machine: cpu::of_machine()?,
            core_counters: Counters::read(installation, Database::Core)?,
            secure_counters: Counters::read(installation, Database::Secure)?,
        })
    }

    /// Processor seconds since `earlier`, by whom; what else ran on the machine comes last.
    pub(crate) fn since(&self, earlier: &Self) -> Vec<(&'static str, f64)> {
        let spent = |part: fn(&Self) -> CpuSeconds| part(self).0 - part(earlier).0;
        let mut parts = vec![
            ("clm-core", spent(|usage| usage.core)),
            ("clm-secure", spent(|usage| usage.secure)),
            ("PostgreSQL core", spent(|usage| usage.core_database)),
            ("PostgreSQL secure", spent(|usage| usage.secure_database)),
            ("load generator", spent(|usage| usage.generator)),
        ];
        let ours: f64 = parts.iter().map(|(_, seconds)| seconds).sum();
        parts.push((EVERYTHING_ELSE, (spent(|usage| usage.machine) - ours).max(0.0)));
        parts
    }
}

fn of_service(service: &Service) -> Result<CpuSeconds> {
    let pid = service.pid().map(Pid::number);
    cpu::of_process(pid.with_context(|| format!("{} has ended", service.name()))?)
}
