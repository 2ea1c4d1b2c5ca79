//! The layer: brings the profiles that run in line with those that are wanted. Each has a sampler, a ring and a worker of
//! its own, so that one that fails, or that somebody else asked for, touches no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use trilobite_crds::node::{CpuProfileSession, PodScope};

use super::{Belongs, Live, Profiles, Results, Session, SessionSpec, Subject, results::KEPT_FOR, sampler::SamplerSpec};
use crate::{
    identity::{Identity, Slot},
    layers::{Context, UnitCount, UnitKey, UnitState},
    plan::{Plan, Unit},
    report::Problem,
};

/// Below this a worker cannot hold what it needs to make names of a common binary's symbols.
const BUDGET_MIN: u64 = 8 << 20;

/// CPU profiles of a node.
pub struct Application {
    context: Context,
    identity: Identity,
    profiles: Profiles,
    program: PathBuf,
    running: BTreeMap<UnitKey, Session>,
    ended: BTreeMap<UnitKey, Arc<Mutex<Live>>>,
}

impl Application {
    /// Nothing is loaded. Results that an agent before this one kept are there.
    pub fn new(context: Context, identity: Identity) -> Self {
        let profiles = Profiles::new(Results::open(&context.state_dir, context.ledger.clone()));
        // The agent's own binary, whatever became of its path meanwhile.
        let program = PathBuf::from("/proc/self/exe");
        Self { context, identity, profiles, program, running: BTreeMap::new(), ended: BTreeMap::new() }
    }

    /// What runs and what is kept, for those who read it.
    pub fn profiles(&self) -> Profiles {
        self.profiles.clone()
    }

    /// Starts what is wanted and does not run, ends what runs and is not wanted any more. A profile that ended by itself
    /// is not started again.
    pub async fn apply(&mut self, plan: &Plan) -> BTreeMap<UnitKey, UnitState> {
        let wanted: BTreeSet<&UnitKey> = plan.cpu_profiles.keys().collect();
        let unwanted: Vec<UnitKey> = self.running.keys().filter(|key| !wanted.contains(key)).cloned().collect();
        for key in unwanted {
            if let Some(session) = self.running.remove(&key) {
                // Sampling ends with this; its result is still made, and then nothing of it is left.
                session.stop();
                self.ended.insert(key, session.watch());
            }
        }
        self.forget(Timestamp::now());
        let mut states = BTreeMap::new();
        for (key, unit) in &plan.cpu_profiles {
            if !self.running.contains_key(key) {
                match self.start(key, unit) {
                    Ok(session) => drop(self.running.insert(key.clone(), session)),
                    Err(problem) => {
                        states.insert(key.clone(), UnitState::Refused(problem));
                        continue;
                    }
                }
            }
            if let Some(session) = self.running.get(key) {
                states.insert(key.clone(), self.state(session, &self.scope(unit)));
            }
        }
        states
    }

    /// Samples so far, and what was lost of them.
    pub fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        let running = self.running.iter().map(|(key, session)| (key.clone(), count(&session.live())));
        let ended = self
            .ended
            .iter()
            .map(|(key, live)| (key.clone(), count(&live.lock().unwrap_or_else(PoisonError::into_inner))));
        ended.chain(running).collect()
    }

    fn start(&self, key: &UnitKey, unit: &Unit<CpuProfileSession>) -> Result<Session, Problem> {
        let CpuProfileSession { frequency_hz, memory_budget_bytes, .. } = unit.content;
        if memory_budget_bytes < BUDGET_MIN {
            return Err(Problem::Unsupported {
                field: "spec.memoryBudgetBytes".into(),
                detail: format!("a CPU profile needs at least {BUDGET_MIN}, for its ring and for tables of symbols"),
            });
        }
        let scope = self.scope(unit);
        let slot = self.identity.select(&scope)?;
        let cgroups = self.identity.cgroups_fd().ok_or_else(|| Problem::LoadFailed {
            what: "sampling the selected pods".into(),
            detail: "the map of cgroups is not there".into(),
        })?;
        let facts = &self.context.facts;
        let sampler = SamplerSpec {
            frequency_hz,
            selection: Some((slot.mask(), std::os::fd::AsFd::as_fd(&cgroups))),
            node_cgroup: facts.node_cgroup.map_or((0, 0), |cgroup| (cgroup, facts.node_cgroup_level)),
            generation: u32::try_from(unit.source.generation).unwrap_or(u32::MAX),
            ..SamplerSpec::default()
        };
        let spec = SessionSpec {
            name: key.name.clone(),
            node: self.context.node_name.clone(),
            source: unit.source.to_string(),
            expires_at: unit.expires_at,
            budget_bytes: memory_budget_bytes,
            program: self.program.clone(),
        };
        let subject = self.subject(scope, slot);
        let results = self.profiles.results().clone();
        let session = Session::start(spec, sampler, subject, results, self.context.ledger.clone())?;
        self.profiles.began(session.watch());
        Ok(session)
    }

    /// The slot is given back when the last question was asked, which is after the last tick.
    fn subject(&self, scope: PodScope, slot: Slot) -> Subject {
        let (identity, asked) = (self.identity.clone(), scope.clone());
        let belongs = move |cgroup| {
            let _held = &slot;
            match identity.in_scope(&asked, &identity.owner(cgroup)) {
                Some(true) => Belongs::Yes,
                Some(false) => Belongs::No,
                None => Belongs::NotYet,
            }
        };
        let identity = self.identity.clone();
        let pods = move || {
            identity
                .pods()
                .iter()
                .filter(|pod| identity.pod_in_scope(&scope, pod))
                .map(|pod| format!("{}/{}", pod.namespace, pod.name))
                .collect()
        };
        Subject { belongs: Box::new(belongs), pods: Box::new(pods) }
    }

    fn scope(&self, unit: &Unit<CpuProfileSession>) -> PodScope {
        let scope = &unit.content.pods;
        if self.identity.has_cluster() { scope.clone() } else { crate::identity::slots::without_cluster(scope) }
    }

    fn state(&self, session: &Session, scope: &PodScope) -> UnitState {
        let live = session.live();
        match live.problem {
            Some(problem) if live.over => UnitState::Refused(problem),
            problem => {
                let mut notes: Vec<Problem> = problem.into_iter().collect();
                if !self.identity.has_cluster() && !crate::identity::slots::every_pod(scope) {
                    notes.push(Problem::Unsupported {
                        field: "spec.podSelector".into(),
                        detail: "without a cluster no pod is known, so this selects nothing; write podSelector: {}"
                            .into(),
                    });
                }
                UnitState::InForce { notes }
            }
        }
    }

    /// Sums of what ended are told for as long as results are kept.
    fn forget(&mut self, now: Timestamp) {
        self.ended.retain(|_, live| {
            let live = live.lock().unwrap_or_else(PoisonError::into_inner);
            !live.over || now.duration_since(live.meta.ended) < KEPT_FOR
        });
    }
}

fn count(live: &Live) -> UnitCount {
    UnitCount { records: live.meta.counts.samples, lost: live.meta.counts.lost }
}
