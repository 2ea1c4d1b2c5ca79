//! Accounts for every sample of a profile: samples that the kernel meant for the ring are in the result, or recorded as lost.

use trilobite_worker_wire::SampleCounts;

use super::programs::Sampler;
use crate::loss::{Ledger, LossPoint, LossTotals};

pub(super) struct LossAccounting {
    totals: LossTotals,
    /// Samples that were lost with a previous agent.
    previously_lost: u64,
    /// Samples that dead workers had reported.
    with_dead_workers: u64,
}

impl LossAccounting {
    /// Losses are recorded for `source`.
    pub(super) fn new(ledger: Ledger, source: String, previously_lost: u64) -> Self {
        Self { totals: LossTotals::new(ledger, source), previously_lost, with_dead_workers: 0 }
    }

    /// Samples that were lost with a previous agent.
    pub(super) fn previously_lost(&self) -> u64 {
        self.previously_lost
    }

    /// Samples that would be lost if the agent died now.
    pub(super) fn lost_if_agent_dies(&self, sampler: &Sampler) -> u64 {
        self.previously_lost + sampler.counts().0
    }

    /// A worker has died that had reported these counts. Samples that it had not reported are counted in `conclude`.
    pub(super) fn add_dead_worker(&mut self, counts: &SampleCounts) {
        self.with_dead_workers += counts.samples + counts.overflow + counts.malformed;
    }

    /// Records the losses so far, and returns their sum; a running worker may still report more samples.
    pub(super) fn publish(&mut self, sampler: &Sampler, counts: &SampleCounts) -> u64 {
        let (_, ring) = sampler.counts();
        self.record(ring, self.lost_by_workers(counts), counts.undecided)
    }

    fn lost_by_workers(&self, counts: &SampleCounts) -> u64 {
        self.previously_lost + self.with_dead_workers + counts.overflow + counts.malformed
    }

    /// Records the losses at the end, and returns their sum. Samples that were delivered and are not in the result were with a
    /// worker that died.
    pub(super) fn conclude(&mut self, sampler: &Sampler, counts: &SampleCounts) -> u64 {
        let (seen, ring) = sampler.counts();
        let worker = self.previously_lost + missing_samples(seen.saturating_sub(ring), counts);
        self.record(ring, worker, counts.undecided)
    }

    fn record(&mut self, ring: u64, worker: u64, undecided: u64) -> u64 {
        self.totals.record(LossPoint::SampleRing, ring);
        self.totals.record(LossPoint::Worker, worker);
        self.totals.record(LossPoint::Undecided, undecided);
        ring + worker
    }
}

/// Of so many delivered samples, those that are neither in the result nor dropped because of their cgroup.
fn missing_samples(delivered: u64, counts: &SampleCounts) -> u64 {
    let SampleCounts { samples, others, undecided, overflow, malformed, .. } = *counts;
    let accounted = samples + others + undecided + overflow + malformed;
    overflow + malformed + delivered.saturating_sub(accounted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delivered_sample_is_in_the_result_or_dropped_or_lost() {
        let counts = SampleCounts {
            samples: 50,
            others: 10,
            undecided: 5,
            overflow: 3,
            malformed: 2,
            truncated: 40,
            ..SampleCounts::default()
        };
        assert_eq!(missing_samples(100, &counts), 5 + 30);
        assert_eq!(missing_samples(70, &counts), 5);
    }

    #[test]
    fn samples_of_a_dead_worker_are_lost_while_the_profile_runs() {
        let mut losses = LossAccounting::new(Ledger::default(), "AppProfile/shop/cart".into(), 7);
        losses.add_dead_worker(&SampleCounts { samples: 50, overflow: 3, ..SampleCounts::default() });
        assert_eq!(losses.lost_by_workers(&SampleCounts { malformed: 1, ..SampleCounts::default() }), 61);
    }

    #[test]
    fn losses_of_a_previous_agent_are_recorded_once() {
        let ledger = Ledger::default();
        let mut losses = LossAccounting::new(ledger.clone(), "AppProfile/shop/cart".into(), 70);
        assert_eq!(losses.record(0, losses.previously_lost(), 0), 70);
        assert_eq!(losses.record(1, losses.previously_lost() + 4, 0), 75);
        assert_eq!((ledger.total_at(LossPoint::Worker), ledger.total_at(LossPoint::SampleRing)), (74, 1));
    }
}
