//! What became of the samples of a profile: those that the kernel meant for the ring are in the result, or counted as lost.

use super::sampler::Sampler;
use crate::{
    report::{Ledger, Place},
    worker::frame::Counts,
};

/// What the ledger has been told of one profile.
pub(super) struct Tally {
    ledger: Ledger,
    source: String,
    /// Samples that were lost with an agent before this one.
    before: u64,
    /// Samples that workers had told of before they died.
    died: u64,
    ring: u64,
    worker: u64,
    undecided: u64,
}

impl Tally {
    /// `source` is what losses are entered for.
    pub(super) fn new(ledger: Ledger, source: String, before: u64) -> Self {
        Self { ledger, source, before, died: 0, ring: 0, worker: 0, undecided: 0 }
    }

    /// Samples that were lost with an agent before this one.
    pub(super) fn before(&self) -> u64 {
        self.before
    }

    /// Samples that would be lost if the agent ended now.
    pub(super) fn so_far(&self, sampler: &Sampler) -> u64 {
        self.before + sampler.counts().0
    }

    /// A worker has died that had told of these. What it had not told of is counted at the end.
    pub(super) fn died(&mut self, counts: &Counts) {
        self.died += counts.samples + counts.overflow + counts.malformed;
    }

    /// What is lost so far; what a worker has not told of yet may still come.
    pub(super) fn publish(&mut self, sampler: &Sampler, counts: &Counts) -> u64 {
        let (_, ring) = sampler.counts();
        self.enter(ring, self.told(counts), counts.undecided)
    }

    /// What workers have said is lost, or have taken with them.
    fn told(&self, counts: &Counts) -> u64 {
        self.before + self.died + counts.overflow + counts.malformed
    }

    /// What is lost at the end: what was delivered and is nowhere, was with a worker that died.
    pub(super) fn conclude(&mut self, sampler: &Sampler, counts: &Counts) -> u64 {
        let (seen, ring) = sampler.counts();
        let worker = self.before + with_workers(seen.saturating_sub(ring), counts);
        self.enter(ring, worker, counts.undecided)
    }

    fn enter(&mut self, ring: u64, worker: u64, undecided: u64) -> u64 {
        for (place, total, before) in [
            (Place::SampleRing, ring, &mut self.ring),
            (Place::Worker, worker, &mut self.worker),
            (Place::Undecided, undecided, &mut self.undecided),
        ] {
            self.ledger.lost(place, &self.source, total.saturating_sub(*before));
            *before = total.max(*before);
        }
        ring + worker
    }
}

/// Of so many delivered samples, those that no result has and that were not dropped for whose they are.
fn with_workers(delivered: u64, counts: &Counts) -> u64 {
    let Counts { samples, others, undecided, overflow, malformed, .. } = *counts;
    let accounted = samples + others + undecided + overflow + malformed;
    overflow + malformed + delivered.saturating_sub(accounted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delivered_sample_is_in_the_result_or_dropped_or_lost() {
        let counts = Counts {
            samples: 50,
            others: 10,
            undecided: 5,
            overflow: 3,
            malformed: 2,
            truncated: 40,
            ..Counts::default()
        };
        assert_eq!(with_workers(100, &counts), 5 + 30);
        assert_eq!(with_workers(70, &counts), 5);
    }

    #[test]
    fn samples_of_a_worker_that_died_are_told_as_lost_while_the_profile_still_runs() {
        let mut tally = Tally::new(Ledger::default(), "AppProfile/shop/cart".into(), 7);
        tally.died(&Counts { samples: 50, overflow: 3, ..Counts::default() });
        assert_eq!(tally.told(&Counts { malformed: 1, ..Counts::default() }), 61);
    }

    #[test]
    fn what_an_agent_before_lost_is_entered_once() {
        let ledger = Ledger::default();
        let mut tally = Tally::new(ledger.clone(), "AppProfile/shop/cart".into(), 70);
        assert_eq!(tally.enter(0, tally.before(), 0), 70);
        assert_eq!(tally.enter(1, tally.before() + 4, 0), 75);
        assert_eq!((ledger.total(Place::Worker), ledger.total(Place::SampleRing)), (74, 1));
    }
}
