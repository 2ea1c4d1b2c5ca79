//! The rate limit of an export: so many events a minute. Those beyond are not lost unseen: the next event follows a line with
//! their number.

use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// Tokens that fill up over a minute; an event takes one.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// Events a minute, and how many may come at once.
    limit: Option<u32>,
    tokens: f64,
    filled: Instant,
    /// Events that were kept out since the last one that was not.
    suppressed: u64,
}

/// What happens to an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is written, after a line with the number of those before it that were not.
    Admitted {
        suppressed: u64,
    },
    Suppressed,
}

impl RateLimit {
    pub(crate) fn new(now: Instant) -> Self {
        Self { limit: None, tokens: 0.0, filled: now, suppressed: 0 }
    }

    /// With the limit that is wanted now.
    pub(crate) fn admit(&mut self, limit: Option<u32>, now: Instant) -> Admission {
        if self.limit != limit {
            self.limit = limit;
            self.tokens = limit.map(f64::from).unwrap_or_default();
            self.filled = now;
        }
        let Some(limit) = limit else { return self.admitted() };
        let share = now.saturating_duration_since(self.filled).as_secs_f64() / MINUTE.as_secs_f64();
        self.tokens = (self.tokens + share * f64::from(limit)).min(limit.into());
        self.filled = now;
        if self.tokens < 1.0 {
            self.suppressed += 1;
            return Admission::Suppressed;
        }
        self.tokens -= 1.0;
        self.admitted()
    }

    /// The number that no line has yet.
    pub(crate) fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }

    fn admitted(&mut self) -> Admission {
        Admission::Admitted { suppressed: self.take_suppressed() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_passes_up_to_the_limit_and_the_rest_is_counted() {
        let start = Instant::now();
        let mut limit = RateLimit::new(start);
        let admitted = (0..10).filter(|_| limit.admit(Some(6), start) != Admission::Suppressed).count();
        assert_eq!(admitted, 6);
        assert_eq!(limit.admit(Some(6), start + Duration::from_secs(9)), Admission::Suppressed);
        let next = start + Duration::from_secs(11);
        assert_eq!(limit.admit(Some(6), next), Admission::Admitted { suppressed: 5 });
        assert_eq!(limit.admit(Some(6), next), Admission::Suppressed);
        assert_eq!(limit.take_suppressed(), 1);
    }

    #[test]
    fn changed_limit_begins_anew_and_none_admits_all() {
        let now = Instant::now();
        let mut limit = RateLimit::new(now);
        assert_eq!(limit.admit(Some(0), now), Admission::Suppressed);
        assert_eq!(limit.admit(None, now), Admission::Admitted { suppressed: 1 });
        assert_eq!(limit.admit(Some(1), now), Admission::Admitted { suppressed: 0 });
        assert_eq!(limit.admit(Some(1), now), Admission::Suppressed);
    }
}
