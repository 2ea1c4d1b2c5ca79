//! What is known of the TLS of one session's processes, and what it is made of: the task that looks fills it, the session reads it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use trilobite_crds::node::{PodScope, TlsNotVisible};

use super::{
    attach::{ProbedFile, TlsProbes},
    programs,
};
use crate::{
    identity::IdentityService,
    kernel::Facts,
    layers::application::{
        WorkerProgram,
        mapped_code::FileKey,
        requests::{SharedCapture, programs::Capture},
    },
    problem::Problem,
};

/// What a session's targets are made of.
pub(in crate::layers::application) struct TlsTargetsSpec {
    pub(in crate::layers::application) identity: IdentityService,
    pub(in crate::layers::application) scope: PodScope,
    pub(in crate::layers::application) facts: Arc<Facts>,
    pub(in crate::layers::application) worker: WorkerProgram,
    pub(in crate::layers::application) capture: SharedCapture,
    /// The session's slot in the capture.
    pub(in crate::layers::application) slot: u32,
    pub(in crate::layers::application) probes: TlsProbes,
}

/// What is known of the session's processes.
#[derive(Default)]
pub(super) struct TargetsState {
    pub(super) probed: HashMap<FileKey, Arc<ProbedFile>>,
    pub(super) not_visible: Vec<TlsNotVisible>,
    pub(super) problem: Option<Problem>,
    /// Cgroups of pods that do not want to be probed.
    pub(super) excluded: HashSet<u64>,
    pub(super) is_closed: bool,
}

impl TargetsState {
    pub(super) fn exclude(&mut self, capture: &SharedCapture, excluded: HashSet<u64>) {
        if self.is_closed || self.excluded == excluded {
            return;
        }
        write(capture, |capture| {
            self.excluded.difference(&excluded).for_each(|cgroup| programs::set_excluded(capture, *cgroup, false));
            excluded.difference(&self.excluded).for_each(|cgroup| programs::set_excluded(capture, *cgroup, true));
        });
        self.excluded = excluded;
    }
}

/// Writes maps of the capture, which is loaded while the session's slot exists.
pub(super) fn write(capture: &SharedCapture, write: impl FnOnce(&Capture)) {
    let written = capture.with(|capture| {
        write(capture);
        Ok(())
    });
    if let Err(problem) = written {
        tracing::debug!(problem = %problem.message(), "the capture ended before the probes of TLS");
    }
}
