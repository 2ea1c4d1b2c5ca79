//! The newest times of several nodes' flows: where `--last N` begins when it counts the flows of all nodes together.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

/// Bytes of one time.
pub(super) const BYTES_OF_TIME: usize = size_of::<(u64, u32)>();

/// Keeps at most `limit` times.
pub(super) struct NewestTimes {
    limit: usize,
    newest: BinaryHeap<Reverse<(u64, u32)>>,
    /// The latest time that was left out, and how often by node: those nodes have more flows of that time than are wanted.
    left_out: (u64, BTreeMap<u32, u64>),
    has_left_out: bool,
}

/// The flows that are wanted of a node. Of those with the cutoff's time it may have more than it has told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Of the cutoff's time: left out, before those that are kept.
    pub(super) skip: u64,
    /// Of the cutoff's time: kept.
    pub(super) at_cutoff: u64,
    pub(super) later: u64,
}

/// Where the newest flows begin.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cutoff {
    /// Time of the oldest one, in nanoseconds since 1970; 0 if there cannot be older ones.
    pub(super) time: u64,
    /// Of the nodes that have such flows, by their number.
    pub(super) shares: BTreeMap<u32, Share>,
}

impl NewestTimes {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, newest: BinaryHeap::new(), left_out: (0, BTreeMap::new()), has_left_out: false }
    }

    pub(super) fn len(&self) -> usize {
        self.newest.len()
    }

    pub(super) fn push(&mut self, time: u64, node: u32) {
        self.newest.push(Reverse((time, node)));
        if self.newest.len() <= self.limit {
            return;
        }
        if let Some(Reverse((time, node))) = self.newest.pop() {
            self.has_left_out = true;
            if time > self.left_out.0 {
                self.left_out = (time, BTreeMap::new());
            }
            if time == self.left_out.0 {
                *self.left_out.1.entry(node).or_default() += 1;
            }
        }
    }

    /// Takes the times of a node out that cannot be read any more.
    pub(super) fn remove(&mut self, node: u32) {
        self.newest.retain(|Reverse((_, one))| *one != node);
        self.left_out.1.remove(&node);
    }

    pub(super) fn into_cutoff(self) -> Cutoff {
        let (left_out_at, left_out) = self.left_out;
        // A node that has sent as many as were wanted has left out its own older ones.
        let has_older = self.has_left_out || self.newest.len() == self.limit;
        let oldest = self.newest.peek().map_or(0, |Reverse((time, _))| *time);
        let cutoff = if has_older { oldest } else { 0 };
        let mut shares: BTreeMap<u32, Share> = BTreeMap::new();
        for Reverse((time, node)) in self.newest {
            let share = shares.entry(node).or_default();
            let kept = if time == cutoff { &mut share.at_cutoff } else { &mut share.later };
            *kept += 1;
        }
        if left_out_at == oldest {
            for (node, skip) in left_out {
                if let Some(share) = shares.get_mut(&node) {
                    share.skip = skip;
                }
            }
        }
        Cutoff { time: cutoff, shares }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cutoff(limit: usize, times: &[(u64, u32)]) -> Cutoff {
        let mut newest = NewestTimes::new(limit);
        times.iter().for_each(|(time, node)| newest.push(*time, *node));
        newest.into_cutoff()
    }

    fn share(skip: u64, at_cutoff: u64, later: u64) -> Share {
        Share { skip, at_cutoff, later }
    }

    #[test]
    fn newest_of_all_nodes_are_shared_out() {
        let found = cutoff(3, &[(1, 0), (5, 0), (9, 0), (2, 1), (7, 1)]);
        assert_eq!(found, Cutoff { time: 5, shares: [(0, share(0, 1, 1)), (1, share(0, 0, 1))].into() });
        let node_without_any = cutoff(2, &[(1, 0), (8, 1), (9, 1)]);
        assert_eq!(node_without_any.shares, [(1, share(0, 1, 1))].into());
    }

    #[test]
    fn flows_of_one_time_are_counted_once() {
        let found = cutoff(3, &[(4, 0), (4, 0), (4, 1), (6, 1), (4, 1)]);
        assert_eq!(found.time, 4);
        assert_eq!(found.shares, [(1, share(0, 2, 1))].into(), "those of the first node are left out");
        let found = cutoff(2, &[(4, 1), (4, 1), (4, 1)]);
        assert_eq!(found.shares, [(1, share(1, 2, 0))].into());
    }

    #[test]
    fn fewer_than_wanted_have_no_cutoff() {
        let found = cutoff(10, &[(4, 0), (5, 1)]);
        assert_eq!((found.time, found.shares.len()), (0, 2));
        assert_eq!(cutoff(10, &[]), Cutoff::default());
        assert_eq!(cutoff(2, &[(4, 0), (5, 0)]).time, 4, "the node may have older ones");
    }

    #[test]
    fn node_that_has_failed_is_taken_out() {
        let mut newest = NewestTimes::new(2);
        [(4, 0), (5, 1), (6, 1)].iter().for_each(|(time, node)| newest.push(*time, *node));
        newest.remove(1);
        assert_eq!(newest.into_cutoff(), Cutoff::default());
        let mut newest = NewestTimes::new(2);
        [(3, 0), (4, 0), (5, 0), (6, 1)].iter().for_each(|(time, node)| newest.push(*time, *node));
        newest.remove(1);
        assert_eq!(newest.into_cutoff(), Cutoff { time: 5, shares: [(0, share(0, 1, 0))].into() }, "not its oldest");
    }

    proptest! {
        #[test]
        fn shares_are_the_end_of_the_sorted_flows(
            mut flows in prop::collection::vec((0u64..20, 0u32..4), 0..60), limit in 1usize..30,
        ) {
            flows.sort_unstable();
            // A node tells of its newest alone, and may leave out others of the same time.
            let told: Vec<(u64, u32)> = (0..4)
                .flat_map(|node| {
                    let own: Vec<_> = flows.iter().filter(|(_, one)| *one == node).copied().collect();
                    own[own.len().saturating_sub(limit)..].to_vec()
                })
                .collect();
            let found = cutoff(limit, &told);
            // What the nodes then send: in the order of time, from the cutoff on.
            let mut sent = Vec::new();
            for (node, share) in &found.shares {
                let own = |is_wanted: fn(&u64, &u64) -> bool| {
                    flows.iter().filter(move |(time, one)| one == node && is_wanted(time, &found.time))
                };
                let number = |count| usize::try_from(count).unwrap();
                sent.extend(own(u64::eq).skip(number(share.skip)).take(number(share.at_cutoff)));
                sent.extend(own(u64::gt).take(number(share.later)));
            }
            sent.sort_unstable();
            let end = flows.len().saturating_sub(limit);
            let expected: Vec<u64> = flows.split_off(end).iter().map(|(time, _)| *time).collect();
            prop_assert_eq!(sent.iter().map(|(time, _)| *time).collect::<Vec<_>>(), expected);
        }
    }
}
