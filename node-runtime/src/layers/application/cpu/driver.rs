//! The task of one CPU profile. It answers the worker's questions as far as they concern the profile, which the worker cannot
//! find out itself, and stores the result as far as it is complete.

use std::{fs::File, io, os::fd::OwnedFd, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval},
};
use trilobite_crds::node::RESULT_WITHIN;
use trilobite_worker_wire::{Message, MessageError, SampleCounts};

use super::{
    deliver::{ProfileCounts, ResultWriter, Results},
    enrich::{Decision, MembershipResolver},
    incoming_result::IncomingResult,
    loss_accounting::LossAccounting,
    programs::Sampler,
    sent_mappings::{SentMappings, send_unknown_process},
    spec::{ProfileTarget, SessionSpec, SessionStatus},
};
use crate::{
    layers::{
        application::{
            budget::worker_bytes,
            process_inspector::{InspectionRequest, ProcessInspector},
        },
        deadline::{deadline_at, sleep_until_some},
        worker::WorkerProcess,
    },
    loss::Ledger,
    problem::Problem,
};

/// Workers that may die before a profile is given up.
const WORKER_DEATHS_MAX: u64 = 3;
/// Interval at which counters are read and waiting questions are reviewed.
const TICK: Duration = Duration::from_millis(500);
/// Ticks between two updates of the progress marker on disk.
const MARKER_TICKS: u64 = 4;

pub(super) struct Driver {
    spec: SessionSpec,
    sampler: Sampler,
    ring_bytes: u32,
    worker: WorkerProcess,
    sent: SentMappings,
    membership: MembershipResolver,
    inspector: ProcessInspector,
    results: Results,
    status: Arc<Mutex<SessionStatus>>,
    counts: SampleCounts,
    losses: LossAccounting,
    worker_deaths: u64,
    started: Instant,
    ticks: u64,
    phase: Phase,
}

enum Phase {
    Sampling,
    /// Sampling has ended; the worker sends its result.
    Finishing {
        deadline: Instant,
        result: Box<IncomingResult>,
    },
}

enum Step {
    Continue,
    /// The result has been received.
    Finished,
}

impl Driver {
    /// Starts the worker.
    pub(super) fn new(
        spec: SessionSpec,
        sampler: Sampler,
        ring_bytes: u32,
        target: ProfileTarget,
        results: Results,
        ledger: Ledger,
        status: Arc<Mutex<SessionStatus>>,
    ) -> Result<Self, Problem> {
        let worker = start_worker(&spec, &sampler, ring_bytes)
            .map_err(|error| Problem::WorkerFailed { detail: error.to_string() })?;
        status.lock().worker = worker.pid();
        let previously_lost = results.start_profile(&spec.name, spec.expires_at);
        if previously_lost > 0 {
            let detail =
                format!("the agent restarted; {previously_lost} samples of the previous agent are lost and counted");
            status.lock().problem = Some(Problem::WorkerFailed { detail });
        }
        Ok(Self {
            losses: LossAccounting::new(ledger, spec.source.clone(), previously_lost),
            inspector: ProcessInspector::new(spec.cgroup_root.clone()),
            membership: MembershipResolver::new(target),
            spec,
            sampler,
            ring_bytes,
            worker,
            sent: SentMappings::default(),
            results,
            status,
            counts: SampleCounts::default(),
            worker_deaths: 0,
            started: Instant::now(),
            ticks: 0,
            phase: Phase::Sampling,
        })
    }

    /// Drives the profile to its end, and stores its result.
    pub(super) async fn drive(mut self, stop: Arc<Notify>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let expiry = deadline_at(self.spec.expires_at);
        let problem = loop {
            let (deadline, sent_files) = (self.phase.deadline(), self.sent.files());
            let step = tokio::select! {
                received = self.worker.receive() => match received {
                    Ok(message) => self.handle(message),
                    Err(gone) => self.replace_worker(&gone.to_string()),
                },
                (image, process) = self.inspector.next_result(sent_files) => {
                    let sent = self.sent.send(&mut self.worker, image, process);
                    sent.map(|()| Step::Continue).map_err(|error| self.not_sent(&error))
                }
                _ = tick.tick() => self.on_tick(),
                () = sleep_until_some(expiry), if deadline.is_none() => self.finish_sampling(),
                () = stop.notified(), if deadline.is_none() => self.finish_sampling(),
                () = sleep_until_some(deadline), if deadline.is_some() => Err(self.result_is_late()),
            };
            match step {
                Ok(Step::Continue) => {}
                Ok(Step::Finished) => break None,
                Err(problem) => break Some(problem),
            }
        };
        self.conclude(problem);
    }

    fn handle(&mut self, message: Message) -> Result<Step, Problem> {
        let now = self.now_ns();
        match message {
            Message::Ready => {}
            Message::MappingsWanted { image, cgroup } => {
                let decision = self.membership.decide_inspection(InspectionRequest { image, cgroup }, now);
                self.answer(decision)?;
            }
            Message::MembershipWanted { cgroup } => {
                let decision = self.membership.decide_cgroup(cgroup, now);
                self.answer(decision)?;
            }
            Message::CgroupNameWanted { cgroup } => {
                let decision = self.membership.name_cgroup(cgroup, now);
                self.answer(decision)?;
            }
            Message::Progress(counts) => {
                self.counts = counts;
                self.publish();
            }
            Message::FoldedChunk(bytes) => self.write_result(|writer| writer.write_folded(&bytes))?,
            Message::FoldedComplete(counts) => {
                self.write_result(ResultWriter::complete_folded)?;
                if let Phase::Finishing { result, .. } = &mut self.phase {
                    result.text_is_complete(counts);
                }
            }
            Message::ReadingFile(name) => {
                if let Phase::Finishing { result, .. } = &mut self.phase {
                    result.worker_reads(name);
                }
            }
            Message::SvgChunk(bytes) => self.write_result(|writer| writer.write_svg(&bytes))?,
            Message::Done(counts) => {
                self.counts = counts;
                return Ok(Step::Finished);
            }
            Message::Failed(error) => return self.replace_worker(&error),
            // The agent's own messages, and those of workers with another job.
            _ => return self.replace_worker("it sent a message that is not for it to send"),
        }
        Ok(Step::Continue)
    }

    /// The worker has died or hangs, and its samples are lost. While samples are taken another worker is started, up to a limit; afterwards
    /// there is nothing that another could start from.
    fn replace_worker(&mut self, error: &str) -> Result<Step, Problem> {
        let exit = self.worker.kill().to_owned();
        self.worker_deaths += 1;
        let problem = self.worker_problem(&format!("{error} ({exit})"));
        tracing::warn!(profile = %self.spec.name, deaths = self.worker_deaths, "{}", problem.message());
        if self.worker_deaths > WORKER_DEATHS_MAX || matches!(self.phase, Phase::Finishing { .. }) {
            return Err(problem);
        }
        self.losses.add_dead_worker(&self.counts);
        self.counts = SampleCounts::default();
        self.membership.clear();
        self.inspector.clear();
        self.sent = SentMappings::default();
        self.publish();
        self.worker = start_worker(&self.spec, &self.sampler, self.ring_bytes)
            .map_err(|error| self.worker_problem(&error.to_string()))?;
        let mut status = self.status.lock();
        (status.worker, status.problem) = (self.worker.pid(), Some(problem));
        Ok(Step::Continue)
    }

    fn result_is_late(&mut self) -> Problem {
        let exit = self.worker.kill().to_owned();
        self.worker_problem(&format!("it did not make its result in time ({exit})"))
    }

    fn on_tick(&mut self) -> Result<Step, Problem> {
        // The result has a time limit of its own.
        if matches!(self.phase, Phase::Sampling)
            && let Err(silent) = self.worker.check_silence(TICK)
        {
            return self.replace_worker(&silent.to_string());
        }
        let decisions = self.membership.review(self.now_ns());
        self.answer(decisions)?;
        self.publish();
        if self.ticks.is_multiple_of(MARKER_TICKS)
            && let Some(expires_at) = self.spec.expires_at
        {
            let samples = self.losses.lost_if_agent_dies(&self.sampler);
            if let Err(error) = self.results.write_marker(&self.spec.name, expires_at, samples) {
                tracing::debug!(profile = %self.spec.name, %error, "the progress marker could not be written");
            }
        }
        self.ticks += 1;
        let mut status = self.status.lock();
        if status.problem.is_none() && self.inspector.given_up() > 0 {
            let detail = format!("{} did not answer in time and have no function names", self.inspector.given_up());
            status.problem = Some(Problem::LoadFailed { what: "inspecting sampled processes".to_owned(), detail });
        }
        Ok(Step::Continue)
    }

    fn answer(&mut self, decisions: impl IntoIterator<Item = Decision>) -> Result<(), Problem> {
        for decision in decisions {
            let sent = match decision {
                Decision::Cgroup(answer) => self.worker.send(&answer.into(), Vec::new()),
                Decision::Name { cgroup, name } => self.worker.send(&Message::CgroupName { cgroup, name }, Vec::new()),
                Decision::Inspect(request) if self.inspector.request(request) => Ok(()),
                Decision::Inspect(InspectionRequest { image, .. }) | Decision::Refuse(image) => {
                    send_unknown_process(&mut self.worker, image)
                }
            };
            sent.map_err(|error| self.not_sent(&error))?;
        }
        Ok(())
    }

    /// Ends the sampling, and asks the worker for its result.
    fn finish_sampling(&mut self) -> Result<Step, Problem> {
        self.sampler.stop();
        self.phase = Phase::Finishing { deadline: Instant::now() + RESULT_WITHIN, result: Box::default() };
        let lost = self.losses.previously_lost() + self.sampler.counts().1;
        let names = self.membership.finish_names();
        self.answer(names)?;
        let pods = self.membership.selected_pods();
        let (target, cpu_limit_millis) = match pods.as_slice() {
            [] => (self.spec.name.clone(), None),
            [only] => (only.name.clone(), only.cpu_limit_millis),
            [first, rest @ ..] => (format!("{} and {} more", first.name, rest.len()), None),
        };
        let meta = {
            let mut status = self.status.lock();
            let meta = &mut status.meta;
            (meta.ended, meta.cpu_limit_millis) = (Timestamp::now(), cpu_limit_millis);
            meta.pods = pods.into_iter().map(|pod| pod.name).collect();
            meta.clone()
        };
        let finish = Message::Finish {
            target,
            node: self.spec.node.clone(),
            frequency_hz: meta.frequency_hz,
            sampled_ms: meta.sampled_ms(),
            cpu_limit_millis,
            lost,
        };
        self.worker.send(&finish, Vec::new()).map_err(|error| self.not_sent(&error))?;
        Ok(Step::Continue)
    }

    fn write_result(&mut self, write: impl FnOnce(&mut ResultWriter) -> io::Result<()>) -> Result<(), Problem> {
        // A result before the end would only fill the disk.
        let Phase::Finishing { result, .. } = &mut self.phase else {
            return Err(self.worker_problem("it sent a result before it was asked to"));
        };
        result.writer(|| self.results.begin(&self.spec.name)).and_then(write).map_err(not_stored)
    }

    /// Stores the result, or the metadata alone. Sampler and worker have ended when this returns.
    fn conclude(mut self, problem: Option<Problem>) {
        self.sampler.stop();
        self.worker.kill();
        let mut result = match std::mem::replace(&mut self.phase, Phase::Sampling) {
            Phase::Sampling => Box::default(),
            Phase::Finishing { result, .. } => result,
        };
        if problem.is_some() {
            // All samples are in the last complete text, or lost.
            self.counts = result.abandon();
        }
        let lost = self.losses.conclude(&self.sampler, &self.counts);
        let mut meta = {
            let mut status = self.status.lock();
            status.meta.counts = ProfileCounts::new(&self.counts, lost, self.worker_deaths);
            if status.meta.ended <= status.meta.started {
                status.meta.ended = Timestamp::now();
            }
            status.problem = problem.or(status.problem.take());
            status.meta.problem = status.problem.as_ref().map(Problem::message).unwrap_or_default();
            status.meta.clone()
        };
        let writer = result.into_writer(|| self.results.begin(&self.spec.name));
        let stored = writer.and_then(|writer| self.results.store(writer, meta.clone(), Timestamp::now()));
        self.results.remove_marker(&self.spec.name);
        let (mut store_problem, mut kept_in_memory) = (None, None);
        match stored {
            Ok((stored, None)) => meta = stored,
            Ok((stored, Some(error))) => {
                tracing::warn!(profile = %self.spec.name, %error, "the result could not be written; it is kept in memory");
                meta = stored;
                kept_in_memory = Some(Problem::LoadFailed {
                    what: "writing a profile".into(),
                    detail: format!("{error}; it is kept in memory until it can be written, and can be fetched"),
                });
            }
            Err(error) => {
                tracing::warn!(profile = %self.spec.name, %error, "the result could not be stored");
                let problem = not_stored(error);
                meta.problem = problem.message();
                store_problem = Some(problem);
            }
        }
        let status = self.status.clone();
        drop(self);
        let mut status = status.lock();
        status.meta = meta;
        status.stored = store_problem.is_none();
        status.problem = store_problem.or(status.problem.take());
        status.kept_in_memory = kept_in_memory;
        (status.worker, status.finished) = (0, true);
    }

    fn publish(&mut self) {
        let lost = self.losses.publish(&self.sampler, &self.counts);
        self.status.lock().meta.counts = ProfileCounts::new(&self.counts, lost, self.worker_deaths);
    }

    fn not_sent(&self, error: &MessageError) -> Problem {
        self.worker_problem(&error.to_string())
    }

    /// What happened to the worker, and what this means for the profile.
    fn worker_problem(&self, error: &str) -> Problem {
        let detail = match &self.phase {
            Phase::Sampling => IncomingResult::default().describe_failure(error),
            Phase::Finishing { result, .. } => result.describe_failure(error),
        };
        Problem::WorkerFailed { detail }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Phase {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Sampling => None,
            Self::Finishing { deadline, .. } => Some(*deadline),
        }
    }
}

/// Starts a worker with the ring and the table of kernel symbols.
fn start_worker(spec: &SessionSpec, sampler: &Sampler, ring_bytes: u32) -> io::Result<WorkerProcess> {
    // The file shows addresses only if the process that opened it has CAP_SYSLOG.
    let kallsyms = File::open("/proc/kallsyms").ok();
    let memory_bytes = worker_bytes(spec.budget_bytes, ring_bytes);
    let job = Message::Start { ring_bytes, memory_bytes, kallsyms: kallsyms.is_some() };
    let mut fds = vec![sampler.ring().try_clone_to_owned()?];
    fds.extend(kallsyms.map(OwnedFd::from));
    WorkerProcess::start(&spec.worker, &job, fds)
}

fn not_stored(error: io::Error) -> Problem {
    Problem::LoadFailed { what: "storing a profile".into(), detail: error.to_string() }
}
