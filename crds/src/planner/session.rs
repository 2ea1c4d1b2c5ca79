//! What is asked for a time: one FlowCapture or AppProfile to the session that a node with a matching pod gets.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Refusal, budget};
use crate::{
    AppProfile, FlowCapture, ObservabilityStack, UserKind,
    node::{CpuProfileSession, FlowOutput, FlowsSession, PodScope, Session, SessionContent, Source},
    selector,
    stack::{Layer, LayerMode, LayerView},
};

/// The session of an AppProfile that was accepted at `started_at`.
pub fn session_for_profile(
    profile: &AppProfile,
    stack: &ObservabilityStack,
    started_at: Timestamp,
) -> Result<Session, Refusal> {
    let source = profile.source();
    let layer = open_layer(stack, Layer::Application, &source)?;
    if layer.mode == LayerMode::Enabled {
        return Err(Refusal::layer_not_accepted(&source, Layer::Application));
    }
    let spec = &profile.spec;
    let Some(cpu) = &spec.cpu else { return Err(Refusal::asks_for_nothing(&source)) };
    let budget = profile_budget(&source, &layer, spec.memory_budget_bytes)?;
    let frequency = bounded(&source, "spec.cpu.frequencyHz", cpu.frequency_hz.into(), 1, 999)?;
    let content = SessionContent::CpuProfile(CpuProfileSession {
        pods: pods(&source, &layer, &spec.pod_selector)?,
        frequency_hz: frequency.try_into().unwrap_or(u32::MAX),
        memory_budget_bytes: budget,
    });
    session("appprofile", source, started_at, spec.duration_seconds, 3600, content)
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
    let mut ports = Vec::with_capacity(spec.ports.len());
    for (index, port) in spec.ports.iter().enumerate() {
        let port = bounded(&source, &format!("spec.ports[{index}]"), (*port).into(), 1, 65535)?;
        ports.push(u16::try_from(port).unwrap_or(u16::MAX));
    }
    ports.sort_unstable();
    ports.dedup();
    let mut protocols: Vec<String> = spec.protocols.iter().map(|protocol| protocol.as_str().into()).collect();
    protocols.sort_unstable();
    protocols.dedup();
    let output = [(spec.output.stdout, FlowOutput::Stdout), (spec.output.file, FlowOutput::File)];
    let content = SessionContent::Flows(FlowsSession {
        pods: pods(&source, &layer, &spec.pod_selector)?,
        ports,
        protocols,
        output: output.into_iter().filter_map(|(wanted, output)| wanted.then_some(output)).collect(),
        flow_entries: sizes.flow_entries,
        ring_bytes: sizes.ring_bytes,
    });
    session("flowcapture", source, started_at, spec.duration_seconds, 86400, content)
}

/// Within what an agent can work with, and within what the stack allows.
fn profile_budget(source: &Source, layer: &LayerView<'_>, asked: i64) -> Result<u64, Refusal> {
    let budget =
        bounded(source, "spec.memoryBudgetBytes", asked, budget::MIN_PROFILE_BUDGET, budget::MAX_PROFILE_BUDGET)?;
    match layer.memory_budget_bytes {
        Some(most) if most < budget::MIN_PROFILE_BUDGET => Err(Refusal::layer_not_accepted(source, Layer::Application)),
        Some(most) if most < asked => Err(Refusal::more_than_the_layer_allows(source, Layer::Application, asked, most)),
        _ => Ok(budget),
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
        include_host: false,
    })
}

fn session(
    kind: &str,
    source: Source,
    started_at: Timestamp,
    seconds: i64,
    most_seconds: i64,
    content: SessionContent,
) -> Result<Session, Refusal> {
    let field = "spec.durationSeconds";
    bounded(&source, field, seconds, 1, most_seconds)?;
    let expires_at = started_at
        .checked_add(SignedDuration::from_secs(seconds))
        .map_err(|_| Refusal::out_of_bounds(&source, field, seconds, 1, most_seconds))?;
    let name = format!("{kind}.{}.{}", source.namespace.as_deref().unwrap_or_default(), source.name);
    Ok(Session { name, source, expires_at, content })
}

fn bounded(source: &Source, field: &str, value: i64, low: i64, high: i64) -> Result<u64, Refusal> {
    if (low..=high).contains(&value) {
        Ok(value.unsigned_abs())
    } else {
        Err(Refusal::out_of_bounds(source, field, value, low, high))
    }
}
