//! A watch of the API server that fails and goes on failing is told to whoever reports the node; one that only lost its
//! connection is not: what an agent says then, nobody hears.

use kube::{Error, runtime::watcher};
use tokio::sync::watch;

use crate::report::Problem;

/// So many times in a row it fails before it is told: a server that has just come up refuses what it will allow.
const TRIES: u32 = 3;

/// How one watch fares.
pub(super) struct Trouble {
    what: &'static str,
    failed: u32,
    told: watch::Sender<Option<Problem>>,
}

impl Trouble {
    /// Of a watch that is well; `what` it watches, as `pods`.
    pub(super) fn of(what: &'static str) -> Self {
        Self { what, failed: 0, told: watch::Sender::new(None) }
    }

    /// What is wrong with it, whenever that changes.
    pub(super) fn heard(&self) -> watch::Receiver<Option<Problem>> {
        self.told.subscribe()
    }

    /// It has failed.
    pub(super) fn failed(&mut self, error: &watcher::Error) {
        if !answered(error) {
            return;
        }
        self.failed += 1;
        if self.failed == TRIES {
            self.told.send_replace(Some(Problem::WatchFailed { what: self.what.into(), detail: error.to_string() }));
        }
    }

    /// It has told something. That a list begins is no such thing: it begins before every try.
    pub(super) fn heard_of<K>(&mut self, event: &watcher::Event<K>) {
        if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
            self.is_over();
        }
    }

    /// It is well, or nobody needs it any more.
    pub(super) fn is_over(&mut self) {
        self.failed = 0;
        self.told.send_if_modified(|told| told.take().is_some());
    }
}

/// The API server was there, and said no or something that cannot be read.
fn answered(error: &watcher::Error) -> bool {
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

    fn away() -> watcher::Error {
        InitialListFailed(Error::ReadEvents(std::io::ErrorKind::ConnectionRefused.into()))
    }

    #[test]
    fn a_watch_that_is_refused_again_and_again_is_told_until_it_hears_something() {
        let mut trouble = Trouble::of("pods");
        let heard = trouble.heard();
        for _ in 0..TRIES {
            assert_eq!(*heard.borrow(), None);
            trouble.heard_of(&Event::<()>::Init);
            trouble.failed(&refused());
        }
        let problem = heard.borrow().clone().unwrap();
        assert!(problem.message().contains("pods is forbidden"), "{}", problem.message());
        trouble.heard_of(&Event::<()>::Init);
        assert!(heard.borrow().is_some());
        trouble.heard_of(&Event::<()>::InitDone);
        assert_eq!(*heard.borrow(), None);
    }

    #[test]
    fn an_api_server_that_is_away_is_no_trouble_of_the_node() {
        let mut trouble = Trouble::of("pods");
        (0..10).for_each(|_| trouble.failed(&away()));
        assert_eq!(*trouble.heard().borrow(), None);
    }
}
