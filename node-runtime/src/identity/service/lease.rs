//! Leases on identity's programs. Dropping one releases its use of them.

use std::sync::Arc;

use super::state::Inner;

/// Processes are followed while it lives.
pub struct ProcessLease {
    pub(super) inner: Arc<Inner>,
    pub(super) listener: u64,
}

impl Drop for ProcessLease {
    fn drop(&mut self) {
        self.inner.release_processes(self.listener);
    }
}

/// A selector id, which the kernel's map of cgroups keeps up to date while it lives.
pub struct SelectorLease {
    pub(super) inner: Arc<Inner>,
    pub(super) id: u32,
}

impl SelectorLease {
    /// The bit that `selection.h` tests.
    pub fn mask(&self) -> u64 {
        1 << self.id
    }
}

impl Drop for SelectorLease {
    fn drop(&mut self) {
        self.inner.release_selector(self.id);
    }
}
