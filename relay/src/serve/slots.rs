//! Bounds of what runs at the same time, for each user and for all together: one tenant does not take the relay from others.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::api_error::ApiError;

/// Places of watches, or of lists.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    what: &'static str,
    total: usize,
    per_user: usize,
    taken: Mutex<HashMap<String, usize>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    user: String,
}

impl Slots {
    pub fn new(what: &'static str, total: usize, per_user: usize) -> Self {
        Self(Arc::new(Shared { what, total, per_user, taken: Mutex::default() }))
    }

    pub fn acquire(&self, user: &str) -> Result<Slot, ApiError> {
        let Shared { what, total, per_user, taken } = &*self.0;
        let mut taken = taken.lock();
        let own = taken.get(user).copied().unwrap_or_default();
        if own >= *per_user {
            return Err(ApiError::too_many_requests(format!("user {user:?} has {own} open {what} already")));
        }
        if taken.values().sum::<usize>() >= *total {
            return Err(ApiError::too_many_requests(format!("{total} {what} are open already")));
        }
        *taken.entry(user.to_owned()).or_default() += 1;
        Ok(Slot { slots: self.clone(), user: user.to_owned() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.0.taken.lock();
        if let Some(count) = taken.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_cannot_take_all_places() {
        let slots = Slots::new("watches", 3, 2);
        let first = slots.acquire("zoe").unwrap();
        let _second = slots.acquire("zoe").unwrap();
        assert_eq!(slots.acquire("zoe").unwrap_err().message, "user \"zoe\" has 2 open watches already");
        let _third = slots.acquire("ida").unwrap();
        assert_eq!(slots.acquire("ida").unwrap_err().code, 429);
        drop(first);
        assert!(slots.acquire("ida").is_ok());
        assert_eq!(slots.0.taken.lock().len(), 2);
    }
}
