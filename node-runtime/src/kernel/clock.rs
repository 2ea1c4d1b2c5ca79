//! The boot clock, which records carry, and how it lies to the wall clock.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// Both clocks are read at one moment where no more than this lies between: nanoseconds.
const ONE_MOMENT: u64 = 1_000_000;
/// What the wall clock may have moved against the boot clock before that is followed: nanoseconds.
const TREMBLE: u64 = 10_000_000;

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

/// Where the boot clock's zero lies on the wall clock. It follows a wall clock that is set, as by NTP some time after the
/// agent's start, and does not tremble: a process has one start time, whenever it is asked for.
#[derive(Debug)]
pub struct Booted {
    /// Nanoseconds since 1970.
    known: AtomicI64,
    follows: bool,
}

impl Booted {
    /// Of this machine.
    pub fn here() -> Self {
        Self { follows: true, ..Self::fixed(wall(0)) }
    }

    /// Of a machine whose clock nobody sets.
    pub fn fixed(at: Timestamp) -> Self {
        Self { known: AtomicI64::new(i64::try_from(at.as_nanosecond()).unwrap_or_default()), follows: false }
    }

    /// As the clocks lie to each other now.
    pub fn at(&self) -> Timestamp {
        let known = self.known.load(Ordering::Relaxed);
        let now = if self.follows { measured().map_or(known, |measured| followed(known, measured)) } else { known };
        self.known.store(now, Ordering::Relaxed);
        Timestamp::from_nanosecond(now.into()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// None where this thread was put aside between the clocks.
fn measured() -> Option<i64> {
    let before = boot_ns();
    let wall = i64::try_from(Timestamp::now().as_nanosecond()).ok()?;
    (boot_ns() - before < ONE_MOMENT).then(|| wall - before.cast_signed())
}

fn followed(known: i64, measured: i64) -> i64 {
    if known.abs_diff(measured) > TREMBLE { measured } else { known }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_is_set_is_followed_and_one_that_trembles_is_not() {
        let known = 1_700_000_000_000_000_000;
        assert_eq!(followed(known, known + 9_000_000), known);
        for set in [known + 3_600_000_000_000, known - 3_600_000_000_000] {
            assert_eq!(followed(known, set), set);
        }
    }

    #[test]
    fn an_agent_that_began_with_a_wrong_clock_does_not_keep_it() {
        let wrong = Booted { follows: true, ..Booted::fixed(Timestamp::UNIX_EPOCH) };
        let off = || wrong.at().duration_since(wall(0)).abs();
        // A thread that is put aside at every try is none that we know.
        assert!((0..1000).any(|_| off() < SignedDuration::from_secs(1)));
        assert_eq!(Booted::fixed(Timestamp::UNIX_EPOCH).at(), Timestamp::UNIX_EPOCH);
    }
}
