//! Names of the cgroups that have samples, as the agent knows them: `pod/container`.

use std::collections::{HashMap, HashSet};

use trilobite_worker_wire::names::sanitize_name;

/// Cgroups that are named; the agent is not asked about more.
const CGROUPS_MAX: usize = 4096;

#[derive(Default)]
pub(super) struct CgroupNames {
    names: HashMap<u64, String>,
    asked: HashSet<u64>,
}

impl CgroupNames {
    /// The first sample of a cgroup: the agent is to be asked for its name.
    pub(super) fn must_ask(&mut self, cgroup: u64) -> bool {
        !self.names.contains_key(&cgroup)
            && self.names.len() + self.asked.len() < CGROUPS_MAX
            && self.asked.insert(cgroup)
    }

    pub(super) fn insert(&mut self, cgroup: u64, name: &str) {
        // An answer that was not asked for is not kept.
        if self.asked.remove(&cgroup) {
            self.names.insert(cgroup, sanitize_name(name));
        }
    }

    /// The agent was asked and has not answered.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    pub(super) fn into_names(self) -> HashMap<u64, String> {
        self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_is_asked_once_for_each_cgroup() {
        let mut names = CgroupNames::default();
        assert_eq!([7, 7, 8].map(|cgroup| names.must_ask(cgroup)), [true, false, true]);
        names.insert(7, "cart-7/app");
        assert!(names.is_waiting() && !names.must_ask(7));
        names.insert(8, "cart-7/log;shipper");
        names.insert(9, "not asked for");
        assert!(!names.is_waiting());
        let expected = [(7, "cart-7/app".to_owned()), (8, "cart-7/log:shipper".to_owned())];
        assert_eq!(names.into_names(), expected.into());
    }
}
