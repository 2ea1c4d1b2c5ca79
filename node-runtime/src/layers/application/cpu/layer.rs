//! Brings the running CPU profiles in line with the plan. Each has a sampler, a ring and a worker of its own, so that a failure
//! of one affects no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
    path::Path,
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use jiff::Timestamp;
use trilobite_crds::node::{CpuProfileSession, PodScope};

use super::{
    Membership, ProfileTarget, ProfiledPod, Profiles, Results, Session, SessionSpec, SessionStatus,
    deliver::KEPT_FOR,
    pod_labels::{container_name, cpu_limit_millis},
    programs::SamplerSpec,
};
use crate::{
    identity::{IdentityService, Pod, ScopeLease, selection},
    layers::{
        LayerContext,
        application::{WorkerProgram, budget::BUDGET_MIN},
    },
    plan::{Plan, Unit, UnitCount, UnitKey, UnitState},
    problem::Problem,
};

/// CPU profiles of a node.
pub(crate) struct CpuProfiler {
    context: LayerContext,
    identity: IdentityService,
    profiles: Profiles,
    /// The problem refuses every profile.
    worker: Result<WorkerProgram, Problem>,
    running: BTreeMap<UnitKey, PlannedProfile>,
    /// Profiles that the plan no longer has: their results are being made, or are stored.
    ended: BTreeMap<UnitKey, PlannedProfile>,
}

struct PlannedProfile {
    session: Session,
    scope: PodScope,
}

impl CpuProfiler {
    /// Loads nothing. Results that a previous agent stored are available.
    pub(crate) fn new(context: LayerContext, identity: IdentityService, worker: &Path) -> Self {
        let profiles = Profiles::new(Results::open(&context.state_dir, context.ledger.clone()));
        let worker = WorkerProgram::open(worker).map_err(|error| {
            tracing::warn!(path = %worker.display(), %error, "the worker's binary is missing: CPU profiles are refused");
            let detail = format!("{}: {error}; it belongs beside the agent's binary", worker.display());
            Problem::LoadFailed { what: "starting the worker".into(), detail }
        });
        Self { context, identity, profiles, worker, running: BTreeMap::new(), ended: BTreeMap::new() }
    }

    pub(crate) fn profiles(&self) -> Profiles {
        self.profiles.clone()
    }

    /// Starts planned profiles that do not run, and ends running ones that are no longer planned. A profile that ended by itself
    /// is not started again.
    pub(crate) fn apply(&mut self, plan: &Plan) -> BTreeMap<UnitKey, UnitState> {
        let planned = plan.cpu_profiles();
        let removed: Vec<UnitKey> = self.running.keys().filter(|key| !planned.contains_key(key)).cloned().collect();
        for key in removed {
            if let Some(profile) = self.running.remove(&key) {
                // Ends the sampling; the result is still made.
                profile.session.stop();
                self.ended.insert(key, profile);
            }
        }
        self.forget_expired(Timestamp::now());
        let mut states = BTreeMap::new();
        for (key, unit) in &planned {
            if !self.running.contains_key(key) {
                match self.start(key, unit) {
                    Ok(session) => {
                        self.running.insert(key.clone(), PlannedProfile { session, scope: self.scope(unit) });
                    }
                    Err(problem) => {
                        states.insert(key.clone(), UnitState::Refused(problem));
                        continue;
                    }
                }
            }
            if let Some(profile) = self.running.get(key) {
                states.insert(key.clone(), self.state(profile));
            }
        }
        states
    }

    /// Current states. Ended profiles are reported for as long as their results are kept, also when they are no longer planned.
    pub(crate) fn states(&self) -> BTreeMap<UnitKey, UnitState> {
        self.ended.iter().chain(&self.running).map(|(key, profile)| (key.clone(), self.state(profile))).collect()
    }

    /// Profiles whose result is neither stored nor given up yet.
    pub(crate) fn unfinished(&self) -> BTreeSet<UnitKey> {
        let all = self.ended.iter().chain(&self.running);
        all.filter(|(_, profile)| !profile.session.status().finished).map(|(key, _)| key.clone()).collect()
    }

    /// Ends every profile, after `timeout` at the latest; results that are not stored by then are given up. Nothing is written to
    /// the disk afterwards, until a profile starts.
    pub(crate) async fn shut_down(&mut self, timeout: Duration) {
        let all = std::mem::take(&mut self.running).into_values().chain(std::mem::take(&mut self.ended).into_values());
        join_all(all.map(|profile| profile.session.shut_down(timeout))).await;
        self.profiles.results().close();
    }

    /// Samples so far, and lost ones.
    pub(crate) fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        let all = self.ended.iter().chain(&self.running);
        all.map(|(key, profile)| (key.clone(), count(&profile.session.status()))).collect()
    }

    fn start(&self, key: &UnitKey, unit: &Unit<CpuProfileSession>) -> Result<Session, Problem> {
        let CpuProfileSession { frequency_hz, memory_budget_bytes, .. } = unit.content;
        if memory_budget_bytes < BUDGET_MIN {
            return Err(Problem::Unsupported {
                field: "spec.memoryBudgetBytes".into(),
                detail: format!("a CPU profile needs at least {BUDGET_MIN}, for its ring and for symbol tables"),
            });
        }
        let worker = self.worker.clone()?;
        let scope = self.scope(unit);
        let lease = self.identity.select(&scope)?;
        let selection = self.identity.selection_maps().ok_or_else(|| Problem::LoadFailed {
            what: "sampling the selected pods".into(),
            detail: "the map of cgroups is not there".into(),
        })?;
        let facts = &self.context.facts;
        let sampler = SamplerSpec {
            frequency_hz,
            selection: Some((lease.id(), selection.cgroups.as_fd(), selection.classes.as_fd())),
            node_cgroup: facts.node_cgroup.map_or((0, 0), |cgroup| (cgroup, facts.node_cgroup_level)),
            generation: u32::try_from(unit.source.generation).unwrap_or(u32::MAX),
            ..SamplerSpec::default()
        };
        let spec = SessionSpec {
            name: key.name.to_string(),
            node: self.context.node_name.clone(),
            source: unit.source.to_string(),
            expires_at: unit.expires_at,
            budget_bytes: memory_budget_bytes,
            worker,
            cgroup_root: facts.cgroup_root.clone(),
        };
        let target = self.target(scope, lease);
        let results = self.profiles.results().clone();
        let session = Session::start(spec, sampler, target, results, self.context.ledger.clone())?;
        self.profiles.add(session.shared_status());
        Ok(session)
    }

    /// The target owns the scope's lease, which is released with it: after the last sample.
    fn target(&self, scope: PodScope, lease: ScopeLease) -> ProfileTarget {
        let (identity, selected) = (self.identity.clone(), scope.clone());
        let membership = move |cgroup| {
            let _lease = &lease;
            match identity.in_scope(&selected, &identity.owner(cgroup)) {
                Some(true) => Membership::Selected,
                Some(false) => Membership::NotSelected,
                None => Membership::Unknown,
            }
        };
        let identity = self.identity.clone();
        let container_name = move |cgroup| container_name(&identity.owner(cgroup));
        let identity = self.identity.clone();
        let pods = move || {
            let selected = identity.pods().into_iter().filter(|pod| identity.pod_in_scope(&scope, pod));
            let profiled = |pod: Arc<Pod>| ProfiledPod {
                name: format!("{}/{}", pod.namespace, pod.name),
                cpu_limit_millis: identity.pod_folder(&pod.cgroup_uid).and_then(|folder| cpu_limit_millis(&folder)),
            };
            selected.map(profiled).collect()
        };
        ProfileTarget {
            membership: Box::new(membership),
            pods: Box::new(pods),
            container_name: Box::new(container_name),
        }
    }

    fn scope(&self, unit: &Unit<CpuProfileSession>) -> PodScope {
        let scope = &unit.content.pods;
        if self.identity.has_cluster() { scope.clone() } else { selection::scope_without_cluster(scope) }
    }

    fn state(&self, PlannedProfile { session, scope }: &PlannedProfile) -> UnitState {
        let selects_nothing = !self.identity.has_cluster() && !selection::selects_every_pod(scope);
        let note = selects_nothing.then(|| Problem::Unsupported {
            field: "spec.podSelector".into(),
            detail: "without a cluster no pod is known, so this selects nothing; write podSelector: {}".into(),
        });
        let status = session.status();
        let is_in_memory = |_: &Problem| self.profiles.results().is_in_memory(&status.meta.name);
        let in_memory = status.kept_in_memory.clone().filter(is_in_memory);
        state(status, note.into_iter().chain(in_memory))
    }

    fn forget_expired(&mut self, now: Timestamp) {
        self.ended.retain(|_, profile| {
            let status = profile.session.status();
            !status.finished || now.duration_since(status.meta.ended) < KEPT_FOR
        });
    }
}

/// A profile that ended early is active with a note if it stored samples, and refused otherwise.
fn state(status: SessionStatus, notes: impl IntoIterator<Item = Problem>) -> UnitState {
    let without_result = status.finished && !(status.stored && status.meta.folded_bytes > 0);
    match status.problem {
        Some(problem) if without_result => UnitState::Refused(problem),
        problem => UnitState::Active { notes: problem.into_iter().chain(notes).collect() },
    }
}

fn count(status: &SessionStatus) -> UnitCount {
    UnitCount { records: status.meta.counts.samples, lost: status.meta.counts.lost }
}

#[cfg(test)]
mod tests {
    use trilobite_crds::node::{Session as SessionResource, SessionContent, Source, SourceKind};

    use super::*;
    use crate::{kernel::Facts, layers::application::ProfileMeta, loss::Ledger, plan::UnitContent};

    fn worker_died() -> Problem {
        Problem::WorkerFailed { detail: "signal: 9".into() }
    }

    #[test]
    fn replaced_worker_is_a_note_while_the_profile_runs() {
        let status = SessionStatus { problem: Some(worker_died()), ..SessionStatus::default() };
        assert_eq!(state(status, None), UnitState::Active { notes: vec![worker_died()] });
    }

    #[test]
    fn profile_is_refused_only_if_it_ended_without_samples() {
        let empty =
            SessionStatus { problem: Some(worker_died()), finished: true, stored: true, ..SessionStatus::default() };
        assert_eq!(state(empty.clone(), None), UnitState::Refused(worker_died()));
        let partial = SessionStatus { meta: ProfileMeta { folded_bytes: 9, ..ProfileMeta::default() }, ..empty };
        assert_eq!(state(partial.clone(), None), UnitState::Active { notes: vec![worker_died()] });
        assert_eq!(state(SessionStatus { stored: false, ..partial }, None), UnitState::Refused(worker_died()));
    }

    #[tokio::test]
    async fn profiles_are_refused_without_the_binary_of_the_worker() {
        let folder = tempfile::tempdir().unwrap();
        let (facts, ledger) = (Arc::new(Facts::default()), Ledger::default());
        let state_dir = folder.path().join("state");
        let context =
            LayerContext { node_name: "reef".into(), facts: facts.clone(), ledger: ledger.clone(), state_dir };
        let identity = IdentityService::new(facts, ledger, true);
        let mut profiler = CpuProfiler::new(context, identity, &folder.path().join("trilobite-worker"));
        let source =
            Source { kind: SourceKind::AppProfile, namespace: Some("shop".into()), name: "cart".into(), generation: 1 };
        let content = CpuProfileSession { pods: PodScope::default(), frequency_hz: 49, memory_budget_bytes: 1 << 24 };
        let expires_at = Timestamp::MAX;
        let key = UnitKey::of_session(&SessionResource {
            name: "cart".into(),
            source: source.clone(),
            expires_at,
            content: SessionContent::CpuProfile(content.clone()),
        });
        let unit = Unit { source, expires_at: Some(expires_at), content: UnitContent::CpuProfile(content) };
        let states = profiler.apply(&Plan { units: [(key.clone(), unit)].into(), ..Plan::default() });
        let UnitState::Refused(problem) = &states[&key] else { panic!("{states:?}") };
        assert!(problem.message().contains("trilobite-worker: No such file"), "{}", problem.message());
    }
}
