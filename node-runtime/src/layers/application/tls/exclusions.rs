//! Cgroups whose TLS is left alone, for all sessions of a node: a cgroup that several sessions exclude is excluded until the last of
//! them has ended.

use std::collections::{HashMap, HashSet, hash_map::Entry};

/// Each excluded cgroup, with the number of sessions that exclude it.
#[derive(Default)]
pub(super) struct Exclusions(HashMap<u64, u32>);

impl Exclusions {
    /// Replaces the cgroups that one session excludes. Returns what to write for the programs: cgroups, and whether each is excluded.
    pub(super) fn replace(&mut self, before: &HashSet<u64>, after: &HashSet<u64>) -> Vec<(u64, bool)> {
        let mut changes = Vec::new();
        for cgroup in after.difference(before) {
            *self.0.entry(*cgroup).or_default() += 1;
            changes.push((*cgroup, true));
        }
        for cgroup in before.difference(after) {
            let Entry::Occupied(mut sessions) = self.0.entry(*cgroup) else { continue };
            *sessions.get_mut() -= 1;
            if *sessions.get() == 0 {
                sessions.remove();
                changes.push((*cgroup, false));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_stays_excluded_until_the_last_session_ends() {
        let (none, both, one) = (HashSet::new(), HashSet::from([7, 8]), HashSet::from([7]));
        let mut exclusions = Exclusions::default();
        let mut excluded = HashSet::new();
        let steps = [
            (&none, &both, vec![7, 8]),
            (&none, &one, vec![7, 8]),
            // The first session ends, and later the second one.
            (&both, &none, vec![7]),
            (&one, &none, vec![]),
        ];
        for (before, after, expected) in steps {
            for (cgroup, is_excluded) in exclusions.replace(before, after) {
                excluded.remove(&cgroup);
                excluded.extend(is_excluded.then_some(cgroup));
            }
            assert_eq!(excluded, HashSet::from_iter(expected));
        }
    }
}
