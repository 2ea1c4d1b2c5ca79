//! Samples of a running profile as its agents count them, each second from the first; the status of the AppProfile has them
//! later.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{StreamExt, future::join_all};
use parking_lot::Mutex;
use tokio::time::sleep;
use trilobite_api::profiles::{Profile, ProfileState, WatchProfileRequest, profiles_client::ProfilesClient};

use crate::{
    agent::{Transport, within_timeout},
    commands::agents::connect,
};

/// Pause before asking an agent again that does not know the profile yet, or cannot be reached.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Counts so far, by node.
#[derive(Default)]
pub(super) struct LiveCounts(Mutex<BTreeMap<String, (u64, u64)>>);

impl LiveCounts {
    /// Follows the profile on these nodes, for ever. Failures are not reported: the result is fetched later.
    pub(super) async fn follow(&self, transport: &Transport, nodes: &BTreeSet<String>, profile: &str) {
        join_all(nodes.iter().map(|node| self.follow_node(transport, node, profile))).await;
        std::future::pending().await
    }

    async fn follow_node(&self, transport: &Transport, node: &str, profile: &str) {
        loop {
            if let Ok(agents) = connect(transport, Some(node)).await
                && let Some(agent) = agents.into_iter().next()
            {
                let request = WatchProfileRequest { name: profile.to_owned() };
                let mut client = ProfilesClient::new(agent.channel);
                if let Ok(response) = within_timeout(client.watch(request)).await {
                    let mut messages = response.into_inner();
                    while let Some(Ok(message)) = messages.next().await {
                        self.record(node, &message);
                        if message.state() != ProfileState::Running {
                            return;
                        }
                    }
                }
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Of all nodes together, as the read API counts them.
    pub(super) fn set(&self, samples: u64, lost: u64) {
        *self.0.lock() = [(String::new(), (samples, lost))].into();
    }

    fn record(&self, node: &str, profile: &Profile) {
        self.0.lock().insert(node.to_owned(), (profile.samples, profile.lost));
    }

    /// Samples, and lost ones, of all nodes together; none before the first answer.
    pub(super) fn sum(&self) -> Option<(u64, u64)> {
        let counts = self.0.lock();
        let add =
            |left: (u64, u64), right: &(u64, u64)| (left.0.saturating_add(right.0), left.1.saturating_add(right.1));
        (!counts.is_empty()).then(|| counts.values().fold((0, 0), add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::fake::FakeAgent;

    #[tokio::test]
    async fn counts_of_an_agent_are_followed() {
        let agent = FakeAgent::with_profile("main 42\n", 42);
        let (live, nodes) = (LiveCounts::default(), ["alder".to_owned()].into());
        assert_eq!(live.sum(), None);
        let counted = async {
            while live.sum() != Some((42, 0)) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let transport = agent.transport();
        tokio::select! {
            () = counted => {}
            () = live.follow(&transport, &nodes, "shop/till") => {}
            () = sleep(Duration::from_secs(20)) => panic!("{:?}", live.sum()),
        }
    }

    #[test]
    fn nodes_are_added_up() {
        let live = LiveCounts::default();
        for (node, samples) in [("alder", 3), ("birch", 4), ("alder", 5)] {
            live.record(node, &Profile { samples, lost: 1, ..Profile::default() });
        }
        assert_eq!(live.sum(), Some((9, 2)));
    }
}
