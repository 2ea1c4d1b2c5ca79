//! Metrics of DNS that Hubble does not have: how long answers took, and queries without one, by both ends.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{
    counter::{Family, PodNames},
    dns::is_counted_elsewhere,
    handler::encode_table,
    histogram::{self, amount_count, amounts},
    series::{Label, SeriesTable},
    traffic::{names, push_end},
};
use crate::layers::network::{
    endpoint::{Endpoint, Service},
    flow::{Flow, L7},
};

pub(super) const LATENCY: Family =
    Family { name: "trilobite_network_dns_latency_seconds", help: "Time from a DNS query to its answer, by both ends" };
pub(super) const UNANSWERED: Family = Family {
    name: "trilobite_network_dns_unanswered",
    help: "DNS queries that no answer came to within 5 seconds, by both ends",
};

/// Upper ends of the buckets in nanoseconds. Another bucket has what took longer.
const BUCKETS: [u64; 13] = [
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
];
const COUNTS: usize = amount_count(BUCKETS.len());

pub(super) struct Lookups {
    pub(super) latency: SeriesTable<COUNTS>,
    pub(super) unanswered: SeriesTable<1>,
}

impl Lookups {
    pub(super) fn new(limit: usize) -> Self {
        let labels = || ["source", "destination"].map(Label::unbounded).to_vec();
        Self { latency: SeriesTable::new(labels(), limit), unanswered: SeriesTable::new(labels(), limit) }
    }

    /// Answers whose query was seen.
    pub(super) fn record(&mut self, flow: &Flow) {
        let Some(l7) = flow.l7().filter(|l7| l7.dns().is_some() && l7.is_response() && l7.latency_ns > 0) else {
            return;
        };
        if is_counted_elsewhere(flow) {
            return;
        }
        let ends = [
            (&*flow.destination_endpoint, flow.destination_service.as_deref()),
            (&*flow.source_endpoint, flow.source_service.as_deref()),
        ];
        push_ends(ends, &mut self.latency);
        self.latency.add(amounts(&BUCKETS, l7.latency_ns));
    }

    pub(super) fn record_unanswered(&mut self, query: &Flow) {
        if query.l7().and_then(L7::dns).is_none() || is_counted_elsewhere(query) {
            return;
        }
        let ends = [
            (&*query.source_endpoint, query.source_service.as_deref()),
            (&*query.destination_endpoint, query.destination_service.as_deref()),
        ];
        push_ends(ends, &mut self.unanswered);
        self.unanswered.add([1]);
    }

    pub(super) fn rebalance(&mut self) {
        self.latency.rebalance();
        self.unanswered.rebalance();
    }

    /// See `Traffic::add_pods`.
    pub(super) fn add_pods(&self, pods: &mut PodNames) {
        let latency = self.latency.iter().flat_map(|(values, _)| names(&values));
        let unanswered = self.unanswered.iter().flat_map(|(values, _)| names(&values));
        for name in latency.chain(unanswered) {
            pods.entry(name).or_default();
        }
    }

    /// See `Traffic::remove_pods`.
    pub(super) fn remove_pods(&mut self, gone: &PodNames) {
        self.latency.retain(|values| !names(values).any(|name| gone.contains_key(&name)));
        self.unanswered.retain(|values| !names(values).any(|name| gone.contains_key(&name)));
    }

    /// What each family has counted in `other`, by its name in the page.
    pub(super) fn in_other(&self) -> [(String, u64); 2] {
        [
            (LATENCY.name.to_owned(), self.latency.in_other()),
            (format!("{}_total", UNANSWERED.name), self.unanswered.in_other()),
        ]
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        histogram::encode(encoder, LATENCY, &BUCKETS, &self.latency)?;
        encode_table(encoder, [UNANSWERED], &self.unanswered)
    }
}

/// First the end that asks.
fn push_ends<const N: usize>(ends: [(&Endpoint, Option<&Service>); 2], table: &mut SeriesTable<N>) {
    table.values.clear();
    for (endpoint, service) in ends {
        push_end(endpoint, service, &mut table.values);
    }
}
