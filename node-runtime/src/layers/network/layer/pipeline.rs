//! The stages from the kernel's records to the subscribers, behind one lock: the agent's loop brings them in line with the
//! plan, the reading task runs them.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tracing::info;
use trilobite_crds::node::{FlowOutput, SourceKind};
use trilobite_node_ebpf::FlowDirection;

use super::{
    dns_watch::DnsWatch,
    drop_watch::{DropWatch, sees_only_drops},
    notes::UnitNotes,
    targets::{Targets, WantedUnits},
};
use crate::{
    identity::{IdentityService, Owner, Pod, selection},
    kernel::{Ring, clock::boot_ns},
    layers::{
        LayerContext,
        network::{
            connection::sockets::SocketTable,
            deliver::{
                FlowDispatcher,
                stream::{CaptureEvent, StreamSender},
                subscriber::{Subscriber, SubscriberSpec},
                watched_for::WatchedFor,
            },
            directory::{Directory, DirectoryTable, NodePod},
            endpoint::veth::{self, VethLocator},
            enrich::{Enricher, WatchTarget},
            flow::Flow,
            history::FlowBuffer,
            hubble_metrics::HubbleMetrics,
            netlink::{self, NetworkLink},
            sources::{
                FlowSink,
                drops::DropSource,
                packet_hooks::PacketHooks,
                tcx::{
                    AttachProgress, EndedFlows, IdleTimeouts, MapSizes, TcxPrograms,
                    sums::{TrafficSum, TrafficSums},
                },
            },
            verdict::{Disagreements, PolicyEvaluator, PolicyIndex},
        },
    },
    loss::LossPoint,
    plan::{UnitCount, UnitKey, UnitState},
    problem::Problem,
};

/// Interfaces that one call of `reconcile` attaches to or detaches from at most: each takes the kernel tens of milliseconds,
/// and the agent has one thread.
const ATTACH_AT_ONCE: usize = 4;

pub(in crate::layers::network) struct FlowPipeline {
    context: LayerContext,
    identity: IdentityService,
    programs: TcxPrograms,
    drops: DropWatch,
    pub(super) dns: DnsWatch,
    pub(super) enricher: Enricher,
    pub(super) dispatcher: FlowDispatcher,
    policies: PolicyEvaluator,
    /// Where the streams of captures go.
    pub(super) captures: Option<UnboundedSender<CaptureEvent>>,
    locator: VethLocator,
    /// Addresses of this node's pods.
    local: Arc<DirectoryTable>,
    /// Directories of addresses on other nodes.
    remote: Vec<Arc<dyn Directory>>,
    /// The veth of some pod is not known yet: reconcile again soon.
    pub(super) pending: bool,
    notes: UnitNotes,
    /// Why the last `reconcile` failed.
    refused: Option<Problem>,
    /// The interfaces of this network namespace at the last `reconcile`.
    links: Vec<NetworkLink>,
}

impl FlowPipeline {
    pub(super) fn new(context: LayerContext, identity: IdentityService, buffer: FlowBuffer, seed: u64) -> Self {
        let local = Arc::new(DirectoryTable::new(&context.node_name));
        let policies = PolicyEvaluator::new(&context.node_name);
        let hooks = PacketHooks::new(context.facts.packet_attach, Some(&context.state_dir));
        Self {
            context,
            identity,
            programs: TcxPrograms::new(hooks.clone()),
            drops: DropWatch::default(),
            dns: DnsWatch::new(hooks),
            enricher: Enricher::new(seed),
            dispatcher: FlowDispatcher::new(buffer),
            policies,
            captures: None,
            locator: VethLocator::default(),
            local,
            remote: Vec::new(),
            pending: false,
            notes: UnitNotes::default(),
            refused: None,
            links: Vec::new(),
        }
    }

    /// Flows that the stack asks for are counted by `metrics`.
    pub(super) fn set_metrics(&mut self, metrics: HubbleMetrics) {
        self.dispatcher.metrics = Some(metrics);
    }

    /// Runs the source with a sink into the dispatcher, and hands the flows over.
    pub(super) fn with_sink<T>(&mut self, work: impl FnOnce(&mut TcxPrograms, &mut FlowSink<'_>) -> T) -> T {
        let Self { programs, enricher, dispatcher, policies, .. } = self;
        let emit = &mut |flow| deliver(flow, policies, dispatcher);
        let result = work(programs, &mut FlowSink { enricher, emit });
        dispatcher.flush();
        result
    }

    /// Sets the units that are wanted; `reconcile` brings the kernel in line with them. Returns those that are refused.
    pub(super) fn set_units(
        &mut self,
        units: BTreeMap<UnitKey, SubscriberSpec>,
        remote: Vec<Arc<dyn Directory>>,
        policies: Option<Arc<Mutex<PolicyIndex>>>,
    ) -> BTreeMap<UnitKey, UnitState> {
        self.remote = remote;
        // Without a unit, what is left in the kernel is judged before the policies are forgotten.
        if let Some(policies) = policies {
            self.policies.follow(policies);
        }
        // Losses so far are reported to the present subscribers only.
        self.record_losses();
        let lost = self.lost();
        let mut states = BTreeMap::new();
        self.dispatcher.mark_leaving(|key| units.contains_key(key));
        for (key, spec) in units {
            if self.dispatcher.contains(&key) {
                continue;
            }
            match self.subscriber(&key, spec, lost) {
                Ok(subscriber) => self.dispatcher.subscribe(key, subscriber),
                Err(problem) => drop(states.insert(key, UnitState::Refused(problem))),
            }
        }
        states
    }

    /// The state of every wanted unit.
    pub(super) fn states(&self) -> BTreeMap<UnitKey, UnitState> {
        let state = |key: &UnitKey| match &self.refused {
            Some(problem) => UnitState::Refused(problem.clone()),
            None => self.unit_state(key),
        };
        self.dispatcher.wanted().map(|(key, _)| (key.clone(), state(key))).collect()
    }

    /// Watches the interfaces of the current pods. Without a unit, nothing stays in the kernel, and in memory the recent flows
    /// for a time. Returns whether there is more to do; call it again after other tasks had their turn.
    pub(super) fn reconcile(&mut self) -> bool {
        let answer = self.watch_wanted();
        self.record_losses();
        match answer {
            Ok(more) => {
                self.refused = None;
                more
            }
            Err(problem) => {
                if self.refused.as_ref() != Some(&problem) {
                    tracing::warn!(problem = problem.message(), "the interfaces of pods could not be followed");
                }
                self.refused = Some(problem);
                // So that the next sweep finds them changed, and tries again.
                self.links = Vec::new();
                false
            }
        }
    }

    fn watch_wanted(&mut self) -> Result<bool, Problem> {
        if self.dispatcher.wanted().next().is_none() {
            return Ok(self.wind_down());
        }
        self.dispatcher.buffer.revive();
        let asking = |error: std::io::Error| Problem::LoadFailed {
            what: "asking the kernel for its interfaces".into(),
            detail: error.to_string(),
        };
        let sizes = self.sizes();
        let pods = self.identity.pods();
        let links = netlink::links().map_err(asking)?;
        self.enricher.local = netlink::addresses().map_err(asking)?;
        self.enricher.directories = self.directories(&pods);
        let Targets { interfaces, mut watched_for, notes, pending } = self.targets(&pods, &links);
        self.notes = notes;
        self.pending = pending;
        self.links = links;
        self.dispatcher.add_watched_for(&watched_for);
        let sees_flows = sees_only_drops(&self.context.facts).is_none();
        let progress = if sees_flows {
            self.with_sink(|programs, sink| programs.watch_some(sizes, &interfaces, ATTACH_AT_ONCE, sink))?
        } else {
            self.name_interfaces(&interfaces);
            AttachProgress::default()
        };
        let reads_more = self.dns.watch_some(&self.programs.watched(), ATTACH_AT_ONCE);
        self.read_sockets(&interfaces);
        let drops = self.watch_drops(&pods, &watched_for, &interfaces);
        if !sees_flows {
            drops?;
        }
        let current = if progress.problems.is_empty() { Vec::new() } else { netlink::links().map_err(asking)? };
        for (interface, problem) in progress.problems {
            let keys = watched_for.remove_interface(interface);
            // An interface that was deleted before it could be attached is no problem.
            if current.iter().any(|link| link.index == interface) {
                let units = self.dispatcher.wanted().filter(|(key, _)| keys.contains(key));
                units.for_each(|(key, spec)| self.notes.add_for_pod(key, spec, &problem));
            }
        }
        if !progress.more {
            self.dispatcher.watched_for = watched_for;
            self.dispatcher.remove_leaving();
        }
        Ok(progress.more || reads_more)
    }

    fn watch_drops(
        &mut self,
        pods: &[Arc<Pod>],
        watched_for: &WatchedFor,
        targets: &[WatchTarget],
    ) -> Result<(), Problem> {
        let mut drops = std::mem::take(&mut self.drops);
        let is_machine = !self.identity.has_cluster();
        let answer = drops.watch(is_machine, pods, watched_for, targets, |index, pod| self.process_behind(index, pod));
        self.drops = drops;
        answer
    }

    /// Makes interfaces known by which dropped packets are named, where no flow is counted there.
    fn name_interfaces(&mut self, targets: &[WatchTarget]) {
        let is_wanted = |index: &u32| targets.iter().any(|target| target.interface.index == *index);
        let gone: Vec<u32> = self.enricher.watched.keys().copied().filter(|index| !is_wanted(index)).collect();
        gone.into_iter().for_each(|index| self.enricher.forget(index));
        targets.iter().for_each(|target| self.enricher.watch(target));
    }

    /// Runs the source of dropped packets with a sink into the dispatcher, and hands the flows over.
    pub(super) fn with_drops<T>(&mut self, work: impl FnOnce(&mut DropSource, &mut FlowSink<'_>) -> T) -> T {
        let Self { drops, enricher, dispatcher, policies, .. } = self;
        let emit = &mut |flow| deliver(flow, policies, dispatcher);
        let result = work(&mut drops.source, &mut FlowSink { enricher, emit });
        dispatcher.flush();
        result
    }

    /// The ring of first drops.
    pub(super) fn drop_ring(&self) -> Option<Arc<Ring>> {
        self.drops.source.ring()
    }

    fn targets(&mut self, pods: &[Arc<Pod>], links: &[NetworkLink]) -> Targets {
        let Self { identity, dispatcher, locator, .. } = self;
        let units: WantedUnits<'_> = dispatcher.wanted().collect();
        if identity.has_cluster() {
            locator.retain(pods);
            let selects = |spec: &SubscriberSpec, pod: &Pod| identity.pod_in_scope(&spec.scope, pod);
            let mut targets = Targets::pods(&units, pods, selects, |pod| locator.locate(pod, links, identity));
            targets.pending |= locator.postponed;
            return targets;
        }
        let links = veth::machine_links(links);
        let selects = |spec: &SubscriberSpec| identity.in_scope(&spec.scope, &Owner::Host) == Some(true);
        let targets = Targets::machine(&units, &links, selects);
        if !targets.interfaces.is_empty() {
            for link in links.iter().filter(|link| !self.links.contains(link)) {
                info!(interface = link.name, "watching an interface of the machine");
            }
        }
        targets
    }

    /// Frees everything in the kernel and in memory, a few interfaces at a time. Returns whether there is more.
    fn wind_down(&mut self) -> bool {
        // With the programs its names end: the last flows may lack theirs.
        self.dns.stop();
        if self.with_sink(|programs, sink| programs.detach_some(ATTACH_AT_ONCE, sink)) {
            return true;
        }
        let was_active = self.programs.ring().is_some() || !self.dispatcher.is_empty();
        // Drops first: the source of flows forgets the owners of addresses.
        let Self { drops, enricher, dispatcher, policies, .. } = self;
        drops.stop(&mut FlowSink { enricher, emit: &mut |flow| deliver(flow, policies, dispatcher) });
        self.with_sink(|programs, sink| programs.stop(sink));
        self.policies.stop();
        self.dispatcher.clear();
        if was_active {
            self.dispatcher.buffer.retire();
        }
        self.locator = VethLocator::default();
        self.local = Arc::new(DirectoryTable::new(&self.context.node_name));
        self.notes = UnitNotes::default();
        self.links = Vec::new();
        self.pending = false;
        false
    }

    /// Owners of addresses, this node's pods first. A pod that has ended has no address: another may have it by now.
    fn directories(&self, pods: &[Arc<Pod>]) -> Vec<Arc<dyn Directory>> {
        let alive = pods.iter().filter(|pod| !pod.ended);
        let alive: Vec<NodePod> = alive.map(|pod| NodePod { pod: (**pod).clone(), ..NodePod::default() }).collect();
        let is_first_list = self.enricher.directories.is_empty();
        self.local.replace_pods(&alive, is_first_list);
        let mut directories: Vec<Arc<dyn Directory>> = vec![self.local.clone()];
        directories.extend(self.remote.iter().cloned());
        directories
    }

    /// Reads the sockets behind interfaces that are watched for the first time: their connections may be older, and the packets
    /// do not say which end is the server.
    fn read_sockets(&mut self, targets: &[WatchTarget]) {
        for target in targets {
            let index = target.interface.index;
            if !self.enricher.needs_sockets(index) {
                continue;
            }
            let folder = match &target.pod {
                Some(pod) => self.process_behind(index, pod).map(|pid| format!("/proc/{pid}/net")),
                None => (!target.behind).then(|| "/proc/thread-self/net".to_owned()),
            };
            let sockets = folder.and_then(|folder| {
                let read = SocketTable::read(Path::new(&folder));
                read.inspect_err(|error| tracing::debug!(index, %error, "the sockets behind it cannot be read")).ok()
            });
            self.enricher.set_sockets(index, sockets);
        }
    }

    /// A process of the pod in the network namespace that the interface leads to.
    fn process_behind(&self, interface: u32, pod: &Pod) -> Option<u32> {
        let namespace = self.links.iter().find(|link| link.index == interface)?.peer_namespace;
        let is_there = |pid: &u32| netlink::namespace_of(*pid).ok().flatten() == namespace;
        self.identity.pids_in_pod(&pod.cgroup_uid).into_iter().find(is_there)
    }

    /// Reads the records at hand. Returns whether the flow map is so full that ended flows should leave it soon.
    pub(super) fn drain(&mut self) -> bool {
        self.with_sink(|programs, sink| {
            programs.drain(sink);
            sink.release_named();
        });
        self.programs.is_crowded(&self.enricher)
    }

    /// Delivers records that have waited for the owners of their addresses, if they need not wait any longer.
    pub(super) fn release_named(&mut self) {
        self.with_sink(|_, sink| sink.release_named());
    }

    /// Events have to wait for the owners of their addresses.
    pub(super) fn must_wait_for_names(&mut self) -> bool {
        self.enricher.must_wait()
    }

    /// Records HTTP requests of which no flows are made.
    pub(super) fn record_lost_http(&mut self, too_fast: u64, without_address: u64) {
        for (kind, count) in [("queue", too_fast), ("address", without_address)] {
            self.context.ledger.record_loss_of_kind(LossPoint::HttpFlows, "", kind, count);
        }
        if too_fast + without_address > 0 {
            self.dispatcher.report_lost_in_queue(too_fast + without_address);
        }
    }

    /// Records wait for the owners of their addresses.
    pub(super) fn is_waiting(&self) -> bool {
        self.enricher.has_waiting()
    }

    /// See `PolicyEvaluator`.
    pub(in crate::layers::network) fn disagreements(&self) -> Disagreements {
        self.policies.disagreements()
    }

    /// See `Enricher::early_records`.
    pub(in crate::layers::network) fn early_records(&self) -> u64 {
        self.enricher.early_records()
    }

    /// Records losses. Returns whether interfaces have come or gone, so that `reconcile` is to be called.
    pub(super) fn sweep(&mut self) -> bool {
        self.record_losses();
        self.enricher.review_names(boot_ns());
        if let Some(metrics) = &self.dispatcher.metrics {
            metrics.sweep(Instant::now(), &self.enricher.directories);
        }
        // A failed request is repeated with the next sweep.
        netlink::links().is_ok_and(|links| links != self.links)
    }

    /// See `TcxPrograms::end_idle`.
    pub(super) fn end_idle(&mut self) -> EndedFlows {
        let is_crowded = self.programs.is_crowded(&self.enricher);
        let timeouts = if is_crowded { IdleTimeouts::CROWDED } else { IdleTimeouts::NORMAL };
        self.with_sink(|programs, sink| programs.end_idle(timeouts, sink)).unwrap_or_else(|problem| {
            tracing::warn!(problem = problem.message(), "silent flows could not be ended");
            EndedFlows::default()
        })
    }

    /// See `TcxPrograms::remove_ended`.
    pub(super) fn remove_ended(&mut self) {
        if let Err(problem) = self.programs.remove_ended() {
            tracing::warn!(problem = problem.message(), "ended flows stay in the map");
        }
    }

    pub(super) fn ring(&self) -> Option<Arc<Ring>> {
        self.programs.ring()
    }

    pub(super) fn sums(&mut self) -> TrafficSums {
        self.drain();
        self.programs.sums()
    }

    /// Traffic outside flows, by name of the interface.
    pub(in crate::layers::network) fn outside_flows(&self) -> Vec<(String, FlowDirection, TrafficSum)> {
        let sums = self.programs.outside_flows().into_iter();
        sums.map(|((index, direction), sum)| (self.enricher.name(index).to_owned(), direction, sum)).collect()
    }

    pub(super) fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        self.dispatcher.counts(self.lost())
    }

    fn record_losses(&mut self) {
        let (records, packets) = self.programs.losses();
        let drops = self.drops.source.losses();
        let dns = self.dns.totals();
        self.dispatcher.report_lost(self.lost());
        self.context.ledger.set_total(LossPoint::DnsRing, "", dns.dropped);
        self.context.ledger.set_total(LossPoint::DnsWorker, "", dns.lost_by_worker());
        self.context.ledger.set_total(LossPoint::DnsNames, "", self.enricher.names().evicted());
        self.context.ledger.set_total(LossPoint::FlowRing, "", records);
        self.context.ledger.set_total(LossPoint::FlowMap, "", packets);
        self.context.ledger.set_total(LossPoint::DropMap, "", drops);
    }

    fn lost(&self) -> u64 {
        let (records, packets) = self.programs.losses();
        let dns = self.dns.totals();
        records + packets + self.drops.source.losses() + dns.dropped + dns.lost_by_worker()
    }

    /// The largest sizes that a unit asks for.
    fn sizes(&self) -> MapSizes {
        let most = |of: fn(&MapSizes) -> u32| self.dispatcher.wanted().map(|(_, spec)| of(&spec.sizes)).max();
        MapSizes {
            flow_entries: most(|sizes| sizes.flow_entries).unwrap_or_default(),
            ring_bytes: most(|sizes| sizes.ring_bytes).unwrap_or_default(),
        }
    }

    /// A session is refused if all pods that it selects are in the host's network.
    fn unit_state(&self, key: &UnitKey) -> UnitState {
        let mut notes = self.notes.all(key);
        notes.extend(self.drops.notes(&self.context.facts));
        notes.extend(self.dns.notes());
        if key.kind == SourceKind::ObservabilityStack {
            notes.extend(self.dispatcher.metrics.as_ref().and_then(HubbleMetrics::problem));
            notes.extend(self.policies.not_enforced(Timestamp::now()));
        }
        let watched = self.dispatcher.watched_for.has_interface_of(key);
        match notes.iter().find(|note| matches!(note, Problem::HostNetworkPod { .. })) {
            Some(problem) if !watched && !self.pending => UnitState::Refused(problem.clone()),
            _ => UnitState::Active { notes },
        }
    }

    fn subscriber(&self, key: &UnitKey, mut spec: SubscriberSpec, lost: u64) -> Result<Subscriber, Problem> {
        if !self.identity.has_cluster() {
            spec.scope = selection::scope_without_cluster(&spec.scope);
        }
        let lease = match self.identity.has_cluster().then(|| self.identity.select(&spec.scope)) {
            Some(Ok(lease)) => Some(lease),
            Some(Err(problem)) if spec.scope.namespace_selector.is_some() => return Err(problem),
            // Changes of pods are then noticed a little later.
            Some(Err(_)) | None => None,
        };
        let streams = self.open_streams(key, &spec);
        Ok(Subscriber::new(spec, streams, lease, lost))
    }

    /// One stream for each output; none if no export has subscribed.
    fn open_streams(&self, key: &UnitKey, spec: &SubscriberSpec) -> Vec<StreamSender> {
        let Some(captures) = &self.captures else { return Vec::new() };
        let source = format!("{:?}/{}", key.kind, key.name);
        let open = |output: &FlowOutput| {
            let (sender, stream) = StreamSender::open(&key.name, *output, source.clone(), self.context.ledger.clone());
            // A stream that no export receives counts its flows as lost.
            let _ = captures.send(CaptureEvent::Opened(stream));
            sender
        };
        spec.output.iter().map(open).collect()
    }
}

/// Hands a flow to its subscribers, behind what the policies say of its connection.
fn deliver(mut flow: Flow, policies: &mut PolicyEvaluator, dispatcher: &mut FlowDispatcher) {
    if let Some(verdict) = policies.evaluate(&mut flow) {
        dispatcher.deliver(verdict);
    }
    dispatcher.deliver(flow);
}
