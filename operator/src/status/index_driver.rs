//! `IndexDriver`: passes watch events and controller reports to the index, and changed statuses to the writer. It holds
//! the clock; all decisions are the index's.

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
    controller_report::ControllerReport,
    daemon_set_events,
    facts::{AgentFact, NodeFact, RuntimeFact},
    index::Index,
    node_state::GracePeriods,
    silent_agents::SilentAgent,
    user_status::UserStatus,
    writer::StatusWrite,
};
use crate::{
    metrics::Metrics,
    resource_key::ResourceKey,
    watch::{Delta, DeltaTracker, Events, Trigger},
};

/// Changes within this time are computed together.
const COALESCE: Duration = Duration::from_millis(20);

pub(crate) struct IndexDriver {
    pub(crate) nodes: Events<Node>,
    pub(crate) agents: Events<Pod>,
    pub(crate) runtimes: Events<NodeRuntime>,
    /// Events about agents' pods that were refused.
    pub(crate) pod_refusals: Events<Event>,
    pub(crate) reports: mpsc::Receiver<ControllerReport>,
    pub(crate) writes: mpsc::Sender<StatusWrite>,
    pub(crate) silent_agents: mpsc::Sender<Vec<SilentAgent>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Namespace of the agents' pods.
    pub(crate) namespace: String,
    /// Fires when a node changed, or a field of a NodeRuntime that controllers reconcile on.
    pub(crate) nodes_changed: Trigger,
}

pub(crate) fn watch_pod_refusals(client: Client, namespace: &str) -> Events<Event> {
    let events: Api<Event> = Api::namespaced(client, namespace);
    watcher(events, daemon_set_events::watch_config()).backoff(trilobite_backoff::watch_backoff()).boxed()
}

/// Which initial lists have been read; nothing is computed before all of them are.
#[derive(Debug, Default)]
struct Listed {
    nodes: bool,
    agents: bool,
    runtimes: bool,
}

/// The last computed status of one object.
#[derive(Debug)]
struct LastComputed {
    uid: String,
    status: UserStatus,
    /// What the API server had then.
    current: UserStatus,
}

impl LastComputed {
    /// Records what was computed and read now; returns whether the writer has to know. Without a new status it does only
    /// if another one was read since: the API server's status was edited by another client, or is one of our own that
    /// was written meanwhile.
    fn update(&mut self, status: &UserStatus, current: &UserStatus) -> bool {
        let read_another = self.current != *current && *current != *status;
        let changed = self.status != *status;
        self.status.clone_from(status);
        self.current.clone_from(current);
        changed || read_another
    }
}

/// The last computed status of each resource, and when to compute it again.
#[derive(Debug, Default)]
struct Computed {
    last: BTreeMap<ResourceKey, LastComputed>,
    recompute_at: BTreeMap<ResourceKey, Timestamp>,
}

impl IndexDriver {
    /// Returns at `stop`.
    pub(crate) async fn drive(mut self, grace: GracePeriods, stop: CancellationToken) {
        let mut index = Index::new(grace, self.namespace.clone());
        let (mut nodes, mut agents, mut runtimes) = <(DeltaTracker, DeltaTracker, DeltaTracker)>::default();
        let mut listed = Listed::default();
        let mut computed = Computed::default();
        let mut compute_at: Option<Instant> = None;
        loop {
            let soon = Instant::now() + COALESCE;
            tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = self.nodes.next() => if let Ok(event) = event {
                    for delta in nodes.apply(event) {
                        let changed = match delta {
                            Delta::Applied(node) => index.set_node(&node.name_any(), Some(NodeFact::from(&node))),
                            Delta::Deleted(name) => index.set_node(&name, None),
                            Delta::Listed => !std::mem::replace(&mut listed.nodes, true),
                        };
                        self.trigger_if(changed);
                    }
                },
                Some(event) = self.agents.next() => if let Ok(event) = event {
                    for delta in agents.apply(event) {
                        match delta {
                            Delta::Applied(pod) => {
                                index.set_agent(&pod.name_any(), AgentFact::from_pod(&pod), Timestamp::now());
                            }
                            Delta::Deleted(name) => index.set_agent(&name, None, Timestamp::now()),
                            Delta::Listed => listed.agents = true,
                        }
                    }
                },
                Some(event) = self.runtimes.next() => if let Ok(event) = event {
                    for delta in runtimes.apply(event) {
                        let changed = match delta {
                            Delta::Applied(runtime) => {
                                let fact = RuntimeFact::from(&runtime);
                                index.set_runtime(&runtime.name_any(), Some(fact), Timestamp::now())
                            }
                            Delta::Deleted(name) => index.set_runtime(&name, None, Timestamp::now()),
                            Delta::Listed => !std::mem::replace(&mut listed.runtimes, true),
                        };
                        self.trigger_if(changed);
                    }
                },
                Some(event) = self.pod_refusals.next() => {
                    if let Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) = event
                        && let Some((why, at)) = daemon_set_events::pod_refusal(&event)
                    {
                        index.set_pods_refused(why, at);
                    }
                },
                Some(report) = self.reports.recv() => index.apply_report(report),
                () = sleep_until(compute_at.unwrap_or(soon)), if compute_at.is_some() => {
                    compute_at = None;
                    if listed.nodes && listed.agents && listed.runtimes {
                        self.compute_due(&mut index, &mut computed).await;
                    }
                }
            }
            compute_at = next_compute(compute_at, soon, &index, &computed.recompute_at);
        }
    }

    fn trigger_if(&self, changed: bool) {
        if changed {
            self.nodes_changed.fire();
        }
    }

    /// While the writer is busy the list is dropped: what it writes causes the next one.
    fn report_silent_agents(&self, silent: Vec<SilentAgent>) {
        if !silent.is_empty() {
            let _ = self.silent_agents.try_send(silent);
        }
    }

    async fn compute_due(&mut self, index: &mut Index, computed: &mut Computed) {
        let now = Timestamp::now();
        let mut keys = index.take_dirty();
        keys.extend(computed.recompute_at.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()));
        for key in keys {
            computed.recompute_at.remove(&key);
            let (Some(uid), Some(current)) = (index.uid(&key), index.current_status(&key).cloned()) else {
                computed.last.remove(&key);
                continue;
            };
            let uid = uid.to_owned();
            let known = computed.last.get_mut(&key).filter(|known| known.uid == uid);
            let before = known.as_ref().map_or_else(|| current.clone(), |known| known.status.clone());
            let Some(result) = index.compute(&key, &before, now) else { continue };
            computed.recompute_at.extend(result.recompute_at.map(|at| (key.clone(), at)));
            if key.kind == SourceKind::ObservabilityStack
                && let Some(nodes) = &result.status.common.nodes
            {
                self.metrics.set_nodes(nodes);
                self.report_silent_agents(result.silent_agents);
            }
            let concerns_writer = match known {
                Some(known) => known.update(&result.status, &current),
                None => {
                    let (status, current) = (result.status.clone(), current.clone());
                    computed.last.insert(key.clone(), LastComputed { uid: uid.clone(), status, current });
                    true
                }
            };
            if !concerns_writer {
                continue;
            }
            let write = StatusWrite { key, uid, current, desired: result.status };
            if self.writes.send(write).await.is_err() {
                tracing::error!("the status writer has stopped");
                return;
            }
        }
    }
}

/// When to compute next: soon if a key is dirty, otherwise when the first grace period or session ends.
fn next_compute(
    planned: Option<Instant>,
    soon: Instant,
    index: &Index,
    recompute_at: &BTreeMap<ResourceKey, Timestamp>,
) -> Option<Instant> {
    if index.is_dirty() {
        return Some(planned.map_or(soon, |planned| planned.min(soon)));
    }
    let first = recompute_at.values().min()?;
    let left = Duration::try_from(first.duration_since(Timestamp::now())).unwrap_or_default();
    Some(Instant::now() + left + COALESCE)
}
