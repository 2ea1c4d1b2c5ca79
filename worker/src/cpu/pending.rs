//! Samples whose cgroup the kernel program could not assign: they wait until the agent says whether their pod is selected.

use std::collections::HashMap;

use super::sample::Sample;

/// Samples of all cgroups that may wait.
const PENDING_MAX: usize = 1024;

/// What to do with a sample.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// Its cgroup belongs to the profile.
    Selected(Sample),
    /// Its cgroup does not.
    NotSelected,
    /// It waits for the agent's answer.
    Pending {
        /// The agent has not been asked about this cgroup.
        ask_agent: bool,
    },
    /// Too many samples wait.
    Overflow,
}

/// Samples that wait, and what the agent has answered so far.
#[derive(Default)]
pub(super) struct PendingSamples {
    waiting: HashMap<u64, Vec<Sample>>,
    count: usize,
    answers: HashMap<u64, bool>,
}

impl PendingSamples {
    /// Decides a sample, or keeps it until the agent has answered.
    pub(super) fn membership(&mut self, sample: Sample) -> Membership {
        if !sample.undecided {
            return Membership::Selected(sample);
        }
        match self.answers.get(&sample.cgroup) {
            Some(true) => Membership::Selected(sample),
            Some(false) => Membership::NotSelected,
            None if self.count >= PENDING_MAX => Membership::Overflow,
            None => {
                self.count += 1;
                let waiting = self.waiting.entry(sample.cgroup).or_default();
                waiting.push(sample);
                Membership::Pending { ask_agent: waiting.len() == 1 }
            }
        }
    }

    /// Records the agent's answer, which is none if the pod did not become known; returns the samples that waited for it.
    pub(super) fn answer(&mut self, cgroup: u64, selected: Option<bool>) -> Vec<Sample> {
        if let Some(selected) = selected {
            self.answers.insert(cgroup, selected);
        }
        let waited = self.waiting.remove(&cgroup).unwrap_or_default();
        self.count -= waited.len();
        waited
    }

    /// Ends every wait; returns the number of samples that waited.
    pub(super) fn give_up(&mut self) -> u64 {
        self.waiting.clear();
        std::mem::take(&mut self.count) as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use trilobite_worker_wire::ProcessImage;

    use super::*;

    fn undecided(cgroup: u64) -> Sample {
        Sample {
            image: ProcessImage { pid: 10, ktime: 5 },
            cgroup,
            thread_name: [0; 16],
            process_name: [0; 16],
            undecided: true,
            truncated: false,
            kernel: Vec::new(),
            user: Vec::new(),
        }
    }

    #[test]
    fn agent_is_asked_once_and_its_answer_is_remembered() {
        let mut pending = PendingSamples::default();
        assert_eq!(pending.membership(undecided(7)), Membership::Pending { ask_agent: true });
        assert_eq!(pending.membership(undecided(7)), Membership::Pending { ask_agent: false });
        assert_eq!(pending.answer(7, Some(true)).len(), 2);
        assert!(pending.is_empty());
        assert_eq!(pending.membership(undecided(7)), Membership::Selected(undecided(7)));
    }

    #[test]
    fn unknown_pod_is_asked_for_again() {
        let mut pending = PendingSamples::default();
        pending.membership(undecided(7));
        assert_eq!(pending.answer(7, None).len(), 1);
        assert_eq!(pending.membership(undecided(7)), Membership::Pending { ask_agent: true });
    }

    #[test]
    fn waiting_samples_are_limited() {
        let mut pending = PendingSamples::default();
        (0..PENDING_MAX as u64).for_each(|cgroup| drop(pending.membership(undecided(cgroup))));
        assert_eq!(pending.membership(undecided(1)), Membership::Overflow);
        assert_eq!(pending.give_up(), PENDING_MAX as u64);
    }
}
