//! Reads metrics in Hubble's words, `flow:sourceContext=workload-name|reserved-identity;labelsContext=source_namespace`, and in its
//! typed form. Names of options and contexts are read without regard to case, those of metrics and labels with it, as Hubble does.

use std::collections::BTreeSet;

use super::{
    DEFAULT_METRICS,
    config::MetricConfig,
    metric::{ContextIdentifier, ContextLabel, HubbleMetric, MetricName, MetricOption},
};
use crate::policy::check::nearest::advice;

/// A word that stands for `hubbleLabels` at every metric.
const HUBBLE_LABELS: &str = "hubbleLabels";
/// Metrics of Hubble that no agent counts yet.
const NOT_SUPPORTED: [&str; 1] = ["sctp"];
/// An option of `http` and `httpV2` whose value is a truth.
const EXEMPLARS: &str = "exemplars";

/// Something that is wrong with one metric, which is left out; the others are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricFault {
    /// Below `spec.network.metrics`, e.g. `metrics[2]`.
    pub field: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// Hubble has it, and agents do not count it yet.
    pub is_not_supported: bool,
}

/// The metrics that can be counted, and what is wrong with the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedMetrics {
    /// In the order of the lists.
    pub metrics: Vec<HubbleMetric>,
    /// In the order of the lists.
    pub faults: Vec<MetricFault>,
}

/// Options as both forms have them.
struct WrittenOption<'a> {
    /// Its field below that of the metric; empty in a word.
    field: String,
    name: &'a str,
    /// Without empty ones.
    values: Vec<&'a str>,
}

/// Reads both lists; if both are empty, the metrics are the default ones.
pub fn parse_metrics(words: &[String], configs: &[MetricConfig]) -> ParsedMetrics {
    let mut parsed = ParsedMetrics::default();
    if words.is_empty() && configs.is_empty() {
        parsed.metrics = DEFAULT_METRICS.iter().filter_map(|word| parse_word("", word).ok()).collect();
        return parsed;
    }
    let mut hubble_labels = false;
    for (position, word) in words.iter().enumerate() {
        let field = format!("metrics[{position}]");
        match word.as_str() {
            HUBBLE_LABELS => hubble_labels = true,
            word => parsed.insert(field.clone(), parse_word(&field, word)),
        }
    }
    for (position, config) in configs.iter().enumerate() {
        let field = format!("metricConfigs[{position}]");
        let options = config.context_options.iter().enumerate().map(|(position, option)| WrittenOption {
            field: format!(".contextOptions[{position}]"),
            name: &option.name,
            values: option.values.iter().map(String::as_str).filter(|value| !value.is_empty()).collect(),
        });
        match config.name.as_str() {
            HUBBLE_LABELS => hubble_labels = true,
            name => parsed.insert(field.clone(), build_metric(&field, ".name", name, options)),
        }
    }
    if hubble_labels {
        for metric in &mut parsed.metrics {
            if metric.name.options().contains(&MetricOption::HubbleLabels) && !metric.has(MetricOption::HubbleLabels) {
                metric.options.push(MetricOption::HubbleLabels);
            }
        }
    }
    parsed
}

impl ParsedMetrics {
    fn insert(&mut self, field: String, metric: Result<HubbleMetric, MetricFault>) {
        match metric {
            Ok(metric) if self.metrics.iter().any(|known| known.name == metric.name) => {
                let message = format!("the metric {} is listed twice; join its options", metric.name.as_str());
                self.faults.push(MetricFault { field, message, is_not_supported: false });
            }
            Ok(metric) if self.metrics.iter().any(|known| known.name.shares_families(metric.name)) => {
                let message = "http and httpV2 make metrics of the same names; list one of them".to_owned();
                self.faults.push(MetricFault { field, message, is_not_supported: false });
            }
            Ok(metric) => self.metrics.push(metric),
            Err(fault) => self.faults.push(fault),
        }
    }
}

/// `NAME[:OPTION[=VALUE{|VALUE}]{;OPTION...}]`; labels are separated by commas.
fn parse_word(field: &str, word: &str) -> Result<HubbleMetric, MetricFault> {
    let (name, options) = word.split_once(':').unwrap_or((word, ""));
    let options = options.split(';').filter(|option| !option.is_empty()).map(|option| {
        let (name, values) = option.split_once('=').unwrap_or((option, ""));
        let separator = if name.eq_ignore_ascii_case("labelsContext") { ',' } else { '|' };
        let values = values.split(separator).filter(|value| !value.is_empty()).collect();
        WrittenOption { field: String::new(), name, values }
    });
    build_metric(field, "", name, options)
}

fn build_metric<'a>(
    field: &str,
    name_field: &str,
    name: &str,
    options: impl Iterator<Item = WrittenOption<'a>>,
) -> Result<HubbleMetric, MetricFault> {
    let mut metric = HubbleMetric::new(metric_name(&format!("{field}{name_field}"), name)?);
    let mut given = BTreeSet::new();
    for option in options {
        let field = format!("{field}{}", option.field);
        if !given.insert(option.name.to_lowercase()) {
            return Err(fault(field, format!("{}: the option {:?} is given twice", name, option.name)));
        }
        set_option(&mut metric, field, &option)?;
    }
    metric.options.sort();
    Ok(metric)
}

fn metric_name(field: &str, name: &str) -> Result<MetricName, MetricFault> {
    if let Some(name) = MetricName::ALL.iter().find(|known| known.as_str() == name) {
        return Ok(*name);
    }
    if NOT_SUPPORTED.contains(&name) {
        let message = format!(
            "the metric {name} is not supported yet; supported are {}",
            words(MetricName::ALL, MetricName::as_str)
        );
        return Err(MetricFault { field: field.into(), message, is_not_supported: true });
    }
    let known = || MetricName::ALL.iter().map(|known| known.as_str()).chain(NOT_SUPPORTED);
    Err(unknown(field, "metric", name, known()))
}

fn set_option(metric: &mut HubbleMetric, field: String, option: &WrittenOption<'_>) -> Result<(), MetricFault> {
    let contexts = match option.name.to_lowercase().as_str() {
        "sourcecontext" => &mut metric.source.both,
        "sourceegresscontext" => &mut metric.source.egress,
        "sourceingresscontext" => &mut metric.source.ingress,
        "destinationcontext" => &mut metric.destination.both,
        "destinationegresscontext" => &mut metric.destination.egress,
        "destinationingresscontext" => &mut metric.destination.ingress,
        "labelscontext" => {
            let labels = option.values.iter().map(|label| context_label(&field, label));
            metric.labels = labels.collect::<Result<BTreeSet<_>, _>>()?.into_iter().collect();
            return Ok(());
        }
        _ => return set_flag(metric, field, option),
    };
    for word in &option.values {
        let identifier = context_identifier(&field, word)?;
        if !contexts.contains(&identifier) {
            contexts.push(identifier);
        }
    }
    Ok(())
}

/// An option without a value.
fn set_flag(metric: &mut HubbleMetric, field: String, option: &WrittenOption<'_>) -> Result<(), MetricFault> {
    let known = metric.name.options();
    let is_http = matches!(metric.name, MetricName::Http | MetricName::HttpV2);
    if is_http && option.name.eq_ignore_ascii_case(EXEMPLARS) {
        return check_exemplars(field, &option.values);
    }
    let Some(flag) = known.iter().find(|flag| flag.as_str().eq_ignore_ascii_case(option.name)) else {
        let name = metric.name.as_str();
        let contexts = ["sourceContext", "destinationContext", "labelsContext"];
        let known = known.iter().map(|flag| flag.as_str()).chain(contexts).chain(is_http.then_some(EXEMPLARS));
        return Err(unknown(&field, &format!("option of the metric {name}"), option.name, known));
    };
    if !option.values.is_empty() {
        return Err(fault(field, format!("the option {} has no value", flag.as_str())));
    }
    metric.options.push(*flag);
    Ok(())
}

/// As Hubble, which takes everything but `true` for no.
fn check_exemplars(field: String, values: &[&str]) -> Result<(), MetricFault> {
    match values.first() {
        Some(&"true") => {
            let message = "exemplars are not supported yet; leave the option exemplars out".to_owned();
            Err(MetricFault { field, message, is_not_supported: true })
        }
        _ => Ok(()),
    }
}

fn context_identifier(field: &str, word: &str) -> Result<ContextIdentifier, MetricFault> {
    let known = ContextIdentifier::ALL.iter();
    let found = known.clone().find(|known| known.as_str().eq_ignore_ascii_case(word));
    found.copied().ok_or_else(|| unknown(field, "context", word, known.map(|known| known.as_str())))
}

fn context_label(field: &str, word: &str) -> Result<ContextLabel, MetricFault> {
    let known = ContextLabel::ALL.iter();
    let found = known.clone().find(|known| known.as_str() == word);
    found.copied().ok_or_else(|| unknown(field, "label", word, known.map(|known| known.as_str())))
}

fn unknown<'a>(field: &str, what: &str, word: &str, known: impl Iterator<Item = &'a str>) -> MetricFault {
    let advice = advice(word, known, "see docs/hubble-metrics.md");
    fault(field.into(), format!("unknown {what} {word:?}; {advice}"))
}

fn fault(field: String, message: String) -> MetricFault {
    MetricFault { field, message, is_not_supported: false }
}

fn words<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str) -> String {
    all.iter().map(|value| word(*value)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hubble_metrics::ContextOption;

    fn parse(words: &[&str]) -> ParsedMetrics {
        parse_metrics(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &[])
    }

    fn faults(words: &[&str]) -> Vec<String> {
        parse(words).faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect()
    }

    #[test]
    fn hubbles_words_are_read_with_all_their_options() {
        let parsed = parse(&[
            "flow:sourceContext=workload-name|reserved-identity;labelsContext=source_namespace,destination_namespace",
            "drop",
            "flows-to-world:any-drop;port;SYN-ONLY;DestinationIngressContext=POD|ip",
            "tcp:;sourceEgressContext=dns;",
        ]);
        assert_eq!(parsed.faults, []);
        let [flow, drop, world, tcp] = &parsed.metrics[..] else { panic!("{parsed:?}") };
        assert_eq!(flow.source.both, [ContextIdentifier::WorkloadName, ContextIdentifier::ReservedIdentity]);
        assert_eq!(flow.labels, [ContextLabel::SourceNamespace, ContextLabel::DestinationNamespace]);
        assert_eq!(*drop, HubbleMetric::new(MetricName::Drop));
        assert_eq!(world.options, [MetricOption::AnyDrop, MetricOption::Port, MetricOption::SynOnly]);
        assert_eq!(world.destination.ingress, [ContextIdentifier::Pod, ContextIdentifier::Ip]);
        assert_eq!(tcp.source.egress, [ContextIdentifier::Dns]);
    }

    #[test]
    fn labels_are_in_hubbles_order_whatever_the_order_of_the_words() {
        let parsed = parse(&["tcp:labelsContext=traffic_direction,destination_ip,source_ip,source_ip"]);
        let labels = [ContextLabel::SourceIp, ContextLabel::DestinationIp, ContextLabel::TrafficDirection];
        assert_eq!(parsed.metrics[0].labels, labels);
    }

    #[test]
    fn each_unknown_word_is_refused_by_name_and_the_others_stay() {
        let words = [
            "flows",
            "drop:sourceContext=podd",
            "tcp:labelsContext=source_zone",
            "icmp:labelContext=source_ip",
            "sctp:sourceContext=ip",
            "httpV2:exemplars=true",
            "flows-to-world:port=80",
            "policy",
            "policy:sourceContext=ip",
            "port-distribution:syn-only",
            "flow:sourceContext=ip;sourcecontext=pod",
        ];
        assert_eq!(
            faults(&words),
            [
                "metrics[0]: unknown metric \"flows\"; did you mean flow?",
                "metrics[1]: unknown context \"podd\"; did you mean pod?",
                "metrics[2]: unknown label \"source_zone\"; did you mean source_pod?",
                "metrics[3]: unknown option of the metric icmp \"labelContext\"; did you mean labelsContext?",
                "metrics[4]: the metric sctp is not supported yet; supported are dns, drop, flow, flows-to-world, http, httpV2, icmp, \
                 policy, port-distribution, tcp",
                "metrics[5]: exemplars are not supported yet; leave the option exemplars out",
                "metrics[6]: the option port has no value",
                "metrics[8]: the metric policy is listed twice; join its options",
                "metrics[9]: unknown option of the metric port-distribution \"syn-only\"; see docs/hubble-metrics.md",
                "metrics[10]: flow: the option \"sourcecontext\" is given twice",
            ]
        );
        assert_eq!(parse(&words).metrics, [HubbleMetric::new(MetricName::Policy)]);
    }

    #[test]
    fn metrics_without_a_source_of_events_are_not_supported() {
        for name in NOT_SUPPORTED {
            let parsed = parse(&[name, "tcp"]);
            assert!(parsed.faults[0].is_not_supported, "{name}");
            assert_eq!(parsed.metrics.len(), 1);
        }
    }

    #[test]
    fn typed_list_says_the_same_and_names_its_fields() {
        let option = |name: &str, values: &[&str]| ContextOption {
            name: name.into(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let config = |name: &str, context_options| MetricConfig { name: name.into(), context_options };
        let configs = [
            config("flow", vec![option("sourceContext", &["pod", "ip"]), option("labelsContext", &["source_ip"])]),
            config("flows-to-world", vec![option("port", &[""])]),
            config("drop", vec![option("sourceContext", &["pod"]), option("destinationContext", &["pot"])]),
            config("dropped", Vec::new()),
        ];
        let parsed = parse_metrics(&[], &configs);
        let same = parse(&["flow:sourceContext=pod|ip;labelsContext=source_ip", "flows-to-world:port"]);
        assert_eq!(parsed.metrics, same.metrics);
        let fields: Vec<_> = parsed.faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["metricConfigs[2].contextOptions[1]", "metricConfigs[3].name"]);
    }

    #[test]
    fn hubble_labels_alone_is_for_every_metric_that_has_more() {
        let parsed = parse(&["hubbleLabels", "drop", "flow:hubbleLabels", "tcp", "httpV2:exemplars=false"]);
        let has: Vec<_> = parsed.metrics.iter().map(|metric| metric.has(MetricOption::HubbleLabels)).collect();
        assert_eq!((has, parsed.faults), (vec![true, true, false, true], Vec::new()));
    }

    #[test]
    fn two_metrics_of_the_same_names_are_refused() {
        for words in [["http", "httpV2"], ["httpV2:sourceContext=ip", "http"]] {
            let parsed = parse(&words);
            assert_eq!(parsed.metrics.len(), 1);
            assert!(parsed.faults[0].message.starts_with("http and httpV2"), "{:?}", parsed.faults);
        }
    }

    #[test]
    fn default_metrics_are_all_valid() {
        let parsed = parse(&[]);
        let names: Vec<_> = parsed.metrics.iter().map(|metric| metric.name).collect();
        // `http` makes metrics of the same names as `httpV2`.
        let all: Vec<_> = MetricName::ALL.iter().copied().filter(|name| *name != MetricName::Http).collect();
        assert_eq!(names, all);
    }

    #[test]
    fn page_names_every_metric_option_context_and_label() {
        let page = include_str!("../../../docs/hubble-metrics.md");
        let names = MetricName::ALL.iter().map(|name| name.as_str());
        let options = MetricOption::ALL.iter().map(|option| option.as_str());
        let contexts = ContextIdentifier::ALL.iter().map(|context| context.as_str());
        let labels = ContextLabel::ALL.iter().map(|label| label.as_str());
        for word in names.chain(options).chain(contexts).chain(labels).chain(NOT_SUPPORTED) {
            assert!(page.contains(&format!("`{word}`")), "{word} is not in docs/hubble-metrics.md");
        }
    }
}
