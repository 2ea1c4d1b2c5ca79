//! The worker's memory, and the share that connections and rows may take of it. What the kernel counts against RLIMIT_DATA is
//! read, not estimated: an allocator keeps memory that was freed.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use trilobite_worker_wire::channel::MESSAGE_MAX;

use crate::clock::boot_ns;

/// Bytes for messages: what is received, what is sent, and a scan of rows.
const MESSAGES: usize = 8 * MESSAGE_MAX;
/// Least bytes that connections and rows share.
const USABLE_MIN: usize = 256 << 10;
/// Memory before the job starts, where it cannot be read.
const BASE: usize = 1 << 20;

/// How much connections and rows may take.
pub(crate) struct Budget {
    /// What RLIMIT_DATA allows.
    memory: usize,
    /// What the process had before the job started.
    base: usize,
    /// The most that connections and rows may share.
    usable_max: usize,
    /// What they may share now.
    usable: usize,
    meter: Option<Meter>,
}

/// `/proc/self/statm`, opened before system calls are filtered.
struct Meter {
    file: File,
    page: usize,
}

impl Budget {
    /// Opens what the memory is read from, and finds the clock: to be called before system calls are filtered.
    pub(crate) fn measure(memory_bytes: u64) -> Self {
        boot_ns();
        let mut meter =
            File::open("/proc/self/statm").ok().map(|file| Meter { file, page: rustix::param::page_size() });
        let base = meter.as_mut().and_then(Meter::read).unwrap_or(BASE);
        let memory = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        // An allocator loses up to a quarter to sizes and gaps.
        let usable_max = (memory.saturating_sub(base + MESSAGES) / 4 * 3).max(USABLE_MIN);
        Self { memory, base, usable_max, usable: usable_max, meter }
    }

    /// Bytes that connections may take together; rows get what they do not use.
    pub(super) fn connections_max(&self) -> usize {
        self.usable / 2
    }

    /// Bytes of records that may wait for the agent to say whether their pod is selected.
    pub(super) fn pending_max(&self) -> usize {
        self.usable_max / 16
    }

    /// Bytes that rows may take beside these.
    pub(super) fn rows_max(&self, connections_and_pending: usize) -> usize {
        self.usable.saturating_sub(connections_and_pending)
    }

    /// Reads the memory in use: near the limit, less may be taken; far below it, more again.
    pub(super) fn adapt(&mut self) {
        let Some(used) = self.meter.as_mut().and_then(Meter::read) else { return };
        if used > self.memory / 8 * 7 {
            self.usable = (self.usable / 8 * 7).max(USABLE_MIN);
        } else if used < self.memory / 4 * 3 {
            self.usable = (self.usable / 8 * 9).min(self.usable_max);
        }
    }

    /// Memory in use, with what connections and rows take if it cannot be read.
    pub(super) fn used(&mut self, estimate: usize) -> u64 {
        self.meter.as_mut().and_then(Meter::read).unwrap_or(self.base + estimate) as u64
    }
}

impl Meter {
    /// Bytes of data and stack: the sixth number.
    fn read(&mut self) -> Option<usize> {
        let mut text = [0; 128];
        self.file.seek(SeekFrom::Start(0)).ok()?;
        let length = self.file.read(&mut text).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        Some(text.split_whitespace().nth(5)?.parse::<usize>().ok()? * self.page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process_is_read() {
        let mut budget = Budget::measure(64 << 20);
        let before = budget.used(0);
        let taken = vec![1u8; 32 << 20];
        let after = budget.used(0);
        assert!(after >= before + (taken.len() as u64) / 2, "{before} {after}");
    }

    #[test]
    fn less_may_be_taken_near_the_limit_and_more_again_below_it() {
        let mut budget = Budget { memory: 1, base: 0, usable_max: 64 << 20, usable: 64 << 20, ..Budget::measure(0) };
        budget.adapt();
        assert_eq!(budget.usable, 56 << 20);
        (0..100).for_each(|_| budget.adapt());
        assert_eq!(budget.usable, USABLE_MIN);
        budget.memory = usize::MAX;
        (0..100).for_each(|_| budget.adapt());
        assert_eq!(budget.usable, budget.usable_max);
    }

    #[test]
    fn rows_get_what_connections_do_not_use() {
        let budget = Budget { memory: 64 << 20, base: 0, usable_max: 48 << 20, usable: 48 << 20, meter: None };
        assert_eq!(budget.connections_max(), 24 << 20);
        assert_eq!(
            (budget.rows_max(0), budget.rows_max(24 << 20), budget.rows_max(usize::MAX)),
            (48 << 20, 24 << 20, 0)
        );
    }
}
