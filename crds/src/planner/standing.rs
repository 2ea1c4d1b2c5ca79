//! The standing profile: the requests of chosen namespaces, without an end, while the application layer is Enabled.

use super::{
    refusal::Refusal,
    requests::{Retention, requests_session},
};
use crate::{
    ObservabilityStack, UserKind,
    app_profile::{DEFAULT_PROFILE_BUDGET, DEFAULT_RETAIN_MINUTES, MIN_PROFILE_BUDGET},
    bounds,
    node::{AppProfileSession, ApplicationSettings, PodScope},
    selector,
    stack::{Layer, LayerMode},
};

/// The rows of a standing profile leave with it.
const RETENTION: Retention = Retention { minutes: DEFAULT_RETAIN_MINUTES.unsigned_abs(), minutes_after_end: 0 };

/// The standing profile that the stack asks for, if it does, or why it is refused.
pub(super) fn standing_profile(stack: &ObservabilityStack) -> Result<Option<AppProfileSession>, Refusal> {
    let layer = stack.spec.layer(Layer::Application);
    if layer.mode != LayerMode::Enabled {
        return Ok(None);
    }
    let source = stack.source();
    let Some(requests) = &stack.spec.application.requests else {
        return Err(Refusal::standing_profile_lacks(&source, "requests", "says what to capture, e.g. requests: {}"));
    };
    let Some(namespaces) = layer.namespace_selector else {
        let what = "says which namespaces, e.g. matchLabels: {team: shop}; {} is every namespace";
        return Err(Refusal::standing_profile_lacks(&source, "namespaceSelector", what));
    };
    selector::check(namespaces)
        .map_err(|error| Refusal::bad_selector(&source, "spec.application.namespaceSelector", &error))?;
    if let Some(violation) = bounds::violations(requests, "spec.application.requests").first() {
        return Err(Refusal::violation(&source, violation));
    }
    if let Some(field) = requests.content_field() {
        return Err(Refusal::standing_profile_keeps_no_payloads(&source, field));
    }
    let budget = layer.memory_budget_bytes.unwrap_or(DEFAULT_PROFILE_BUDGET);
    Ok(Some(AppProfileSession {
        pods: PodScope { namespace_selector: Some(namespaces.clone()), ..PodScope::default() },
        memory_budget_bytes: budget.max(MIN_PROFILE_BUDGET).unsigned_abs(),
        cpu: None,
        requests: Some(requests_session(&source, "spec.application.requests", requests, RETENTION)?),
    }))
}

/// The settings of the application layer for every node; none if all are defaults. A standing profile that is refused is left
/// out.
pub(super) fn application_settings(stack: &ObservabilityStack) -> Option<ApplicationSettings> {
    let settings = ApplicationSettings {
        node_memory_budget_bytes: stack.spec.application.node_memory_budget_bytes.map(i64::unsigned_abs),
        standing: standing_profile(stack).ok().flatten().filter(|_| !stack.spec.suspend),
    };
    Some(settings).filter(|settings| !settings.is_default())
}
