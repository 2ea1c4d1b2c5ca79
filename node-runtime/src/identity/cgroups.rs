//! The cgroups of this node by id. Pure: a walk of the file system and the kernel's records feed it, in any order.

use std::collections::{HashMap, VecDeque};

use super::place::CgroupPlace;

/// A cgroup that went is remembered for those that ended in it, so many of them.
const REMOVED_MAX: usize = 1024;

#[derive(Debug)]
struct Cgroup {
    parent: u64,
    name: String,
    place: CgroupPlace,
}

/// The tree.
#[derive(Debug, Default)]
pub struct Cgroups {
    root: u64,
    living: HashMap<u64, Cgroup>,
    removed: HashMap<u64, CgroupPlace>,
    order: VecDeque<u64>,
}

impl Cgroups {
    /// A tree whose root is the node.
    pub fn new(root: u64) -> Self {
        Self { root, ..Self::default() }
    }

    /// The node's own cgroup.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Where a cgroup lies; none if it has not been seen.
    pub fn place(&self, id: u64) -> Option<&CgroupPlace> {
        if id == self.root {
            return Some(&CgroupPlace::Host);
        }
        self.living.get(&id).map(|cgroup| &cgroup.place).or_else(|| self.removed.get(&id))
    }

    /// A cgroup is there. False if the one above is unknown: then the file system has to be walked.
    pub fn insert(&mut self, id: u64, parent: u64, name: &str) -> bool {
        let Some(above) = self.place(parent) else { return false };
        let place = above.below(name);
        self.removed.remove(&id);
        self.living.insert(id, Cgroup { parent, name: name.to_owned(), place });
        true
    }

    /// A cgroup went.
    pub fn remove(&mut self, id: u64) {
        let Some(cgroup) = self.living.remove(&id) else { return };
        self.removed.insert(id, cgroup.place);
        self.order.push_back(id);
        while self.order.len() > REMOVED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.removed.remove(&oldest);
            }
        }
    }

    /// Whatever a walk did not see went.
    pub fn retain(&mut self, seen: &dyn Fn(u64) -> bool) {
        let gone: Vec<u64> = self.living.keys().copied().filter(|id| !seen(*id)).collect();
        for id in gone {
            self.remove(id);
        }
    }

    /// Those that are there, with their places; the root is not among them.
    pub fn living(&self) -> impl Iterator<Item = (u64, &CgroupPlace)> {
        self.living.iter().map(|(id, cgroup)| (*id, &cgroup.place))
    }

    /// Path below the root.
    pub fn path(&self, id: u64) -> Option<String> {
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
    fn a_cgroup_that_went_still_says_whose_it_was() {
        let mut tree = Cgroups::new(1);
        assert!(tree.insert(2, 1, "kubepods"));
        assert!(tree.insert(3, 2, &format!("pod{UID}")));
        assert_eq!(tree.path(3), Some(format!("/kubepods/pod{UID}")));
        tree.remove(3);
        assert!(matches!(tree.place(3), Some(CgroupPlace::Pod { uid, .. }) if uid == UID));
        assert_eq!(tree.living().count(), 1);
    }

    #[test]
    fn a_cgroup_below_an_unknown_one_asks_for_a_walk() {
        let mut tree = Cgroups::new(1);
        assert!(!tree.insert(3, 2, "a"));
        assert_eq!(tree.place(3), None);
    }
}
