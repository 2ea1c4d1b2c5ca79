//! Records have the boot clock's time, people want the wall clock's.

use nix::time::{ClockId, clock_gettime};

/// The wall clock's time when the boot clock was zero, in nanoseconds. Asked again and again, since the wall clock is
/// set while the machine runs.
pub(super) fn booted() -> i128 {
    let read = |clock| {
        clock_gettime(clock).map_or(0, |time| i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
    };
    read(ClockId::CLOCK_REALTIME) - read(ClockId::CLOCK_BOOTTIME)
}
