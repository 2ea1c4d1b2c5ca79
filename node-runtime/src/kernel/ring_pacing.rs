//! How long records gather in a ring between two drains. The kernel wakes the consumer only for the first record after it has
//! caught up, so that gathering saves a wake-up for each of the others. A record after a pause is read at once.

use std::time::Duration;

/// Longest gathering time.
const LONGEST: Duration = Duration::from_millis(5);
/// Records gather, at the rate of the last drain, until this fraction (a quarter) of the ring is full.
const SHARE_OF_RING: u32 = 4;
/// Smaller rings, in bytes, are drained at once: a burst could fill them.
const SMALLEST_RING: u32 = 64 << 10;

/// The gathering time of a ring of `bytes`, where the last drain read `taken` bytes that had come within `during`.
pub(super) fn gathering_time(bytes: u32, taken: u64, during: Duration) -> Duration {
    if bytes < SMALLEST_RING {
        return Duration::ZERO;
    }
    let share = f64::from(bytes / SHARE_OF_RING) / taken.max(1) as f64;
    during.mul_f64(share).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_records_are_read_sooner_and_small_rings_at_once() {
        let ms = Duration::from_millis;
        assert_eq!(gathering_time(256 << 10, 800, ms(1000)), LONGEST);
        // 64 KiB in a millisecond fill a quarter of the ring in one.
        assert_eq!(gathering_time(256 << 10, 64 << 10, ms(1)), ms(1));
        assert_eq!(gathering_time(256 << 10, 0, ms(1)), LONGEST);
        assert_eq!(gathering_time(4 << 10, 800, ms(1000)), Duration::ZERO);
    }
}
