//! Turns one FlowCapture or AppProfile into the session of every node that runs a matching pod.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use validator::Validate;

use super::{
    budget,
    refusal::Refusal,
    requests::{Retention, requests_session, sorted},
    standing::standing_profile,
};
use crate::{
    AppProfile, FlowCapture, ObservabilityStack, UserKind,
    app_profile::MIN_PROFILE_BUDGET,
    bounds,
    node::{AppProfileSession, CpuSampling, FlowOutput, FlowsSession, PodScope, Session, SessionContent, Source},
    selector::{self, Labels},
    stack::{Layer, LayerMode, LayerView},
};

/// The session of an AppProfile that was accepted at `started_at`. `namespace_labels` are those of its namespace.
pub fn session_for_profile(
    profile: &AppProfile,
    stack: &ObservabilityStack,
    namespace_labels: &Labels,
    started_at: Timestamp,
) -> Result<Session, Refusal> {
    let source = profile.source();
    let layer = open_layer(stack, Layer::Application, &source)?;
    if standing_profile(stack).is_err() {
        return Err(Refusal::layer_not_accepted(&source, Layer::Application));
    }
    let spec = &profile.spec;
    if spec.cpu.is_none() && spec.requests.is_none() {
        return Err(Refusal::nothing_requested(&source));
    }
    check_bounds(&source, spec)?;
    check_layer_budget(&source, &layer, spec.memory_budget_bytes)?;
    let retention = Retention {
        minutes: spec.retain_minutes.unsigned_abs(),
        minutes_after_end: spec.retain_after_end_minutes.unsigned_abs(),
    };
    let requests = spec.requests.as_ref().map(|requests| {
        if let Some(field) = requests.content_field()
            && !stack.spec.application.allows_payloads(namespace_labels)
        {
            return Err(Refusal::payloads_not_allowed(&source, field));
        }
        requests_session(&source, "spec.requests", requests, retention)
    });
    let content = SessionContent::AppProfile(AppProfileSession {
        pods: pods(&source, &layer, &spec.pod_selector)?,
        memory_budget_bytes: spec.memory_budget_bytes.unsigned_abs(),
        cpu: spec.cpu.as_ref().map(|cpu| CpuSampling { frequency_hz: cpu.frequency_hz.unsigned_abs() }),
        requests: requests.transpose()?,
    });
    session("appprofile", source, started_at, spec.duration_seconds, content)
}

/// The session of a FlowCapture that was accepted at `started_at`.
pub fn session_for_capture(
    capture: &FlowCapture,
    stack: &ObservabilityStack,
    started_at: Timestamp,
) -> Result<Session, Refusal> {
    let source = capture.source();
    let layer = open_layer(stack, Layer::Network, &source)?;
    let sizes = budget::flow_sizes(layer.memory_budget_bytes)
        .map_err(|_| Refusal::layer_not_accepted(&source, Layer::Network))?;
    let spec = &capture.spec;
    check_bounds(&source, spec)?;
    let output = [(spec.output.stdout, FlowOutput::Stdout), (spec.output.file, FlowOutput::File)];
    let content = SessionContent::Flows(FlowsSession {
        pods: pods(&source, &layer, &spec.pod_selector)?,
        ports: sorted(spec.ports.iter().filter_map(|port| u16::try_from(*port).ok())),
        protocols: sorted(spec.protocols.iter().map(|protocol| protocol.as_str().into())),
        output: output.into_iter().filter_map(|(requested, output)| requested.then_some(output)).collect(),
        flow_entries: sizes.flow_entries,
        ring_bytes: sizes.ring_bytes,
    });
    session("flowcapture", source, started_at, spec.duration_seconds, content)
}

/// An API server with an older schema may have let other values pass.
fn check_bounds(source: &Source, spec: &impl Validate) -> Result<(), Refusal> {
    match bounds::violations(spec, "spec").first() {
        Some(violation) => Err(Refusal::violation(source, violation)),
        None => Ok(()),
    }
}

/// The stack may limit what one profile asks for.
fn check_layer_budget(source: &Source, layer: &LayerView<'_>, requested: i64) -> Result<(), Refusal> {
    match layer.memory_budget_bytes {
        Some(limit) if limit < MIN_PROFILE_BUDGET => Err(Refusal::layer_not_accepted(source, Layer::Application)),
        Some(limit) if limit < requested => {
            Err(Refusal::above_layer_budget(source, Layer::Application, requested, limit))
        }
        _ => Ok(()),
    }
}

fn open_layer<'a>(stack: &'a ObservabilityStack, layer: Layer, source: &Source) -> Result<LayerView<'a>, Refusal> {
    if stack.spec.suspend {
        return Err(Refusal::suspended(source));
    }
    let view = stack.spec.layer(layer);
    if view.mode == LayerMode::Disabled {
        return Err(Refusal::layer_disabled(source, layer));
    }
    if view.namespace_selector.is_some_and(|selector| selector::check(selector).is_err()) {
        return Err(Refusal::layer_not_accepted(source, layer));
    }
    Ok(view)
}

fn pods(source: &Source, layer: &LayerView<'_>, pod_selector: &LabelSelector) -> Result<PodScope, Refusal> {
    selector::check(pod_selector).map_err(|error| Refusal::bad_selector(source, "spec.podSelector", &error))?;
    Ok(PodScope {
        namespace: source.namespace.clone(),
        namespace_selector: layer.namespace_selector.cloned(),
        pod_selector: Some(pod_selector.clone()),
        ..PodScope::default()
    })
}

fn session(
    kind: &str,
    source: Source,
    started_at: Timestamp,
    seconds: i64,
    content: SessionContent,
) -> Result<Session, Refusal> {
    let expires_at = started_at.checked_add(SignedDuration::from_secs(seconds)).map_err(|_| {
        let must = "a duration that ends before the year 10000";
        Refusal::invalid_value(&source, "spec.durationSeconds".into(), &seconds.to_string(), must)
    })?;
    let name = format!("{kind}.{}.{}", source.namespace.as_deref().unwrap_or_default(), source.name);
    Ok(Session { name, source, expires_at, content })
}
