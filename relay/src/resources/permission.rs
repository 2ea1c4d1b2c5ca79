//! The permission to watch, which a task of its own watches over, whether the client reads or not: it ends at its deadline, when
//! the user may not read any more, and when the API server does not say so for three checks.

use std::{future::Future, pin::Pin, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::api_error::ApiError;

/// As the API server's own watches: without `timeoutSeconds` they end after 30 to 60 minutes, so that not all come back at once.
const SHORTEST_DEFAULT: Duration = Duration::from_secs(30 * 60);
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Checks without an answer, one after the other, that end a watch.
const MAX_UNANSWERED: u32 = 3;

/// Asks whether the user may still read.
pub type Recheck = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), ApiError>> + Send>> + Send + Sync>;

#[derive(Clone, Copy, Debug)]
pub struct PermissionTimes {
    pub recheck_interval: Duration,
    /// How long a client has for reading why its watch has ended.
    pub grace: Duration,
}

impl Default for PermissionTimes {
    fn default() -> Self {
        Self { recheck_interval: Duration::from_secs(60), grace: Duration::from_secs(10) }
    }
}

pub(crate) struct Permission {
    end: oneshot::Receiver<Option<ApiError>>,
    _task: AbortOnDropHandle<()>,
}

impl Permission {
    /// `cut` closes the connection of a client that does not read the end.
    pub(crate) fn new(
        times: PermissionTimes,
        requested: Option<Duration>,
        recheck: Recheck,
        cut: CancellationToken,
    ) -> Self {
        let deadline = Instant::now() + lifetime(requested);
        let (sender, end) = oneshot::channel();
        let task = tokio::spawn(async move {
            let error = until_end(deadline, times.recheck_interval, &recheck).await;
            let _ = sender.send(error);
            sleep(times.grace).await;
            tracing::info!("a client that does not read the end of its watch is cut off");
            cut.cancel();
        });
        Self { end, _task: AbortOnDropHandle::new(task) }
    }

    /// Waits for the end: an error, or none at the deadline. Not to be called again after it.
    pub(crate) async fn ended(&mut self) -> Option<ApiError> {
        let end = (&mut self.end).await;
        end.unwrap_or_else(|_| Some(ApiError::internal("the relay has failed to check the right to watch")))
    }
}

fn lifetime(requested: Option<Duration>) -> Duration {
    requested.unwrap_or_else(|| SHORTEST_DEFAULT.mul_f64(1.0 + fastrand::f64())).min(LONGEST)
}

async fn until_end(deadline: Instant, interval: Duration, recheck: &Recheck) -> Option<ApiError> {
    let mut unanswered = 0;
    loop {
        tokio::select! {
            () = sleep_until(deadline) => return None,
            () = sleep(interval) => {}
        }
        match recheck().await {
            Ok(()) => unanswered = 0,
            Err(error) if error.code == 403 => return Some(error),
            Err(_) => unanswered += 1,
        }
        if unanswered == MAX_UNANSWERED {
            return Some(ApiError::gone(format!(
                "the API server has not answered {MAX_UNANSWERED} times whether you may still watch: list and watch again"
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Answers one after the other, then always yes.
    fn permission(requested: Option<Duration>, answers: Vec<Result<(), ApiError>>) -> (Permission, CancellationToken) {
        let answers = Mutex::new(answers.into_iter());
        let recheck: Recheck = Box::new(move || Box::pin(std::future::ready(answers.lock().next().unwrap_or(Ok(())))));
        let cut = CancellationToken::new();
        (Permission::new(PermissionTimes::default(), requested, recheck, cut.clone()), cut)
    }

    fn away() -> Result<(), ApiError> {
        Err(ApiError::unavailable("away"))
    }

    #[tokio::test(start_paused = true)]
    async fn watch_lasts_as_long_as_requested_and_an_hour_at_most() {
        for (requested, seconds) in [(90, 90), (24 * 3600, 3600)] {
            let start = Instant::now();
            let (mut permission, _) = permission(Some(Duration::from_secs(requested)), Vec::new());
            assert_eq!(permission.ended().await, None);
            assert_eq!(start.elapsed().as_secs(), seconds);
        }
        let defaults: Vec<Duration> = (0..50).map(|_| lifetime(None)).collect();
        assert!(defaults.iter().all(|lifetime| (30 * MINUTE..60 * MINUTE).contains(lifetime)), "{defaults:?}");
        assert!(defaults.iter().any(|lifetime| *lifetime != defaults[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn denied_user_is_told_within_a_minute() {
        let start = Instant::now();
        let (mut permission, _) = permission(None, vec![Ok(()), Err(ApiError::forbidden("not any more"))]);
        assert_eq!(permission.ended().await.map(|error| error.code), Some(403));
        assert_eq!(start.elapsed().as_secs(), 120);
    }

    #[tokio::test(start_paused = true)]
    async fn third_unanswered_check_in_a_row_ends_a_watch() {
        let start = Instant::now();
        let (mut permission, _) = permission(None, vec![away(), away(), Ok(()), away(), away(), away()]);
        let error = permission.ended().await.unwrap();
        assert_eq!((error.code, error.reason), (410, "Expired"));
        assert_eq!(start.elapsed().as_secs(), 6 * 60);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_does_not_read_the_end_is_cut_off() {
        let (permission, cut) = permission(Some(MINUTE), Vec::new());
        sleep(MINUTE + Duration::from_secs(9)).await;
        assert!(!cut.is_cancelled());
        sleep(Duration::from_secs(2)).await;
        assert!(cut.is_cancelled());
        drop(permission);
        let (permission, cut) = super::tests::permission(Some(MINUTE), Vec::new());
        drop(permission);
        sleep(2 * MINUTE).await;
        assert!(!cut.is_cancelled(), "the client has read it");
    }
}
