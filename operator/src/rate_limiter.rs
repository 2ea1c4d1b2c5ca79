//! `RateLimiter`: a token bucket that limits how many nodes a rollout updates in a second. An early reconcile finds
//! fewer tokens, so the rate does not depend on how often the controller is triggered.

use std::time::Instant;

use parking_lot::Mutex;

#[derive(Debug)]
pub(crate) struct RateLimiter {
    per_second: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl RateLimiter {
    /// The bucket holds the tokens of one second, and is full at `now`.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, bucket: Mutex::new(Bucket { tokens: per_second, filled_at: now }) }
    }

    /// Whole tokens that may be consumed at `now`.
    pub(crate) fn available(&self, now: Instant) -> usize {
        let mut bucket = self.bucket.lock();
        let seconds = now.saturating_duration_since(bucket.filled_at).as_secs_f64();
        bucket.tokens = (bucket.tokens + seconds * self.per_second).min(self.per_second);
        bucket.filled_at = now;
        bucket.tokens as usize
    }

    pub(crate) fn consume(&self, tokens: usize) {
        let mut bucket = self.bucket.lock();
        bucket.tokens = (bucket.tokens - tokens as f64).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn frequent_calls_do_not_exceed_the_rate() {
        let start = Instant::now();
        let limiter = RateLimiter::new(10, start);
        let mut consumed = 0;
        for millisecond in 0..3000 {
            let tokens = limiter.available(start + Duration::from_millis(millisecond));
            limiter.consume(tokens);
            consumed += tokens;
        }
        assert!((39..=40).contains(&consumed), "a full bucket and three seconds: {consumed}");
    }

    #[test]
    fn an_idle_hour_saves_the_tokens_of_one_second() {
        let start = Instant::now();
        let limiter = RateLimiter::new(10, start);
        assert_eq!(limiter.available(start + Duration::from_secs(3600)), 10);
    }
}
