//! Ctrl-C, and being told to end by another program: both mean to tidy up and leave.

use tokio::signal::{
    ctrl_c,
    unix::{SignalKind, signal},
};

/// Ends when somebody wants the command to end.
pub(super) async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => terminate.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = ctrl_c() => {}
        _ = terminated => {}
    }
}
