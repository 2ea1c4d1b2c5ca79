//! The permission to watch: it ends with the client's timeout, and when the user may not read any more.

use std::{future::Future, pin::Pin, time::Duration};

use tokio::time::Instant;

use crate::api_error::ApiError;

const RECHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Asks whether the user may still read.
pub type Recheck = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), ApiError>> + Send>> + Send + Sync>;

pub(super) struct Permission {
    deadline: Option<Instant>,
    recheck: Recheck,
    next_recheck: Instant,
    /// A place among the watches of the user.
    _slot: Box<dyn Send + Sync>,
}

impl Permission {
    pub(super) fn new(timeout: Option<Duration>, recheck: Recheck, slot: Box<dyn Send + Sync>) -> Self {
        let now = Instant::now();
        Self {
            deadline: timeout.map(|timeout| now + timeout),
            recheck,
            next_recheck: now + RECHECK_INTERVAL,
            _slot: slot,
        }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Why the user may not read any more; asked once a minute. While the API server is away, its last decision stands.
    pub(super) async fn refusal(&mut self, now: Instant) -> Option<ApiError> {
        if now < self.next_recheck {
            return None;
        }
        self.next_recheck = now + RECHECK_INTERVAL;
        (self.recheck)().await.err().filter(|error| error.code == 403)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(answer: Result<(), ApiError>) -> Permission {
        let recheck: Recheck = Box::new(move || Box::pin(std::future::ready(answer.clone())));
        Permission::new(Some(Duration::from_secs(90)), recheck, Box::new(()))
    }

    #[test]
    fn permission_ends_at_its_deadline() {
        let (start, permission) = (Instant::now(), permission(Ok(())));
        assert!(!permission.is_over(start + Duration::from_secs(89)));
        assert!(permission.is_over(start + Duration::from_secs(91)));
    }

    #[tokio::test]
    async fn user_is_asked_about_once_a_minute() {
        let start = Instant::now();
        let mut refused = permission(Err(ApiError::forbidden("not any more")));
        assert_eq!(refused.refusal(start + Duration::from_secs(59)).await, None);
        assert_eq!(refused.refusal(start + Duration::from_secs(61)).await.map(|error| error.code), Some(403));
        assert_eq!(refused.refusal(start + Duration::from_secs(62)).await, None);
    }

    #[tokio::test]
    async fn absent_api_server_refuses_no_watch() {
        let later = Instant::now() + Duration::from_secs(61);
        assert_eq!(permission(Err(ApiError::unavailable("away"))).refusal(later).await, None);
        assert_eq!(permission(Ok(())).refusal(later).await, None);
    }
}
