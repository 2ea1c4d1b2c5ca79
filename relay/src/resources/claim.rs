//! What a request takes of the relay: a place and memory of its tenant. Both are free again when the answer is written to the
//! connection, and a connection whose client does not read its answer in time is closed.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::byte_budget::{BudgetShare, Reservation};
use crate::api_error::ApiError;

/// Limit for writing an answer that is complete.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);

pub struct Claim {
    pub share: BudgetShare,
    /// A place among the watches or the lists of the tenant.
    pub slot: Box<dyn Send + Sync>,
    /// Closes the connection.
    pub cut: CancellationToken,
}

/// Keeps what an answer takes until its last byte is written, or its connection is closed.
pub struct AnswerHold {
    _slot: Box<dyn Send + Sync>,
    _reservation: Reservation,
    _deadline: AbortOnDropHandle<()>,
}

/// The end of an answer: hyper drops it once it is written.
struct LastPart {
    bytes: Vec<u8>,
    _hold: AnswerHold,
}

impl AsRef<[u8]> for LastPart {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Claim {
    /// For an answer that has to be written within `limit`.
    pub fn hold(self, reservation: Reservation, limit: Duration) -> AnswerHold {
        let Self { slot, cut, .. } = self;
        let deadline = tokio::spawn(async move {
            sleep(limit).await;
            tracing::info!(?limit, "a client that does not read its answer is cut off");
            cut.cancel();
        });
        AnswerHold { _slot: slot, _reservation: reservation, _deadline: AbortOnDropHandle::new(deadline) }
    }

    /// An answer that is complete; an error if there is no room for it.
    pub fn answer(
        self,
        mut reservation: Reservation,
        content_type: HeaderValue,
        bytes: Vec<u8>,
    ) -> Result<Response, ApiError> {
        if !reservation.resize(bytes.len()) {
            return Err(self.share.no_room());
        }
        Ok(self.held_answer(reservation, content_type, bytes))
    }

    pub fn held_answer(self, reservation: Reservation, content_type: HeaderValue, bytes: Vec<u8>) -> Response {
        let body = Body::from(self.hold(reservation, SEND_TIMEOUT).last_part(bytes));
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
    }
}

impl AnswerHold {
    pub fn last_part(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(LastPart { bytes, _hold: self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::Tenant, resources::byte_budget::ByteBudget};

    fn claim(budget: &ByteBudget) -> Claim {
        let share = budget.share(Tenant::User("zoe".into()));
        Claim { share, slot: Box::new(()), cut: CancellationToken::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_free_when_the_last_part_is_written() {
        let budget = ByteBudget::default();
        let claim = claim(&budget);
        let (reservation, cut) = (claim.share.reserve(1 << 20).await.unwrap(), claim.cut.clone());
        let last = claim.hold(reservation, SEND_TIMEOUT).last_part(b"}".to_vec());
        let rest = last.slice(..1);
        drop(last);
        assert_eq!(budget.used(), 1 << 20, "a part of it is still to be written");
        drop(rest);
        assert_eq!(budget.used(), 0);
        sleep(SEND_TIMEOUT * 2).await;
        assert!(!cut.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_does_not_read_is_cut_off() {
        let budget = ByteBudget::default();
        let claim = claim(&budget);
        let cut = claim.cut.clone();
        let reservation = claim.share.empty_reservation();
        let _unread = claim.hold(reservation, SEND_TIMEOUT).last_part(b"}".to_vec());
        sleep(SEND_TIMEOUT - Duration::from_secs(1)).await;
        assert!(!cut.is_cancelled());
        sleep(Duration::from_secs(2)).await;
        assert!(cut.is_cancelled());
    }
}
