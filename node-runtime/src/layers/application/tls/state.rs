//! The TLS of one session's processes: its state, which the finder's task writes and the session reads, and what a finder is made of.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use trilobite_crds::node::{PodScope, TlsNotVisible};

use super::attach::{ProbedFile, TlsProbes};
use crate::{
    identity::IdentityService,
    kernel::Facts,
    layers::{
        application::{mapped_code::FileKey, requests::SharedCapture},
        worker::WorkerProgram,
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
    pub(super) fn exclude(&mut self, spec: &TlsTargetsSpec, excluded: HashSet<u64>) {
        if self.is_closed || self.excluded == excluded {
            return;
        }
        spec.probes.exclude(&spec.capture, &self.excluded, &excluded);
        self.excluded = excluded;
    }
}
