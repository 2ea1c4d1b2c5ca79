//! The boot clock (CLOCK_BOOTTIME, as in records) and its offset to the wall clock.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// Two clock reads count as simultaneous when they are at most this far apart, in nanoseconds.
const SIMULTANEOUS_NS: u64 = 1_000_000;
/// A smaller change of the offset is jitter and ignored, in nanoseconds.
const JITTER_NS: u64 = 10_000_000;

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

/// Converts a boot time in nanoseconds to the wall clock, by the current offset.
pub fn wall_time(boot: u64) -> Timestamp {
    let since = boot_ns().cast_signed() - boot.cast_signed();
    Timestamp::now().checked_sub(SignedDuration::from_nanos(since)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The wall-clock time of boot. It follows a wall clock that is set, e.g. by NTP after the agent's start, and ignores jitter, so
/// that a process has the same start time in every event.
#[derive(Debug)]
pub struct BootTime {
    /// Nanoseconds since 1970.
    known: AtomicI64,
    follows: bool,
}

impl BootTime {
    /// Of this machine.
    pub fn of_this_machine() -> Self {
        Self { follows: true, ..Self::fixed(wall_time(0)) }
    }

    /// A constant boot time, for tests and golden files.
    pub fn fixed(at: Timestamp) -> Self {
        Self { known: AtomicI64::new(i64::try_from(at.as_nanosecond()).unwrap_or_default()), follows: false }
    }

    /// The current value.
    pub fn get(&self) -> Timestamp {
        let known = self.known.load(Ordering::Relaxed);
        let now =
            if self.follows { measure_offset().map_or(known, |measured| followed(known, measured)) } else { known };
        self.known.store(now, Ordering::Relaxed);
        Timestamp::from_nanosecond(now.into()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// None when this thread was preempted between the two reads.
fn measure_offset() -> Option<i64> {
    let before = boot_ns();
    let wall = i64::try_from(Timestamp::now().as_nanosecond()).ok()?;
    (boot_ns() - before < SIMULTANEOUS_NS).then(|| wall - before.cast_signed())
}

fn followed(known: i64, measured: i64) -> i64 {
    if known.abs_diff(measured) > JITTER_NS { measured } else { known }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_clock_is_followed_and_jitter_is_ignored() {
        let known = 1_700_000_000_000_000_000;
        assert_eq!(followed(known, known + 9_000_000), known);
        for set in [known + 3_600_000_000_000, known - 3_600_000_000_000] {
            assert_eq!(followed(known, set), set);
        }
    }

    #[test]
    fn wrong_clock_at_the_start_is_corrected() {
        let wrong = BootTime { follows: true, ..BootTime::fixed(Timestamp::UNIX_EPOCH) };
        let off = || wrong.get().duration_since(wall_time(0)).abs();
        // A thread that is preempted at each of 1,000 tries is not to be expected.
        assert!((0..1000).any(|_| off() < SignedDuration::from_secs(1)));
        assert_eq!(BootTime::fixed(Timestamp::UNIX_EPOCH).get(), Timestamp::UNIX_EPOCH);
    }
}
