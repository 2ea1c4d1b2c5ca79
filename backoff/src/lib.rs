//! How long a failed watch or write waits before its next try.
//!
//! kube's default backoff grows to between 30 and 60 seconds and resets only after two minutes without a failure: a
//! node whose watch is that late after an outage of the API server looks as if it had failed. And a watch that begins
//! with a list never reaches the longer delays: kube resets its backoff at every item, and a list that cannot be read
//! begins with one.

#![warn(missing_docs)]

use std::time::{Duration, Instant};

use kube::runtime::utils::Backoff;

/// Backoff of a watch: 0.5 s to 8 s, reset after 16 s without a failure.
pub fn watch_backoff() -> impl Backoff {
    ResetWhenStable::new(ExponentialBackoff::between(Duration::from_millis(500), Duration::from_secs(8)))
}

/// Backoff of a controller whose trigger failed: short, since all of its triggers wait together and each watch has
/// already waited by its own backoff.
pub fn controller_backoff() -> impl Backoff {
    ResetWhenStable::new(ExponentialBackoff::between(Duration::from_millis(50), Duration::from_secs(1)))
}

/// `period`, shortened or prolonged by up to a fifth, so that what began together does not return together.
pub fn with_jitter(period: Duration) -> Duration {
    period.mul_f64(0.8 + 0.4 * fastrand::f64())
}

/// Backoff of a stream whose items do not show that it is stable: only time without a failure resets it.
struct ResetWhenStable {
    backoff: ExponentialBackoff,
    next_try: Option<Instant>,
}

impl ResetWhenStable {
    fn new(backoff: ExponentialBackoff) -> Self {
        Self { backoff, next_try: None }
    }

    fn next_delay(&mut self, now: Instant) -> Duration {
        let stable = self.backoff.max * 2;
        if self.next_try.is_some_and(|tried| now.saturating_duration_since(tried) > stable) {
            self.backoff.reset();
        }
        let delay = self.backoff.next_delay();
        self.next_try = Some(now + delay);
        delay
    }
}

impl Iterator for ResetWhenStable {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.next_delay(Instant::now()))
    }
}

impl Backoff for ResetWhenStable {
    fn reset(&mut self) {}
}

/// Delays that double up to a limit. Jitter shortens each by up to a half, so that many nodes that lost the API server
/// together do not return together.
#[derive(Debug)]
pub struct ExponentialBackoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl ExponentialBackoff {
    /// Delays from `first` to `max`.
    pub fn between(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first }
    }

    /// The next delay; the one after it is twice as long.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.max);
        delay.mul_f64(1.0 - fastrand::f64() / 2.0)
    }

    /// Starts again at the first delay, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_with_at_most_half_jitter() {
        let mut backoff = ExponentialBackoff::between(Duration::from_millis(500), Duration::from_secs(8));
        for max in [500, 1000, 2000, 4000, 8000, 8000].map(Duration::from_millis) {
            let delay = backoff.next_delay();
            assert!(delay <= max && delay >= max / 2, "{delay:?} of {max:?}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(500));
    }

    #[test]
    fn delay_stays_within_seconds_after_a_long_outage() {
        let (mut watch, mut controller) = (watch_backoff(), controller_backoff());
        assert!((0..50).filter_map(|_| watch.next()).all(|delay| delay <= Duration::from_secs(8)));
        assert!((0..50).filter_map(|_| controller.next()).all(|delay| delay <= Duration::from_secs(1)));
    }

    #[test]
    fn a_list_that_starts_and_fails_does_not_shorten_the_delay() {
        let mut watch = watch_backoff();
        let delays: Vec<Duration> = (0..6).filter_map(|_| (watch.next(), watch.reset()).0).collect();
        assert!(delays[5] >= Duration::from_secs(4), "{delays:?}");
    }

    #[test]
    fn jitter_stays_within_a_fifth_and_varies() {
        let periods: Vec<Duration> = (0..50).map(|_| with_jitter(Duration::from_secs(100))).collect();
        assert!(periods.iter().all(|period| (80..=120).contains(&period.as_secs())), "{periods:?}");
        assert!(periods.iter().any(|period| *period != periods[0]));
    }

    #[test]
    fn a_watch_that_was_stable_retries_at_once() {
        let mut watch =
            ResetWhenStable::new(ExponentialBackoff::between(Duration::from_millis(500), Duration::from_secs(8)));
        let start = Instant::now();
        for _ in 0..6 {
            watch.next_delay(start);
        }
        assert!(watch.next_delay(start + Duration::from_secs(20)) >= Duration::from_secs(4));
        assert!(watch.next_delay(start + Duration::from_secs(60)) <= Duration::from_millis(500));
    }
}
