//! What a session of requests is asked for, and its status: the types that session, driver and layer share.

use jiff::Timestamp;
use trilobite_crds::node::{RequestsSession, RequestsState};

use super::recording::RecordingWriter;
use crate::{layers::worker::WorkerProgram, problem::Problem};

#[derive(Debug)]
pub(super) struct RequestSessionSpec {
    /// `namespace/name` of the AppProfile; the stack's name for the standing profile.
    pub(super) name: String,
    /// Namespace of its pods; empty where they may be in several.
    pub(super) namespace: String,
    /// The resource in whose name losses are recorded.
    pub(super) source: String,
    /// When the capture ends by itself; none for the standing profile.
    pub(super) expires_at: Option<Timestamp>,
    /// Memory of ring and worker together.
    pub(super) budget_bytes: u64,
    pub(super) worker: WorkerProgram,
    pub(super) wanted: RequestsSession,
    /// What the session is recorded to.
    pub(super) recording: Option<RecordingWriter>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct RequestSessionStatus {
    pub(super) state: RequestsState,
    /// Rows so far, also those that have left.
    pub(super) rows: u64,
    /// Records and rows that were lost, at any loss point.
    pub(super) lost: u64,
    pub(super) phase: SessionPhase,
    /// Process id of the worker; 0 if none runs.
    pub(super) worker: u32,
    /// A problem that does not end the session, or the one that ended it.
    pub(super) problem: Option<Problem>,
    /// Why plain text of TLS is not read, or not of every process.
    pub(super) tls_problem: Option<Problem>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SessionPhase {
    #[default]
    Capturing,
    /// Nothing of it is in the kernel any more; rows can be read.
    Retaining,
    /// Nothing of it is left.
    Ended,
    /// Its workers kept dying.
    Failed,
}

/// What the layer wants of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Capture,
    /// Ends the capture and keeps the rows for as long as was asked.
    Retain,
    /// Ends everything.
    End,
}
