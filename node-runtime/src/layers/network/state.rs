//! What the layer keeps in force: its units, what is watched for them, and where their flows go.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use tracing::info;
use trilobite_crds::node::FlowOutput;
use trilobite_node_ebpf::flow::FlowDirection;

use super::{
    directory::{Directory, NodePod, Table},
    engine::{Engine, PATIENCE, Target},
    flow::{Flow, Interface},
    history::History,
    netlink::{self, Link},
    place::{self, Place, Places},
    sums::{Sum, Sums},
    tap::Sizes,
    unit::{Unit, Wish},
};
use crate::{
    export::lines::Lines,
    identity::{Identity, Owner, Pod, PodContainer, slots},
    kernel::Ring,
    layers::{Context, UnitCount, UnitKey, UnitState},
    report::{Place as Lost, Problem},
    serve::hubble,
};

/// Everything that the layer's task and the agent's loop share.
pub(super) struct State {
    context: Context,
    identity: Identity,
    engine: Engine,
    places: Places,
    outlet: Outlet,
    remote: Vec<Arc<dyn Directory>>,
    /// Some pod has a process but no interface yet.
    pub(super) pending: bool,
    notes: BTreeMap<UnitKey, Vec<Problem>>,
}

/// Where flows go.
struct Outlet {
    node: String,
    history: History,
    units: BTreeMap<UnitKey, Unit>,
    watched_for: WatchedFor,
}

/// By the index of an interface.
type WatchedFor = HashMap<u32, Vec<UnitKey>>;

impl Outlet {
    fn wanted(&self) -> impl Iterator<Item = (&UnitKey, &Unit)> {
        self.units.iter().filter(|(_, unit)| !unit.leaving)
    }

    fn deliver(&mut self, flow: Flow) {
        let mut line = Vec::new();
        let mut wanted = false;
        for key in self.watched_for.get(&flow.interface.index).into_iter().flatten() {
            let Some(unit) = self.units.get_mut(key).filter(|unit| unit.wish.wants(&flow)) else { continue };
            wanted = true;
            unit.count.records += 1;
            for outlet in &unit.outlets {
                if line.is_empty() {
                    hubble::append_json_line(&flow, &self.node, &mut line);
                }
                outlet.write(&line);
            }
        }
        if wanted {
            self.history.push(Arc::new(flow));
        }
    }
}

impl State {
    pub(super) fn new(context: Context, identity: Identity, history: History, seed: u64) -> Self {
        Self {
            outlet: Outlet {
                node: context.node_name.clone(),
                history,
                units: BTreeMap::new(),
                watched_for: HashMap::new(),
            },
            context,
            identity,
            engine: Engine::new(seed),
            places: Places::default(),
            remote: Vec::new(),
            pending: false,
            notes: BTreeMap::new(),
        }
    }

    /// Brings the units in line with `wishes`. With none, nothing is left in the kernel or in memory.
    pub(super) fn set(
        &mut self,
        wishes: BTreeMap<UnitKey, Wish>,
        remote: Vec<Arc<dyn Directory>>,
    ) -> BTreeMap<UnitKey, UnitState> {
        self.remote = remote;
        let before = self.lost();
        let mut states = BTreeMap::new();
        for (key, unit) in &mut self.outlet.units {
            unit.leaving = !wishes.contains_key(key);
        }
        for (key, wish) in wishes {
            if self.outlet.units.contains_key(&key) {
                continue;
            }
            match self.begin(&key, wish, before) {
                Ok(unit) => drop(self.outlet.units.insert(key, unit)),
                Err(problem) => drop(states.insert(key, UnitState::Refused(problem))),
            }
        }
        let refused = self.reconcile().err();
        self.enter_losses();
        for key in self.outlet.units.keys() {
            let state = match &refused {
                Some(problem) => UnitState::Refused(problem.clone()),
                None => self.state_of(key),
            };
            states.insert(key.clone(), state);
        }
        states
    }

    /// Watches what the pods that are there now need.
    pub(super) fn reconcile(&mut self) -> Result<(), Problem> {
        if self.outlet.wanted().next().is_none() {
            let Self { engine, outlet, .. } = self;
            engine.stop(&mut |flow| outlet.deliver(flow));
            outlet.units.clear();
            outlet.watched_for.clear();
            outlet.history.clear();
            self.places = Places::default();
            self.notes.clear();
            self.pending = false;
            return Ok(());
        }
        let asking = |error: std::io::Error| Problem::LoadFailed {
            what: "asking the kernel for its interfaces".into(),
            detail: error.to_string(),
        };
        let sizes = self.sizes();
        let pods = self.identity.pods();
        self.notes.clear();
        let (targets, watched_for) = if self.identity.has_cluster() {
            let links = netlink::links().map_err(asking)?;
            self.targets_of_pods(&pods, &links)
        } else {
            self.targets_of_machine(&place::of_machine().map_err(asking)?)
        };
        let local = Table::default();
        for pod in &pods {
            local.put_pod(&NodePod { pod: (**pod).clone(), node_ips: Vec::new() }, &self.context.node_name);
        }
        let mut directories: Vec<Arc<dyn Directory>> = vec![Arc::new(local)];
        directories.extend(self.remote.iter().cloned());
        self.engine.know(directories, netlink::addresses().map_err(asking)?);
        let Self { engine, outlet, .. } = self;
        // Interfaces that are watched no more have still something to say to those who leave.
        for (interface, keys) in &watched_for {
            outlet.watched_for.entry(*interface).or_default().extend(keys.iter().cloned());
        }
        outlet.watched_for.values_mut().for_each(|keys| {
            keys.sort();
            keys.dedup();
        });
        let problems = engine.set(sizes, &targets, &mut |flow| outlet.deliver(flow))?;
        outlet.watched_for = watched_for;
        outlet.units.retain(|_, unit| !unit.leaving);
        for (interface, problem) in problems {
            // An interface that went away between the question and the attachment is no problem.
            for key in self.outlet.watched_for.remove(&interface).unwrap_or_default() {
                self.notes.entry(key).or_default().push(problem.clone());
            }
        }
        Ok(())
    }

    /// Takes the records that have come.
    pub(super) fn drain(&mut self) {
        let Self { engine, outlet, .. } = self;
        engine.drain(&mut |flow| outlet.deliver(flow));
    }

    /// Ends what is silent and enters the losses. Gives whether to `remove_ended` after `ENDED_FOR`.
    pub(super) fn tick(&mut self) -> bool {
        self.enter_losses();
        let Self { engine, outlet, .. } = self;
        engine.end_idle(PATIENCE, &mut |flow| outlet.deliver(flow)).unwrap_or_else(|problem| {
            tracing::warn!(problem = problem.message(), "silent flows could not be ended");
            false
        })
    }

    /// See `Engine::remove_ended`.
    pub(super) fn remove_ended(&mut self) {
        if let Err(problem) = self.engine.remove_ended() {
            tracing::warn!(problem = problem.message(), "ended flows stay in the map");
        }
    }

    pub(super) fn ring(&self) -> Option<Arc<Ring>> {
        self.engine.ring()
    }

    pub(super) fn sums(&mut self) -> Sums {
        self.drain();
        self.engine.sums()
    }

    /// What is in no flow, by the interface's name.
    pub(super) fn outside_flows(&self) -> Vec<(String, FlowDirection, Sum)> {
        let sums = self.engine.outside_flows().into_iter();
        sums.map(|((index, direction), sum)| (self.engine.name(index).to_owned(), direction, sum)).collect()
    }

    pub(super) fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        let lost = self.lost();
        let count = |unit: &Unit| UnitCount { records: unit.count.records, lost: lost - unit.lost_before };
        self.outlet.units.iter().map(|(key, unit)| (key.clone(), count(unit))).collect()
    }

    fn enter_losses(&self) {
        let (records, packets) = self.engine.losses();
        self.context.ledger.lost_so_far(Lost::FlowRing, "", records);
        self.context.ledger.lost_so_far(Lost::FlowMap, "", packets);
    }

    fn lost(&self) -> u64 {
        let (records, packets) = self.engine.losses();
        records + packets
    }

    fn sizes(&self) -> Sizes {
        let sizes = |of: fn(&Sizes) -> u32| self.outlet.wanted().map(|(_, unit)| of(&unit.wish.sizes)).max();
        Sizes {
            flow_entries: sizes(|sizes| sizes.flow_entries).unwrap_or_default(),
            ring_bytes: sizes(|sizes| sizes.ring_bytes).unwrap_or_default(),
        }
    }

    fn targets_of_pods(&mut self, pods: &[Arc<Pod>], links: &[Link]) -> (Vec<Target>, WatchedFor) {
        self.places.retain(pods);
        self.pending = false;
        let mut targets = Vec::new();
        let mut watched_for = WatchedFor::new();
        for pod in pods {
            let keys: Vec<UnitKey> = self.selecting(pod);
            if keys.is_empty() {
                continue;
            }
            let name = format!("{}/{}", pod.namespace, pod.name);
            if pod.host_network {
                self.note(&keys, &Problem::HostNetworkPod { pod: name });
                continue;
            }
            match self.places.of(pod, links, &self.identity) {
                Place::Pending => self.pending = true,
                Place::Nowhere => {
                    let detail = "no veth of this node leads to it; its network is not watched".into();
                    self.note(&keys, &Problem::LoadFailed { what: format!("watching pod {name}"), detail });
                }
                Place::Behind(links) => {
                    for link in links {
                        watched_for.entry(link.index).or_default().extend(keys.iter().cloned());
                        targets.push(Target { interface: interface(&link), pod: Some(pod.clone()), behind: true });
                    }
                }
            }
        }
        (targets, watched_for)
    }

    /// Without a cluster, whoever asks nothing of a pod gets the machine.
    fn targets_of_machine(&mut self, links: &[Link]) -> (Vec<Target>, WatchedFor) {
        let nobody = Problem::Unsupported {
            field: "spec.podSelector".into(),
            detail: "without a cluster no pod is known, so this selects nothing; write podSelector: {}".into(),
        };
        let mut keys = Vec::new();
        for (key, unit) in self.outlet.wanted() {
            if self.identity.in_scope(&unit.wish.scope, &Owner::Host) == Some(true) {
                keys.push(key.clone());
            } else {
                self.notes.insert(key.clone(), vec![nobody.clone()]);
            }
        }
        if keys.is_empty() {
            return (Vec::new(), WatchedFor::new());
        }
        let known = self.engine.watched();
        for link in links.iter().filter(|link| !known.contains(&link.index)) {
            info!(interface = link.name, "watching an interface of the machine");
        }
        let targets =
            links.iter().map(|link| Target { interface: interface(link), pod: None, behind: link.kind == "veth" });
        let targets = targets.collect();
        (targets, links.iter().map(|link| (link.index, keys.clone())).collect())
    }

    fn selecting(&self, pod: &Arc<Pod>) -> Vec<UnitKey> {
        let owner =
            Owner::Pod(Arc::new(PodContainer { pod: pod.clone(), container: None, container_id: String::new() }));
        self.outlet
            .wanted()
            .filter(|(_, unit)| self.identity.in_scope(&unit.wish.scope, &owner) == Some(true))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// The stack selects pods that nobody named; only who named them hears of those that cannot be had.
    fn note(&mut self, keys: &[UnitKey], problem: &Problem) {
        for key in keys {
            if self.outlet.units.get(key).is_some_and(|unit| unit.wish.session) {
                self.notes.entry(key.clone()).or_default().push(problem.clone());
            }
        }
    }

    /// A session of which no pod can be had, because all that it selects are in the host's network, is refused.
    fn state_of(&self, key: &UnitKey) -> UnitState {
        let notes = self.notes.get(key).cloned().unwrap_or_default();
        let watched = self.outlet.watched_for.values().any(|keys| keys.contains(key));
        match notes.iter().find(|note| matches!(note, Problem::HostNetworkPod { .. })) {
            Some(problem) if !watched && !self.pending => UnitState::Refused(problem.clone()),
            _ => UnitState::InForce { notes },
        }
    }

    fn begin(&self, key: &UnitKey, mut wish: Wish, lost_before: u64) -> Result<Unit, Problem> {
        if !self.identity.has_cluster() {
            wish.scope = slots::without_cluster(&wish.scope);
        }
        let slot = match self.identity.has_cluster().then(|| self.identity.select(&wish.scope)) {
            Some(Ok(slot)) => Some(slot),
            Some(Err(problem)) if wish.scope.namespace_selector.is_some() => return Err(problem),
            // Pods are then heard of a little later.
            Some(Err(_)) | None => None,
        };
        let outlets = self.outlets(key, &wish);
        Ok(Unit { wish, outlets, _slot: slot, leaving: false, count: UnitCount::default(), lost_before })
    }

    fn outlets(&self, key: &UnitKey, wish: &Wish) -> Vec<Lines> {
        let of = format!("{:?}/{}", key.kind, key.name);
        let folder = || -> PathBuf { self.context.state_dir.join("captures").join(key.name.replace('/', ".")) };
        let outlet = |output: &FlowOutput| match output {
            FlowOutput::Stdout => Lines::stdout(&of, &self.context.ledger),
            FlowOutput::File => Lines::file(&of, &self.context.ledger, folder()),
        };
        wish.output.iter().map(outlet).collect()
    }
}

fn interface(link: &Link) -> Interface {
    Interface { index: link.index, name: link.name.clone() }
}
