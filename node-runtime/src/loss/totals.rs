//! Losses that their counter reports as a total, e.g. a session's: the ledger gets what is new of them.

use std::collections::BTreeMap;

use super::{Ledger, LossPoint};

/// The totals of one counter so far. Several counters may lose for the same resource at the same loss point.
pub struct LossTotals {
    ledger: Ledger,
    source: String,
    recorded: BTreeMap<LossPoint, u64>,
}

impl LossTotals {
    /// Losses are recorded for `source`.
    pub fn new(ledger: Ledger, source: String) -> Self {
        Self { ledger, source, recorded: BTreeMap::new() }
    }

    /// Records by how much a total has grown. A smaller total than before records nothing.
    pub fn record(&mut self, point: LossPoint, total: u64) {
        let recorded = self.recorded.entry(point).or_default();
        self.ledger.record_loss(point, &self.source, total.saturating_sub(*recorded));
        *recorded = total.max(*recorded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_of_each_counter_is_recorded_once() {
        let ledger = Ledger::default();
        let [mut one, mut other] = ["AppProfile/shop/cart"; 2].map(|of| LossTotals::new(ledger.clone(), of.into()));
        for total in [3, 3, 1, 5] {
            one.record(LossPoint::Worker, total);
        }
        other.record(LossPoint::Worker, 2);
        other.record(LossPoint::Undecided, 4);
        assert_eq!((ledger.total_at(LossPoint::Worker), ledger.total_at(LossPoint::Undecided)), (7, 4));
    }
}
