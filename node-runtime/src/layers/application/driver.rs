//! The task of one profile, between its worker and everything that the worker is not allowed to see. What the worker says
//! is answered as far as it concerns the profile, and kept as far as it is whole.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use trilobite_crds::node::RESULT_WITHIN;

use super::{
    looks::{Looks, Question},
    making::Making,
    results::{Counted, Results},
    sampler::Sampler,
    session::{Belongs, Live, SessionSpec, Subject},
    tally::Tally,
    worker_process::{Heard, WorkerProcess, memory},
};
use crate::{
    report::{Ledger, Problem},
    worker::frame::{Counts, FrameError, ToAgent, ToWorker},
};

/// Workers that may die before a profile is given up.
pub const WORKER_DEATHS_MAX: u64 = 3;
/// How often counters are read and open questions are asked again.
const TICK: Duration = Duration::from_millis(500);
/// Ticks from one mark on disk to the next.
const MARK_EVERY: u64 = 4;
/// How long a cgroup may stay unknown before its samples are given up.
const UNDECIDED_FOR: Duration = Duration::from_secs(5);
/// Questions of a worker that may be open, of either kind.
const OPEN_MAX: usize = 1024;

pub(super) struct Driver {
    spec: SessionSpec,
    sampler: Sampler,
    ring: u32,
    worker: WorkerProcess,
    subject: Subject,
    results: Results,
    live: Arc<Mutex<Live>>,
    counts: Counts,
    tally: Tally,
    open: Vec<(u64, Instant)>,
    looks: Looks,
    /// Looks at processes of cgroups that are not known yet.
    unowned: Vec<(Question, Instant)>,
    deaths: u64,
    making: Option<Making>,
    /// Sums of the last text that was whole, and how many have been.
    whole: Option<Counts>,
    texts: u32,
    /// The file that the worker said it reads.
    reading: Option<String>,
    ticks: u64,
    finish_by: Option<Instant>,
}

impl Driver {
    /// Starts the worker.
    pub(super) fn new(
        spec: SessionSpec,
        sampler: Sampler,
        ring: u32,
        subject: Subject,
        results: Results,
        ledger: Ledger,
        live: Arc<Mutex<Live>>,
    ) -> Result<Self, Problem> {
        let worker =
            start_worker(&spec, &sampler, ring).map_err(|error| Problem::WorkerFailed { detail: error.to_string() })?;
        lock(&live).worker = worker.pid();
        let before = results.starts(&spec.name, spec.expires_at);
        if before > 0 {
            let detail = format!("the agent restarted; {before} samples of the one before it are lost and counted");
            lock(&live).problem = Some(Problem::WorkerFailed { detail });
        }
        Ok(Self {
            tally: Tally::new(ledger, spec.source.clone(), before),
            looks: Looks::new(spec.cgroups.clone()),
            spec,
            sampler,
            ring,
            worker,
            subject,
            results,
            live,
            counts: Counts::default(),
            open: Vec::new(),
            unowned: Vec::new(),
            deaths: 0,
            making: None,
            whole: None,
            texts: 0,
            reading: None,
            ticks: 0,
            finish_by: None,
        })
    }

    pub(super) async fn run(mut self, stop: Arc<Notify>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = self.end();
        let outcome = loop {
            let (finishing, known) = (self.finish_by, self.worker.known());
            let step = tokio::select! {
                heard = self.worker.hear() => match heard {
                    Heard::Frame(frame) => self.heard(frame),
                    Heard::Gone(why) => self.gone(&why),
                },
                (image, found) = self.looks.answer(known) => {
                    self.worker.tell_code(image, found).map(|()| false).map_err(|error| self.untold(&error))
                }
                _ = tick.tick() => self.tick(),
                () = until(end), if finishing.is_none() => self.finish(),
                () = stop.notified(), if finishing.is_none() => self.finish(),
                () = until(finishing), if finishing.is_some() => Err(self.late()),
            };
            match step {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(problem) => break Err(problem),
            }
        };
        self.conclude(outcome.err());
    }

    fn heard(&mut self, frame: ToAgent) -> Result<bool, Problem> {
        match frame {
            ToAgent::Ready => {}
            ToAgent::WantMappings { image, cgroup } => self.look(Question { image, cgroup }, Instant::now())?,
            ToAgent::WantOwner { cgroup } => self.owner(cgroup)?,
            ToAgent::Progress(counts) => {
                self.counts = counts;
                self.publish();
            }
            ToAgent::Folded(bytes) => self.write(|making| making.folded(&bytes))?,
            ToAgent::Whole(counts) => {
                self.write(Making::whole)?;
                self.whole = Some(counts);
                self.texts += 1;
            }
            ToAgent::Reading(name) => self.reading = Some(name),
            ToAgent::Svg(bytes) => self.write(|making| making.svg(&bytes))?,
            ToAgent::Done(counts) => {
                self.counts = counts;
                return Ok(true);
            }
            ToAgent::Failed(why) => return self.gone(&why),
        }
        Ok(false)
    }

    /// A worker has died: what it held is lost, and another takes its place, unless they keep dying. Once the sampling is
    /// over there is nothing to begin anew with.
    fn gone(&mut self, why: &str) -> Result<bool, Problem> {
        let how = self.worker.end().to_owned();
        self.deaths += 1;
        let problem = self.failed(&format!("{why} ({how})"));
        tracing::warn!(profile = %self.spec.name, deaths = self.deaths, "{}", problem.message());
        if self.deaths > WORKER_DEATHS_MAX || self.finish_by.is_some() {
            return Err(problem);
        }
        self.tally.died(&self.counts);
        self.counts = Counts::default();
        self.open.clear();
        self.unowned.clear();
        self.looks.forget();
        self.publish();
        self.worker =
            start_worker(&self.spec, &self.sampler, self.ring).map_err(|error| self.failed(&error.to_string()))?;
        let mut live = lock(&self.live);
        (live.worker, live.problem) = (self.worker.pid(), Some(problem));
        Ok(false)
    }

    /// The end of waiting for a result.
    fn late(&mut self) -> Problem {
        let how = self.worker.end().to_owned();
        self.failed(&format!("it did not make its result in time ({how})"))
    }

    fn tick(&mut self) -> Result<bool, Problem> {
        self.answer()?;
        for (question, since) in std::mem::take(&mut self.unowned) {
            self.look(question, since)?;
        }
        self.publish();
        if self.ticks.is_multiple_of(MARK_EVERY)
            && let Some(expires_at) = self.spec.expires_at
            && let Err(error) = self.results.mark(&self.spec.name, expires_at, self.tally.so_far(&self.sampler))
        {
            tracing::debug!(profile = %self.spec.name, %error, "how far it is was not written down");
        }
        self.ticks += 1;
        let mut live = lock(&self.live);
        if live.problem.is_none() && self.looks.given_up() > 0 {
            let what = "looking at sampled processes".to_owned();
            let detail = format!("{} did not answer in time and are without names", self.looks.given_up());
            live.problem = Some(Problem::LoadFailed { what, detail });
        }
        Ok(false)
    }

    /// The worker is answered about processes of this profile's pods alone.
    fn look(&mut self, question: Question, since: Instant) -> Result<(), Problem> {
        let asked = match (self.subject.belongs)(question.cgroup) {
            Belongs::Yes => self.looks.ask(question),
            Belongs::NotYet if since.elapsed() < UNDECIDED_FOR && self.unowned.len() < OPEN_MAX => {
                self.unowned.push((question, since));
                true
            }
            Belongs::No | Belongs::NotYet => false,
        };
        if asked {
            return Ok(());
        }
        self.worker.tell_nothing(question.image).map_err(|error| self.untold(&error))
    }

    fn owner(&mut self, cgroup: u64) -> Result<(), Problem> {
        if self.open.iter().any(|(open, _)| *open == cgroup) {
            return Ok(());
        }
        if self.open.len() >= OPEN_MAX {
            return self.tell(&ToWorker::Owner { cgroup, wanted: None });
        }
        self.open.push((cgroup, Instant::now()));
        self.answer()
    }

    /// Whose the open cgroups are, as far as it is known by now.
    fn answer(&mut self) -> Result<(), Problem> {
        let mut answers = Vec::new();
        self.open.retain(|(cgroup, since)| {
            let wanted = match (self.subject.belongs)(*cgroup) {
                Belongs::Yes => Some(true),
                Belongs::No => Some(false),
                Belongs::NotYet if since.elapsed() < UNDECIDED_FOR => return true,
                Belongs::NotYet => None,
            };
            answers.push(ToWorker::Owner { cgroup: *cgroup, wanted });
            false
        });
        answers.iter().try_for_each(|answer| self.tell(answer))
    }

    /// Nothing is sampled from now on; the worker makes its result.
    fn finish(&mut self) -> Result<bool, Problem> {
        self.sampler.stop();
        self.finish_by = Some(Instant::now() + RESULT_WITHIN);
        let lost = self.tally.before() + self.sampler.counts().1;
        let pods = (self.subject.pods)();
        let who = match pods.as_slice() {
            [] => self.spec.node.clone(),
            [only] => only.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        };
        {
            let mut live = lock(&self.live);
            (live.meta.ended, live.meta.pods) = (Timestamp::now(), pods);
        }
        self.tell(&ToWorker::Finish { title: format!("CPU: {who} ({})", self.spec.name), lost })?;
        Ok(false)
    }

    fn write(&mut self, what: impl FnOnce(&mut Making) -> io::Result<()>) -> Result<(), Problem> {
        // A result before the end is not asked for, and would only fill the disk.
        if self.finish_by.is_none() {
            return Err(self.failed("it sent a result that nobody asked for"));
        }
        if self.making.is_none() {
            self.making = Some(self.results.begin(&self.spec.name).map_err(not_kept)?);
        }
        self.making.as_mut().map_or(Ok(()), |making| what(making).map_err(not_kept))
    }

    /// Keeps the result, or what can be said without one. Sampler and worker are gone when this returns.
    fn conclude(mut self, problem: Option<Problem>) {
        self.sampler.stop();
        self.worker.end();
        if problem.is_some() {
            // Samples are where the last whole text has them, or nowhere.
            self.counts = self.whole.unwrap_or_default();
            if let Some(making) = &mut self.making {
                making.without_picture();
            }
        }
        let lost = self.tally.conclude(&self.sampler, &self.counts);
        let mut meta = {
            let mut live = lock(&self.live);
            live.meta.counts = Counted::of(&self.counts, lost, self.deaths);
            if live.meta.ended <= live.meta.started {
                live.meta.ended = Timestamp::now();
            }
            live.problem = problem.or(live.problem.take());
            live.meta.problem = live.problem.as_ref().map(Problem::message).unwrap_or_default();
            live.meta.clone()
        };
        let making = self.making.take().map_or_else(|| self.results.begin(&self.spec.name), Ok);
        let kept = making.and_then(|making| self.results.keep(making, meta.clone(), Timestamp::now()));
        self.results.unmark(&self.spec.name);
        let mut not = None;
        match kept {
            Ok(kept) => meta = kept,
            Err(error) => {
                tracing::warn!(profile = %self.spec.name, %error, "the result could not be kept");
                let problem = not_kept(error);
                meta.problem = problem.message();
                not = Some(problem);
            }
        }
        let live = self.live.clone();
        drop(self);
        let mut live = lock(&live);
        live.meta = meta;
        live.kept = not.is_none();
        live.problem = not.or(live.problem.take());
        (live.worker, live.over) = (0, true);
    }

    fn publish(&mut self) {
        let lost = self.tally.publish(&self.sampler, &self.counts);
        lock(&self.live).meta.counts = Counted::of(&self.counts, lost, self.deaths);
    }

    fn tell(&mut self, frame: &ToWorker) -> Result<(), Problem> {
        self.worker.tell(frame, Vec::new()).map_err(|error| self.untold(&error))
    }

    fn untold(&self, error: &FrameError) -> Problem {
        self.failed(&error.to_string())
    }

    /// What happened to the worker, and what becomes of its samples.
    fn failed(&self, why: &str) -> Problem {
        let rest = match self.texts {
            0 => "its samples are lost and counted",
            1 => "the profile is kept with the names of files alone",
            _ => "the profile is kept without a picture",
        };
        let reading = self.reading.as_ref().filter(|_| self.texts == 1);
        let reading = reading.map(|name| format!(" while it read {name}")).unwrap_or_default();
        Problem::WorkerFailed { detail: format!("{why}{reading}; {rest}") }
    }

    fn end(&self) -> Option<Instant> {
        let left = self.spec.expires_at?.duration_since(Timestamp::now());
        Some(Instant::now() + Duration::try_from(left).unwrap_or_default())
    }
}

fn start_worker(spec: &SessionSpec, sampler: &Sampler, ring: u32) -> io::Result<WorkerProcess> {
    WorkerProcess::start(&spec.program, sampler.ring(), ring, memory(spec.budget_bytes, ring))
}

fn not_kept(error: io::Error) -> Problem {
    Problem::LoadFailed { what: "keeping a profile".into(), detail: error.to_string() }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

pub(super) fn lock(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}
