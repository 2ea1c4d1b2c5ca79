//! Brings the running CPU profiles in line with the plan. Each has a sampler, a ring and a worker of its own, so that a failure
//! of one affects no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use jiff::Timestamp;
use trilobite_crds::node::{AppProfileSession, CpuSampling, PodScope};

use super::{
    ProfileTarget, ProfiledPod, Profiles, Results, Session, SessionSpec, SessionStatus,
    deliver::KEPT_FOR,
    pod_labels::{container_name, cpu_limit_millis},
    programs::SamplerSpec,
};
use crate::{
    identity::{IdentityService, Pod},
    layers::{
        LayerContext,
        application::{
            budget::{BUDGET_MIN, part_bytes},
            node_budget::Lease,
            selected_pods::{SelectedPods, note_without_cluster},
        },
        worker::WorkerProgram,
    },
    plan::{Unit, UnitCount, UnitKey, UnitState, sampling_allowed},
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
    pub(crate) fn new(
        context: LayerContext,
        identity: IdentityService,
        worker: Result<WorkerProgram, Problem>,
    ) -> Self {
        let profiles = Profiles::new(Results::open(&context.state_dir, context.ledger.clone()));
        Self { context, identity, profiles, worker, running: BTreeMap::new(), ended: BTreeMap::new() }
    }

    pub(crate) fn profiles(&self) -> Profiles {
        self.profiles.clone()
    }

    /// Ends running profiles that are no longer planned; their results are still made.
    pub(crate) fn end_unplanned(&mut self, planned: &BTreeMap<UnitKey, Unit<AppProfileSession>>) {
        let is_planned = |key: &UnitKey| planned.get(key).is_some_and(|unit| unit.content.cpu.is_some());
        let removed: Vec<UnitKey> = self.running.keys().filter(|key| !is_planned(key)).cloned().collect();
        for key in removed {
            if let Some(profile) = self.running.remove(&key) {
                profile.session.stop();
                self.ended.insert(key, profile);
            }
        }
        self.forget_expired(Timestamp::now());
    }

    /// A profile of this unit was started, and is still planned. One that ended by itself is not started again.
    pub(crate) fn is_started(&self, key: &UnitKey) -> bool {
        self.running.contains_key(key)
    }

    /// Starts a profile.
    pub(crate) fn start(
        &mut self,
        key: &UnitKey,
        unit: &Unit<AppProfileSession>,
        sampling: CpuSampling,
        lease: Lease,
    ) -> Result<(), Problem> {
        sampling_allowed(&self.context.facts)?;
        let session = self.start_session(key, unit, sampling, lease)?;
        self.running.insert(key.clone(), PlannedProfile { session, scope: unit.content.pods.clone() });
        Ok(())
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

    fn start_session(
        &self,
        key: &UnitKey,
        unit: &Unit<AppProfileSession>,
        CpuSampling { frequency_hz }: CpuSampling,
        budget_lease: Lease,
    ) -> Result<Session, Problem> {
        let budget_bytes = part_bytes(&unit.content);
        if budget_bytes < BUDGET_MIN {
            return Err(Problem::Unsupported {
                field: "spec.memoryBudgetBytes".into(),
                detail: format!(
                    "a CPU profile needs at least {BUDGET_MIN}, for its ring and for symbol tables, and as much again beside requests"
                ),
            });
        }
        let worker = self.worker.clone()?;
        let pods = SelectedPods::select(&self.identity, &unit.content.pods)?;
        let (scope, selection) = pods.selection("sampling the selected pods")?;
        let facts = &self.context.facts;
        let sampler = SamplerSpec {
            frequency_hz,
            selection: Some((scope, selection.cgroups.as_fd(), selection.classes.as_fd())),
            node_cgroup: facts.node_cgroup.map_or((0, 0), |cgroup| (cgroup, facts.node_cgroup_level)),
            generation: u32::try_from(unit.source.generation).unwrap_or(u32::MAX),
            ..SamplerSpec::default()
        };
        let spec = SessionSpec {
            name: key.name.to_string(),
            node: self.context.node_name.clone(),
            source: unit.source.to_string(),
            expires_at: unit.expires_at,
            budget_bytes,
            worker,
            cgroup_root: facts.cgroup_root.clone(),
        };
        let target = target(pods, budget_lease);
        let results = self.profiles.results().clone();
        let session = Session::start(spec, sampler, target, results, self.context.ledger.clone())?;
        self.profiles.add(session.shared_status());
        Ok(session)
    }

    fn state(&self, PlannedProfile { session, scope }: &PlannedProfile) -> UnitState {
        let note = note_without_cluster(&self.identity, scope);
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

/// The target owns the leases of the scope and of the memory, which are released with it: once the result is made.
fn target(pods: SelectedPods, budget_lease: Lease) -> ProfileTarget {
    let pods = Arc::new(pods);
    let selected = Arc::clone(&pods);
    let membership = move |cgroup| {
        let _lease = &budget_lease;
        selected.membership(cgroup)
    };
    let selected = Arc::clone(&pods);
    let container_name = move |cgroup| container_name(&selected.owner(cgroup));
    let profiled = move || {
        let profiled = |pod: Arc<Pod>| ProfiledPod {
            name: format!("{}/{}", pod.namespace, pod.name),
            cpu_limit_millis: pods.identity().pod_folder(&pod.cgroup_uid).and_then(|folder| cpu_limit_millis(&folder)),
        };
        pods.pods().map(profiled).collect()
    };
    ProfileTarget {
        membership: Box::new(membership),
        pods: Box::new(profiled),
        container_name: Box::new(container_name),
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
    use super::*;
    use crate::layers::application::ProfileMeta;

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
}
