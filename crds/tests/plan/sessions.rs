//! Sessions of FlowCaptures and AppProfiles.

use trilobite_crds::{
    AppProfile, FlowCapture, Inputs, ObservabilityStack, Reason, Refusal, Resource, plan, session_for_capture,
    session_for_profile,
};

use super::{now, resources};

fn stack(spec: &str) -> ObservabilityStack {
    let yaml = format!(
        "{{apiVersion: trilobite.dev/v1alpha1, kind: ObservabilityStack, metadata: {{name: default}}, spec: {spec}}}"
    );
    match resources(&yaml).remove(0) {
        Resource::Stack(stack) => *stack,
        other => panic!("{other:?}"),
    }
}

fn profile(spec: &str) -> AppProfile {
    let yaml = format!(
        "{{apiVersion: trilobite.dev/v1alpha1, kind: AppProfile, metadata: {{name: slow, namespace: shop}}, spec: {spec}}}"
    );
    match resources(&yaml).remove(0) {
        Resource::Profile(profile) => profile,
        other => panic!("{other:?}"),
    }
}

fn capture(spec: &str) -> FlowCapture {
    let yaml = format!(
        "{{apiVersion: trilobite.dev/v1alpha1, kind: FlowCapture, metadata: {{name: web, namespace: shop}}, spec: {spec}}}"
    );
    match resources(&yaml).remove(0) {
        Resource::Capture(capture) => capture,
        other => panic!("{other:?}"),
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Refusal>) -> (Reason, String) {
    let refusal = result.unwrap_err();
    (refusal.reason, refusal.field)
}

#[test]
fn session_ends_its_duration_after_acceptance() {
    let session = session_for_profile(&profile("{podSelector: {}, cpu: {}, durationSeconds: 90}"), &stack("{}"), now());
    let session = session.unwrap();
    assert_eq!(session.expires_at.to_string(), "2026-11-23T18:01:30Z");
    assert_eq!(session.name, "appprofile.shop.slow");
}

#[test]
fn disabled_layer_refuses_by_name() {
    let profile =
        session_for_profile(&profile("{podSelector: {}, cpu: {}}"), &stack("{application: {mode: Disabled}}"), now());
    assert_eq!(refusal(profile), (Reason::LayerDisabled, String::new()));
    let capture = session_for_capture(&capture("{podSelector: {}}"), &stack("{network: {mode: Disabled}}"), now());
    assert_eq!(refusal(capture), (Reason::LayerDisabled, String::new()));
}

#[test]
fn suspended_stack_starts_no_session() {
    let capture = session_for_capture(&capture("{podSelector: {}}"), &stack("{suspend: true}"), now());
    assert_eq!(refusal(capture), (Reason::Suspended, String::new()));
}

#[test]
fn profile_budget_is_limited_by_the_layer() {
    let stack = stack("{application: {memoryBudgetBytes: 16777216}}");
    let refused = session_for_profile(&profile("{podSelector: {}, cpu: {}}"), &stack, now()).unwrap_err();
    assert_eq!((refused.reason, refused.field.as_str()), (Reason::InvalidSpec, "spec.memoryBudgetBytes"));
    assert_eq!(
        refused.message,
        "spec.memoryBudgetBytes: 33554432 is more than the 16777216 that spec.application.memoryBudgetBytes of the stack \
         allows; ask for less, or raise it there"
    );
    let fitting = profile("{podSelector: {}, cpu: {}, memoryBudgetBytes: 16777216}");
    assert!(session_for_profile(&fitting, &stack, now()).is_ok());
}

#[test]
fn too_small_layer_budget_is_a_refusal_of_the_stack() {
    let mut narrow = stack("{}");
    narrow.spec.application.memory_budget_bytes = Some(4 << 20);
    let refused = session_for_profile(&profile("{podSelector: {}, cpu: {}}"), &narrow, now());
    assert_eq!(refusal(refused), (Reason::NotAccepted, String::new()));
    let inputs = Inputs::new(&narrow);
    let said: Vec<_> = plan(&inputs).refusals.into_iter().map(|refusal| refusal.message).collect();
    assert_eq!(said, ["spec.application.memoryBudgetBytes: 4194304 must be at least 8388608"]);
}

#[test]
fn out_of_range_numbers_are_refused_by_field() {
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
fn profile_without_cpu_is_refused() {
    // Rules refuse this spec in a file and in the API server; the planner must not rely on them.
    let mut empty = profile("{podSelector: {}, cpu: {}}");
    empty.spec.cpu = None;
    let refused = session_for_profile(&empty, &stack("{}"), now());
    assert_eq!(refusal(refused), (Reason::InvalidSpec, "spec.cpu".into()));
}
