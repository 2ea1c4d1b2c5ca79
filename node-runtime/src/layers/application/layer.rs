//! The layer: brings the profiles that run in line with those that are wanted. Each has a sampler, a ring and a worker of
//! its own, so that one that fails, or that somebody else asked for, touches no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use futures::future::join_all;
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
    running: BTreeMap<UnitKey, Asked>,
    /// Those that are not wanted any more: their results are made, or kept.
    ended: BTreeMap<UnitKey, Asked>,
}

/// A profile, and for whom it was asked.
struct Asked {
    session: Session,
    scope: PodScope,
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
            if let Some(asked) = self.running.remove(&key) {
                // Sampling ends with this; its result is still made, and then nothing of it is left.
                asked.session.stop();
                self.ended.insert(key, asked);
            }
        }
        self.forget(Timestamp::now());
        let mut states = BTreeMap::new();
        for (key, unit) in &plan.cpu_profiles {
            if !self.running.contains_key(key) {
                match self.start(key, unit) {
                    Ok(session) => {
                        self.running.insert(key.clone(), Asked { session, scope: self.scope(unit) });
                    }
                    Err(problem) => {
                        states.insert(key.clone(), UnitState::Refused(problem));
                        continue;
                    }
                }
            }
            if let Some(asked) = self.running.get(key) {
                states.insert(key.clone(), self.state(asked));
            }
        }
        states
    }

    /// How those fare that were started, now: one may fail long after it was. Those that ended are told of for as long as
    /// their results are kept, whether or not somebody still asks for them.
    pub fn states(&self) -> BTreeMap<UnitKey, UnitState> {
        self.ended.iter().chain(&self.running).map(|(key, asked)| (key.clone(), self.state(asked))).collect()
    }

    /// Profiles whose result is neither made nor given up yet.
    pub fn unfinished(&self) -> BTreeSet<UnitKey> {
        let all = self.ended.iter().chain(&self.running);
        all.filter(|(_, asked)| !asked.session.live().over).map(|(key, _)| key.clone()).collect()
    }

    /// Ends everything, and returns when nothing of it is left, after `within` at the latest; what has not made its result
    /// by then makes none. Nothing is written to the disk after this, until a profile starts anew.
    pub async fn end(&mut self, within: Duration) {
        let all = std::mem::take(&mut self.running).into_values().chain(std::mem::take(&mut self.ended).into_values());
        join_all(all.map(|asked| asked.session.end(within))).await;
        self.profiles.results().close();
    }

    /// Samples so far, and what was lost of them.
    pub fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        let all = self.ended.iter().chain(&self.running);
        all.map(|(key, asked)| (key.clone(), count(&asked.session.live()))).collect()
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
            cgroups: facts.cgroup_root.clone(),
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

    fn state(&self, Asked { session, scope }: &Asked) -> UnitState {
        let selects_nothing = !self.identity.has_cluster() && !crate::identity::slots::every_pod(scope);
        let note = selects_nothing.then(|| Problem::Unsupported {
            field: "spec.podSelector".into(),
            detail: "without a cluster no pod is known, so this selects nothing; write podSelector: {}".into(),
        });
        state(session.live(), note)
    }

    /// Sums of what ended are told for as long as results are kept.
    fn forget(&mut self, now: Timestamp) {
        self.ended.retain(|_, asked| {
            let live = asked.session.live();
            !live.over || now.duration_since(live.meta.ended) < KEPT_FOR
        });
    }
}

/// One that ended with less than it should have is still worth fetching; one that ended with nothing is refused.
fn state(live: Live, note: Option<Problem>) -> UnitState {
    let nothing = live.over && !(live.kept && live.meta.folded_bytes > 0);
    match live.problem {
        Some(problem) if nothing => UnitState::Refused(problem),
        problem => UnitState::InForce { notes: problem.into_iter().chain(note).collect() },
    }
}

fn count(live: &Live) -> UnitCount {
    UnitCount { records: live.meta.counts.samples, lost: live.meta.counts.lost }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::application::Meta;

    fn dead() -> Problem {
        Problem::WorkerFailed { detail: "signal: 9".into() }
    }

    #[test]
    fn a_worker_that_died_and_was_replaced_is_a_note_while_the_profile_runs() {
        let live = Live { problem: Some(dead()), ..Live::default() };
        assert_eq!(state(live, None), UnitState::InForce { notes: vec![dead()] });
    }

    #[test]
    fn a_profile_that_ended_with_nothing_is_refused_and_one_that_kept_something_is_not() {
        let live = Live { problem: Some(dead()), over: true, kept: true, ..Live::default() };
        assert_eq!(state(live.clone(), None), UnitState::Refused(dead()));
        let something = Live { meta: Meta { folded_bytes: 9, ..Meta::default() }, ..live };
        assert_eq!(state(something.clone(), None), UnitState::InForce { notes: vec![dead()] });
        assert_eq!(state(Live { kept: false, ..something }, None), UnitState::Refused(dead()));
    }
}
