//! Deadlines that may not exist.

use tokio::time::{Instant, sleep_until};

/// Sleeps until the deadline; forever without one.
pub(super) async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
