//! Counts of all exports, for metrics.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Clones count into the same numbers.
#[derive(Clone, Debug, Default)]
pub struct ExportCounts {
    pub events: Count,
    pub bytes: Count,
    /// Kept out by a rate limit.
    pub suppressed: Count,
    /// Wall clock of the last exported event, in seconds; 0: none.
    pub last: Count,
}

#[derive(Clone, Debug, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
