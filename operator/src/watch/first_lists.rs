//! Knows which kinds have not been listed yet. (A reflector's own `wait_until_ready` wakes only the last of several waiters.)

use std::collections::BTreeSet;

use tokio::sync::watch;

/// Shared by all watches that must have been read before anything is judged.
#[derive(Clone, Debug)]
pub(crate) struct FirstLists(watch::Sender<BTreeSet<&'static str>>);

impl FirstLists {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(BTreeSet::new()))
    }

    pub(super) fn expect(&self, kind: &'static str) {
        self.0.send_modify(|missing| _ = missing.insert(kind));
    }

    pub(super) fn read(&self, kind: &'static str) {
        self.0.send_if_modified(|missing| missing.remove(kind));
    }

    /// Returns when every kind has been listed.
    pub(crate) async fn all_read(&self) {
        // The sender lives in `self`, so there is always a value to wait for.
        let _ = self.0.subscribe().wait_for(BTreeSet::is_empty).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn two_wait_and_both_are_woken() {
        let lists = FirstLists::new();
        lists.expect("Node");
        assert_eq!(lists.all_read().now_or_never(), None);
        let waiters = [lists.clone(), lists.clone()].map(|lists| tokio::spawn(async move { lists.all_read().await }));
        tokio::task::yield_now().await;
        lists.read("Node");
        for waiter in waiters {
            waiter.await.unwrap();
        }
    }
}
