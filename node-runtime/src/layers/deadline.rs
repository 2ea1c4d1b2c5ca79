//! Deadlines that may not exist.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

/// The moment of a time on the wall clock: now, if it has passed.
pub(crate) fn deadline_at(end: Option<Timestamp>) -> Option<Instant> {
    let left = end?.duration_since(Timestamp::now());
    Some(Instant::now() + Duration::try_from(left).unwrap_or_default())
}

/// Sleeps until the deadline; forever without one.
pub(crate) async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
