//! Ctrl-C, being told to end by another program, and the terminal's end: all mean to tidy up and leave.

use tokio::signal::{
    ctrl_c,
    unix::{SignalKind, signal},
};

/// Ends when somebody wants the command to end.
pub(super) async fn interrupted() {
    tokio::select! {
        _ = ctrl_c() => {}
        () = comes(SignalKind::terminate()) => {}
        () = comes(SignalKind::hangup()) => {}
    }
}

async fn comes(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => drop(signals.recv().await),
        Err(_) => std::future::pending().await,
    }
}
