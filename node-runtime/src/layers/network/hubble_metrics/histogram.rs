//! Durations in buckets: what one adds to a series, and how a table of them is written.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::{
    counter::Family,
    series::{Label, SeriesTable},
};

const NANOSECONDS: f64 = 1e9;

/// The amounts of a series for buckets with so many upper ends: number, sum in nanoseconds, and the number in each bucket. The last
/// bucket has what took longer than every end.
pub(super) const fn amount_count(ends: usize) -> usize {
    ends + 3
}

/// What one duration adds. `ends` are upper ends in nanoseconds, ascending.
pub(super) fn amounts<const N: usize>(ends: &[u64], nanoseconds: u64) -> [u64; N] {
    let mut amounts = [0; N];
    if let [count, sum, buckets @ ..] = &mut amounts[..] {
        (*count, *sum) = (1, nanoseconds);
        let bucket = ends.iter().position(|end| nanoseconds <= *end).unwrap_or(ends.len());
        if let Some(bucket) = buckets.get_mut(bucket) {
            *bucket = 1;
        }
    }
    amounts
}

#[allow(clippy::cast_precision_loss, reason = "seconds of a sum need no nanoseconds")]
pub(super) fn encode<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    Family { name, help }: Family,
    ends: &[u64],
    series: &SeriesTable<N>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (values, amounts) in series.iter() {
        let [count, sum, counts @ ..] = &amounts[..] else { continue };
        let names = series.labels().iter().map(|Label { name, .. }| *name);
        let labels: Vec<(&str, &str)> = names.zip(values).collect();
        let ends = ends.iter().map(|end| *end as f64 / NANOSECONDS).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = ends.zip(counts.iter().copied()).collect();
        let seconds = *sum as f64 / NANOSECONDS;
        family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(seconds, *count, &buckets, None)?;
    }
    Ok(())
}
