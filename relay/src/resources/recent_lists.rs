//! Names of rows that lists have just given, so that a watch that starts at a list's position does not repeat them.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// A client watches at once after its list.
const KEPT_FOR: Duration = Duration::from_secs(30);
const MAX_LISTS: usize = 32;
/// Names of one list. Of a list with more in its last second, some rows are repeated.
const MAX_NAMES: usize = 1_000;

#[derive(Debug, Default)]
pub struct RecentLists(Mutex<VecDeque<RecentList>>);

#[derive(Debug)]
struct RecentList {
    position: u64,
    made: Instant,
    names: HashSet<String>,
}

impl RecentLists {
    /// Records the rows that a watch from `position` would repeat.
    pub fn record(&self, position: u64, names: impl Iterator<Item = String>) {
        let names: HashSet<String> = names.take(MAX_NAMES).collect();
        let mut lists = self.0.lock();
        while lists.len() >= MAX_LISTS || lists.front().is_some_and(|list| list.made.elapsed() > KEPT_FOR) {
            lists.pop_front();
        }
        lists.push_back(RecentList { position, made: Instant::now(), names });
    }

    /// The names of the list with this position.
    pub fn names(&self, position: u64) -> Option<HashSet<String>> {
        self.0.lock().iter().find(|list| list.position == position).map(|list| list.names.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_their_names_are_bounded() {
        let lists = RecentLists::default();
        (0..100).for_each(|position| lists.record(position, (0..2_000).map(|name| name.to_string())));
        assert_eq!(lists.names(3), None);
        assert_eq!(lists.names(99).map(|names| names.len()), Some(MAX_NAMES));
        assert_eq!(lists.0.lock().len(), MAX_LISTS);
    }
}
