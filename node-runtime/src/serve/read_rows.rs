//! Rows that calls were sent, and rows that their scope withheld: `trilobite_read_rows_total`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
};

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadResource {
    Events,
    Flows,
    Profiles,
    Requests,
}

impl ReadResource {
    const ALL: [Self; 4] = [Self::Events, Self::Flows, Self::Profiles, Self::Requests];

    fn label(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Flows => "flows",
            Self::Profiles => "profiles",
            Self::Requests => "requests",
        }
    }
}

/// Counts of all calls. Clones count into the same numbers.
#[derive(Clone, Debug, Default)]
pub struct ReadRows(Arc<[Counts; ReadResource::ALL.len()]>);

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    withheld: AtomicU64,
}

impl ReadRows {
    pub(super) fn count_sent(&self, resource: ReadResource) {
        self.0[resource as usize].sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a row that the scope of a call does not allow, once for each call.
    pub(super) fn count_withheld(&self, resource: ReadResource) {
        self.0[resource as usize].withheld.fetch_add(1, Ordering::Relaxed);
    }

    /// Sent and withheld rows.
    pub fn counts(&self, resource: ReadResource) -> (u64, u64) {
        let Counts { sent, withheld } = &self.0[resource as usize];
        (sent.load(Ordering::Relaxed), withheld.load(Ordering::Relaxed))
    }
}

impl Collector for ReadRows {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Rows of read calls, by resource, sent or withheld by the call's scope";
        let kind = ConstCounter::new(0u64).metric_type();
        let mut family = encoder.encode_descriptor("trilobite_read_rows", help, None, kind)?;
        for resource in ReadResource::ALL {
            let (sent, withheld) = self.counts(resource);
            for (result, count) in [("sent", sent), ("withheld", withheld)] {
                let labels = [("resource", resource.label()), ("result", result)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn counts_are_metrics_by_resource_and_result() {
        let rows = ReadRows::default();
        rows.count_sent(ReadResource::Flows);
        rows.count_withheld(ReadResource::Profiles);
        rows.count_withheld(ReadResource::Profiles);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(rows.clone()));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "trilobite_read_rows_total{resource=\"flows\",result=\"sent\"} 1\n",
            "trilobite_read_rows_total{resource=\"profiles\",result=\"withheld\"} 2\n",
            "trilobite_read_rows_total{resource=\"events\",result=\"sent\"} 0\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
