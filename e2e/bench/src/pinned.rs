//! The CPU that a load or a server is bound to.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where a load runs.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Pinned {
    /// On the last CPU alone.
    #[arg(long = "pin")]
    pub(crate) to_last_cpu: bool,
}

/// The last CPU that this process may use.
pub(crate) fn last_cpu() -> Result<usize> {
    let allowed = sched_getaffinity(None)?;
    (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).context("no CPU is allowed")
}

impl Pinned {
    /// Binds this process.
    pub(crate) fn apply(self) -> Result<()> {
        if self.to_last_cpu {
            let mut only = CpuSet::new();
            only.set(last_cpu()?);
            sched_setaffinity(None, &only)?;
        }
        Ok(())
    }
}
