//! The task of one session of requests: it answers the worker's questions about cgroups, writes its verdicts into the kernel, passes
//! readers' questions on, and keeps the status. When the capture ends, the worker stays for a while with its rows.

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use trilobite_crds::{app_profile::RequestRole, node::TlsNotVisible};
use trilobite_worker_wire::{Message, MessageError, RequestSettings, StreamVerdict, VerdictKind};

use super::{
    programs::Verdict,
    queries::Queries,
    recording::RecordingWriter,
    rows::{RowsQuestion, RowsRegistration},
    slot::Slot,
    spec::{Command, RequestSessionSpec, RequestSessionStatus, SessionPhase},
    totals::RequestTotals,
};
use crate::{
    kernel::{clock, memory},
    layers::{
        application::{
            budget::worker_bytes,
            membership::{CgroupAnswer, CgroupQuestions},
            node_budget::Lease,
            selected_pods::SelectedPods,
            tls::TlsTargets,
        },
        deadline::{deadline_at, sleep_until_some},
        worker::WorkerProcess,
    },
    loss::Ledger,
    problem::Problem,
};

/// Workers that may die before a session is given up.
const WORKER_DEATHS_MAX: u32 = 3;
/// Earlier deaths are forgotten after this time without one: a session without an end is not given up for a death a month.
const DEATHS_FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// Interval at which counters are read and waiting questions are reviewed.
const TICK: Duration = Duration::from_millis(500);
/// How long a paused question of a reader waits until it is looked at again.
const RESUME_INTERVAL: Duration = Duration::from_millis(20);
/// How often the status of a session without an end changes, once it is that old: each change is a write to the API server.
const SLOW_STATUS: Duration = Duration::from_secs(60);
/// How long a worker may take to read what is left in the ring, once the capture has ended.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What a session owns.
pub(super) struct RequestDriver {
    spec: RequestSessionSpec,
    /// None once the capture has ended, and where TLS is not wanted. Dropped before the slot, whose maps its programs use.
    tls: Option<TlsTargets>,
    /// None once the capture has ended. Dropped before the pods, whose scope its programs ask for.
    slot: Option<Slot>,
    pods: SelectedPods,
    _lease: Lease,
    ring_bytes: u32,
    worker: WorkerProcess,
    cgroups: CgroupQuestions,
    questions: mpsc::Receiver<RowsQuestion>,
    _registration: RowsRegistration,
    queries: Queries,
    totals: RequestTotals,
    status: Arc<Mutex<RequestSessionStatus>>,
    worker_deaths: u32,
    last_death: Instant,
    /// As of the end of the capture, which says why there are no rows.
    tls_not_visible: Vec<TlsNotVisible>,
    started: Instant,
    published: Instant,
    phase: Phase,
}

enum Phase {
    Capturing,
    /// The worker keeps its rows until then.
    Retaining {
        until: Instant,
    },
}

enum Step {
    Continue,
    End,
}

/// What a driver is made of, beside its worker.
pub(super) struct DriverParts {
    pub(super) spec: RequestSessionSpec,
    pub(super) slot: Slot,
    pub(super) tls: Option<TlsTargets>,
    pub(super) pods: SelectedPods,
    pub(super) lease: Lease,
    pub(super) ring_bytes: u32,
    pub(super) questions: mpsc::Receiver<RowsQuestion>,
    pub(super) registration: RowsRegistration,
    pub(super) ledger: Ledger,
    pub(super) status: Arc<Mutex<RequestSessionStatus>>,
}

impl RequestDriver {
    /// Starts the worker.
    pub(super) fn new(parts: DriverParts) -> Result<Self, Problem> {
        let DriverParts { spec, slot, tls, pods, lease, ring_bytes, questions, registration, ledger, status } = parts;
        let worker = start_worker(&spec, &slot, ring_bytes).map_err(not_started)?;
        status.lock().worker = worker.pid();
        let mut driver = Self {
            totals: RequestTotals::new(ledger, spec.source.clone(), ring_bytes),
            spec,
            tls,
            slot: Some(slot),
            pods,
            _lease: lease,
            ring_bytes,
            worker,
            cgroups: CgroupQuestions::new(),
            questions,
            _registration: registration,
            queries: Queries::default(),
            status,
            worker_deaths: 0,
            last_death: Instant::now(),
            tls_not_visible: Vec::new(),
            started: Instant::now(),
            published: Instant::now(),
            phase: Phase::Capturing,
        };
        driver.publish();
        Ok(driver)
    }

    /// Drives the session to its end. Nothing of it is left when this returns.
    pub(super) async fn drive(mut self, mut commands: watch::Receiver<Command>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let expiry = deadline_at(self.spec.expires_at);
        let outcome = loop {
            let (is_capturing, retained_until) = match &self.phase {
                Phase::Capturing => (true, None),
                Phase::Retaining { until } => (false, Some(*until)),
            };
            let has_paused = self.queries.has_paused();
            let step = tokio::select! {
                received = self.worker.receive() => match received {
                    Ok(message) => self.handle(message),
                    Err(gone) => self.replace_worker(&gone.to_string()),
                },
                Some(question) = self.questions.recv() => self.ask(question),
                _ = tick.tick() => self.on_tick(),
                () = sleep(RESUME_INTERVAL), if has_paused => self.resume_queries(),
                () = sleep_until_some(expiry), if is_capturing => self.end_capture().await,
                () = sleep_until_some(retained_until) => Ok(Step::End),
                changed = commands.changed() => {
                    // The layer is gone, and wants no session.
                    let command = if changed.is_ok() { *commands.borrow_and_update() } else { Command::End };
                    match command {
                        Command::Capture => Ok(Step::Continue),
                        Command::Retain if is_capturing => self.end_capture().await,
                        Command::Retain => Ok(Step::Continue),
                        // What the worker still has of a recording is written first.
                        Command::End if is_capturing && self.spec.recording.is_some() => {
                            self.end_capture().await.map(|_| Step::End)
                        }
                        Command::End => Ok(Step::End),
                    }
                }
            };
            match step {
                Ok(Step::Continue) => {}
                Ok(Step::End) => break None,
                Err(problem) => break Some(problem),
            }
        };
        self.conclude(outcome);
    }

    fn handle(&mut self, message: Message) -> Result<Step, Problem> {
        match message {
            Message::Ready => {}
            Message::MembershipWanted { cgroup } => {
                let membership = self.pods.membership(cgroup);
                let answer = self.cgroups.decide(cgroup, membership, clock::boot_ns());
                self.answer(answer)?;
            }
            Message::Verdicts(verdicts) => {
                if let Some(slot) = &self.slot {
                    verdicts.iter().for_each(|verdict| slot.set_verdict(verdict.stream, kernel_verdict(verdict)));
                }
            }
            Message::RequestProgress(counts) => {
                self.totals.set_worker(counts);
                self.publish();
            }
            Message::RowsChunk { id, rows } => {
                let cancel = self.queries.receive_rows(id, rows);
                self.send(cancel)?;
            }
            Message::RowsComplete { id, newest_sequence, evicted } => {
                self.queries.complete(id, newest_sequence, evicted, self.totals.oldest_row_ns());
            }
            Message::RecordedChunk(chunk) => self.append_recorded(&chunk),
            Message::Failed(error) => return self.replace_worker(&error),
            // The agent's own messages, and those of workers with another job.
            _ => return self.replace_worker("it sent a message that is not for it to send"),
        }
        Ok(Step::Continue)
    }

    fn append_recorded(&self, chunk: &[u8]) {
        if let Some(recording) = &self.spec.recording {
            recording.append(chunk);
        }
    }

    fn ask(&mut self, question: RowsQuestion) -> Result<Step, Problem> {
        let wanted = self.queries.ask(question, clock::boot_ns());
        self.send(wanted)?;
        Ok(Step::Continue)
    }

    fn resume_queries(&mut self) -> Result<Step, Problem> {
        let messages = self.queries.review();
        self.send(messages)?;
        Ok(Step::Continue)
    }

    fn on_tick(&mut self) -> Result<Step, Problem> {
        if let Err(silent) = self.worker.check_silence(TICK) {
            return self.replace_worker(&silent.to_string());
        }
        let Self { pods, cgroups, .. } = self;
        let answers = cgroups.review(clock::boot_ns(), |cgroup| pods.membership(cgroup));
        self.answer(answers)?;
        self.publish();
        self.resume_queries()
    }

    fn answer(&mut self, answers: impl IntoIterator<Item = CgroupAnswer>) -> Result<(), Problem> {
        self.send(answers.into_iter().map(Message::from))
    }

    fn send(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<(), Problem> {
        for message in messages {
            self.worker.send(&message, Vec::new()).map_err(|error: MessageError| Problem::RowsLost {
                detail: format!("a message to the profile's worker process: {error}"),
                is_over: true,
            })?;
        }
        Ok(())
    }

    /// The worker has died or hangs, and its rows are lost. While the capture lasts another is started, up to a limit; afterwards there is
    /// nothing that another could start from.
    fn replace_worker(&mut self, error: &str) -> Result<Step, Problem> {
        let exit = self.worker.kill().to_owned();
        let is_first = self.last_death.elapsed() > DEATHS_FORGOTTEN_AFTER;
        self.worker_deaths = if is_first { 1 } else { self.worker_deaths + 1 };
        self.last_death = Instant::now();
        let rows = self.totals.add_dead_worker();
        let slot = self.slot.as_ref().filter(|_| self.worker_deaths <= WORKER_DEATHS_MAX);
        let detail = format!("the worker process of the profile ended with {rows} rows: {error} ({exit})");
        let problem = Problem::RowsLost { detail, is_over: slot.is_none() };
        tracing::warn!(profile = %self.spec.name, deaths = self.worker_deaths, "{}", problem.message());
        self.queries.end_all(&problem.message());
        self.cgroups.clear();
        if let Some(recording) = self.spec.recording.take() {
            recording.finish(Some(&problem.message()));
        }
        let Some(slot) = slot else { return Err(problem) };
        self.worker = start_worker(&self.spec, slot, self.ring_bytes).map_err(not_started)?;
        {
            let mut status = self.status.lock();
            (status.worker, status.problem) = (self.worker.pid(), Some(problem));
        }
        self.publish();
        Ok(Step::Continue)
    }

    /// Ends the capture in the kernel. The worker reads what is left in the ring, and keeps its rows.
    async fn end_capture(&mut self) -> Result<Step, Problem> {
        self.publish();
        drop(self.tls.take());
        // Programs, maps and ring of the slot go; the worker has mapped the ring.
        drop(self.slot.take());
        self.pods.release();
        self.totals.end_capture();
        self.send([Message::StopCapture])?;
        let retained = Duration::from_secs(60) * self.spec.wanted.retain_after_end_minutes;
        if self.spec.recording.is_some() || retained.is_zero() {
            // What was in flight is in the counts.
            self.receive_last_counts().await;
        }
        if retained.is_zero() {
            return Ok(Step::End);
        }
        memory::release_unused();
        self.phase = Phase::Retaining { until: Instant::now() + retained };
        self.publish();
        Ok(Step::Continue)
    }

    /// Waits until the worker has read the ring: it then sends the rest of a recording, and its counts.
    async fn receive_last_counts(&mut self) {
        let end = Instant::now() + DRAIN_TIMEOUT;
        while let Ok(Ok(message)) = tokio::time::timeout_at(end, self.worker.receive()).await {
            match message {
                Message::RequestProgress(counts) => {
                    self.totals.set_worker(counts);
                    // Counts of before may still have been on their way.
                    if self.spec.recording.as_ref().is_none_or(RecordingWriter::has_ended) {
                        return;
                    }
                }
                Message::RecordedChunk(chunk) => self.append_recorded(&chunk),
                _ => {}
            }
        }
    }

    fn conclude(mut self, problem: Option<Problem>) {
        self.publish();
        self.queries.end_all("the profile has ended");
        let has_failed = problem.is_some() && self.slot.is_some();
        let status = Arc::clone(&self.status);
        drop(self);
        memory::release_unused();
        let mut status = status.lock();
        status.phase = if has_failed { SessionPhase::Failed } else { SessionPhase::Ended };
        (status.state.memory_bytes, status.state.oldest_row, status.worker) = (0, None, 0);
        status.problem = problem.or(status.problem.take());
    }

    fn publish(&mut self) {
        if let Some(slot) = &self.slot {
            self.totals.set_kernel(slot.counts());
        }
        let (rows, lost) = (self.totals.rows(), self.totals.record_losses());
        let is_standing = self.spec.expires_at.is_none() && self.started.elapsed() > SLOW_STATUS;
        if is_standing && self.published.elapsed() < SLOW_STATUS {
            return;
        }
        self.published = Instant::now();
        let mut state = self.totals.state(self.pods.count(), clock::wall_time);
        let mut tls_problem = None;
        if let Some(tls) = &self.tls {
            (state.tls_targets, self.tls_not_visible) = (tls.count(), tls.not_visible());
            tls_problem = tls.problem();
        }
        state.tls_not_visible.clone_from(&self.tls_not_visible);
        let mut status = self.status.lock();
        (status.state, status.rows, status.lost, status.tls_problem) = (state, rows, lost, tls_problem);
        status.phase = match self.phase {
            Phase::Capturing => SessionPhase::Capturing,
            Phase::Retaining { .. } => SessionPhase::Retaining,
        };
    }
}

fn not_started(error: io::Error) -> Problem {
    Problem::LoadFailed { what: "starting the worker".into(), detail: error.to_string() }
}

fn kernel_verdict(verdict: &StreamVerdict) -> Verdict {
    match verdict.kind {
        VerdictKind::Parse { sent, received } => Verdict::Parse { sent, received },
        VerdictKind::Lengths => Verdict::Lengths,
        VerdictKind::Ignore => Verdict::Ignore,
    }
}

fn start_worker(spec: &RequestSessionSpec, slot: &Slot, ring_bytes: u32) -> io::Result<WorkerProcess> {
    let memory_bytes = worker_bytes(spec.budget_bytes, ring_bytes);
    let recording = spec.recording.as_ref().map(RecordingWriter::settings);
    let job = Message::StartRequests { ring_bytes, memory_bytes, settings: settings(spec), recording };
    WorkerProcess::start(&spec.worker, &job, vec![slot.ring()?])
}

fn settings(spec: &RequestSessionSpec) -> RequestSettings {
    let wanted = &spec.wanted;
    let has_role = |role| wanted.roles.is_empty() || wanted.roles.contains(&role);
    RequestSettings {
        protocols: wanted.protocols.iter().map(ToString::to_string).collect(),
        client: has_role(RequestRole::Client),
        server: has_role(RequestRole::Server),
        slower_than_ns: wanted.slower_than_ms.saturating_mul(1_000_000),
        only_errors: wanted.only_errors,
        payload_bytes: wanted.payload_bytes,
        keep_literals: wanted.keep_literals,
        redact_headers: wanted.redact_headers.clone(),
        retain_ns: u64::from(wanted.retain_minutes).saturating_mul(60_000_000_000),
    }
}
