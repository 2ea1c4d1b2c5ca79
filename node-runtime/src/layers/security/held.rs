//! Events that wait until it is known whose they are: a queue for each cgroup, so that one pod's wait costs no other pod
//! its events. Pure: time is the boot clock in nanoseconds and comes in as an argument.

use std::collections::{HashMap, VecDeque};

/// Events that wait at most, of all cgroups.
pub const HELD_MAX: usize = 8192;
/// And of one.
pub const HELD_OF_CGROUP_MAX: usize = 2048;

/// What becomes of an event that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is told, unless one before it still waits.
    Tell,
    /// Nobody is to have it.
    Drop,
    /// It goes on waiting.
    Wait,
}

/// The queues.
#[derive(Debug)]
pub struct Held<T> {
    queues: HashMap<u64, VecDeque<(u64, T)>>,
    count: usize,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { queues: HashMap::new(), count: 0 }
    }
}

impl<T> Held<T> {
    /// Events that wait.
    pub fn len(&self) -> usize {
        self.count
    }

    /// None waits.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// An event of this cgroup waits: those that come later stay behind it.
    pub fn has(&self, cgroup: u64) -> bool {
        self.queues.contains_key(&cgroup)
    }

    /// Takes an event that arrived `now`; gives back the one that had to go for it, the oldest of the longest queue.
    pub fn push(&mut self, cgroup: u64, now: u64, event: T) -> Option<T> {
        let full_of_it = self.queues.get(&cgroup).is_some_and(|queue| queue.len() >= HELD_OF_CGROUP_MAX);
        let evicted = if full_of_it {
            self.pop(cgroup)
        } else if self.count >= HELD_MAX {
            let longest = self.queues.iter().max_by_key(|(_, queue)| queue.len()).map(|(cgroup, _)| *cgroup);
            longest.and_then(|cgroup| self.pop(cgroup))
        } else {
            None
        };
        self.queues.entry(cgroup).or_default().push_back((now, event));
        self.count += 1;
        evicted
    }

    /// Asks for each event, by its cgroup and how long it has waited, what becomes of it; gives those that are told, each
    /// cgroup's in their order. Once it has given as many as may be told, the others wait unasked.
    pub fn look(&mut self, now: u64, most: usize, mut fate: impl FnMut(u64, &mut T, u64) -> Fate) -> Vec<T> {
        let mut told = Vec::new();
        for (cgroup, queue) in &mut self.queues {
            let mut waiting = VecDeque::new();
            for (since, mut event) in std::mem::take(queue) {
                if told.len() >= most {
                    waiting.push_back((since, event));
                    continue;
                }
                match fate(*cgroup, &mut event, now.saturating_sub(since)) {
                    Fate::Drop => {}
                    Fate::Tell if waiting.is_empty() => told.push(event),
                    Fate::Tell | Fate::Wait => waiting.push_back((since, event)),
                }
            }
            *queue = waiting;
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        self.count = self.queues.values().map(VecDeque::len).sum();
        if self.queues.is_empty() {
            // A burst is over: its memory goes back.
            self.queues = HashMap::new();
        }
        told
    }

    fn pop(&mut self, cgroup: u64) -> Option<T> {
        let queue = self.queues.get_mut(&cgroup)?;
        let (_, event) = queue.pop_front()?;
        self.count -= 1;
        if queue.is_empty() {
            self.queues.remove(&cgroup);
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_behind_those_of_its_cgroup_and_of_no_other() {
        let mut held = Held::default();
        for (cgroup, event) in [(1, "a1"), (1, "a2"), (2, "b1")] {
            assert_eq!(held.push(cgroup, 10, event), None);
        }
        let told = held.look(20, 9, |_, event, _| if *event == "a1" { Fate::Wait } else { Fate::Tell });
        assert_eq!(told, ["b1"]);
        assert!(held.has(1) && !held.has(2));
        assert_eq!(held.look(20, 9, |_, _, _| Fate::Tell), ["a1", "a2"]);
        assert!(held.is_empty());
    }

    #[test]
    fn an_event_that_nobody_wants_goes_at_once_wherever_it_stands() {
        let mut held = Held::default();
        held.push(1, 10, "waits");
        held.push(1, 10, "unwanted");
        held.look(20, 9, |_, event, _| if *event == "waits" { Fate::Wait } else { Fate::Drop });
        assert_eq!(held.len(), 1);
    }

    #[test]
    fn what_may_not_be_told_yet_is_told_next_in_its_order() {
        let mut held = Held::default();
        for number in 1..=3 {
            assert_eq!(held.push(7, 10, number), None);
        }
        assert_eq!(held.look(20, 2, |_, _, _| Fate::Tell), [1, 2]);
        assert!(held.has(7));
        assert_eq!(held.look(20, 2, |_, _, _| Fate::Tell), [3]);
    }

    #[test]
    fn an_event_waits_from_when_it_arrived() {
        let mut held = Held::default();
        held.push(1, 100, ());
        let mut waited = 0;
        held.look(130, 9, |_, (), age| {
            waited = age;
            Fate::Wait
        });
        assert_eq!(waited, 30);
    }

    #[test]
    fn a_loud_pod_pushes_out_its_own_events_and_no_other_pods() {
        let mut held = Held::default();
        held.push(1, 0, usize::MAX);
        let evicted: Vec<usize> = (0..HELD_OF_CGROUP_MAX + 2).filter_map(|number| held.push(2, 1, number)).collect();
        assert_eq!(evicted, [0, 1]);
        for cgroup in 3..=5 {
            for number in 0..HELD_OF_CGROUP_MAX - 1 {
                assert_ne!(held.push(cgroup, 2, number), Some(usize::MAX));
            }
        }
        assert!(held.len() <= HELD_MAX);
        assert!(held.look(3, HELD_MAX, |_, _, _| Fate::Tell).contains(&usize::MAX));
    }
}
