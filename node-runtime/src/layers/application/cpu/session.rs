//! One CPU profile: a sampler in the kernel, a worker, and the task that drives both. It ends when its time is over, when its
//! resource is deleted, or when its workers keep dying.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinHandle, time::timeout};

use super::{
    deliver::{ProfileMeta, Results},
    driver::Driver,
    programs::{Sampler, SamplerSpec},
    spec::{ProfileTarget, SessionSpec, SessionStatus},
};
use crate::{layers::application::budget::ring_bytes, loss::Ledger, problem::Problem};

/// A profile that was started.
pub struct Session {
    status: Arc<Mutex<SessionStatus>>,
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Session {
    /// Starts a profile; if any part of it is refused, nothing stays loaded. The ring of `sampler` is sized here.
    pub fn start(
        spec: SessionSpec,
        sampler: SamplerSpec<'_>,
        target: ProfileTarget,
        results: Results,
        ledger: Ledger,
    ) -> Result<Self, Problem> {
        let ring_bytes = ring_bytes(spec.budget_bytes);
        let frequency_hz = sampler.frequency_hz;
        let sampler = Sampler::start(&SamplerSpec { ring_bytes, ..sampler })?;
        let now = Timestamp::now();
        let meta = ProfileMeta {
            name: spec.name.clone(),
            node: spec.node.clone(),
            frequency_hz,
            started: now,
            ended: now,
            ..ProfileMeta::default()
        };
        let status = Arc::new(Mutex::new(SessionStatus { meta, ..SessionStatus::default() }));
        let stop = Arc::new(Notify::new());
        let driver = Driver::new(spec, sampler, ring_bytes, target, results, ledger, status.clone())?;
        let task = tokio::spawn(driver.drive(stop.clone()));
        Ok(Self { status, stop, task })
    }

    /// Ends the sampling. The result is made and stored afterwards.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// Waits until the result is stored and everything of the profile has ended.
    pub async fn wait_until_finished(self) {
        // An error is a panic of the task, which has dropped everything of the profile as well.
        let _ = self.task.await;
    }

    /// Ends the profile. If the result is not stored after the timeout, it is given up.
    pub async fn shut_down(mut self, within: Duration) {
        self.stop();
        if timeout(within, &mut self.task).await.is_err() {
            self.task.abort();
            let _ = self.task.await;
            self.status.lock().finished = true;
        }
    }

    pub fn status(&self) -> SessionStatus {
        self.status.lock().clone()
    }

    /// The status as it changes.
    pub fn shared_status(&self) -> Arc<Mutex<SessionStatus>> {
        self.status.clone()
    }
}
