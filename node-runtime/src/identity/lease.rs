//! What a layer holds for as long as it needs identity's programs. Dropping it gives them back.

use std::sync::Arc;

use super::handle::Shared;

/// Processes are followed while it lives.
pub struct ProcessLease {
    shared: Arc<Shared>,
    listener: u64,
}

impl ProcessLease {
    pub(super) fn new(shared: Arc<Shared>, listener: u64) -> Self {
        Self { shared, listener }
    }
}

impl Drop for ProcessLease {
    fn drop(&mut self) {
        self.shared.release_processes(self.listener);
    }
}

/// A bit in the kernel's map of cgroups, kept up to date while it lives.
pub struct Slot {
    shared: Arc<Shared>,
    bit: u32,
}

impl Slot {
    pub(super) fn new(shared: Arc<Shared>, bit: u32) -> Self {
        Self { shared, bit }
    }

    /// As `cgroup_wanted` of `selection.h` wants it.
    pub fn mask(&self) -> u64 {
        1 << self.bit
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.release_slot(self.bit);
    }
}
