//! From what the kernel said to events: who did it, whether anybody wants it, and what waits until that is known.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use trilobite_crds::node::PodScope;

use super::{SecurityEvent, SecurityEventKind, bus::EventBus};
use crate::{
    identity::{ExecKey, Identity, Located, Owner, Process, ProcessChange},
    kernel::clock,
    report::{Ledger, Place},
};

/// A pod that has not become known for so long will not: nanoseconds.
const HELD_FOR: u64 = 5_000_000_000;
/// Events that wait at most.
const HELD_MAX: usize = 8192;
/// How often the held are looked at when nothing changes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

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
}

#[derive(Default)]
struct State {
    /// Those who want exec and exit.
    processes: Arc<[Arc<Wish>]>,
    held: VecDeque<Pending>,
}

enum Verdict {
    Emit(Owner),
    Drop,
    Hold,
}

impl Emitter {
    /// Nobody wants anything yet.
    pub fn new(identity: Identity, bus: EventBus, ledger: Ledger) -> Self {
        Self { identity, bus, ledger, state: Mutex::default() }
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
        self.offer(Pending { time, cgroup, process: process.clone(), parent, kind, wishes });
    }

    /// An event of a process by its key, which may be unknown.
    pub fn process(&self, key: ExecKey, cgroup: u64) -> (Arc<Process>, Option<Arc<Process>>) {
        let process = self.identity.process(key).unwrap_or_else(|| {
            Arc::new(Process {
                key,
                tid: key.pid,
                auid: u32::MAX,
                flags: "unknown".into(),
                started_ns: key.ktime,
                cgroup,
                ..Process::default()
            })
        });
        let parent = self.identity.process(process.parent);
        (process, parent)
    }

    /// Emits, drops or holds an event. Those of one cgroup stay in their order.
    pub fn offer(&self, pending: Pending) {
        let mut state = self.state();
        let behind = state.held.iter().any(|held| held.cgroup == pending.cgroup);
        if behind {
            self.hold(&mut state, pending);
            return;
        }
        match self.verdict(&pending, pending.time) {
            Verdict::Emit(owner) => self.emit(pending, &owner),
            Verdict::Drop => {}
            Verdict::Hold => self.hold(&mut state, pending),
        }
    }

    /// Looks at the held again. Time is the boot clock.
    pub fn look(&self, now: u64) {
        let mut state = self.state();
        let held = std::mem::take(&mut state.held);
        for pending in held {
            let behind = state.held.iter().any(|held| held.cgroup == pending.cgroup);
            match self.verdict(&pending, now) {
                Verdict::Emit(owner) if !behind => self.emit(pending, &owner),
                Verdict::Drop => {}
                _ => state.held.push_back(pending),
            }
        }
    }

    /// Enters what was lost before it came here.
    pub fn enter_lost(&self, place: Place, of: &str, count: u64) {
        self.ledger.lost(place, of, count);
    }

    /// Events that wait.
    pub fn held(&self) -> usize {
        self.state().held.len()
    }

    /// Looks at the held whenever identity changes, and every now and then while there are any.
    pub async fn keep_looking(self: Arc<Self>) {
        let mut changed = self.identity.changed();
        loop {
            let wait = if self.held() == 0 { Duration::from_secs(3600) } else { LOOK_EVERY };
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
            self.look(clock::boot_ns());
        }
    }

    fn verdict(&self, pending: &Pending, now: u64) -> Verdict {
        let expired = now.saturating_sub(pending.time) >= HELD_FOR;
        let owner = self.identity.owner(pending.cgroup);
        let answers: Vec<Option<bool>> =
            pending.wishes.iter().map(|wish| self.identity.in_scope(&wish.scope, &owner)).collect();
        if answers.contains(&Some(true)) {
            // The kubelet names a container some moments after it runs; the event can wait for the name.
            let nameless = self.identity.has_cluster()
                && matches!(&owner, Owner::Pod(found) if found.container.is_none() && !found.container_id.is_empty());
            return if nameless && !expired { Verdict::Hold } else { Verdict::Emit(owner) };
        }
        if !answers.contains(&None) {
            return Verdict::Drop;
        }
        if !expired {
            return Verdict::Hold;
        }
        for wish in pending.wishes.iter() {
            self.ledger.lost(Place::Undecided, &wish.name, 1);
        }
        Verdict::Drop
    }

    fn hold(&self, state: &mut State, pending: Pending) {
        if state.held.len() == HELD_MAX
            && let Some(oldest) = state.held.pop_front()
        {
            for wish in oldest.wishes.iter() {
                self.ledger.lost(Place::Undecided, &wish.name, 1);
            }
        }
        state.held.push_back(pending);
    }

    fn emit(&self, pending: Pending, owner: &Owner) {
        for wish in pending.wishes.iter() {
            if self.identity.in_scope(&wish.scope, owner) == Some(true) {
                wish.records.fetch_add(1, Ordering::Relaxed);
            }
        }
        let located = |process: Arc<Process>, owner: &Owner| Located {
            process,
            pod: match owner {
                Owner::Pod(found) => Some(found.clone()),
                _ => None,
            },
        };
        let parent = pending.parent.map(|parent| {
            let owner = self.identity.owner(parent.cgroup);
            located(parent, &owner)
        });
        self.bus.publish(Arc::new(SecurityEvent {
            time: clock::wall(pending.time),
            process: located(pending.process, owner),
            parent,
            kind: pending.kind,
        }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
