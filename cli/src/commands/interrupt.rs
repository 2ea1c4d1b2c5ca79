//! Ctrl-C, being told to end by another program, and the terminal's end: all mean to tidy up and leave.

use futures::future::{pending, select_all};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from now on, also while nobody waits: without it a signal ends the command where it stands.
pub(super) struct Interrupts(Vec<Signal>);

impl Interrupts {
    /// Begins to listen.
    pub(super) fn listen() -> Self {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Self(kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect())
    }

    /// Ends when somebody wants the command to end, or has wanted it since it listens.
    pub(super) async fn come(&mut self) {
        if self.0.is_empty() {
            return pending().await;
        }
        select_all(self.0.iter_mut().map(|signals| Box::pin(signals.recv()))).await;
    }
}

/// Ends when somebody wants the command to end.
pub(super) async fn interrupted() {
    Interrupts::listen().come().await;
}
