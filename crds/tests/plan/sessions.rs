//! What is asked for a time.

use trilobite_crds::{
    AppProfile, FlowCapture, ObservabilityStack, Reason, Refusal, Resource, session_for_capture, session_for_profile,
};

use super::{now, world};

fn stack(spec: &str) -> ObservabilityStack {
    let yaml = format!(
        "{{apiVersion: trilobite.dev/v1alpha1, kind: ObservabilityStack, metadata: {{name: default}}, spec: {spec}}}"
    );
    match world(&yaml).remove(0) {
        Resource::Stack(stack) => *stack,
        other => panic!("{other:?}"),
    }
}

fn profile(spec: &str) -> AppProfile {
    let yaml = format!(
        "{{apiVersion: trilobite.dev/v1alpha1, kind: AppProfile, metadata: {{name: slow, namespace: shop}}, spec: {spec}}}"
    );
    match world(&yaml).remove(0) {
        Resource::Profile(profile) => profile,
        other => panic!("{other:?}"),
    }
}

fn capture(spec: &str) -> FlowCapture {
    let yaml = format!(
        "{{apiVersion: trilobite.dev/v1alpha1, kind: FlowCapture, metadata: {{name: web, namespace: shop}}, spec: {spec}}}"
    );
    match world(&yaml).remove(0) {
        Resource::Capture(capture) => capture,
        other => panic!("{other:?}"),
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Refusal>) -> (Reason, String) {
    let refusal = result.unwrap_err();
    (refusal.reason, refusal.field)
}

#[test]
fn a_session_ends_its_duration_after_it_was_accepted() {
    let session = session_for_profile(&profile("{podSelector: {}, cpu: {}, durationSeconds: 90}"), &stack("{}"), now());
    let session = session.unwrap();
    assert_eq!(session.expires_at.to_string(), "2026-11-23T18:01:30Z");
    assert_eq!(session.name, "appprofile.shop.slow");
}

#[test]
fn a_disabled_layer_refuses_by_name() {
    let profile =
        session_for_profile(&profile("{podSelector: {}, cpu: {}}"), &stack("{application: {mode: Disabled}}"), now());
    assert_eq!(refusal(profile), (Reason::LayerDisabled, String::new()));
    let capture = session_for_capture(&capture("{podSelector: {}}"), &stack("{network: {mode: Disabled}}"), now());
    assert_eq!(refusal(capture), (Reason::LayerDisabled, String::new()));
}

#[test]
fn a_suspended_stack_starts_nothing() {
    let capture = session_for_capture(&capture("{podSelector: {}}"), &stack("{suspend: true}"), now());
    assert_eq!(refusal(capture), (Reason::Suspended, String::new()));
}

#[test]
fn a_profile_may_not_ask_for_more_memory_than_the_layer_has() {
    let stack = stack("{application: {memoryBudgetBytes: 4194304}}");
    let refused = session_for_profile(&profile("{podSelector: {}, cpu: {}}"), &stack, now());
    assert_eq!(refusal(refused), (Reason::InvalidSpec, "spec.memoryBudgetBytes".into()));
    let fitting = profile("{podSelector: {}, cpu: {}, memoryBudgetBytes: 4194304}");
    assert!(session_for_profile(&fitting, &stack, now()).is_ok());
}

#[test]
fn numbers_that_passed_an_older_schema_are_refused_by_field() {
    let mut asked = profile("{podSelector: {}, cpu: {}}");
    asked.spec.duration_seconds = i64::MAX;
    assert_eq!(
        refusal(session_for_profile(&asked, &stack("{}"), now())),
        (Reason::InvalidSpec, "spec.durationSeconds".into())
    );
    let mut asked = capture("{podSelector: {}, ports: [443]}");
    asked.spec.ports[0] = 65536;
    assert_eq!(
        refusal(session_for_capture(&asked, &stack("{}"), now())),
        (Reason::InvalidSpec, "spec.ports[0]".into())
    );
}

#[test]
fn a_profile_that_asks_for_nothing_is_refused() {
    let refused = session_for_profile(&profile("{podSelector: {}}"), &stack("{}"), now());
    assert_eq!(refusal(refused), (Reason::InvalidSpec, "spec.cpu".into()));
}
