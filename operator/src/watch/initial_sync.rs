//! `InitialSync`: which kinds have not been listed yet. A reflector's own `wait_until_ready` wakes only the last of
//! several waiters.

use std::collections::BTreeSet;

use tokio::sync::watch;

/// Shared by all watches whose initial list the controllers need.
#[derive(Clone, Debug)]
pub(crate) struct InitialSync(watch::Sender<BTreeSet<&'static str>>);

impl InitialSync {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(BTreeSet::new()))
    }

    pub(super) fn expect(&self, kind: &'static str) {
        self.0.send_modify(|missing| _ = missing.insert(kind));
    }

    pub(super) fn mark_synced(&self, kind: &'static str) {
        self.0.send_if_modified(|missing| missing.remove(kind));
    }

    /// Returns when every kind has been listed.
    pub(crate) async fn all_synced(&self) {
        // `self` holds the sender, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(BTreeSet::is_empty).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn two_waiters_are_both_woken() {
        let sync = InitialSync::new();
        sync.expect("Node");
        assert_eq!(sync.all_synced().now_or_never(), None);
        let waiters = [sync.clone(), sync.clone()].map(|sync| tokio::spawn(async move { sync.all_synced().await }));
        tokio::task::yield_now().await;
        sync.mark_synced("Node");
        for waiter in waiters {
            waiter.await.unwrap();
        }
    }
}
