//! How long what broke waits before it begins again. The default of kube goes up to 30 seconds and stays there for two minutes:
//! after an outage, the first answer to a watch is that its version is too old, and then it waits once more.

use std::time::Duration;

use kube::runtime::utils::{Backoff, ResetTimerBackoff};

/// A watch: from half a second to eight, and anew when it has been well for as long as twice that.
pub(crate) fn of_a_watch() -> impl Backoff {
    ResetTimerBackoff::new(Doubling::new(Duration::from_millis(500), Duration::from_secs(8)), Duration::from_secs(16))
}

/// A controller whose trigger broke: all of its triggers wait together, and each watch has waited for itself already.
pub(crate) fn of_a_controller() -> impl Backoff {
    ResetTimerBackoff::new(Doubling::new(Duration::from_millis(50), Duration::from_secs(1)), Duration::from_secs(2))
}

/// Each time twice as long, up to a limit.
struct Doubling {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Doubling {
    fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }
}

impl Iterator for Doubling {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = self.next;
        self.next = (now * 2).min(self.most);
        Some(now)
    }
}

impl Backoff for Doubling {
    fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_long_the_outage_was_what_is_back_is_heard_within_seconds() {
        let (mut watch, mut controller) = (of_a_watch(), of_a_controller());
        let waits: Vec<Duration> = (0..6).filter_map(|_| watch.next()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000].map(Duration::from_millis));
        assert!((0..50).filter_map(|_| controller.next()).all(|wait| wait <= Duration::from_secs(1)));
    }
}
