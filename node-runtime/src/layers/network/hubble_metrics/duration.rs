//! How long requests took: histograms by label set.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{
    counter::FlowCounter,
    histogram::{self, amount_count, amounts},
    label_values::LabelValues,
};
use crate::layers::network::flow::Flow;

/// Upper ends of the buckets, which are Hubble's: nanoseconds. Another bucket has what took longer.
const BUCKETS: [u64; 11] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];
const COUNTS: usize = amount_count(BUCKETS.len());

pub(super) type DurationCounter = FlowCounter<COUNTS>;

impl DurationCounter {
    pub(super) fn observe(&mut self, flow: &Flow, nanoseconds: u64, push_own_values: impl FnOnce(&mut LabelValues)) {
        self.add_by(flow, amounts(&BUCKETS, nanoseconds), push_own_values);
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        histogram::encode(encoder, self.family, &BUCKETS, &self.series)
    }
}
