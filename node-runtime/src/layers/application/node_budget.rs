//! The memory of all profiles of a node together. A profile that does not fit is refused and affects no other; it is admitted once
//! others have ended.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use trilobite_crds::stack::DEFAULT_NODE_BUDGET;

use crate::{plan::UnitKey, problem::Problem};

/// The limit where the stack sets none.
const DEFAULT_LIMIT: u64 = DEFAULT_NODE_BUDGET.unsigned_abs();
/// Profiles that a refusal names, the largest first.
const NAMED_MAX: usize = 3;

/// A shared handle.
#[derive(Clone)]
pub(super) struct NodeBudget(Arc<Mutex<Admissions>>);

struct Admissions {
    limit: u64,
    /// Leases may outlive their unit in the plan: a worker that still makes a result uses memory.
    leases: BTreeMap<UnitKey, Admitted>,
    /// The least memory that a profile was refused for, since `was_freed` said yes.
    refused: Option<u64>,
}

struct Admitted {
    bytes: u64,
    lease: Weak<Admission>,
}

/// The memory of one profile, in use until the last clone is dropped.
#[derive(Clone)]
pub(super) struct Lease {
    _admission: Arc<Admission>,
}

struct Admission {
    budget: NodeBudget,
    key: UnitKey,
}

impl NodeBudget {
    pub(super) fn new() -> Self {
        let admissions = Admissions { limit: DEFAULT_LIMIT, leases: BTreeMap::new(), refused: None };
        Self(Arc::new(Mutex::new(admissions)))
    }

    /// Profiles that run stay admitted, also above a lower limit.
    pub(super) fn set_limit(&self, limit: Option<u64>) {
        self.0.lock().limit = limit.unwrap_or(DEFAULT_LIMIT);
    }

    /// Whether a profile would be admitted now.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.0.lock().has_room(bytes)
    }

    /// Admits a profile; one that is admitted already gets another clone of its lease.
    pub(super) fn admit(&self, key: &UnitKey, bytes: u64) -> Result<Lease, Problem> {
        let mut admissions = self.0.lock();
        if let Some(admission) = admissions.leases.get(key).and_then(|admitted| admitted.lease.upgrade()) {
            return Ok(Lease { _admission: admission });
        }
        if !admissions.has_room(bytes) {
            admissions.refused = Some(admissions.refused.unwrap_or(bytes).min(bytes));
            return Err(Problem::NodeBudgetExceeded {
                needed: bytes,
                limit: admissions.limit,
                in_use: admissions.describe(),
            });
        }
        let admission = Arc::new(Admission { budget: self.clone(), key: key.clone() });
        let lease = Arc::downgrade(&admission);
        admissions.leases.insert(key.clone(), Admitted { bytes, lease });
        Ok(Lease { _admission: admission })
    }

    /// Whether a profile that was refused may fit now. Says so once.
    pub(super) fn was_freed(&self) -> bool {
        let mut admissions = self.0.lock();
        let was_freed = admissions.refused.is_some_and(|bytes| admissions.has_room(bytes));
        if was_freed {
            admissions.refused = None;
        }
        was_freed
    }
}

impl Admissions {
    fn in_use(&self) -> u64 {
        self.leases.values().map(|admitted| admitted.bytes).sum()
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.in_use().saturating_add(bytes) <= self.limit
    }

    /// E.g. `480 MiB are in use: shop/cart 64 MiB, shop/till 32 MiB and 12 more`.
    fn describe(&self) -> String {
        let mut by_size: Vec<_> = self.leases.iter().map(|(key, admitted)| (&key.name, admitted.bytes)).collect();
        by_size.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let mebibytes = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
        let named = by_size.iter().take(NAMED_MAX).map(|(name, bytes)| format!("{name} {}", mebibytes(*bytes)));
        let named: Vec<String> = named.collect();
        let more = by_size.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        match named.as_slice() {
            [] => "nothing is in use".into(),
            _ => format!("{} are in use: {}{more}", mebibytes(self.in_use()), named.join(", ")),
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut admissions = self.budget.0.lock();
        // The profile may have been admitted again since the last clone was dropped.
        if admissions.leases.get(&self.key).is_some_and(|admitted| admitted.lease.strong_count() == 0) {
            admissions.leases.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use trilobite_crds::node::SourceKind;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn key(name: &str) -> UnitKey {
        UnitKey { kind: SourceKind::AppProfile, name: name.into(), version: "1".into() }
    }

    fn budget(limit: u64) -> NodeBudget {
        let budget = NodeBudget::new();
        budget.set_limit(Some(limit));
        budget
    }

    #[test]
    fn profile_above_the_limit_is_refused_and_names_what_is_in_use() {
        let budget = budget(100 * MIB);
        let _cart = budget.admit(&key("shop/cart"), 64 * MIB).unwrap();
        let _till = budget.admit(&key("shop/till"), 30 * MIB).unwrap();
        let refused = budget.admit(&key("shop/desk"), 8 * MIB).err().unwrap();
        let message = refused.message();
        assert!(message.starts_with("8 MiB do not fit into the 100 MiB of this node's profiles: 94 MiB are in use: "));
        assert!(message.contains("shop/cart 64 MiB, shop/till 30 MiB; end one"), "{message}");
    }

    #[test]
    fn seventy_profiles_on_a_budget_for_sixty() {
        let budget = budget(60 * 8 * MIB);
        let admitted: Vec<_> = (0..70).map(|at| budget.admit(&key(&format!("shop/p{at:02}")), 8 * MIB)).collect();
        assert_eq!(admitted.iter().filter(|lease| lease.is_err()).count(), 10);
        assert!(admitted[59].is_ok() && admitted[60].is_err(), "the ones that came first");
        let message = admitted[69].as_ref().err().unwrap().message();
        assert!(message.contains("480 MiB are in use") && message.contains("and 57 more"), "{message}");
    }

    #[test]
    fn memory_is_free_with_the_last_clone_of_a_lease() {
        let budget = budget(10 * MIB);
        let lease = budget.admit(&key("shop/cart"), 10 * MIB).unwrap();
        let worker = budget.admit(&key("shop/cart"), 10 * MIB).unwrap();
        drop(lease);
        assert!(!budget.has_room(1) && budget.admit(&key("shop/till"), MIB).is_err() && !budget.was_freed());
        drop(worker);
        assert!(budget.was_freed() && !budget.was_freed());
        assert!(budget.admit(&key("shop/till"), 10 * MIB).is_ok());
    }

    #[test]
    fn memory_that_another_could_not_use_is_not_freed_for_the_refused() {
        let budget = budget(10 * MIB);
        let _cart = budget.admit(&key("shop/cart"), 6 * MIB).unwrap();
        assert!(budget.admit(&key("shop/till"), 8 * MIB).is_err());
        // Admitted, and not started for another reason.
        drop(budget.admit(&key("shop/desk"), MIB).unwrap());
        assert!(!budget.was_freed());
    }

    #[test]
    fn lower_limit_leaves_running_profiles_alone() {
        let budget = budget(10 * MIB);
        let lease = budget.admit(&key("shop/cart"), 10 * MIB).unwrap();
        budget.set_limit(Some(MIB));
        assert!(budget.admit(&key("shop/cart"), 10 * MIB).is_ok());
        drop(lease);
        assert!(budget.admit(&key("shop/cart"), 10 * MIB).is_err());
    }
}
