//! The cgroups of this node by id. Pure: a scan of the file system and the kernel's records fill it, in any order.

use std::collections::{HashMap, VecDeque};

use super::location::CgroupLocation;

/// How many removed cgroups are remembered, for the processes that ended in them.
const REMOVED_MAX: usize = 1024;

#[derive(Debug)]
struct Cgroup {
    parent: u64,
    name: String,
    location: CgroupLocation,
}

#[derive(Debug, Default)]
pub(in crate::identity) struct CgroupTree {
    root: u64,
    living: HashMap<u64, Cgroup>,
    removed: HashMap<u64, CgroupLocation>,
    removal_order: VecDeque<u64>,
}

impl CgroupTree {
    /// A tree whose root is the node's own cgroup.
    pub(in crate::identity) fn new(root: u64) -> Self {
        Self { root, ..Self::default() }
    }

    pub(in crate::identity) fn root(&self) -> u64 {
        self.root
    }

    /// None for a cgroup that was never seen.
    pub(in crate::identity) fn location(&self, id: u64) -> Option<&CgroupLocation> {
        if id == self.root {
            return Some(&CgroupLocation::Host);
        }
        self.living.get(&id).map(|cgroup| &cgroup.location).or_else(|| self.removed.get(&id))
    }

    /// Adds a cgroup. False if its parent is unknown, so that the file system has to be scanned.
    pub(in crate::identity) fn insert(&mut self, id: u64, parent: u64, name: &str) -> bool {
        let Some(above) = self.location(parent) else { return false };
        let location = above.child(name);
        self.removed.remove(&id);
        self.living.insert(id, Cgroup { parent, name: name.to_owned(), location });
        true
    }

    pub(in crate::identity) fn remove(&mut self, id: u64) {
        let Some(cgroup) = self.living.remove(&id) else { return };
        self.removed.insert(id, cgroup.location);
        self.removal_order.push_back(id);
        while self.removal_order.len() > REMOVED_MAX {
            if let Some(oldest) = self.removal_order.pop_front() {
                self.removed.remove(&oldest);
            }
        }
    }

    /// Removes every cgroup that a scan did not see.
    pub(in crate::identity) fn retain(&mut self, seen: &dyn Fn(u64) -> bool) {
        let gone: Vec<u64> = self.living.keys().copied().filter(|id| !seen(*id)).collect();
        for id in gone {
            self.remove(id);
        }
    }

    /// Every cgroup but the root, with its location.
    pub(in crate::identity) fn living(&self) -> impl Iterator<Item = (u64, &CgroupLocation)> {
        self.living.iter().map(|(id, cgroup)| (*id, &cgroup.location))
    }

    /// Every cgroup but the root, also those that were removed lately, with its location.
    pub(in crate::identity) fn remembered(&self) -> impl Iterator<Item = (u64, &CgroupLocation)> {
        self.living().chain(self.removed.iter().map(|(id, location)| (*id, location)))
    }

    /// Path below the root.
    pub(in crate::identity) fn path(&self, id: u64) -> Option<String> {
        if id == self.root {
            return Some(String::new());
        }
        let cgroup = self.living.get(&id)?;
        Some(format!("{}/{}", self.path(cgroup.parent)?, cgroup.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "7f0e5f36-93a4-4d1b-8f0a-1f7a5a0c9e11";

    #[test]
    fn removed_cgroup_keeps_its_location() {
        let mut tree = CgroupTree::new(1);
        assert!(tree.insert(2, 1, "kubepods"));
        assert!(tree.insert(3, 2, &format!("pod{UID}")));
        assert_eq!(tree.path(3), Some(format!("/kubepods/pod{UID}")));
        tree.remove(3);
        assert!(matches!(tree.location(3), Some(CgroupLocation::Pod { uid, .. }) if uid == UID));
        assert_eq!(tree.living().count(), 1);
    }

    #[test]
    fn cgroup_below_an_unknown_parent_needs_a_scan() {
        let mut tree = CgroupTree::new(1);
        assert!(!tree.insert(3, 2, "a"));
        assert_eq!(tree.location(3), None);
    }
}
