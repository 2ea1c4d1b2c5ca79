//! `/metrics` of the agent: units, losses and kernel memory, collected at each scrape.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, routing::get};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use tokio::sync::watch;

use super::{listen::listen, page, status::Snapshot};
use crate::{
    kernel::account,
    loss::{Ledger, Loss},
    plan::UnitState,
    problem::Problem,
};

/// Serves `/metrics` on `address`; while the address cannot be bound, `problem_sender` says why. `of_layers` are the layers' own
/// collectors, `shared` those whose metrics are called alike in every program of the stack.
pub async fn serve(
    address: SocketAddr,
    problem_sender: watch::Sender<Option<Problem>>,
    ledger: Ledger,
    snapshots: watch::Receiver<Option<Snapshot>>,
    of_layers: Vec<Box<dyn Collector>>,
    shared: Vec<Box<dyn Collector>>,
) {
    let mut registries = [registry(ledger, snapshots), Registry::default()];
    of_layers.into_iter().for_each(|collector| registries[0].register_collector(collector));
    shared.into_iter().for_each(|collector| registries[1].register_collector(collector));
    let registries = Arc::new(registries);
    let page = get(move || std::future::ready(page::page(registries.iter())));
    loop {
        let problem = |address, detail| Problem::MetricsNotServed { address, detail };
        let listener = listen(address, &problem_sender, problem).await;
        if let Err(error) = axum::serve(listener, Router::new().route("/metrics", page.clone())).await {
            tracing::error!(%error, "serving /metrics");
        }
    }
}

fn registry(ledger: Ledger, snapshots: watch::Receiver<Option<Snapshot>>) -> Registry {
    let mut registry = Registry::with_prefix("trilobite_node");
    registry.register_collector(Box::new(AgentCollector { ledger, snapshots }));
    registry
}

/// Reads everything at the scrape: nothing is counted twice, and nothing is kept between scrapes.
#[derive(Debug)]
struct AgentCollector {
    ledger: Ledger,
    snapshots: watch::Receiver<Option<Snapshot>>,
}

impl Collector for AgentCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.losses(&mut encoder)?;
        self.units(&mut encoder)?;
        cost(&mut encoder)
    }
}

impl AgentCollector {
    fn losses(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let lost = ConstCounter::new(0u64);
        let mut family = encoder.encode_descriptor(
            "lost_records",
            "Records lost, by place, resource and kind of record",
            None,
            lost.metric_type(),
        )?;
        for Loss { place, of, kind, count } in self.ledger.by_kind() {
            let labels = [("place", place.as_str()), ("of", of.as_str()), ("kind", kind)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn units(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let (mut active, mut refused) = (0i64, 0i64);
        if let Some(snapshot) = self.snapshots.borrow().as_ref() {
            for unit in snapshot.units.values() {
                match unit.state {
                    UnitState::Active { .. } => active += 1,
                    UnitState::Refused(_) => refused += 1,
                }
            }
        }
        let gauge = ConstGauge::new(active);
        let mut family = encoder.encode_descriptor("units", "Units by state", None, gauge.metric_type())?;
        gauge.encode(family.encode_family(&[("state", "in_force")])?)?;
        ConstGauge::new(refused).encode(family.encode_family(&[("state", "refused")])?)
    }
}

/// Programs, maps and links that the agent holds, and their kernel memory.
fn cost(encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
    let cost = account();
    let counts = [("program", cost.programs), ("map", cost.maps), ("link", cost.links)];
    let gauge = ConstGauge::new(0i64);
    let mut family =
        encoder.encode_descriptor("kernel_objects", "Programs, maps and links held", None, gauge.metric_type())?;
    for (kind, count) in counts {
        ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX)).encode(family.encode_family(&[("kind", kind)])?)?;
    }
    let bytes = ConstGauge::new(i64::try_from(cost.bytes).unwrap_or(i64::MAX));
    let metric = encoder.encode_descriptor(
        "kernel_memory",
        "Kernel memory of programs and maps",
        Some(&Unit::Bytes),
        bytes.metric_type(),
    )?;
    bytes.encode(metric)
}
