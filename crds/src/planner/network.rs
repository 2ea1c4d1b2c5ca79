//! What the stack's metrics of flows ask of the nodes, and which of them are refused.

use super::refusal::Refusal;
use crate::{
    ObservabilityStack, UserKind,
    hubble_metrics::MetricFault,
    node::NetworkSettings,
    reason::Reason,
    stack::{Layer, LayerMode},
};

/// Whether the stack itself asks for flows: to serve them, or to count them.
pub(super) fn wants_flows(stack: &ObservabilityStack) -> bool {
    stack.spec.layer(Layer::Network).mode == LayerMode::Enabled || counts_flows(stack)
}

/// The settings of the network layer for every node; none if all are defaults. Metrics that are refused are left out.
pub(super) fn network_settings(stack: &ObservabilityStack) -> Option<NetworkSettings> {
    let metrics = (counts_flows(stack) && !stack.spec.suspend).then(|| stack.spec.network.metrics.settings());
    Some(NetworkSettings { metrics, dns: stack.spec.network.dns }).filter(|settings| !settings.is_default())
}

/// Why metrics are refused, each by its field.
pub(super) fn metric_refusals(stack: &ObservabilityStack) -> Vec<Refusal> {
    let (metrics, source) = (&stack.spec.network.metrics, stack.source());
    if !metrics.is_enabled() {
        return Vec::new();
    }
    if stack.spec.layer(Layer::Network).mode == LayerMode::Disabled {
        let field = "spec.network.metrics.mode";
        let message = format!("{field}: metrics of flows need spec.network.mode OnDemand or Enabled");
        return vec![Refusal::new(&source, Reason::InvalidSpec, field, message)];
    }
    let refusal = |MetricFault { field, message, is_not_supported }: MetricFault| {
        let reason = if is_not_supported { Reason::Unsupported } else { Reason::InvalidSpec };
        let field = format!("spec.network.metrics.{field}");
        Refusal::new(&source, reason, field.as_str(), format!("{field}: {message}"))
    };
    metrics.parse().faults.into_iter().map(refusal).collect()
}

fn counts_flows(stack: &ObservabilityStack) -> bool {
    stack.spec.network.metrics.is_enabled() && stack.spec.layer(Layer::Network).mode != LayerMode::Disabled
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Inputs, ObservabilityStackSpec, Planned, STACK_NAME,
        hubble_metrics::{FlowMetrics, MetricName},
        node::PartContent,
        plan,
        stack::DnsMode,
    };

    fn planned(network: Value) -> Planned {
        let spec: ObservabilityStackSpec = serde_json::from_value(json!({ "network": network })).unwrap();
        plan(&Inputs::new(&ObservabilityStack::new(STACK_NAME, spec)))
    }

    fn metrics(planned: &Planned) -> Option<&FlowMetrics> {
        planned.profile.spec.network.as_ref()?.metrics.as_ref()
    }

    fn watches_flows(planned: &Planned) -> bool {
        planned.parts.iter().any(|part| matches!(part.spec.content, PartContent::Flows(_)))
    }

    #[test]
    fn metrics_are_counted_only_where_the_stack_asks() {
        let off = planned(json!({ "mode": "OnDemand" }));
        assert_eq!((metrics(&off), watches_flows(&off)), (None, false));
        let on = planned(json!({ "mode": "OnDemand", "metrics": { "mode": "Enabled", "metrics": ["drop"] } }));
        let names: Vec<_> = metrics(&on).unwrap().metrics.iter().map(|metric| metric.name).collect();
        assert_eq!((names, watches_flows(&on)), (vec![MetricName::Drop], true));
        assert_eq!(metrics(&on).unwrap().port, 9965);
        assert_ne!(on.profile.spec.digest, off.profile.spec.digest);
        assert!(on.profile.spec.is_intact());
    }

    #[test]
    fn refused_metric_leaves_the_others() {
        let words = json!(["drop", "sctp", "flow:sourceContext=zone"]);
        let planned = planned(json!({ "metrics": { "mode": "Enabled", "metrics": words } }));
        let refused: Vec<_> = planned.refusals.iter().map(|it| (it.reason, it.field.as_str())).collect();
        assert_eq!(
            refused,
            [
                (Reason::Unsupported, "spec.network.metrics.metrics[1]"),
                (Reason::InvalidSpec, "spec.network.metrics.metrics[2]"),
            ]
        );
        assert_eq!(metrics(&planned).unwrap().metrics.len(), 1);
    }

    #[test]
    fn dns_is_read_unless_the_stack_disables_it() {
        let mode = |planned: &Planned| planned.profile.spec.network.as_ref().map(|network| network.dns);
        let auto = planned(json!({ "mode": "OnDemand" }));
        assert_eq!(mode(&auto), None);
        let disabled = planned(json!({ "mode": "OnDemand", "dns": "Disabled" }));
        assert_eq!(mode(&disabled), Some(DnsMode::Disabled));
        assert_ne!(disabled.profile.spec.digest, auto.profile.spec.digest);
    }

    #[test]
    fn disabled_layer_counts_nothing_and_the_field_is_named() {
        let planned = planned(json!({ "mode": "Disabled", "metrics": { "mode": "Enabled" } }));
        assert_eq!(planned.refusals[0].field, "spec.network.metrics.mode");
        assert_eq!((metrics(&planned), watches_flows(&planned)), (None, false));
    }
}
