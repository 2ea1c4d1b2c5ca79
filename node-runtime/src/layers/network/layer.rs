//! The layer as the agent's loop sees it, and the task that reads the ring while something is in force.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use kube::Client;
use prometheus_client::collector::Collector;
use tokio::{
    task::{JoinHandle, yield_now},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    captured::{self, Captured},
    directory::{Cluster, Directory},
    engine::ENDED_FOR,
    history::History,
    metrics::OutsideFlows,
    state::State,
    sums::Sums,
    unit::Wish,
};
use crate::{
    identity::Identity,
    kernel::Ring,
    layers::{Context, UnitCount, UnitKey, UnitState},
    plan::Plan,
};

/// How often silent flows are looked for.
const SWEEP: Duration = Duration::from_secs(2);
/// The same while the flow map is crowded.
const CROWDED_SWEEP: Duration = Duration::from_millis(250);
/// How soon a pod that has no interface yet is asked again.
const RETRY: Duration = Duration::from_millis(250);
/// Changes of pods come in bursts, and are looked at together after this.
const SETTLE: Duration = Duration::from_millis(100);

/// Flows of chosen pods.
pub struct Network {
    shared: Arc<Mutex<State>>,
    identity: Identity,
    client: Arc<OnceLock<Client>>,
    node: String,
    history: History,
    directory: Option<Arc<Cluster>>,
    captured: Captured,
    reading: Option<(Arc<Ring>, JoinHandle<()>)>,
}

impl Network {
    /// Nothing is loaded yet. Once there is a client, pods of other nodes and Services are known while flows are wanted.
    pub fn new(context: Context, identity: Identity, client: Arc<OnceLock<Client>>) -> Self {
        let history = History::default();
        let node = context.node_name.clone();
        let captured = Captured::new(&context.state_dir, context.ledger.clone());
        let state = State::new(context, identity.clone(), history.clone(), seed());
        let shared = Arc::new(Mutex::new(state));
        Self { shared, identity, client, node, history, directory: None, captured, reading: None }
    }

    /// The flows of the last while, for those who serve them.
    pub fn history(&self) -> History {
        self.history.clone()
    }

    /// Brings what is in force in line with the plan. Both kinds of units share one attachment per interface.
    pub async fn apply(&mut self, plan: &Plan) -> BTreeMap<UnitKey, UnitState> {
        let parts = plan.flows.iter().map(|(key, unit)| (key.clone(), Wish::of_part(&unit.content)));
        let sessions = plan.captures.iter().map(|(key, unit)| (key.clone(), Wish::of_session(&unit.content)));
        let wishes: BTreeMap<UnitKey, Wish> = parts.chain(sessions).collect();
        if wishes.is_empty() {
            self.directory = None;
        } else if let (None, Some(client)) = (&self.directory, self.client.get()) {
            self.directory = Some(Arc::new(Cluster::follow(client, &self.node)));
        }
        let remote = self.directory.iter().map(|cluster| cluster.clone() as Arc<dyn Directory>).collect();
        let (mut states, mut more, mut ring) = {
            let mut state = lock(&self.shared);
            (state.enter(wishes, remote), state.reconcile(), state.ring())
        };
        self.read(ring).await;
        while more {
            // Attaching and detaching takes its time, and the agent has one thread: others have their turn in between.
            yield_now().await;
            (more, ring) = {
                let mut state = lock(&self.shared);
                (state.reconcile(), state.ring())
            };
            self.read(ring).await;
        }
        self.captured.are(plan.captures.keys().map(|key| captured::folder_name(&key.name)).collect());
        states.extend(self.states());
        states
    }

    /// The units that are wanted, and how each fares now: pods come and go, and so do the reasons why one cannot be had.
    pub fn states(&self) -> BTreeMap<UnitKey, UnitState> {
        lock(&self.shared).states()
    }

    /// Records of every unit in force.
    pub fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        lock(&self.shared).counts()
    }

    /// What is in no flow, for `/metrics`.
    pub fn metrics(&self) -> Box<dyn Collector> {
        Box::new(OutsideFlows(self.shared.clone()))
    }

    /// What each watched interface has carried, in flows and outside them.
    pub fn sums(&self) -> Sums {
        lock(&self.shared).sums()
    }

    /// One task for one ring; after a change of sizes there is another ring.
    async fn read(&mut self, ring: Option<Arc<Ring>>) {
        let same = match (&self.reading, &ring) {
            (Some((old, _)), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        if let Some((old, task)) = self.reading.take() {
            task.abort();
            // It holds the old ring until it has ended; that it was aborted is no error.
            let _ = task.await;
            drop(old);
        }
        self.reading = ring.map(|ring| {
            let task = tokio::spawn(run(self.shared.clone(), ring.clone(), self.identity.clone()));
            (ring, task)
        });
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.reading {
            task.abort();
        }
    }
}

async fn run(shared: Arc<Mutex<State>>, ring: Arc<Ring>, identity: Identity) {
    let mut changed = identity.changed();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept = Instant::now();
    let mut can_wait = true;
    // Flows are being ended; when those that have ended are removed; when the interfaces are looked at again.
    let mut ending = false;
    let mut remove_at: Option<Instant> = None;
    let mut look_at: Option<Instant> = None;
    loop {
        if lock(&shared).pending {
            look_at.get_or_insert_with(|| Instant::now() + RETRY);
        }
        tokio::select! {
            answer = ring.readable(), if can_wait => {
                if let Err(error) = answer {
                    tracing::error!(%error, "the ring of flows cannot be waited for; it is read with each sweep");
                    can_wait = false;
                }
                if lock(&shared).drain() && swept.elapsed() >= CROWDED_SWEEP {
                    sweep.reset_immediately();
                }
            }
            _ = sweep.tick(), if !ending && remove_at.is_none() => {
                ending = true;
                swept = Instant::now();
                if lock(&shared).sweep() {
                    look_at.get_or_insert_with(Instant::now);
                }
            }
            // A ring of ends at a time: those that begin have their turn in between.
            () = yield_now(), if ending => {
                let ended = lock(&shared).end_silent();
                ending = ended.more;
                if ended.flows > 0 {
                    remove_at = Some(Instant::now() + ENDED_FOR);
                }
            }
            () = until(remove_at), if !ending && remove_at.is_some() => {
                remove_at = None;
                lock(&shared).remove_ended();
            }
            Ok(()) = changed.changed() => {
                let soon = Instant::now() + SETTLE;
                look_at = Some(look_at.map_or(soon, |at| at.min(soon)));
            }
            () = until(look_at), if look_at.is_some() => {
                let more = lock(&shared).reconcile();
                look_at = more.then(Instant::now);
            }
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Differs from start to start.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
