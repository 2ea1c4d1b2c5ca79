//! Records that wait until their pod is known: a queue for each cgroup, so that one pod's wait delays no other pod's records.
//! Bounded; what is evicted, dropped or expired goes back to the caller. Pure: the caller passes the time, in nanoseconds.

use std::collections::{HashMap, VecDeque};

/// The decision about one pending record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Deliver it, but not before the records of its cgroup that came earlier.
    Deliver,
    /// Remove it: no subscriber wants it.
    Drop,
    /// Remove it: its pod did not become known in time. The caller counts it as lost.
    Expire,
    /// Keep it.
    Wait,
}

/// How many records may wait.
#[derive(Clone, Copy, Debug)]
pub struct PendingLimits {
    /// Of all cgroups together.
    pub total: usize,
    /// Of one cgroup.
    pub per_cgroup: usize,
}

/// Pending records by cgroup.
#[derive(Debug)]
pub struct PendingEvents<T> {
    limits: PendingLimits,
    /// The records of a cgroup with the time at which each arrived, the oldest first. No queue is empty.
    queues: HashMap<u64, VecDeque<(u64, T)>>,
    count: usize,
}

/// The records that a review has removed; those to deliver are in the order of their cgroup.
#[derive(Debug, PartialEq, Eq)]
pub struct Reviewed<T> {
    pub delivered: Vec<T>,
    pub dropped: Vec<T>,
    pub expired: Vec<T>,
}

impl<T> PendingEvents<T> {
    pub fn new(limits: PendingLimits) -> Self {
        Self { limits, queues: HashMap::new(), count: 0 }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A record of this cgroup waits, so that later ones have to queue behind it.
    pub fn has(&self, cgroup: u64) -> bool {
        // Asked for each event, and most of the time nothing waits at all.
        self.count > 0 && self.queues.contains_key(&cgroup)
    }

    /// `push` would evict nothing.
    pub fn has_room(&self, cgroup: u64) -> bool {
        self.count < self.limits.total && !self.queue_is_full(cgroup)
    }

    /// Adds a record that arrived `now`. Returns the record that was evicted for it: the oldest of its own cgroup where that
    /// one's queue is full, else the oldest of the longest queue.
    pub fn push(&mut self, cgroup: u64, now: u64, record: T) -> Option<T> {
        let evicted = if self.queue_is_full(cgroup) {
            self.pop_oldest(cgroup)
        } else if self.count >= self.limits.total {
            let longest = self.queues.iter().max_by_key(|(_, queue)| queue.len()).map(|(cgroup, _)| *cgroup);
            longest.and_then(|cgroup| self.pop_oldest(cgroup))
        } else {
            None
        };
        self.queues.entry(cgroup).or_default().push_back((now, record));
        self.count += 1;
        evicted
    }

    /// Decides about each record by its cgroup and its age in nanoseconds. Once `most` records are to be delivered the rest
    /// stays undecided until the next review.
    pub fn review(
        &mut self,
        now: u64,
        most: usize,
        mut decide: impl FnMut(u64, &mut T, u64) -> Disposition,
    ) -> Reviewed<T> {
        let mut reviewed = Reviewed { delivered: Vec::new(), dropped: Vec::new(), expired: Vec::new() };
        for (cgroup, queue) in &mut self.queues {
            let mut waiting = VecDeque::new();
            for (since, mut record) in std::mem::take(queue) {
                if reviewed.delivered.len() >= most {
                    waiting.push_back((since, record));
                    continue;
                }
                match decide(*cgroup, &mut record, now.saturating_sub(since)) {
                    Disposition::Drop => reviewed.dropped.push(record),
                    Disposition::Expire => reviewed.expired.push(record),
                    Disposition::Deliver if waiting.is_empty() => reviewed.delivered.push(record),
                    Disposition::Deliver | Disposition::Wait => waiting.push_back((since, record)),
                }
            }
            *queue = waiting;
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        self.count = self.queues.values().map(VecDeque::len).sum();
        if self.queues.is_empty() {
            // Gives the memory of a burst back.
            self.queues = HashMap::new();
        }
        reviewed
    }

    /// Forgets every record.
    pub fn clear(&mut self) {
        self.queues = HashMap::new();
        self.count = 0;
    }

    fn queue_is_full(&self, cgroup: u64) -> bool {
        self.queues.get(&cgroup).is_some_and(|queue| queue.len() >= self.limits.per_cgroup)
    }

    fn pop_oldest(&mut self, cgroup: u64) -> Option<T> {
        let queue = self.queues.get_mut(&cgroup)?;
        let (_, record) = queue.pop_front()?;
        self.count -= 1;
        if queue.is_empty() {
            self.queues.remove(&cgroup);
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PendingLimits = PendingLimits { total: 800, per_cgroup: 200 };

    fn pending<T>() -> PendingEvents<T> {
        PendingEvents::new(LIMITS)
    }

    fn deliver_all<T>(pending: &mut PendingEvents<T>, most: usize) -> Vec<T> {
        pending.review(20, most, |_, _, _| Disposition::Deliver).delivered
    }

    #[test]
    fn event_waits_behind_its_own_cgroup_only() {
        let mut pending = pending();
        for (cgroup, event) in [(1, "a1"), (1, "a2"), (2, "b1")] {
            assert_eq!(pending.push(cgroup, 10, event), None);
        }
        let reviewed = pending.review(20, 9, |_, event, _| match *event {
            "a1" => Disposition::Wait,
            _ => Disposition::Deliver,
        });
        assert_eq!(reviewed.delivered, ["b1"]);
        assert!(pending.has(1) && !pending.has(2));
        assert_eq!(deliver_all(&mut pending, 9), ["a1", "a2"]);
        assert!(pending.is_empty());
    }

    #[test]
    fn unwanted_and_expired_events_leave_from_any_position() {
        let mut pending = pending();
        for event in ["waits", "unwanted", "late"] {
            pending.push(1, 10, event);
        }
        let reviewed = pending.review(20, 9, |_, event, _| match *event {
            "waits" => Disposition::Wait,
            "late" => Disposition::Expire,
            _ => Disposition::Drop,
        });
        assert_eq!((reviewed.delivered, reviewed.dropped, reviewed.expired), (vec![], vec!["unwanted"], vec!["late"]));
        assert_eq!(pending.len(), 1);
    }

    #[test]
    fn delivery_limit_keeps_the_order_for_the_next_review() {
        let mut pending = pending();
        for number in 1..=3 {
            assert_eq!(pending.push(7, 10, number), None);
        }
        assert_eq!(deliver_all(&mut pending, 2), [1, 2]);
        assert!(pending.has(7));
        assert_eq!(deliver_all(&mut pending, 2), [3]);
    }

    #[test]
    fn age_counts_from_the_arrival() {
        let mut pending = pending();
        pending.push(1, 100, ());
        let mut waited = 0;
        pending.review(130, 9, |_, (), age| {
            waited = age;
            Disposition::Wait
        });
        assert_eq!(waited, 30);
    }

    #[test]
    fn busy_pod_evicts_its_own_events_only() {
        let mut pending = pending();
        pending.push(1, 0, usize::MAX);
        let evicted: Vec<usize> = (0..LIMITS.per_cgroup + 2).filter_map(|number| pending.push(2, 1, number)).collect();
        assert_eq!(evicted, [0, 1]);
        assert!(!pending.has_room(2) && pending.has_room(3));
        for cgroup in 3..=5 {
            for number in 0..LIMITS.per_cgroup - 1 {
                assert_ne!(pending.push(cgroup, 2, number), Some(usize::MAX));
            }
        }
        assert!(pending.len() <= LIMITS.total);
        assert!(deliver_all(&mut pending, LIMITS.total).contains(&usize::MAX));
    }

    #[test]
    fn total_limit_evicts_the_oldest_of_the_longest_queue() {
        let mut pending = PendingEvents::new(PendingLimits { total: 3, per_cgroup: 3 });
        for (cgroup, event) in [(1, "a1"), (2, "b1"), (2, "b2")] {
            assert_eq!(pending.push(cgroup, 0, event), None);
        }
        assert!(!pending.has_room(3));
        assert_eq!(pending.push(3, 0, "c1"), Some("b1"));
        assert_eq!(pending.len(), 3);
    }
}
