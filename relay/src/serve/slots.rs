//! Bounds of what runs at the same time, for each tenant and for all together: one tenant does not take the relay from others.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{access::Tenant, api_error::ApiError};

/// Places of watches, of lists, or of connections.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    what: &'static str,
    total: usize,
    per_tenant: usize,
    taken: Mutex<HashMap<Tenant, usize>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    tenant: Tenant,
}

impl Slots {
    pub fn new(what: &'static str, total: usize, per_tenant: usize) -> Self {
        Self(Arc::new(Shared { what, total, per_tenant, taken: Mutex::default() }))
    }

    pub fn acquire(&self, tenant: &Tenant) -> Result<Slot, ApiError> {
        let Shared { what, total, per_tenant, taken } = &*self.0;
        let mut taken = taken.lock();
        let own = taken.get(tenant).copied().unwrap_or_default();
        if own >= *per_tenant {
            return Err(ApiError::too_many_requests(format!("{own} {what} of {tenant} are open already")));
        }
        if taken.values().sum::<usize>() >= *total {
            return Err(ApiError::too_many_requests(format!("{total} {what} are open already")));
        }
        *taken.entry(tenant.clone()).or_default() += 1;
        Ok(Slot { slots: self.clone(), tenant: tenant.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.0.taken.lock();
        if let Some(count) = taken.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::User;

    fn tenant(name: &str) -> Tenant {
        User { name: name.into(), ..User::default() }.tenant()
    }

    #[test]
    fn tenant_cannot_take_all_places() {
        let slots = Slots::new("watches", 3, 2);
        let first = slots.acquire(&tenant("zoe")).unwrap();
        let _second = slots.acquire(&tenant("zoe")).unwrap();
        let refusal = slots.acquire(&tenant("zoe")).unwrap_err();
        assert_eq!(refusal.message, "2 watches of user \"zoe\" are open already");
        let _third = slots.acquire(&tenant("ida")).unwrap();
        assert_eq!(slots.acquire(&tenant("ida")).unwrap_err().code, 429);
        drop(first);
        assert!(slots.acquire(&tenant("ida")).is_ok());
        assert_eq!(slots.0.taken.lock().len(), 2);
    }

    #[test]
    fn service_accounts_of_a_namespace_share_their_places() {
        let slots = Slots::new("watches", 8, 2);
        let _first = slots.acquire(&tenant("system:serviceaccount:shop:one")).unwrap();
        let _second = slots.acquire(&tenant("system:serviceaccount:shop:two")).unwrap();
        let refusal = slots.acquire(&tenant("system:serviceaccount:shop:three")).unwrap_err();
        assert_eq!(refusal.message, "2 watches of the service accounts of namespace \"shop\" are open already");
        assert!(slots.acquire(&tenant("system:serviceaccount:bank:one")).is_ok());
    }
}
