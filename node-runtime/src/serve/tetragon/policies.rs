//! The policies of this node as `tetra tracingpolicy list` shows them.

use trilobite_api::{
    read_scope::ReadScope,
    tetragon::{self as api, HookState, TracingPolicyMode, TracingPolicyState},
};

use crate::layers::security::policy_report::{ActionCounters, HookReport, PolicyMode, PolicyReport, PolicyState};

/// All policies of a Kubernetes cluster are of this domain; the other domains of Tetragon are policies added by gRPC or by file.
pub(super) const DOMAIN: &str = "k8s";

/// The policies that a call may see: namespaced ones of its namespaces, and all for the whole cluster. A cluster-wide policy's
/// counters tell of other namespaces.
pub(super) fn list_policies(
    reports: &[PolicyReport],
    request: &api::ListTracingPoliciesRequest,
    scope: &ReadScope,
) -> api::ListTracingPoliciesResponse {
    let is_domain = request.domain.is_empty() || request.domain == DOMAIN;
    let visible = reports.iter().filter(|report| is_domain && scope.allows(&report.namespace));
    api::ListTracingPoliciesResponse { policies: visible.map(policy_status).collect() }
}

#[allow(deprecated, reason = "older clients show `enabled`")]
fn policy_status(report: &PolicyReport) -> api::TracingPolicyStatus {
    let is_active = matches!(report.state, PolicyState::Enabled | PolicyState::PartiallyEnabled);
    let mut sensors: Vec<String> = report.hooks.iter().map(|hook| sensor(hook.section).to_owned()).collect();
    sensors.dedup();
    api::TracingPolicyStatus {
        id: report.id,
        name: report.name.clone(),
        namespace: report.namespace.clone(),
        info: String::new(),
        sensors,
        enabled: is_active,
        filter_id: if report.has_scope { report.id } else { 0 },
        error: report.error.clone(),
        state: state(report.state).into(),
        kernel_memory_bytes: report.kernel_bytes,
        mode: mode(report.mode).into(),
        stats: Some(api::TracingPolicyStats {
            action_counters: Some(counters(report.total())),
            selector_action_counters: report.hooks.iter().flat_map(selector_counters).collect(),
        }),
        domain: DOMAIN.to_owned(),
        hook_statuses: report.hooks.iter().map(hook_status).collect(),
    }
}

/// Tetragon's name of what a section becomes.
fn sensor(section: &str) -> &str {
    match section {
        "kprobes" => "generic_kprobe",
        "fentries" => "generic_fentry",
        "tracepoints" => "generic_tracepoint",
        other => other,
    }
}

fn state(state: PolicyState) -> TracingPolicyState {
    match state {
        PolicyState::Enabled => TracingPolicyState::TpStateEnabled,
        PolicyState::PartiallyEnabled => TracingPolicyState::TpStatePartiallyEnabled,
        PolicyState::Refused => TracingPolicyState::TpStateLoadError,
        PolicyState::Skipped => TracingPolicyState::TpStateSkipped,
    }
}

fn mode(mode: PolicyMode) -> TracingPolicyMode {
    match mode {
        PolicyMode::Enforce => TracingPolicyMode::TpModeEnforce,
        PolicyMode::Monitor => TracingPolicyMode::TpModeMonitor,
        PolicyMode::MonitorOnly => TracingPolicyMode::TpModeMonitorOnly,
    }
}

fn counters(of: ActionCounters) -> api::TracingPolicyActionCounters {
    api::TracingPolicyActionCounters {
        post: of.posts,
        signal: of.signals,
        monitor_signal: of.monitored_signals,
        nopost: of.unposted,
        ..api::TracingPolicyActionCounters::default()
    }
}

/// Of the selectors that did something.
fn selector_counters(hook: &HookReport) -> impl Iterator<Item = api::TracingPolicySelectorActionCounters> {
    let selectors = (0..).zip(&hook.selectors);
    let used = selectors.filter(|(_, selector)| selector.counters != ActionCounters::default());
    used.map(|(index, selector)| api::TracingPolicySelectorActionCounters {
        hook: hook.label(),
        hook_index: Some(hook.index),
        selector_index: Some(index),
        action_counters: Some(counters(selector.counters)),
        selector_label: selector.label.clone(),
    })
}

fn hook_status(hook: &HookReport) -> api::HookStatus {
    let state = if hook.is_loaded { HookState::StatusLoaded } else { HookState::StatusCallNotFound };
    api::HookStatus {
        section: hook.section.to_owned(),
        state: state.into(),
        hook_description: hook.name.clone(),
        hook_idx: hook.index,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::layers::security::policy_report::SelectorReport;

    pub(crate) fn reports() -> Vec<PolicyReport> {
        let selector = |label: &str, posts, signals| SelectorReport {
            label: label.into(),
            counters: ActionCounters { posts, unposted: 1, signals, monitored_signals: 2 },
        };
        let connect = HookReport {
            section: "kprobes",
            index: 0,
            name: "tcp_connect".into(),
            is_loaded: true,
            selectors: vec![selector("egress", 5, 3), selector("", 7, 0)],
        };
        let missing =
            HookReport { index: 1, name: "gone".into(), is_loaded: false, selectors: Vec::new(), ..connect.clone() };
        let egress = PolicyReport {
            id: 9,
            name: "egress".into(),
            namespace: "shop".into(),
            has_scope: true,
            state: PolicyState::PartiallyEnabled,
            error: "spec.kprobes[1].call: function gone does not exist in this kernel".into(),
            mode: PolicyMode::Enforce,
            hooks: vec![connect, missing],
            kernel_bytes: 4096,
        };
        let refused = PolicyReport {
            name: "typo".into(),
            state: PolicyState::Refused,
            error: "spec.options[0].name: policy-mdoe is not known".into(),
            ..PolicyReport::default()
        };
        vec![refused, egress]
    }

    fn list(domain: &str, scope: &str) -> Vec<api::TracingPolicyStatus> {
        let request = api::ListTracingPoliciesRequest { domain: domain.into() };
        list_policies(&reports(), &request, &ReadScope::parse(scope).unwrap()).policies
    }

    #[test]
    fn policy_has_its_state_hooks_and_counters() {
        let policies = list("", "*");
        let [refused, egress] = &policies[..] else { panic!("{policies:?}") };
        assert_eq!(refused.state(), TracingPolicyState::TpStateLoadError);
        assert!(refused.error.contains("policy-mdoe"));
        assert_eq!(
            (egress.state(), egress.mode()),
            (TracingPolicyState::TpStatePartiallyEnabled, TracingPolicyMode::TpModeEnforce)
        );
        let stats = egress.stats.as_ref().unwrap();
        let total = stats.action_counters.unwrap();
        assert_eq!((total.post, total.signal, total.monitor_signal, total.nopost), (12, 3, 4, 2));
        let [first, second] = &stats.selector_action_counters[..] else { panic!("{stats:?}") };
        assert_eq!((first.selector_label.as_str(), first.selector_index), ("egress", Some(0)));
        assert_eq!((second.hook.as_str(), second.action_counters.unwrap().post), ("kprobe:tcp_connect", 7));
        let states: Vec<HookState> = egress.hook_statuses.iter().map(api::HookStatus::state).collect();
        assert_eq!(states, [HookState::StatusLoaded, HookState::StatusCallNotFound]);
        assert_eq!(egress.sensors, ["generic_kprobe"]);
    }

    #[test]
    fn policies_outside_of_the_scope_or_domain_are_left_out() {
        assert_eq!(list("", "shop").len(), 1);
        assert_eq!(list("", "reef").len(), 0);
        assert_eq!((list("k8s", "*").len(), list("grpc", "*").len()), (2, 0));
    }
}
