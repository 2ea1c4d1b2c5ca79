//! Traffic outside flows for `/metrics`, read from the kernel at each scrape.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
};
use trilobite_node_ebpf::{FlowDirection, OTHER_REASONS, PacketsBytes};

use super::layer::pipeline::FlowPipeline;

pub(super) struct OutsideFlows(pub(super) Arc<Mutex<FlowPipeline>>);

type Value = fn(&PacketsBytes) -> u64;

impl fmt::Debug for OutsideFlows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutsideFlows")
    }
}

impl Collector for OutsideFlows {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (sums, early, policies) = {
            let pipeline = self.0.lock();
            (pipeline.outside_flows(), pipeline.early_records(), pipeline.disagreements())
        };
        let mut counts: BTreeMap<(String, &str, &str), PacketsBytes> = BTreeMap::new();
        for (name, direction, sum) in sums {
            let direction = if direction == FlowDirection::In { "in" } else { "out" };
            for (reason, other) in OTHER_REASONS.iter().zip(&sum.other).filter(|(_, other)| other.packets > 0) {
                counts.insert((name.clone(), direction, reason), *other);
            }
        }
        let families: [(&str, &str, Value); 2] = [
            ("flow_other_packets", "Packets that are in no flow, by interface, direction and reason", |count| {
                count.packets
            }),
            ("flow_other_bytes", "Bytes that are in no flow, by interface, direction and reason", |count| count.bytes),
        ];
        for (name, help, value) in families {
            let kind = ConstCounter::new(0u64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for ((interface, direction, reason), count) in &counts {
                let labels = [("interface", interface.as_str()), ("direction", direction), ("reason", reason)];
                ConstCounter::new(value(count)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Flow records delivered before the owners of all addresses were listed: their ends may be unknown";
        let totals = [
            ("flow_early_records", help, early),
            (
                "policy_denied_packets",
                "Dropped packets that the network policies of the cluster deny",
                policies.denied_packets,
            ),
            (
                "policy_allowed_drops",
                "Packets that the network policies allow, dropped where policies are enforced",
                policies.allowed_packets,
            ),
            (
                "policy_audited_connections",
                "Connections that the network policies deny and whose server answered",
                policies.audited_connections,
            ),
        ];
        for (name, help, value) in totals {
            let total = ConstCounter::new(value);
            total.encode(encoder.encode_descriptor(name, help, None, total.metric_type())?)?;
        }
        Ok(())
    }
}
