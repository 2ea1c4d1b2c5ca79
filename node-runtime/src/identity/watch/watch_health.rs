//! Health of one watch: repeated refusals by the API server become a problem of the node. A lost connection does not, since
//! the agent could not report it either.

use kube::{Error, runtime::watcher};
use tokio::sync::watch;

use crate::problem::Problem;

/// Failures in a row before a problem is reported: an API server that has just started refuses requests that it later allows.
const FAILURES: u32 = 3;

pub(super) struct WatchHealth {
    what: &'static str,
    failures: u32,
    problem: watch::Sender<Option<Problem>>,
}

impl WatchHealth {
    /// `what` is watched, e.g. `pods`.
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, failures: 0, problem: watch::Sender::new(None) }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Problem>> {
        self.problem.subscribe()
    }

    pub(super) fn record_failure(&mut self, error: &watcher::Error) {
        if !is_answer(error) {
            return;
        }
        self.failures += 1;
        if self.failures == FAILURES {
            self.problem.send_replace(Some(Problem::WatchFailed { what: self.what.into(), detail: error.to_string() }));
        }
    }

    /// Any event means that the watch works, except the begin of a list, which comes before every try.
    pub(super) fn record_event<K>(&mut self, event: &watcher::Event<K>) {
        if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
            self.clear();
        }
    }

    /// The watch works, or is not needed any more.
    pub(super) fn clear(&mut self) {
        self.failures = 0;
        self.problem.send_if_modified(|problem| problem.take().is_some());
    }
}

/// The API server answered, with a refusal or with something unreadable.
fn is_answer(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => matches!(error, Error::Api(_) | Error::SerdeError(_)),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => true,
    }
}

#[cfg(test)]
mod tests {
    use watcher::{Error::InitialListFailed, Event};

    use super::*;

    fn refused() -> watcher::Error {
        let status = kube::core::Status::failure("pods is forbidden", "Forbidden").with_code(403);
        InitialListFailed(Error::Api(status.boxed()))
    }

    fn unreachable() -> watcher::Error {
        InitialListFailed(Error::ReadEvents(std::io::ErrorKind::ConnectionRefused.into()))
    }

    #[test]
    fn repeated_refusals_are_a_problem_until_the_next_event() {
        let mut health = WatchHealth::new("pods");
        let current = health.subscribe();
        for _ in 0..FAILURES {
            assert_eq!(*current.borrow(), None);
            health.record_event(&Event::<()>::Init);
            health.record_failure(&refused());
        }
        let problem = current.borrow().clone().unwrap();
        assert!(problem.message().contains("pods is forbidden"), "{}", problem.message());
        health.record_event(&Event::<()>::Init);
        assert!(current.borrow().is_some());
        health.record_event(&Event::<()>::InitDone);
        assert_eq!(*current.borrow(), None);
    }

    #[test]
    fn unreachable_api_server_is_no_problem_of_the_node() {
        let mut health = WatchHealth::new("pods");
        (0..10).for_each(|_| health.record_failure(&unreachable()));
        assert_eq!(*health.subscribe().borrow(), None);
    }
}
