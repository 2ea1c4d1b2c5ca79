//! From what the kernel said to events: who did it, whether anybody wants it, and what waits until that is known.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use trilobite_crds::node::PodScope;

use super::{
    SecurityEvent, SecurityEventKind, UNKNOWN,
    bus::EventBus,
    held::{Fate, Held},
};
use crate::{
    identity::{ExecKey, Identity, Located, Owner, Process, ProcessChange},
    kernel::clock,
    report::{Ledger, Place},
};

/// A pod that has not become known for so long after the event came will not: nanoseconds.
const HELD_FOR: u64 = 5_000_000_000;
/// A process whose exec is under way is known after that: nanoseconds.
const PROCESS_HELD_FOR: u64 = 1_000_000_000;
/// How often the held are looked at when nothing changes.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Held events that are told before readers have their turn: a part of what a reader can be behind.
const TOLD_AT_ONCE: usize = 1024;
/// How often readers are told of what was lost before it came here: as often as the kernel's counters are read.
const TELL_LOSSES_EVERY: Duration = Duration::from_secs(1);

/// Who wants an event: one unit, with what it has been given.
#[derive(Debug)]
pub struct Wish {
    /// What losses are entered for: the resource, as its `Source` is written.
    pub name: String,
    /// Whose events.
    pub scope: PodScope,
    /// Events so far.
    pub records: AtomicU64,
}

impl Wish {
    /// A wish that nothing has been given yet.
    pub fn new(name: String, scope: PodScope) -> Self {
        Self { name, scope, records: AtomicU64::new(0) }
    }
}

/// An event before it is known whose it is.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Boot clock, nanoseconds.
    pub time: u64,
    /// Cgroup in which it happened.
    pub cgroup: u64,
    /// The process.
    pub process: Arc<Process>,
    /// Its parent, if it is known.
    pub parent: Option<Arc<Process>>,
    /// What happened.
    pub kind: SecurityEventKind,
    /// Who might want it.
    pub wishes: Arc<[Arc<Wish>]>,
}

/// The one way to the bus.
pub struct Emitter {
    identity: Identity,
    bus: EventBus,
    ledger: Ledger,
    state: Mutex<State>,
    /// Something is held that was not before.
    wake: Notify,
}

#[derive(Default)]
struct State {
    /// Those who want exec and exit.
    processes: Arc<[Arc<Wish>]>,
    held: Held<Pending>,
    /// Losses of which readers know, or that are older than they.
    told: BTreeMap<Place, u64>,
}

/// A cgroup's owner, and what each of the wishes says of it: none while it is undecided.
struct Standing {
    owner: Owner,
    answers: Vec<Option<bool>>,
    /// Somebody tells the container's name soon.
    nameless: bool,
}

/// Standings that were asked for, by cgroup and list of wishes: one look asks for each once.
type Standings = HashMap<(u64, usize), Standing>;

impl Emitter {
    /// Nobody wants anything yet.
    pub fn new(identity: Identity, bus: EventBus, ledger: Ledger) -> Self {
        Self { identity, bus, ledger, state: Mutex::default(), wake: Notify::new() }
    }

    /// From now on these want exec and exit.
    pub fn set_processes(&self, wishes: Vec<Arc<Wish>>) {
        self.state().processes = wishes.into();
    }

    /// A process changed.
    pub fn on_process(&self, change: &ProcessChange) {
        let wishes = self.state().processes.clone();
        if wishes.is_empty() {
            return;
        }
        let (process, time, cgroup, kind) = match change {
            ProcessChange::Fork(_) => return,
            ProcessChange::Exec(process) => (process, process.started_ns, process.cgroup, SecurityEventKind::Exec),
            ProcessChange::Exit(process, exit) => {
                let kind = SecurityEventKind::Exit { status: exit.code >> 8 & 0xff, signal: exit.code & 0x7f };
                (process, exit.time, exit.cgroup, kind)
            }
        };
        let parent = self.identity.process(process.parent);
        let pending = Pending { time, cgroup, process: process.clone(), parent, kind, wishes };
        self.offer(pending, clock::boot_ns());
    }

    /// An event of a process by its key, which may be unknown.
    pub fn process(&self, key: ExecKey, cgroup: u64) -> (Arc<Process>, Option<Arc<Process>>) {
        let process = self.identity.process(key).unwrap_or_else(|| {
            Arc::new(Process {
                key,
                tid: key.pid,
                auid: u32::MAX,
                flags: UNKNOWN.into(),
                started_ns: key.ktime,
                cgroup,
                ..Process::default()
            })
        });
        let parent = self.identity.process(process.parent);
        (process, parent)
    }

    /// Emits, drops or holds an event, which has arrived at `now` on the boot clock. Those of one cgroup stay in their order.
    pub fn offer(&self, mut pending: Pending, now: u64) {
        let mut state = self.state();
        if !state.held.has(pending.cgroup) {
            let standing = self.standing(&pending);
            match self.fate(&standing, &mut pending, 0) {
                Fate::Tell => return self.emit(pending, &standing),
                Fate::Drop => return,
                Fate::Wait => {}
            }
        }
        if let Some(evicted) = state.held.push(pending.cgroup, now, pending) {
            let standing = self.standing(&evicted);
            if standing.answers.contains(&Some(true)) {
                // It waited for a name alone.
                self.emit(evicted, &standing);
            } else {
                self.enter_undecided(&standing, &evicted);
            }
        }
        self.wake.notify_one();
    }

    /// Looks at the held again; false while there may be more to tell at once. Time is the boot clock.
    pub fn look(&self, now: u64) -> bool {
        let mut state = self.state();
        let mut standings = Standings::new();
        let told = state.held.look(now, TOLD_AT_ONCE, |cgroup, pending, age| {
            let key = (cgroup, wishes_of(pending));
            let standing = standings.entry(key).or_insert_with(|| self.standing(pending));
            self.fate(standing, pending, age)
        });
        let all = told.len() < TOLD_AT_ONCE;
        for pending in told {
            if let Some(standing) = standings.get(&(pending.cgroup, wishes_of(&pending))) {
                self.emit(pending, standing);
            }
        }
        all
    }

    /// Tells readers how many events were lost in the kernel, or before it was known whose they are, since this was
    /// called last. Forks and cgroups are records, but no events.
    pub fn tell_losses(&self) {
        let mut now = BTreeMap::<Place, u64>::new();
        for loss in self.ledger.by_kind() {
            let is_event = match loss.place {
                Place::IdentityRing => matches!(loss.kind, "exec" | "exit"),
                place => matches!(place, Place::PolicyRing | Place::Undecided),
            };
            if is_event {
                *now.entry(loss.place).or_default() += loss.count;
            }
        }
        let before = std::mem::replace(&mut self.state().told, now.clone());
        for (place, count) in now {
            let new = count - before.get(&place).copied().unwrap_or_default();
            if new > 0 {
                self.bus.tell_lost(place, new);
            }
        }
    }

    /// Nobody looks from now on: what still waits for a name goes without, and what is undecided is lost.
    pub fn finish(&self) {
        while !self.look(u64::MAX) {}
        self.tell_losses();
    }

    /// Enters what was lost before it came here.
    pub fn enter_lost(&self, place: Place, of: &str, count: u64) {
        self.ledger.lost(place, of, count);
    }

    /// Waits a moment, at most, for readers that are far behind.
    pub async fn make_room(&self) {
        self.bus.make_room().await;
    }

    /// Events that wait.
    pub fn held(&self) -> usize {
        self.state().held.len()
    }

    /// Looks at the held whenever identity changes, and every now and then while there are any.
    pub async fn keep_looking(self: Arc<Self>) {
        let mut changed = self.identity.changed();
        let mut losses = tokio::time::interval(TELL_LOSSES_EVERY);
        loop {
            let waits = self.held() > 0;
            tokio::select! {
                _ = losses.tick() => {
                    self.tell_losses();
                    continue;
                }
                changed = changed.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_EVERY), if waits => {}
                // What has come just now is looked at a little later.
                () = self.wake.notified(), if !waits => continue,
            }
            while !self.look(clock::boot_ns()) {
                // Readers run on this thread: a burst that is told in one go would be too much for any of them.
                self.make_room().await;
            }
        }
    }

    fn standing(&self, pending: &Pending) -> Standing {
        let owner = self.identity.owner(pending.cgroup);
        let answers = pending.wishes.iter().map(|wish| self.identity.in_scope(&wish.scope, &owner)).collect();
        let nameless = self.identity.has_cluster()
            && match &owner {
                Owner::Pod(found) => found.container.is_none() && !found.container_id.is_empty(),
                Owner::Unnamed(_) => true,
                _ => false,
            };
        Standing { owner, answers, nameless }
    }

    /// What becomes of an event that has waited for `age`, in nanoseconds.
    fn fate(&self, standing: &Standing, pending: &mut Pending, age: u64) -> Fate {
        let expired = age >= HELD_FOR;
        if standing.answers.contains(&Some(true)) {
            // The kubelet names a container some moments after it runs; the event can wait for the name.
            let waits = standing.nameless && !expired;
            return if waits || !self.is_named(pending, age) { Fate::Wait } else { Fate::Tell };
        }
        if !standing.answers.contains(&None) {
            return Fate::Drop;
        }
        if !expired {
            return Fate::Wait;
        }
        self.enter_undecided(standing, pending);
        Fate::Drop
    }

    /// The process is known, or will not be any more. An exec that is under way has a new key before it has a record.
    fn is_named(&self, pending: &mut Pending, age: u64) -> bool {
        if pending.process.flags != UNKNOWN || age >= PROCESS_HELD_FOR {
            return true;
        }
        let Some(process) = self.identity.process(pending.process.key) else { return false };
        pending.parent = self.identity.process(process.parent);
        pending.process = process;
        true
    }

    /// Lost for those for whom it was never decided.
    fn enter_undecided(&self, standing: &Standing, pending: &Pending) {
        for (wish, _) in pending.wishes.iter().zip(&standing.answers).filter(|(_, answer)| **answer != Some(false)) {
            self.ledger.lost(Place::Undecided, &wish.name, 1);
        }
    }

    fn emit(&self, pending: Pending, standing: &Standing) {
        for (wish, _) in pending.wishes.iter().zip(&standing.answers).filter(|(_, answer)| **answer == Some(true)) {
            wish.records.fetch_add(1, Ordering::Relaxed);
        }
        let located = |process: Arc<Process>, owner: &Owner| Located {
            process,
            pod: match owner {
                Owner::Pod(found) | Owner::Unnamed(found) => Some(found.clone()),
                _ => None,
            },
        };
        let parent = pending.parent.map(|parent| {
            let owner = self.identity.owner(parent.cgroup);
            located(parent, &owner)
        });
        self.bus.publish(Arc::new(SecurityEvent {
            time: clock::wall(pending.time),
            process: located(pending.process, &standing.owner),
            parent,
            kind: pending.kind,
        }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names a list of wishes for as long as one who has it lives.
fn wishes_of(pending: &Pending) -> usize {
    Arc::as_ptr(&pending.wishes).cast::<u8>().addr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kernel::Facts,
        layers::security::bus::{Next, Subscription},
    };

    fn emitter(cluster: bool) -> (Arc<Emitter>, Ledger, Subscription) {
        let ledger = Ledger::default();
        let bus = EventBus::new(ledger.clone());
        let reader = bus.subscribe();
        let identity = Identity::new(Arc::new(Facts::default()), ledger.clone(), cluster);
        (Arc::new(Emitter::new(identity, bus, ledger.clone())), ledger, reader)
    }

    fn of_an_unknown_process(emitter: &Emitter, cgroup: u64) -> Pending {
        let (process, parent) = emitter.process(ExecKey { ktime: 5, pid: 6 }, cgroup);
        let wish = Arc::new(Wish::new("policy".into(), PodScope::default()));
        Pending { time: 0, cgroup, process, parent, kind: SecurityEventKind::Exec, wishes: [wish].into() }
    }

    #[test]
    fn an_event_is_lost_when_its_cgroup_has_not_become_known_so_long_after_it_came() {
        let (emitter, ledger, mut reader) = emitter(true);
        let came = 100 * HELD_FOR;
        emitter.offer(of_an_unknown_process(&emitter, 77), came);
        emitter.look(came + HELD_FOR - 1);
        assert_eq!((emitter.held(), ledger.total(Place::Undecided)), (1, 0));
        emitter.look(came + HELD_FOR);
        assert_eq!((emitter.held(), ledger.total(Place::Undecided)), (0, 1));
        assert!(reader.try_next().is_none());
    }

    #[test]
    fn what_waits_for_its_process_is_told_without_it_when_the_last_unit_goes() {
        let (emitter, ledger, mut reader) = emitter(false);
        emitter.offer(of_an_unknown_process(&emitter, 77), 1);
        assert!(reader.try_next().is_none());
        emitter.finish();
        assert!(matches!(reader.try_next(), Some(Next::Event(_))));
        assert_eq!(ledger.losses(), []);
    }

    #[test]
    fn a_burst_that_waits_for_names_alone_loses_nothing() {
        let (emitter, ledger, mut reader) = emitter(false);
        let count = 2 * crate::layers::security::held::HELD_OF_CGROUP_MAX - 100;
        for _ in 0..count {
            emitter.offer(of_an_unknown_process(&emitter, 77), 1);
        }
        emitter.finish();
        let mut told = 0;
        while let Some(Next::Event(_)) = reader.try_next() {
            told += 1;
        }
        assert_eq!((told, ledger.losses()), (count, Vec::new()));
    }

    #[tokio::test]
    async fn whoever_looks_wakes_up_for_an_event_that_is_held() {
        let (emitter, _, mut reader) = emitter(false);
        let looking = tokio::spawn(emitter.clone().keep_looking());
        tokio::task::yield_now().await;
        emitter.offer(of_an_unknown_process(&emitter, 77), clock::boot_ns());
        let next = tokio::time::timeout(Duration::from_secs(10), reader.next()).await.unwrap();
        assert!(matches!(next, Next::Event(event) if event.process.process.flags == UNKNOWN));
        looking.abort();
    }

    #[tokio::test]
    async fn readers_are_told_how_many_events_the_kernel_lost_and_once() {
        let (emitter, ledger, mut reader) = emitter(false);
        ledger.lost_kind(Place::IdentityRing, "", "exec", 2);
        ledger.lost_kind(Place::IdentityRing, "", "fork", 100);
        ledger.lost(Place::PolicyRing, "policy", 3);
        let looking = tokio::spawn(emitter.clone().keep_looking());
        let told = [reader.next().await, reader.next().await];
        assert_eq!(told, [Next::Lost(Place::IdentityRing, 2), Next::Lost(Place::PolicyRing, 3)]);
        ledger.lost_kind(Place::IdentityRing, "", "exit", 4);
        emitter.tell_losses();
        assert_eq!((reader.try_next(), reader.try_next()), (Some(Next::Lost(Place::IdentityRing, 4)), None));
        looking.abort();
    }

    #[tokio::test]
    async fn a_reader_that_reads_loses_nothing_of_all_that_can_be_held() {
        let (emitter, ledger, mut reader) = emitter(false);
        let (cgroups, each) = (4, crate::layers::security::held::HELD_OF_CGROUP_MAX);
        let came = clock::boot_ns() - PROCESS_HELD_FOR;
        for number in 0..cgroups * each {
            emitter.offer(of_an_unknown_process(&emitter, number as u64 % 4), came);
        }
        assert_eq!(emitter.held(), cgroups * each);
        let looking = tokio::spawn(emitter.clone().keep_looking());
        for _ in 0..cgroups * each {
            assert!(matches!(reader.next().await, Next::Event(_)));
            // As a client does that is another process.
            tokio::task::yield_now().await;
        }
        assert_eq!(ledger.losses(), []);
        looking.abort();
    }
}
