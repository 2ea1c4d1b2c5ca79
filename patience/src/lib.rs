//! How long what broke waits before it tries again. The default of kube goes up to 30 seconds, by chance to 60, and stays there
//! for two minutes: after an outage, the first answer to a watch is that its version is too old, and then it waits once more.
//! A node that is deaf for so long after the API server is back looks as if it had failed.

use std::time::Duration;

use kube::runtime::utils::{Backoff, ResetTimerBackoff};

/// A watch: about half a second to eight, and anew when it has been well for twice as long as that.
pub fn of_a_watch() -> impl Backoff {
    anew_when_well(Patience::between(Duration::from_millis(500), Duration::from_secs(8)))
}

/// A controller whose trigger broke: all of its triggers wait together, and each watch has waited for itself already.
pub fn of_a_controller() -> impl Backoff {
    anew_when_well(Patience::between(Duration::from_millis(50), Duration::from_secs(1)))
}

fn anew_when_well(patience: Patience) -> impl Backoff {
    let well = patience.most * 2;
    ResetTimerBackoff::new(patience, well)
}

/// Waits that double, up to a limit. Each is shorter by chance, at most by half: many nodes that lost the API server at once
/// do not ask for it at once.
#[derive(Debug)]
pub struct Patience {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Patience {
    /// From `first` to `most`.
    pub fn between(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.most);
        now.mul_f64(1.0 - fastrand::f64() / 2.0)
    }

    /// What broke is well again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.wait())
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        Self::reset(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_none_is_shorter_than_half() {
        let mut patience = Patience::between(Duration::from_millis(500), Duration::from_secs(8));
        for most in [500, 1000, 2000, 4000, 8000, 8000].map(Duration::from_millis) {
            let wait = patience.wait();
            assert!(wait <= most && wait >= most / 2, "{wait:?} of {most:?}");
        }
        patience.reset();
        assert!(patience.wait() <= Duration::from_millis(500));
    }

    #[test]
    fn however_long_the_outage_was_what_is_back_is_heard_within_seconds() {
        let (mut watch, mut controller) = (of_a_watch(), of_a_controller());
        assert!((0..50).filter_map(|_| watch.next()).all(|wait| wait <= Duration::from_secs(8)));
        assert!((0..50).filter_map(|_| controller.next()).all(|wait| wait <= Duration::from_secs(1)));
    }
}
