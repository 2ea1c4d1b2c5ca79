//! What feeds identity: the programs and their rings, for as long as somebody needs them; what they lost, and what that has
//! made unknown.

use std::{
    collections::HashSet,
    os::fd::AsFd,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    super::{
        ExecKey, ProcessChange, cgroup_map,
        changes::{enter, tell},
        decode,
        follow::{self, Losses},
        procfs::same_image,
        walk,
        written::Written,
    },
    Shared, State,
};
use crate::{
    kernel::{Map, Ring, clock},
    report::{Place, Problem},
};

/// How often losses are read, and what they made unknown is looked up.
const EVERY: Duration = Duration::from_secs(1);

impl Shared {
    /// One more user of the cgroups; the first one loads them.
    pub(super) fn hold(self: &Arc<Self>, state: &mut State) -> Result<(), Problem> {
        if state.users == 0 {
            let map = cgroup_map::make(&self.facts)?;
            let mut follow = follow::cgroups(&self.facts, map.fd().as_fd())?;
            follow.task = Some(tokio::spawn(read(Arc::downgrade(self), follow.ring.clone(), Self::on_cgroups)));
            state.index.walked(&walk::walk(&self.root));
            state.map = Some(Arc::new(map));
            state.cgroups = Some(follow);
        }
        state.users += 1;
        Ok(())
    }

    pub(super) fn release(&self, state: &mut State) {
        state.users = state.users.saturating_sub(1);
        if state.users == 0 {
            self.count_losses(state);
            state.cgroups = None;
            state.map = None;
            state.written = Written::default();
        }
    }

    pub(in crate::identity) fn release_slot(&self, bit: u32) {
        let mut state = self.state();
        state.index.slots.release(bit);
        self.settle(&mut state);
        self.release(&mut state);
    }

    pub(in crate::identity) fn release_processes(&self, listener: u64) {
        let mut state = self.state();
        state.listeners.remove(&listener);
        state.process_users = state.process_users.saturating_sub(1);
        if state.process_users == 0 {
            self.count_losses(&mut state);
            state.processes = None;
            state.ring_bytes = 0;
            state.index.processes = Default::default();
        }
        self.release(&mut state);
    }

    /// Loads the programs, beside those that are there already; gives what the old ones had still to say.
    pub(super) fn load_processes(
        self: &Arc<Self>,
        state: &mut State,
        ring_bytes: u32,
    ) -> Result<Vec<ProcessChange>, Problem> {
        let mut follow = follow::processes(&self.facts, ring_bytes, state.processes.as_ref())?;
        if state.processes.is_some() {
            follow.take_turn()?;
        } else {
            let (tasks, known) = (follow.tasks()?, follow.known()?);
            self.enter_tasks(state, tasks, &known);
        }
        follow.task = Some(tokio::spawn(read(Arc::downgrade(self), follow.ring.clone(), Self::on_processes)));
        state.ring_bytes = ring_bytes;
        let Some(mut old) = state.processes.replace(follow) else { return Ok(Vec::new()) };
        // The new ring waits for the lock that we hold: what is older is entered first.
        old.detach();
        let changes = drain_all(state, &old.ring);
        let lost = old.new_losses();
        self.enter_losses(state, &lost);
        if lost.hide_processes() {
            self.recover(state);
        }
        Ok(changes)
    }

    fn enter_tasks(&self, state: &mut State, mut tasks: Vec<decode::Image>, known: &Map) {
        tasks.retain(|image| state.index.processes.get(image.process.key).is_none());
        // Parents first: they began before their children.
        tasks.sort_by_key(|image| image.process.key);
        let mut named = tasks.clone();
        named.iter_mut().for_each(|image| self.proc.name(image));
        // Asked after all of them were read: an exec puts the new image into /proc a moment before it is in the map.
        for (nameless, named) in tasks.into_iter().zip(named) {
            let key = nameless.process.key;
            let entry = known.get(&key.pid.to_ne_bytes()).ok().flatten();
            let image = if same_image(entry.as_deref(), key) { named } else { nameless };
            state.index.processes.listed(&image);
        }
    }

    fn on_cgroups(self: &Arc<Self>, ring: &Ring) {
        let mut state = self.state();
        let mut walk_needed = false;
        ring.drain(&mut |bytes| {
            if let Some(change) = decode::cgroup(bytes) {
                walk_needed |= !state.index.cgroup_changed(&change);
            }
        });
        if walk_needed {
            state.index.walked(&walk::walk(&self.root));
        }
        self.settle(&mut state);
    }

    fn on_processes(self: &Arc<Self>, ring: &Ring) {
        let (changes, listeners) = {
            let mut state = self.state();
            (drain(&mut state, ring), state.listeners())
        };
        tell(&listeners, &changes);
    }

    /// Reads the counters, and looks up again what lost records have made unknown.
    fn tick(self: &Arc<Self>) {
        let mut state = self.state();
        let new = self.count_losses(&mut state);
        if new.cgroup > 0 {
            state.index.walked(&walk::walk(&self.root));
        }
        if new.cgroup > 0 {
            self.settle(&mut state);
        } else if state.written.is_incomplete() {
            self.write(&mut state);
        }
        if new.hide_processes() {
            self.recover(&mut state);
        }
        state.index.processes.expire(clock::boot_ns());
    }

    fn recover(&self, state: &mut State) {
        let before = clock::boot_ns();
        let Some(follow) = &mut state.processes else { return };
        match follow.tasks().and_then(|tasks| Ok((tasks, follow.known()?))) {
            Ok((tasks, known)) => {
                let living: HashSet<ExecKey> = tasks.iter().map(|image| image.process.key).collect();
                state.index.processes.only_living(&living, before);
                self.enter_tasks(state, tasks, &known);
            }
            Err(problem) => tracing::warn!(problem = problem.message(), "processes were not listed again"),
        }
    }

    pub(super) fn count_losses(&self, state: &mut State) -> Losses {
        let mut new = Losses::default();
        for follow in [&mut state.cgroups, &mut state.processes].into_iter().flatten() {
            new.add(&follow.new_losses());
        }
        self.enter_losses(state, &new);
        new
    }

    fn enter_losses(&self, state: &mut State, new: &Losses) {
        state.losses.add(new);
        for (kind, count) in [("fork", new.fork), ("exec", new.exec), ("exit", new.exit), ("cgroup", new.cgroup)] {
            self.ledger.lost_kind(Place::IdentityRing, "", kind, count);
        }
        let evicted = state.index.processes.take_evicted();
        self.ledger.lost(Place::ProcessMap, "", new.map_full + evicted);
    }
}

fn drain(state: &mut State, ring: &Ring) -> Vec<ProcessChange> {
    let mut changes = Vec::new();
    ring.drain(&mut |bytes| enter(&mut state.index.processes, bytes, &mut changes));
    changes
}

pub(super) fn drain_all(state: &mut State, ring: &Ring) -> Vec<ProcessChange> {
    let mut changes = Vec::new();
    ring.drain_all(&mut |bytes| enter(&mut state.index.processes, bytes, &mut changes));
    changes
}

/// Reads a ring until identity or the ring's owner is gone.
async fn read(shared: Weak<Shared>, ring: Arc<Ring>, each: fn(&Arc<Shared>, &Ring)) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        let ticked = tokio::select! {
            readable = ring.readable() => match readable {
                Ok(()) => false,
                Err(error) => return tracing::error!(%error, "identity's ring cannot be waited for"),
            },
            _ = ticks.tick() => true,
        };
        let pace = shared.upgrade().and_then(|shared| shared.pace.get().cloned());
        if let Some(pace) = pace.filter(|_| !ticked) {
            ring.wait_for(pace()).await;
        }
        let Some(shared) = shared.upgrade() else { return };
        if ticked {
            shared.tick();
        } else {
            each(&shared, &ring);
        }
    }
}
