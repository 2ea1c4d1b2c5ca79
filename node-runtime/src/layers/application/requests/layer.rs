//! Brings the running sessions of requests in line with the plan. They share one set of programs; each has a ring and a worker of
//! its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use trilobite_crds::node::{AppProfileSession, RequestsSession, RequestsState};

use super::{
    rows::RequestRows,
    session::{RequestSession, Surroundings},
    slot::SharedCapture,
    spec::{Command, RequestSessionSpec, RequestSessionStatus, SessionPhase},
};
use crate::{
    identity::IdentityService,
    layers::{
        LayerContext,
        application::{
            budget::{REQUESTS_BUDGET_MIN, part_bytes},
            node_budget::Lease,
            selected_pods::{SelectedPods, note_without_cluster},
            tls::TlsProbes,
        },
        worker::WorkerProgram,
    },
    plan::{Unit, UnitCount, UnitKey, UnitState, tracing_allowed},
    problem::Problem,
};

/// How long the end of a session that gives way to another may take.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The sessions of a node.
pub(crate) struct RequestTracer {
    context: LayerContext,
    identity: IdentityService,
    /// The problem refuses every session.
    worker: Result<WorkerProgram, Problem>,
    capture: SharedCapture,
    rows: RequestRows,
    probes: TlsProbes,
    sessions: BTreeMap<UnitKey, PlannedSession>,
    /// Sessions of a previous agent, with which their rows were lost.
    interrupted: BTreeMap<UnitKey, Interrupted>,
}

struct Interrupted {
    problem: Problem,
    /// When the lost rows would have left anyway.
    until: Timestamp,
}

struct PlannedSession {
    session: RequestSession,
    content: AppProfileSession,
}

impl RequestTracer {
    /// Loads nothing.
    pub(crate) fn new(
        context: LayerContext,
        identity: IdentityService,
        worker: Result<WorkerProgram, Problem>,
    ) -> Self {
        Self {
            context,
            identity,
            worker,
            capture: SharedCapture::default(),
            rows: RequestRows::default(),
            probes: TlsProbes::default(),
            sessions: BTreeMap::new(),
            interrupted: BTreeMap::new(),
        }
    }

    /// The rows of all sessions, for the services that read them.
    pub(crate) fn rows(&self) -> RequestRows {
        self.rows.clone()
    }

    /// A previous agent, which was last alive `from`, had this session, and its rows are lost. `end` is the session's end.
    pub(crate) fn note_interruption(
        &mut self,
        key: UnitKey,
        wanted: &RequestsSession,
        end: Option<Timestamp>,
        from: Timestamp,
        to: Timestamp,
    ) {
        let is_over = end.is_some_and(|end| end <= to);
        let minutes = if is_over { wanted.retain_after_end_minutes } else { wanted.retain_minutes };
        let retained = SignedDuration::from_mins(minutes.into());
        let until = end.filter(|_| is_over).unwrap_or(to).checked_add(retained).unwrap_or(Timestamp::MAX);
        let detail = format!("no agent ran on this node from {from:.0} to {to:.0}");
        self.interrupted.insert(key, Interrupted { problem: Problem::RowsLost { detail, is_over }, until });
    }

    /// Ends sessions that are no longer planned. One that has expired keeps its rows for a while, one whose resource was deleted
    /// does not.
    pub(crate) async fn end_unplanned(
        &mut self,
        planned: &BTreeMap<UnitKey, Unit<AppProfileSession>>,
        expired: &BTreeSet<UnitKey>,
    ) {
        let mut ending = Vec::new();
        for (key, running) in &self.sessions {
            let unit = planned.get(key).filter(|unit| unit.content.requests.is_some());
            match unit {
                Some(unit) if unit.content == running.content => {}
                None if expired.contains(key) => running.session.send(Command::Retain),
                _ => ending.push(key.clone()),
            }
        }
        let mut ending: Vec<PlannedSession> = ending.iter().filter_map(|key| self.sessions.remove(key)).collect();
        join_all(ending.iter_mut().map(|planned| planned.session.shut_down(END_TIMEOUT))).await;
        let now = Timestamp::now();
        self.interrupted
            .retain(|key, interrupted| (planned.contains_key(key) || expired.contains(key)) && now < interrupted.until);
    }

    /// A session of this unit was started, and is still planned. One whose workers kept dying is not started again.
    pub(crate) fn is_started(&self, key: &UnitKey) -> bool {
        self.sessions.contains_key(key)
    }

    /// Starts a session.
    pub(crate) fn start(
        &mut self,
        key: &UnitKey,
        unit: &Unit<AppProfileSession>,
        wanted: &RequestsSession,
        lease: Lease,
    ) -> Result<(), Problem> {
        tracing_allowed(&self.context.facts)?;
        let budget_bytes = part_bytes(&unit.content);
        if budget_bytes < REQUESTS_BUDGET_MIN {
            return Err(Problem::Unsupported {
                field: "spec.memoryBudgetBytes".into(),
                detail: format!(
                    "requests need at least {REQUESTS_BUDGET_MIN}, for their ring, connections and rows, and as much again beside a CPU profile"
                ),
            });
        }
        let spec = RequestSessionSpec {
            name: key.name.to_string(),
            namespace: unit.source.namespace.clone().unwrap_or_default(),
            source: unit.source.to_string(),
            expires_at: unit.expires_at,
            budget_bytes,
            worker: self.worker.clone()?,
            wanted: wanted.clone(),
            recording: self.rows.recording(),
        };
        let pods = SelectedPods::select(&self.identity, &unit.content.pods)?;
        let surroundings = Surroundings {
            capture: &self.capture,
            rows: &self.rows,
            ledger: &self.context.ledger,
            facts: &self.context.facts,
            probes: &self.probes,
        };
        let generation = u32::try_from(unit.source.generation).unwrap_or(u32::MAX);
        let session = RequestSession::start(spec, generation, pods, lease, &surroundings)?;
        if let Some(way) = self.capture.way() {
            tracing::info!(profile = %key.name, way, "requests are captured");
        }
        self.sessions.insert(key.clone(), PlannedSession { session, content: unit.content.clone() });
        Ok(())
    }

    /// Ends the session that has kept its rows after its end for the longest. False if there is none.
    pub(crate) async fn end_oldest_retained(&mut self, expired: &BTreeSet<UnitKey>) -> bool {
        let retained = self.sessions.iter().filter(|(key, planned)| {
            expired.contains(*key) && planned.session.status().phase == SessionPhase::Retaining
        });
        // A session's version is its end.
        let Some(oldest) = retained.map(|(key, _)| key).min_by_key(|key| key.version.clone()).cloned() else {
            return false;
        };
        if let Some(planned) = self.sessions.get_mut(&oldest) {
            tracing::info!(profile = %oldest.name, "the rows of this ended profile give way to a new one");
            planned.session.shut_down(END_TIMEOUT).await;
        }
        true
    }

    /// Current states, also of sessions whose rows are kept after their end.
    pub(crate) fn states(&self) -> BTreeMap<UnitKey, UnitState> {
        let sessions = self.sessions.iter().map(|(key, planned)| {
            let interrupted = self.interrupted.get(key).map(|interrupted| interrupted.problem.clone());
            let note = note_without_cluster(&self.identity, &planned.content.pods);
            (key.clone(), state(planned.session.status(), interrupted.into_iter().chain(note)))
        });
        // Sessions that expired while no agent ran.
        let over = self.interrupted.iter().filter(|(key, _)| !self.sessions.contains_key(*key));
        let over = over
            .map(|(key, interrupted)| (key.clone(), UnitState::Active { notes: vec![interrupted.problem.clone()] }));
        over.chain(sessions).collect()
    }

    /// Sessions whose capture has not ended yet.
    pub(crate) fn unfinished(&self) -> BTreeSet<UnitKey> {
        let capturing =
            self.sessions.iter().filter(|(_, planned)| planned.session.status().phase == SessionPhase::Capturing);
        capturing.map(|(key, _)| key.clone()).collect()
    }

    /// Rows so far, and what was lost.
    pub(crate) fn counts(&self) -> BTreeMap<UnitKey, UnitCount> {
        let count = |status: RequestSessionStatus| UnitCount { records: status.rows, lost: status.lost };
        self.sessions.iter().map(|(key, planned)| (key.clone(), count(planned.session.status()))).collect()
    }

    /// What is known of the requests of each session.
    pub(crate) fn request_states(&self) -> BTreeMap<UnitKey, RequestsState> {
        self.sessions.iter().map(|(key, planned)| (key.clone(), planned.session.status().state)).collect()
    }

    /// Ends every session, after `timeout` at the latest.
    pub(crate) async fn shut_down(&mut self, timeout: Duration) {
        join_all(self.sessions.values_mut().map(|planned| planned.session.shut_down(timeout))).await;
        self.sessions.clear();
        self.interrupted.clear();
    }
}

fn state(status: RequestSessionStatus, notes: impl IntoIterator<Item = Problem>) -> UnitState {
    match (status.phase, status.problem) {
        (SessionPhase::Failed, Some(problem)) => UnitState::Refused(problem),
        (_, problem) => {
            let problems = problem.into_iter().chain(status.tls_problem);
            UnitState::Active { notes: problems.chain(notes).collect() }
        }
    }
}
