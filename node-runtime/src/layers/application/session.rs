//! One CPU profile: a sampler in the kernel, a worker beside us, and a task that stands between the worker and everything
//! that the worker is not allowed to see. It ends by its time, by its removal, or when workers keep dying.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::Notify, task::JoinHandle, time::timeout};

pub use super::driver::WORKER_DEATHS_MAX;
use super::{
    driver::{Driver, lock},
    results::{Meta, Results},
    sampler::{Sampler, SamplerSpec, ring_bytes},
};
use crate::report::{Ledger, Problem};

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
    /// The root of the host's v2 tree of cgroups.
    pub cgroups: PathBuf,
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
    /// A result is kept, which may hold nothing but a problem.
    pub kept: bool,
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
        let now = Timestamp::now();
        let meta = Meta {
            name: spec.name.clone(),
            node: spec.node.clone(),
            frequency_hz,
            started: now,
            ended: now,
            ..Meta::default()
        };
        let live = Arc::new(Mutex::new(Live { meta, ..Live::default() }));
        let stop = Arc::new(Notify::new());
        let driver = Driver::new(spec, sampler, ring, subject, results, ledger, live.clone())?;
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

    /// Ends it, and waits until nothing of it is left; what would last longer is cut short, and makes no result.
    pub async fn end(mut self, within: Duration) {
        self.stop();
        if timeout(within, &mut self.task).await.is_err() {
            self.task.abort();
            let _ = self.task.await;
            lock(&self.live).over = true;
        }
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
