//! The memory of everything that waits for clients: rows in queues, lists, results. One tenant has a share of it, and never more
//! than is left for the others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use crate::{access::Tenant, api_error::ApiError};

/// Bytes of all clients together.
pub const TOTAL_BYTES: usize = 12 << 20;
/// Bytes of one tenant.
pub const SHARE_BYTES: usize = 3 << 20;
/// How long a list or a result waits for room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default)]
pub struct ByteBudget(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    used: Mutex<Used>,
    released: Notify,
}

#[derive(Debug, Default)]
struct Used {
    total: usize,
    by_tenant: HashMap<Tenant, usize>,
}

/// The part of one tenant.
#[derive(Clone, Debug)]
pub struct BudgetShare {
    budget: ByteBudget,
    tenant: Tenant,
}

/// Bytes that are free again when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    share: BudgetShare,
    bytes: usize,
}

impl ByteBudget {
    pub fn share(&self, tenant: Tenant) -> BudgetShare {
        BudgetShare { budget: self.clone(), tenant }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.0.used.lock().total
    }
}

impl BudgetShare {
    /// Whether there was room. A tenant has at most as much as is left for others: each of several that take what they can gets
    /// half of the rest.
    pub fn try_reserve(&self, bytes: usize) -> bool {
        let mut used = self.budget.0.used.lock();
        let left = TOTAL_BYTES - used.total;
        let own = used.by_tenant.get(&self.tenant).copied().unwrap_or_default() + bytes;
        if own > SHARE_BYTES.min(left) {
            return false;
        }
        used.total += bytes;
        if own > 0 {
            used.by_tenant.insert(self.tenant.clone(), own);
        }
        true
    }

    pub fn release(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut used = self.budget.0.used.lock();
        used.total -= bytes;
        if let Some(own) = used.by_tenant.get_mut(&self.tenant) {
            *own -= bytes;
            if *own == 0 {
                used.by_tenant.remove(&self.tenant);
            }
        }
        drop(used);
        self.budget.0.released.notify_waiters();
    }

    /// Waits for room; an error if there is none in time.
    pub async fn reserve(&self, bytes: usize) -> Result<Reservation, ApiError> {
        let reserved = async {
            loop {
                let mut released = std::pin::pin!(self.budget.0.released.notified());
                released.as_mut().enable();
                if self.try_reserve(bytes) {
                    return;
                }
                released.await;
            }
        };
        match timeout(ROOM_TIMEOUT, reserved).await {
            Ok(()) => Ok(Reservation { share: self.clone(), bytes }),
            Err(_) => Err(self.no_room()),
        }
    }

    /// Of no bytes yet.
    pub fn empty_reservation(&self) -> Reservation {
        Reservation { share: self.clone(), bytes: 0 }
    }

    pub fn no_room(&self) -> ApiError {
        let (tenant, share) = (&self.tenant, SHARE_BYTES >> 20);
        ApiError::too_many_requests(format!(
            "no memory is left for another answer: {tenant} may have {share} MiB waiting to be read, less while others need it"
        ))
    }
}

impl Reservation {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there was room; there always is for less than before.
    pub fn resize(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes && !self.share.try_reserve(bytes - self.bytes) {
            return false;
        }
        self.share.release(self.bytes.saturating_sub(bytes));
        self.bytes = bytes;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.share.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(budget: &ByteBudget, user: &str) -> BudgetShare {
        budget.share(Tenant::User(user.to_owned()))
    }

    /// Reserves by 64 KiB until there is no room.
    fn fill(share: &BudgetShare) -> usize {
        (0..).take_while(|_| share.try_reserve(64 << 10)).count() * (64 << 10)
    }

    #[test]
    fn tenant_has_its_share_and_no_more() {
        let budget = ByteBudget::default();
        let zoe = share(&budget, "zoe");
        assert_eq!(fill(&zoe), SHARE_BYTES);
        assert!(!share(&budget, "zoe").try_reserve(1), "another request of the same tenant");
        assert!(share(&budget, "ida").try_reserve(SHARE_BYTES));
        zoe.release(SHARE_BYTES);
        assert_eq!(budget.used(), SHARE_BYTES);
        assert_eq!(budget.0.used.lock().by_tenant.len(), 1, "what is not used is forgotten");
    }

    #[test]
    fn next_of_several_greedy_tenants_finds_room() {
        let budget = ByteBudget::default();
        for number in 0..7 {
            assert!(fill(&share(&budget, &format!("greedy{number}"))) > 0, "tenant {number}");
        }
        assert!(budget.used() < TOTAL_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn answer_waits_for_room_and_is_refused_without() {
        let budget = ByteBudget::default();
        let zoe = share(&budget, "zoe");
        let held = zoe.reserve(SHARE_BYTES).await.unwrap();
        let error = zoe.reserve(1).await.unwrap_err();
        assert_eq!((error.code, error.retry_after_seconds), (429, Some(1)));
        let waiting = tokio::spawn({
            let zoe = zoe.clone();
            async move { zoe.reserve(1 << 20).await.map(|reservation| reservation.bytes()) }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert_eq!(waiting.await.unwrap(), Ok(1 << 20));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn reservation_shrinks_and_grows_while_there_is_room() {
        let budget = ByteBudget::default();
        let mut reservation = share(&budget, "zoe").empty_reservation();
        assert!(reservation.resize(SHARE_BYTES) && !reservation.resize(SHARE_BYTES + 1));
        assert!(reservation.resize(7));
        assert_eq!((reservation.bytes(), budget.used()), (7, 7));
        drop(reservation);
        assert_eq!(budget.used(), 0);
    }
}
