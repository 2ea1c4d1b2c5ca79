//! Records whose cgroup the kernel program could not assign: they wait until the agent says whether their pod is selected.

use std::collections::HashMap;

/// What to do with a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Membership<T> {
    /// Its cgroup belongs to the profile.
    Selected(T),
    /// Its cgroup does not.
    NotSelected,
    /// It waits for the agent's answer.
    Pending {
        /// The agent has not been asked about this cgroup.
        ask_agent: bool,
    },
    /// Too many records wait.
    Overflow,
}

/// Records that wait, and what the agent has answered so far.
pub(crate) struct PendingRecords<T> {
    waiting: HashMap<u64, Waiting<T>>,
    /// What the waiting records take, in the unit of `limit`.
    used: usize,
    limit: usize,
    answers: HashMap<u64, bool>,
}

struct Waiting<T> {
    records: Vec<T>,
    used: usize,
}

impl<T> PendingRecords<T> {
    /// `limit` bounds what all waiting records take: their number, or their bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { waiting: HashMap::new(), used: 0, limit, answers: HashMap::new() }
    }

    /// Decides a record of a cgroup that the kernel program did not know, or keeps it until the agent has answered. It takes
    /// `size` of the limit.
    pub(crate) fn membership(&mut self, cgroup: u64, record: T, size: usize) -> Membership<T> {
        match self.answers.get(&cgroup) {
            Some(true) => Membership::Selected(record),
            Some(false) => Membership::NotSelected,
            None if self.used + size > self.limit => Membership::Overflow,
            None => {
                self.used += size;
                let waiting = self.waiting.entry(cgroup).or_insert(Waiting { records: Vec::new(), used: 0 });
                waiting.records.push(record);
                waiting.used += size;
                Membership::Pending { ask_agent: waiting.records.len() == 1 }
            }
        }
    }

    /// Records the agent's answer, which is none if the pod did not become known; returns the records that waited for it.
    pub(crate) fn answer(&mut self, cgroup: u64, selected: Option<bool>) -> Vec<T> {
        if let Some(selected) = selected {
            self.answers.insert(cgroup, selected);
        }
        let Some(waiting) = self.waiting.remove(&cgroup) else { return Vec::new() };
        self.used -= waiting.used;
        waiting.records
    }

    /// Ends every wait; returns the number of records that waited.
    pub(crate) fn give_up(&mut self) -> u64 {
        self.used = 0;
        self.waiting.drain().map(|(_, waiting)| waiting.records.len() as u64).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Records of this cgroup wait.
    pub(crate) fn waits_for(&self, cgroup: u64) -> bool {
        self.waiting.contains_key(&cgroup)
    }

    /// What the waiting records take of the limit.
    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1024;

    #[test]
    fn agent_is_asked_once_and_its_answer_is_remembered() {
        let mut pending = PendingRecords::new(LIMIT);
        assert_eq!(pending.membership(7, 'a', 1), Membership::Pending { ask_agent: true });
        assert_eq!(pending.membership(7, 'b', 1), Membership::Pending { ask_agent: false });
        assert!(pending.waits_for(7) && !pending.waits_for(8));
        assert_eq!(pending.answer(7, Some(true)), ['a', 'b']);
        assert!(pending.is_empty() && !pending.waits_for(7));
        assert_eq!(pending.membership(7, 'c', 1), Membership::Selected('c'));
    }

    #[test]
    fn unknown_pod_is_asked_for_again() {
        let mut pending = PendingRecords::new(LIMIT);
        pending.membership(7, 'a', 1);
        assert_eq!(pending.answer(7, None).len(), 1);
        assert_eq!(pending.membership(7, 'b', 1), Membership::Pending { ask_agent: true });
    }

    #[test]
    fn waiting_records_are_limited_by_their_size() {
        let mut pending = PendingRecords::new(LIMIT);
        for cgroup in 0..LIMIT as u64 / 2 {
            pending.membership(cgroup, (), 2);
        }
        assert_eq!((pending.membership(1, (), 1), pending.used()), (Membership::Overflow, LIMIT));
        pending.answer(1, Some(false));
        assert_eq!(pending.membership(LIMIT as u64, (), 2), Membership::Pending { ask_agent: true });
        assert_eq!((pending.give_up(), pending.used()), (LIMIT as u64 / 2, 0));
    }
}
