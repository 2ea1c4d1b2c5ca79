//! SIGINT, SIGTERM and SIGHUP: the command cleans up and ends.

use futures::future::{pending, select_all};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Catches the signals from now on, also between two waits; otherwise a signal would end the command at once.
pub(super) struct Interrupts(Vec<Signal>);

impl Interrupts {
    pub(super) fn listen() -> Self {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Self(kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect())
    }

    /// Waits for a signal, or returns at once if one has come since `listen`.
    pub(super) async fn received(&mut self) {
        if self.0.is_empty() {
            return pending().await;
        }
        select_all(self.0.iter_mut().map(|signals| Box::pin(signals.recv()))).await;
    }
}

/// Waits for a signal.
pub(super) async fn interrupted() {
    Interrupts::listen().received().await;
}
