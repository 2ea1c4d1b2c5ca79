//! The boot clock, which records have.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine's boot. The first call finds the kernel's function for it, and has to come before system calls
/// are filtered.
pub(crate) fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}
