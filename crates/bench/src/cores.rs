//! Which cores do what: else the load generator, which has more to do in overload, would take from what it measures.

use std::fmt;

use anyhow::Result;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of this machine, divided; all for both when there is only one.
pub(crate) struct Cores {
    services: Vec<usize>,
    generator: Vec<usize>,
}

impl Cores {
    /// Gives the last one to the generator.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut services: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        let generator =
            if services.len() > 1 { services.split_off(services.len() - 1) } else { services.clone() };
        Ok(Self { services, generator })
    }

    /// How many the services have.
    pub(crate) const fn services(&self) -> usize {
        self.services.len()
    }

    /// Runs this thread, and what it starts from now on, on the services' cores.
    pub(crate) fn move_to_services(&self) -> Result<()> {
        set(&self.services)
    }

    /// The same on the generator's.
    pub(crate) fn move_to_generator(&self) -> Result<()> {
        set(&self.generator)
    }
}

fn set(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.services.len(), self.generator.len())
    }
}
