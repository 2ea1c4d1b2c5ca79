//! How fast nodes are told: a bucket of tokens that the clock fills. A reconcile that comes early finds fewer of them, so it
//! does not matter how often the controller is rung.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Pace {
    per_second: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Pace {
    /// A bucket that holds as many tokens as one second brings, and is full at `now`.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, bucket: Mutex::new(Bucket { tokens: per_second, filled_at: now }) }
    }

    /// How many nodes may be told at `now`.
    pub(super) fn tokens(&self, now: Instant) -> usize {
        let mut bucket = self.lock();
        let seconds = now.saturating_duration_since(bucket.filled_at).as_secs_f64();
        bucket.tokens = (bucket.tokens + seconds * self.per_second).min(self.per_second);
        bucket.filled_at = now;
        // Whole ones, and never negative.
        bucket.tokens as usize
    }

    /// So many are being told.
    pub(super) fn spend(&self, nodes: usize) {
        let mut bucket = self.lock();
        bucket.tokens = (bucket.tokens - nodes as f64).max(0.0);
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn however_often_it_is_asked_it_gives_no_more_than_so_many_in_a_second() {
        let begin = Instant::now();
        let pace = Pace::new(10, begin);
        let mut told = 0;
        for millisecond in 0..3000 {
            let tokens = pace.tokens(begin + Duration::from_millis(millisecond));
            pace.spend(tokens);
            told += tokens;
        }
        assert!((39..=40).contains(&told), "a full bucket and three seconds: {told}");
    }

    #[test]
    fn a_quiet_hour_saves_no_more_than_one_second_of_it() {
        let begin = Instant::now();
        let pace = Pace::new(10, begin);
        assert_eq!(pace.tokens(begin + Duration::from_secs(3600)), 10);
    }
}
