//! Tetragon's metrics, by its names, for dashboards that were made for it. docs/which-metrics-are-there.md lists those that have
//! no meaning here.

use std::fmt::Result;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use crate::{
    export::ExportCounts,
    layers::security::{
        event_bus::EventBus,
        policy_report::{ActionCounters, PolicyReport, PolicyReports, PolicyState},
    },
    loss::{Ledger, LossPoint},
};

/// Reads everything at the scrape.
#[derive(Debug)]
pub(super) struct TetragonMetrics {
    pub ledger: Ledger,
    pub policies: PolicyReports,
    pub bus: EventBus,
    pub exported: ExportCounts,
}

impl Collector for TetragonMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        gauges(&mut encoder, "tetragon_build_info", "Build information about tetragon", [(version, 1)])?;
        let events = self.bus.counts().map(|(kind, count)| ([("type", kind.as_str_name())], count));
        counters(&mut encoder, "tetragon_events", "The total number of Tetragon events", events)?;
        self.encode_losses(&mut encoder)?;
        self.encode_exports(&mut encoder)?;
        let reports = self.policies.read();
        encode_states(&reports, &mut encoder)?;
        encode_policies(&reports, &mut encoder)
    }
}

impl TetragonMetrics {
    fn encode_losses(&self, encoder: &mut DescriptorEncoder<'_>) -> Result {
        let kernel = self.ledger.total_at(LossPoint::IdentityRing) + self.ledger.total_at(LossPoint::PolicyRing);
        counter(encoder, "tetragon_observer_ringbuf_events_lost", "Number of ring buffer events lost", kernel)?;
        let readers = self.ledger.total_at(LossPoint::StreamReader);
        counter(encoder, "tetragon_notify_overflowed_events", "Events dropped because a listener was too slow", readers)
    }

    fn encode_exports(&self, encoder: &mut DescriptorEncoder<'_>) -> Result {
        let ExportCounts { events, bytes, suppressed, last } = &self.exported;
        counter(encoder, "tetragon_events_exported", "Total number of events exported", events.read())?;
        counter(encoder, "tetragon_events_exported_bytes", "Number of bytes exported for events", bytes.read())?;
        let help = "Number of events dropped on export due to rate limiting";
        counter(encoder, "tetragon_export_ratelimit_events_dropped", help, suppressed.read())?;
        let help = "Timestamp of the most recent event to be exported";
        gauges(encoder, "tetragon_events_last_exported_timestamp", help, [([], last.read())])
    }
}

fn encode_states(reports: &[PolicyReport], encoder: &mut DescriptorEncoder<'_>) -> Result {
    let states = [
        ("enabled", PolicyState::Enabled),
        ("partially_enabled", PolicyState::PartiallyEnabled),
        ("load_error", PolicyState::Refused),
        ("skipped", PolicyState::Skipped),
    ];
    let loaded = states.map(|(name, state)| {
        let count = reports.iter().filter(|report| report.state == state).count();
        ([("state", name)], count as u64)
    });
    gauges(encoder, "tetragon_tracingpolicy_loaded", "The number of loaded tracing policy by state", loaded)
}

fn encode_policies(reports: &[PolicyReport], encoder: &mut DescriptorEncoder<'_>) -> Result {
    let memory = reports.iter().filter(|report| report.kernel_bytes > 0).map(|report| {
        ([("policy", report.name.as_str()), ("policy_namespace", report.namespace.as_str())], report.kernel_bytes)
    });
    let help = "The amount of kernel memory in bytes used by policy's sensors non-shared BPF maps (memlock)";
    gauges(encoder, "tetragon_tracingpolicy_kernel_memory_bytes", help, memory)?;

    let mut posts = Vec::new();
    let mut actions = Vec::new();
    for report in reports {
        for hook in &report.hooks {
            let name = hook.label();
            let count: u64 = hook.selectors.iter().map(|selector| selector.counters.posts).sum();
            if count > 0 {
                posts.push((report.name.clone(), name.clone(), count));
            }
            for (index, selector) in hook.selectors.iter().enumerate() {
                let ActionCounters { posts, unposted, signals, monitored_signals } = selector.counters;
                let counts =
                    [("post", posts), ("nopost", unposted), ("signal", signals), ("monitor_signal", monitored_signals)];
                for (action, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
                    let labels = [
                        ("policy", report.name.clone()),
                        ("policy_namespace", report.namespace.clone()),
                        ("hook", name.clone()),
                        ("hook_index", hook.index.to_string()),
                        ("selector_index", index.to_string()),
                        ("selector_label", selector.label.clone()),
                        ("action", action.to_owned()),
                    ];
                    actions.push((labels, count));
                }
            }
        }
    }
    let posts = posts.into_iter().map(|(policy, hook, count)| ([("policy", policy), ("hook", hook)], count));
    counters(encoder, "tetragon_policy_events", "Policy events calls observed", posts)?;
    let help = "Number of actions by selector of a tracing policy";
    counters(encoder, "tetragon_tracingpolicy_selector_actions", help, actions)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, count: u64) -> Result {
    let counter = ConstCounter::new(count);
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}

fn counters<const N: usize, L: AsRef<str>>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'static str, L); N], u64)>,
) -> Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, count) in values {
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_ref()));
        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauges<'a, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = ([(&'static str, &'a str); N], u64)>,
) -> Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        gauge.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;
    use crate::layers::security::policy_report::{HookReport, SelectorReport};

    #[test]
    fn metrics_have_tetragons_names_and_labels() {
        let ledger = Ledger::default();
        ledger.record_loss(LossPoint::PolicyRing, "egress", 5);
        let policies = PolicyReports::default();
        policies.set_source(Box::new(|| {
            let counters = ActionCounters { posts: 7, signals: 2, ..ActionCounters::default() };
            let selectors = vec![SelectorReport { label: "out".into(), counters }];
            let name = "tcp_connect".to_owned();
            let hook = HookReport { section: "kprobes", name, is_loaded: true, selectors, ..HookReport::default() };
            let name = "egress".to_owned();
            vec![PolicyReport { name, hooks: vec![hook], kernel_bytes: 4096, ..PolicyReport::default() }]
        }));
        let exported = ExportCounts::default();
        exported.events.add(3);
        let metrics = TetragonMetrics { bus: EventBus::new(ledger.clone()), ledger, policies, exported };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "tetragon_events_total{type=\"PROCESS_KPROBE\"} 0\n",
            "tetragon_observer_ringbuf_events_lost_total 5\n",
            "tetragon_events_exported_total 3\n",
            "tetragon_tracingpolicy_loaded{state=\"enabled\"} 1\n",
            "tetragon_tracingpolicy_loaded{state=\"load_error\"} 0\n",
            "tetragon_tracingpolicy_kernel_memory_bytes{policy=\"egress\",policy_namespace=\"\"} 4096\n",
            "tetragon_policy_events_total{policy=\"egress\",hook=\"kprobe:tcp_connect\"} 7\n",
            "selector_index=\"0\",selector_label=\"out\",action=\"signal\"} 2\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("action=\"nopost\""));
    }

    #[test]
    fn documented_metrics_are_those_of_the_page() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(TetragonMetrics {
            ledger: Ledger::default(),
            policies: PolicyReports::default(),
            bus: EventBus::new(Ledger::default()),
            exported: ExportCounts::default(),
        }));
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        let served =
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(|line| match line.split_once(' ') {
                Some((name, "counter")) => format!("{name}_total"),
                Some((name, _)) => name.to_owned(),
                None => line.to_owned(),
            });
        let docs = include_str!("../../../docs/which-metrics-are-there.md");
        let (present, absent) = docs.split_once("## Not there").unwrap();
        for name in served {
            assert!(present.contains(&format!("`{name}`")), "{name} is not in the docs");
            assert!(!absent.contains(&format!("`{name}`")), "{name} is there");
        }
        // All of Tetragon's are in one of the two tables.
        assert_eq!(docs.matches("`tetragon_").count(), 64, "names of Tetragon");
    }
}
