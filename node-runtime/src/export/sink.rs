//! Destinations of lines, and the problem of one that cannot be written.

use std::{fmt::Display, io, sync::Arc};

use parking_lot::Mutex;

use crate::problem::Problem;

/// A destination of whole lines.
pub(super) trait Sink: 'static {
    /// Writes all of `lines`, or fails and leaves no torn line behind.
    fn write(&mut self, lines: &[u8]) -> io::Result<()>;
}

/// The current problem of a destination.
#[derive(Clone, Default)]
pub(super) struct WriteProblem(Arc<Mutex<Option<Problem>>>);

impl WriteProblem {
    pub(super) fn get(&self) -> Option<Problem> {
        self.0.lock().clone()
    }

    /// Logged once, not for every line.
    pub(super) fn set(&self, name: &str, error: &dyn Display) {
        let problem = Problem::ExportFailed { detail: format!("{name}: {error}") };
        let mut current = self.0.lock();
        if current.replace(problem).is_none() {
            tracing::warn!(%error, "events cannot be written to {name}; lost events are counted");
        }
    }

    pub(super) fn clear(&self, name: &str) {
        if self.0.lock().take().is_some() {
            tracing::info!("events are written to {name} again");
        }
    }
}

/// Writes to an open sink, or to a newly opened one after a failure.
pub(super) fn write_or_reopen<S: Sink>(
    sink: &mut Option<S>,
    open: impl Fn() -> io::Result<S>,
    lines: &[u8],
) -> io::Result<()> {
    let mut open_sink = match sink.take() {
        Some(sink) => sink,
        None => open()?,
    };
    open_sink.write(lines)?;
    *sink = Some(open_sink);
    Ok(())
}
