//! How long requests took: histograms by label set.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::{
    counter::{Family, FlowCounter},
    label_values::LabelValues,
    series::Label,
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
const NANOSECONDS: f64 = 1e9;
/// Number, sum in nanoseconds, and the number in each bucket.
const COUNTS: usize = BUCKETS.len() + 3;

pub(super) type DurationCounter = FlowCounter<COUNTS>;

impl DurationCounter {
    pub(super) fn observe(&mut self, flow: &Flow, nanoseconds: u64, push_own_values: impl FnOnce(&mut LabelValues)) {
        let mut amounts = [0; COUNTS];
        let [count, sum, buckets @ ..] = &mut amounts;
        (*count, *sum) = (1, nanoseconds);
        let bucket = BUCKETS.iter().position(|end| nanoseconds <= *end).unwrap_or(BUCKETS.len());
        if let Some(bucket) = buckets.get_mut(bucket) {
            *bucket = 1;
        }
        self.add_by(flow, amounts, push_own_values);
    }

    #[allow(clippy::cast_precision_loss, reason = "seconds of a sum need no nanoseconds")]
    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Family { name, help } = self.family;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let ends = BUCKETS.iter().map(|end| *end as f64 / NANOSECONDS).chain([f64::INFINITY]);
        for (values, [count, sum, counts @ ..]) in self.series.iter() {
            let names = self.series.labels().iter().map(|Label { name, .. }| *name);
            let labels: Vec<(&str, &str)> = names.zip(values).collect();
            let buckets: Vec<(f64, u64)> = ends.clone().zip(counts).collect();
            let seconds = sum as f64 / NANOSECONDS;
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
        }
        Ok(())
    }
}
