//! One session of requests: a slot in the kernel, a worker, and the task that drives both.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use trilobite_crds::app_profile::TlsCapture;

use super::{
    driver::{DriverParts, RequestDriver},
    programs::SlotSpec,
    rows::{RequestRows, RowSource},
    slot::SharedCapture,
    spec::{Command, RequestSessionSpec, RequestSessionStatus, SessionPhase},
};
use crate::{
    kernel::Facts,
    layers::application::{
        budget::request_ring_bytes,
        node_budget::Lease,
        selected_pods::SelectedPods,
        tls::{TlsProbes, TlsTargets, TlsTargetsSpec},
    },
    loss::Ledger,
    problem::Problem,
};

/// Questions of readers that wait for the driver.
const QUESTIONS_MAX: usize = 16;

/// A session that was started.
pub(super) struct RequestSession {
    status: Arc<Mutex<RequestSessionStatus>>,
    command: watch::Sender<Command>,
    /// None once its end was awaited.
    task: Option<JoinHandle<()>>,
}

/// What sessions share.
pub(super) struct Surroundings<'a> {
    pub(super) capture: &'a SharedCapture,
    pub(super) rows: &'a RequestRows,
    pub(super) ledger: &'a Ledger,
    pub(super) facts: &'a Arc<Facts>,
    pub(super) probes: &'a TlsProbes,
}

impl RequestSession {
    /// Starts a session; if any part of it is refused, nothing stays loaded.
    pub(super) fn start(
        spec: RequestSessionSpec,
        generation: u32,
        pods: SelectedPods,
        lease: Lease,
        surroundings: &Surroundings<'_>,
    ) -> Result<Self, Problem> {
        let Surroundings { capture, rows, ledger, facts, probes } = *surroundings;
        let node_cgroup = facts.node_cgroup.map_or((0, 0), |cgroup| (cgroup, facts.node_cgroup_level));
        let ring_bytes = request_ring_bytes(spec.budget_bytes);
        let (scope, maps) = pods.selection("capturing the requests of the selected pods")?;
        let slot = SlotSpec { scope: Some(scope), ring_bytes, ports: &spec.wanted.ports, generation };
        let slot = capture.open(maps, node_cgroup, &slot)?;
        let tls = (spec.wanted.tls == TlsCapture::Auto).then(|| {
            TlsTargets::start(TlsTargetsSpec {
                identity: pods.identity().clone(),
                scope: pods.scope().clone(),
                facts: Arc::clone(facts),
                worker: spec.worker.clone(),
                capture: capture.clone(),
                slot: slot.number(),
                probes: probes.clone(),
            })
        });
        let status = Arc::new(Mutex::new(RequestSessionStatus::default()));
        let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
        let source = RowSource { name: spec.name.clone(), namespace: spec.namespace.clone() };
        let registration = rows.register(source, sender);
        let driver = RequestDriver::new(DriverParts {
            spec,
            slot,
            tls,
            pods,
            lease,
            ring_bytes,
            questions,
            registration,
            ledger: ledger.clone(),
            status: Arc::clone(&status),
        })?;
        let (command, commands) = watch::channel(Command::Capture);
        let task = tokio::spawn(driver.drive(commands));
        Ok(Self { status, command, task: Some(task) })
    }

    /// Ends the capture and keeps the rows for as long as was asked, or ends everything.
    pub(super) fn send(&self, command: Command) {
        self.command.send_if_modified(|current| {
            let differs = *current != command && *current != Command::End;
            if differs {
                *current = command;
            }
            differs
        });
    }

    /// Ends everything, after the timeout at the latest. Its status stays.
    pub(super) async fn shut_down(&mut self, within: Duration) {
        self.send(Command::End);
        let Some(mut task) = self.task.take() else { return };
        if timeout(within, &mut task).await.is_err() {
            task.abort();
            // An error is the abortion, or a panic of the task; both drop everything of the session.
            let _ = task.await;
            self.status.lock().phase = SessionPhase::Ended;
        }
    }

    pub(super) fn status(&self) -> RequestSessionStatus {
        self.status.lock().clone()
    }
}
