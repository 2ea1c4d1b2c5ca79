//! How long what broke waits before it tries again. The default of kube goes up to 30 seconds, by chance to 60, and stays there
//! for two minutes: after an outage, the first answer to a watch is that its version is too old, and then it waits once more.
//! A node that is deaf for so long after the API server is back looks as if it had failed. And a watch that begins with a list
//! never comes to the longer waits: kube begins anew at every item, and a list that cannot be had begins with one.

use std::time::{Duration, Instant};

use kube::runtime::utils::Backoff;

/// A watch: about half a second to eight, and anew when it has been well for twice as long as that.
pub fn of_a_watch() -> impl Backoff {
    AnewWhenWell::new(Patience::between(Duration::from_millis(500), Duration::from_secs(8)))
}

/// A controller whose trigger broke: all of its triggers wait together, and each watch has waited for itself already.
pub fn of_a_controller() -> impl Backoff {
    AnewWhenWell::new(Patience::between(Duration::from_millis(50), Duration::from_secs(1)))
}

/// Waits of a stream, whose items say nothing about whether it is well: time alone does.
struct AnewWhenWell {
    patience: Patience,
    tries_at: Option<Instant>,
}

impl AnewWhenWell {
    fn new(patience: Patience) -> Self {
        Self { patience, tries_at: None }
    }

    fn wait(&mut self, now: Instant) -> Duration {
        let well = self.patience.most * 2;
        if self.tries_at.is_some_and(|tried| now.saturating_duration_since(tried) > well) {
            self.patience.reset();
        }
        let wait = self.patience.wait();
        self.tries_at = Some(now + wait);
        wait
    }
}

impl Iterator for AnewWhenWell {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.wait(Instant::now()))
    }
}

impl Backoff for AnewWhenWell {
    fn reset(&mut self) {}
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

    #[test]
    fn a_list_that_begins_and_cannot_be_had_does_not_wait_less_the_next_time() {
        let mut watch = of_a_watch();
        let waits: Vec<Duration> = (0..6).filter_map(|_| (watch.next(), watch.reset()).0).collect();
        assert!(waits[5] >= Duration::from_secs(4), "{waits:?}");
    }

    #[test]
    fn a_watch_that_was_well_for_a_while_tries_at_once_when_it_breaks() {
        let mut watch = AnewWhenWell::new(Patience::between(Duration::from_millis(500), Duration::from_secs(8)));
        let start = Instant::now();
        for _ in 0..6 {
            watch.wait(start);
        }
        assert!(watch.wait(start + Duration::from_secs(20)) >= Duration::from_secs(4));
        assert!(watch.wait(start + Duration::from_secs(60)) <= Duration::from_millis(500));
    }
}
