//! All metrics of one configuration. Pure: time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};
use trilobite_crds::hubble_metrics::FlowMetrics;

use super::{
    counter::{Family, PodNames},
    handler::{Handler, encode_table},
    lookups::Lookups,
    traffic::{DROPS, TRAFFIC, Traffic},
};
use crate::layers::network::flow::Flow;

/// How often pods are looked for that are gone.
const LOOK_FOR_PODS: Duration = Duration::from_secs(10);
/// How long the series of a deleted pod stay, so that its last counts are scraped.
const KEEP_DELETED_PODS: Duration = Duration::from_secs(60);
/// How often series are given to the label sets that became busy.
const REBALANCE: Duration = Duration::from_secs(60);

const IN_OTHER: Family = Family {
    name: "trilobite_network_metric_series_dropped",
    help: "Counts in series `other`, because the metric has its most series",
};

pub(super) struct Engine {
    settings: FlowMetrics,
    handlers: Vec<Handler>,
    traffic: Traffic,
    lookups: Lookups,
    /// Pods that a series names and that existed once.
    seen: BTreeSet<(String, String)>,
    /// Since when each pod that a series names is deleted.
    deleted: BTreeMap<(String, String), Instant>,
    pods_checked: Option<Instant>,
    rebalanced: Option<Instant>,
}

impl Engine {
    pub(super) fn new(settings: FlowMetrics, node: &Arc<str>) -> Self {
        let limit = limit(&settings);
        let handlers = settings.metrics.iter().map(|metric| Handler::new(metric.clone(), node, limit));
        Self {
            handlers: handlers.collect(),
            traffic: Traffic::new(limit),
            lookups: Lookups::new(limit),
            settings,
            seen: BTreeSet::new(),
            deleted: BTreeMap::new(),
            pods_checked: None,
            rebalanced: None,
        }
    }

    /// Metrics with the same options keep their counts.
    pub(super) fn change(&mut self, settings: FlowMetrics, node: &Arc<str>) {
        let mut changed = Self::new(settings, node);
        if changed.settings.max_series == self.settings.max_series {
            for new in &mut changed.handlers {
                if let Some(at) = self.handlers.iter().position(|old| old.metric == new.metric) {
                    *new = self.handlers.swap_remove(at);
                }
            }
            std::mem::swap(&mut changed.traffic, &mut self.traffic);
            std::mem::swap(&mut changed.lookups, &mut self.lookups);
        }
        *self = changed;
    }

    pub(super) fn settings(&self) -> &FlowMetrics {
        &self.settings
    }

    pub(super) fn record(&mut self, flow: &Flow) {
        for handler in &mut self.handlers {
            handler.record(flow);
        }
        self.traffic.record(flow);
        self.lookups.record(flow);
    }

    /// A query of DNS that no answer came to.
    pub(super) fn record_unanswered(&mut self, query: &Flow) {
        self.handlers.iter_mut().for_each(|handler| handler.record_unanswered(query));
        self.lookups.record_unanswered(query);
    }

    /// To be called every few seconds. `remove_living` removes the pods that exist from those that series name; none while
    /// not all pods are known.
    pub(super) fn sweep(&mut self, now: Instant, remove_living: Option<impl FnOnce(&mut PodNames)>) {
        if is_due(&mut self.rebalanced, now, REBALANCE) {
            self.handlers.iter_mut().for_each(Handler::rebalance);
            self.traffic.traffic.rebalance();
            self.traffic.drops.rebalance();
            self.lookups.rebalance();
        }
        if let Some(remove_living) = remove_living
            && is_due(&mut self.pods_checked, now, LOOK_FOR_PODS)
        {
            self.remove_deleted_pods(now, remove_living);
        }
    }

    fn remove_deleted_pods(&mut self, now: Instant, remove_living: impl FnOnce(&mut PodNames)) {
        let mut names = PodNames::new();
        self.handlers.iter().for_each(|handler| handler.add_pods(&mut names));
        self.traffic.add_pods(&mut names);
        self.lookups.add_pods(&mut names);
        if names.is_empty() {
            self.seen.clear();
            self.deleted.clear();
            return;
        }
        let mut absent = names.clone();
        remove_living(&mut absent);
        self.seen.retain(|pod| names.contains_key(pod));
        self.seen.extend(names.into_keys().filter(|pod| !absent.contains_key(pod)));
        absent.retain(|pod, is_certain| *is_certain || self.seen.contains(pod));
        let mut deleted = BTreeMap::new();
        let mut gone = PodNames::new();
        for (pod, is_certain) in absent {
            let since = self.deleted.get(&pod).copied().unwrap_or(now);
            if now.duration_since(since) >= KEEP_DELETED_PODS {
                gone.insert(pod, is_certain);
            } else {
                deleted.insert(pod, since);
            }
        }
        self.deleted = deleted;
        if !gone.is_empty() {
            self.handlers.iter_mut().for_each(|handler| handler.remove_pods(&gone));
            self.traffic.remove_pods(&gone);
            self.lookups.remove_pods(&gone);
        }
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for handler in &self.handlers {
            handler.encode(encoder)?;
        }
        let Traffic { traffic, drops } = &self.traffic;
        encode_table(encoder, TRAFFIC, traffic)?;
        encode_table(encoder, DROPS, drops)?;
        self.lookups.encode(encoder)?;
        let Family { name, help } = IN_OTHER;
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (metric, count) in self.in_other() {
            ConstCounter::new(count).encode(family.encode_family(&[("metric", metric.as_str())])?)?;
        }
        Ok(())
    }

    /// The first metric that has its most series.
    pub(super) fn full_metric(&self) -> Option<String> {
        self.in_other().find(|(_, count)| *count > 0).map(|(metric, _)| metric)
    }

    /// What each metric has counted in `other`.
    fn in_other(&self) -> impl Iterator<Item = (String, u64)> {
        let Traffic { traffic, drops } = &self.traffic;
        let hubbles = self.handlers.iter().flat_map(Handler::in_other);
        let ours = [(TRAFFIC[0].name, traffic.in_other()), (DROPS[0].name, drops.in_other())];
        let ours = ours.map(|(name, count)| (format!("{name}_total"), count));
        hubbles.chain(ours).chain(self.lookups.in_other())
    }

    /// Series of all metrics.
    #[cfg(test)]
    pub(super) fn series(&self) -> usize {
        self.handlers.iter().map(|handler| handler.series()).sum()
    }
}

fn limit(settings: &FlowMetrics) -> usize {
    usize::try_from(settings.max_series).unwrap_or(usize::MAX)
}

/// The first call is due as well.
fn is_due(last: &mut Option<Instant>, now: Instant, every: Duration) -> bool {
    let is_due = last.is_none_or(|last| now.duration_since(last) >= every);
    if is_due {
        *last = Some(now);
    }
    is_due
}
