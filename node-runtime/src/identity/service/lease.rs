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

/// The id of a scope, whose answers the kernel's classes have while it lives.
pub struct ScopeLease {
    pub(super) inner: Arc<Inner>,
    pub(super) id: u32,
}

impl ScopeLease {
    /// The bit in the answers of a class.
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for ScopeLease {
    fn drop(&mut self) {
        self.inner.release_scope(self.id);
    }
}

/// A listener to the classes, which is called while it lives.
pub struct ClassSubscription {
    pub(super) inner: Arc<Inner>,
    pub(super) listener: u64,
}

impl Drop for ClassSubscription {
    fn drop(&mut self) {
        self.inner.state().class_writer.remove_listener(self.listener);
    }
}
