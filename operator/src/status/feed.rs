//! Feeds the index: watches and reports in, statuses that changed out to the writer. Holds the clock, decides nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use trilobite_crds::node::{NodeRuntime, SourceKind};

use super::{
    Key, Report, Written,
    facts::{AgentFact, NodeFact, RuntimeFact},
    fleet_events,
    index::Index,
    node::Patience,
    writer::Write,
};
use crate::{
    metrics::Metrics,
    watch::{Changes, Delta, Deltas, Events},
};

/// Changes that come together are computed together.
const TOGETHER: Duration = Duration::from_millis(20);

/// What the feed reads.
pub(crate) struct Feed {
    pub(crate) nodes: Events<Node>,
    pub(crate) agents: Events<Pod>,
    pub(crate) runtimes: Events<NodeRuntime>,
    pub(crate) refusals: Events<Event>,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) writes: mpsc::Sender<Write>,
    pub(crate) metrics: Arc<Metrics>,
    /// Where the agents' pods are.
    pub(crate) namespace: String,
    /// Rings when a node changed, or what a controller acts upon of a node's runtime.
    pub(crate) nodes_changed: Changes,
}

/// Events of the agents' DaemonSet.
pub(crate) fn refusals(client: Client, namespace: &str) -> Events<Event> {
    let events: Api<Event> = Api::namespaced(client, namespace);
    watcher(events, fleet_events::config()).backoff(trilobite_patience::of_a_watch()).boxed()
}

#[derive(Debug, Default)]
struct Lists {
    nodes: bool,
    agents: bool,
    runtimes: bool,
}

impl Feed {
    /// Runs until `stop`, or until a watch ends, which it does not by itself.
    pub(crate) async fn run(mut self, patience: Patience, stop: CancellationToken) {
        let mut index = Index::new(patience, self.namespace.clone());
        let (mut of_nodes, mut of_agents, mut of_runtimes) = <(Deltas, Deltas, Deltas)>::default();
        let mut lists = Lists::default();
        let mut last: BTreeMap<Key, (String, Written)> = BTreeMap::new();
        let mut wake: BTreeMap<Key, Timestamp> = BTreeMap::new();
        let mut compute_at: Option<Instant> = None;
        loop {
            let soon = Instant::now() + TOGETHER;
            tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = self.nodes.next() => if let Ok(event) = event {
                    for delta in of_nodes.take(event) {
                        let changed = match delta {
                            Delta::Set(node) => index.node(&node.name_any(), Some(NodeFact::from(&node))),
                            Delta::Gone(name) => index.node(&name, None),
                            Delta::Listed => !std::mem::replace(&mut lists.nodes, true),
                        };
                        self.ring_if(changed);
                    }
                },
                Some(event) = self.agents.next() => if let Ok(event) = event {
                    for delta in of_agents.take(event) {
                        match delta {
                            Delta::Set(pod) => index.agent(&pod.name_any(), AgentFact::of(&pod), Timestamp::now()),
                            Delta::Gone(name) => index.agent(&name, None, Timestamp::now()),
                            Delta::Listed => lists.agents = true,
                        }
                    }
                },
                Some(event) = self.runtimes.next() => if let Ok(event) = event {
                    for delta in of_runtimes.take(event) {
                        let changed = match delta {
                            Delta::Set(runtime) => {
                                index.runtime(&runtime.name_any(), Some(RuntimeFact::from(&runtime)), Timestamp::now())
                            }
                            Delta::Gone(name) => index.runtime(&name, None, Timestamp::now()),
                            Delta::Listed => !std::mem::replace(&mut lists.runtimes, true),
                        };
                        self.ring_if(changed);
                    }
                },
                Some(event) = self.refusals.next() => {
                    if let Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) = event
                        && let Some((why, at)) = fleet_events::refused(&event)
                    {
                        index.pods_refused(why, at);
                    }
                },
                Some(report) = self.reports.recv() => index.report(report),
                () = sleep_until(compute_at.unwrap_or(soon)), if compute_at.is_some() => {
                    compute_at = None;
                    if lists.nodes && lists.agents && lists.runtimes {
                        self.compute(&mut index, &mut last, &mut wake).await;
                    }
                }
            }
            compute_at = next_time(compute_at, soon, &index, &wake);
        }
    }

    fn ring_if(&self, changed: bool) {
        if changed {
            self.nodes_changed.ring();
        }
    }

    async fn compute(
        &mut self,
        index: &mut Index,
        last: &mut BTreeMap<Key, (String, Written)>,
        wake: &mut BTreeMap<Key, Timestamp>,
    ) {
        let now = Timestamp::now();
        let mut keys = index.take_dirty();
        keys.extend(wake.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()));
        for key in keys {
            wake.remove(&key);
            let (Some(uid), Some(standing)) = (index.uid(&key), index.standing(&key).cloned()) else {
                last.remove(&key);
                continue;
            };
            let uid = uid.to_owned();
            let known = last.get(&key).filter(|(known, _)| *known == uid).map(|(_, written)| written.clone());
            let before = known.clone().unwrap_or_else(|| standing.clone());
            let Some(computed) = index.compute(&key, &before, now) else { continue };
            wake.extend(computed.next.map(|at| (key.clone(), at)));
            if key.kind == SourceKind::ObservabilityStack
                && let Some(nodes) = &computed.written.common.nodes
            {
                self.metrics.nodes(nodes);
            }
            if known.as_ref() == Some(&computed.written) {
                continue;
            }
            last.insert(key.clone(), (uid.clone(), computed.written.clone()));
            let write = Write { key, uid, standing, wanted: computed.written };
            if self.writes.send(write).await.is_err() {
                tracing::error!("the writer of statuses has ended");
                return;
            }
        }
    }
}

/// When to compute next: soon if something is dirty, else when somebody's patience ends.
fn next_time(
    planned: Option<Instant>,
    soon: Instant,
    index: &Index,
    wake: &BTreeMap<Key, Timestamp>,
) -> Option<Instant> {
    if index.is_dirty() {
        return Some(planned.map_or(soon, |planned| planned.min(soon)));
    }
    let first = wake.values().min()?;
    let left = Duration::try_from(first.duration_since(Timestamp::now())).unwrap_or_default();
    Some(Instant::now() + left + TOGETHER)
}
