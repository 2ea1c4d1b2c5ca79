//! The TLS of one session: its probes live as long as this.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use trilobite_crds::node::TlsNotVisible;

use super::{
    attach::{ProbedFile, TlsProbes},
    finder::Finder,
    programs,
    state::{TargetsState, TlsTargetsSpec},
};
use crate::{layers::application::requests::SharedCapture, problem::Problem};

/// The probes of a session. Dropping it removes the probes that no other session has.
pub(in crate::layers::application) struct TlsTargets {
    state: Arc<Mutex<TargetsState>>,
    capture: SharedCapture,
    probes: TlsProbes,
    slot: u32,
    task: Option<JoinHandle<()>>,
}

impl TlsTargets {
    /// Starts to look. Where the kernel allows no probes, that is the problem, and nothing is looked at.
    pub(in crate::layers::application) fn start(spec: TlsTargetsSpec) -> Self {
        let problem = spec.facts.uprobes.problem(spec.facts.release);
        let is_refused = problem.is_some();
        let state = Arc::new(Mutex::new(TargetsState { problem, ..TargetsState::default() }));
        let (capture, probes, slot) = (spec.capture.clone(), spec.probes.clone(), spec.slot);
        let task = (!is_refused).then(|| {
            programs::write(&capture, |capture| programs::set_slot(capture, slot, true));
            tokio::spawn(Finder::new(spec, state.clone()).follow())
        });
        Self { state, capture, probes, slot, task }
    }

    /// Number of probed files. One that is known by two keys is one.
    pub(in crate::layers::application) fn count(&self) -> u32 {
        let state = self.state.lock();
        let files: HashSet<*const ProbedFile> = state.probed.values().map(Arc::as_ptr).collect();
        u32::try_from(files.len()).unwrap_or(u32::MAX)
    }

    pub(in crate::layers::application) fn not_visible(&self) -> Vec<TlsNotVisible> {
        self.state.lock().not_visible.clone()
    }

    /// Why nothing, or not everything, is probed.
    pub(in crate::layers::application) fn problem(&self) -> Option<Problem> {
        self.state.lock().problem.clone()
    }
}

impl Drop for TlsTargets {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        let mut state = self.state.lock();
        state.is_closed = true;
        state.probed.clear();
        programs::write(&self.capture, |capture| programs::set_slot(capture, self.slot, false));
        self.probes.exclude(&self.capture, &std::mem::take(&mut state.excluded), &HashSet::new());
    }
}
