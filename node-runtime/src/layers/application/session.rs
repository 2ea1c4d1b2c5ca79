//! One CPU profile: a sampler in the kernel, a worker beside us, and a task that stands between the worker and everything
//! that the worker is not allowed to see. It ends by its time, by its removal, or when workers keep dying.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    results::{Counted, Making, Meta, Results},
    sampler::{Sampler, SamplerSpec, ring_bytes},
    worker_process::{Heard, WorkerProcess, memory},
};
use crate::{
    report::{Ledger, Place, Problem},
    worker::frame::{Counts, ToAgent, ToWorker},
};

/// Workers that may die before a profile is given up.
pub const WORKER_DEATHS_MAX: u64 = 3;
/// How long making the result may take.
const FINISH_WITHIN: Duration = Duration::from_secs(60);
/// How often counters are read and open questions are asked again.
const TICK: Duration = Duration::from_millis(500);
/// How long a cgroup may stay unknown before its samples are given up.
const UNDECIDED_FOR: Duration = Duration::from_secs(5);

/// Whose a cgroup is, for one profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// To a selected pod.
    Yes,
    /// To somebody else.
    No,
    /// Its pod is not known yet.
    NotYet,
}

/// Who is profiled.
pub struct Subject {
    /// Asked of a cgroup that the kernel found undecided.
    pub belongs: Box<dyn Fn(u64) -> Belongs + Send>,
    /// `namespace/name` of the pods that are selected now.
    pub pods: Box<dyn Fn() -> Vec<String> + Send>,
}

/// What one profile is.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// `namespace/name` of the AppProfile.
    pub name: String,
    /// This node.
    pub node: String,
    /// What losses are entered for.
    pub source: String,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// What ring, worker and result may hold together.
    pub budget_bytes: u64,
    /// The binary whose `worker` command is the worker.
    pub program: PathBuf,
}

/// How a profile fares.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// What it is about; sums are those of now.
    pub meta: Meta,
    /// Process id of the worker; 0 where there is none.
    pub worker: u32,
    /// Its result is kept, or it has none; nothing of it runs any more.
    pub over: bool,
    /// What does not keep it from being in force.
    pub problem: Option<Problem>,
}

/// A profile that runs.
pub struct Session {
    live: Arc<Mutex<Live>>,
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Session {
    /// Starts one; nothing stays if any of it is refused. `sampler` says what is sampled; its ring is sized here.
    pub fn start(
        spec: SessionSpec,
        sampler: SamplerSpec<'_>,
        subject: Subject,
        results: Results,
        ledger: Ledger,
    ) -> Result<Self, Problem> {
        let ring = ring_bytes(spec.budget_bytes);
        let frequency_hz = sampler.frequency_hz;
        let sampler = Sampler::start(&SamplerSpec { ring_bytes: ring, ..sampler })?;
        let worker =
            start_worker(&spec, &sampler, ring).map_err(|error| Problem::WorkerFailed { detail: error.to_string() })?;
        let now = Timestamp::now();
        let meta = Meta {
            name: spec.name.clone(),
            node: spec.node.clone(),
            frequency_hz,
            started: now,
            ended: now,
            ..Meta::default()
        };
        let live = Arc::new(Mutex::new(Live { meta, worker: worker.pid(), ..Live::default() }));
        let stop = Arc::new(Notify::new());
        let driver = Driver {
            spec,
            sampler,
            ring,
            worker,
            subject,
            results,
            ledger,
            live: live.clone(),
            counts: Counts::default(),
            open: Vec::new(),
            deaths: 0,
            making: None,
            entered: Entered::default(),
            finish_by: None,
        };
        let task = tokio::spawn(driver.run(stop.clone()));
        Ok(Self { live, stop, task })
    }

    /// Ends the sampling; the result is made and kept meanwhile.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// Waits until nothing of it is left.
    pub async fn over(self) {
        // It fails only by a panic, and then everything of it is dropped as well.
        let _ = self.task.await;
    }

    /// How it fares.
    pub fn live(&self) -> Live {
        lock(&self.live).clone()
    }

    /// A handle to the same.
    pub fn watch(&self) -> Arc<Mutex<Live>> {
        self.live.clone()
    }
}

/// What the ledger has been told of this profile.
#[derive(Default)]
struct Entered {
    ring: u64,
    worker: u64,
    undecided: u64,
}

struct Driver {
    spec: SessionSpec,
    sampler: Sampler,
    ring: u32,
    worker: WorkerProcess,
    subject: Subject,
    results: Results,
    ledger: Ledger,
    live: Arc<Mutex<Live>>,
    counts: Counts,
    open: Vec<(u64, Instant)>,
    deaths: u64,
    making: Option<Making>,
    entered: Entered,
    finish_by: Option<Instant>,
}

impl Driver {
    async fn run(mut self, stop: Arc<Notify>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = self.end();
        let outcome = loop {
            let finishing = self.finish_by;
            let step = tokio::select! {
                heard = self.worker.hear() => match heard {
                    Heard::Frame(frame) => self.heard(frame),
                    Heard::Gone(why) => self.gone(&why),
                },
                _ = tick.tick() => self.tick(),
                () = until(end), if finishing.is_none() => self.finish(),
                () = stop.notified(), if finishing.is_none() => self.finish(),
                () = until(finishing), if finishing.is_some() => Err(self.failed("it did not make its result in time")),
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
            ToAgent::WantMappings { image, .. } => {
                self.worker.tell_mappings(image).map_err(|error| self.failed(&error.to_string()))?;
            }
            ToAgent::WantOwner { cgroup } => {
                self.open.push((cgroup, Instant::now()));
                self.answer()?;
            }
            ToAgent::Progress(counts) => {
                self.counts = counts;
                self.publish();
            }
            ToAgent::Folded(bytes) => self.write(|making| making.folded(&bytes))?,
            ToAgent::Svg(bytes) => self.write(|making| making.svg(&bytes))?,
            ToAgent::Done(counts) => {
                self.counts = counts;
                return Ok(true);
            }
            ToAgent::Failed(why) => return self.gone(&why),
        }
        Ok(false)
    }

    /// A worker has died: what it held is lost, and another takes its place, unless they keep dying.
    fn gone(&mut self, why: &str) -> Result<bool, Problem> {
        let how = self.worker.end();
        self.deaths += 1;
        let problem = Problem::WorkerFailed {
            detail: format!("worker {} of profile {}: {why} ({how})", self.deaths, self.spec.name),
        };
        tracing::warn!(profile = %self.spec.name, deaths = self.deaths, "{}", problem.message());
        self.counts = Counts::default();
        self.making = None;
        self.publish();
        if self.deaths > WORKER_DEATHS_MAX || self.finish_by.is_some() {
            return Err(problem);
        }
        self.worker =
            start_worker(&self.spec, &self.sampler, self.ring).map_err(|error| self.failed(&error.to_string()))?;
        let mut live = lock(&self.live);
        (live.worker, live.problem) = (self.worker.pid(), Some(problem));
        Ok(false)
    }

    fn tick(&mut self) -> Result<bool, Problem> {
        self.answer()?;
        self.publish();
        Ok(false)
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
        for answer in answers {
            self.worker.tell(&answer, Vec::new()).map_err(|error| self.failed(&error.to_string()))?;
        }
        Ok(())
    }

    /// Nothing is sampled from now on; the worker makes its result.
    fn finish(&mut self) -> Result<bool, Problem> {
        self.sampler.stop();
        self.finish_by = Some(Instant::now() + FINISH_WITHIN);
        let (_, lost) = self.sampler.counts();
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
        let finish = ToWorker::Finish { title: format!("CPU: {who} ({})", self.spec.name), lost };
        self.worker.tell(&finish, Vec::new()).map_err(|error| self.failed(&error.to_string()))?;
        Ok(false)
    }

    fn write(&mut self, what: impl FnOnce(&mut Making) -> io::Result<()>) -> Result<(), Problem> {
        // A result before the end is not asked for, and would only fill the disk.
        if self.finish_by.is_none() {
            return Err(self.failed("it sent a result that nobody asked for"));
        }
        let not_kept =
            |error: io::Error| Problem::LoadFailed { what: "keeping a profile".into(), detail: error.to_string() };
        if self.making.is_none() {
            self.making = Some(self.results.begin(&self.spec.name).map_err(not_kept)?);
        }
        self.making.as_mut().map_or(Ok(()), |making| what(making).map_err(not_kept))
    }

    /// Keeps the result, or what can be said without one. Sampler and worker are gone when this returns.
    fn conclude(mut self, problem: Option<Problem>) {
        self.sampler.stop();
        self.worker.end();
        let (seen, ring_lost) = self.sampler.counts();
        let Counts { samples, others, undecided, overflow, malformed, .. } = self.counts;
        // What was delivered and is nowhere, was with a worker that died.
        let accounted = samples + others + undecided + overflow + malformed;
        let with_workers = overflow + (seen - ring_lost).saturating_sub(accounted);
        let lost = ring_lost + with_workers;
        self.enter(ring_lost, with_workers, undecided);
        let mut live = lock(&self.live);
        live.meta.counts = Counted::of(&self.counts, lost, self.deaths);
        if live.meta.ended <= live.meta.started {
            live.meta.ended = Timestamp::now();
        }
        live.problem = problem.or(live.problem.take());
        live.meta.problem = live.problem.as_ref().map(Problem::message).unwrap_or_default();
        let meta = live.meta.clone();
        drop(live);
        let making = self.making.take().map_or_else(|| self.results.begin(&self.spec.name), Ok);
        let kept = making.and_then(|making| self.results.keep(making, meta, Timestamp::now()));
        if let Err(error) = kept {
            tracing::warn!(profile = %self.spec.name, %error, "the result could not be kept");
        }
        let live = self.live.clone();
        drop(self);
        let mut live = lock(&live);
        (live.worker, live.over) = (0, true);
    }

    fn publish(&mut self) {
        let (_, ring_lost) = self.sampler.counts();
        let Counts { overflow, undecided, .. } = self.counts;
        self.enter(ring_lost, overflow, undecided);
        lock(&self.live).meta.counts = Counted::of(&self.counts, ring_lost + overflow, self.deaths);
    }

    fn enter(&mut self, ring: u64, worker: u64, undecided: u64) {
        let entered = &mut self.entered;
        for (place, total, before) in [
            (Place::SampleRing, ring, &mut entered.ring),
            (Place::Worker, worker, &mut entered.worker),
            (Place::Undecided, undecided, &mut entered.undecided),
        ] {
            self.ledger.lost(place, &self.spec.source, total.saturating_sub(*before));
            *before = total.max(*before);
        }
    }

    fn failed(&self, why: &str) -> Problem {
        Problem::WorkerFailed { detail: format!("worker of profile {}: {why}", self.spec.name) }
    }

    fn end(&self) -> Option<Instant> {
        let left = self.spec.expires_at?.duration_since(Timestamp::now());
        Some(Instant::now() + Duration::try_from(left).unwrap_or_default())
    }
}

fn start_worker(spec: &SessionSpec, sampler: &Sampler, ring: u32) -> io::Result<WorkerProcess> {
    WorkerProcess::start(&spec.program, sampler.ring(), ring, memory(spec.budget_bytes, ring))
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn lock(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}
