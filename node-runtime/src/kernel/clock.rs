//! The boot clock, which records carry, and how it lies to the wall clock.

use jiff::{SignedDuration, Timestamp};

fn now_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the struct, which lives through the call; both clocks exist on every kernel that we know.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Nanoseconds since boot, suspension included: the same as `bpf_ktime_get_boot_ns`.
pub fn boot_ns() -> u64 {
    now_ns(libc::CLOCK_BOOTTIME)
}

/// The wall clock at a moment of the boot clock, as the two lie to each other now.
pub fn wall(boot: u64) -> Timestamp {
    let since = boot_ns().cast_signed() - boot.cast_signed();
    Timestamp::now().checked_sub(SignedDuration::from_nanos(since)).unwrap_or(Timestamp::UNIX_EPOCH)
}
