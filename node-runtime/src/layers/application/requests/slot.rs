//! One capture for all sessions: its programs are loaded with the first slot and unloaded with the last.

use std::{io, os::fd::OwnedFd, sync::Arc};

use parking_lot::Mutex;

use super::programs::{Capture, SlotCounts, SlotId, SlotSpec, Verdict};
use crate::{identity::SelectionMaps, problem::Problem};

/// A shared handle.
#[derive(Clone, Default)]
pub(in crate::layers::application) struct SharedCapture(Arc<Mutex<Option<Capture>>>);

/// A ring of its own in the capture, for one session. Dropping it removes it from the kernel.
pub(super) struct Slot {
    capture: SharedCapture,
    id: SlotId,
}

impl SharedCapture {
    /// Adds a slot. If the kernel refuses any of it, what was loaded before stays as it was.
    pub(super) fn open(
        &self,
        selection: SelectionMaps,
        node_cgroup: (u64, u32),
        spec: &SlotSpec<'_>,
    ) -> Result<Slot, Problem> {
        let mut shared = self.0.lock();
        let mut capture = match shared.take() {
            Some(capture) => capture,
            None => Capture::load(Some(selection), node_cgroup)?,
        };
        let added = capture.add(spec);
        if added.is_ok() || !capture.is_empty() {
            *shared = Some(capture);
        }
        Ok(Slot { capture: self.clone(), id: added? })
    }

    /// Uses the loaded capture, e.g. for programs that share its maps.
    pub(in crate::layers::application) fn with<T>(
        &self,
        use_it: impl FnOnce(&Capture) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let shared = self.0.lock();
        let capture = shared.as_ref().ok_or_else(|| Problem::LoadFailed {
            what: "capturing requests".into(),
            detail: "the capture is unloaded".into(),
        })?;
        use_it(capture)
    }

    /// How calls are captured on this kernel; none while nothing is.
    pub(super) fn way(&self) -> Option<&'static str> {
        self.0.lock().as_ref().map(Capture::way)
    }
}

impl Slot {
    /// Its number in the capture's maps.
    pub(super) fn number(&self) -> u32 {
        self.id.number()
    }

    /// The ring, for a worker.
    pub(super) fn ring(&self) -> io::Result<OwnedFd> {
        let shared = self.capture.0.lock();
        let capture = shared.as_ref().ok_or_else(|| io::Error::other("the capture is unloaded"))?;
        capture.ring(self.id).ok_or_else(|| io::Error::other("the slot is removed"))?.try_clone_to_owned()
    }

    pub(super) fn set_verdict(&self, stream: u64, verdict: Verdict) {
        if let Some(capture) = self.capture.0.lock().as_ref() {
            capture.set_verdict(self.id, stream, verdict);
        }
    }

    pub(super) fn counts(&self) -> SlotCounts {
        self.capture.0.lock().as_ref().map(|capture| capture.counts(self.id)).unwrap_or_default()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut shared = self.capture.0.lock();
        if let Some(capture) = shared.as_mut() {
            capture.remove(self.id);
            if capture.is_empty() {
                *shared = None;
            }
        }
    }
}
