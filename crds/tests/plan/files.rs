//! Resources from files: every error names file, document and field.

use proptest::prelude::*;
use trilobite_crds::{
    ObservabilityStack, ObservabilityStackSpec, Reason, Resource, desired_from_resources, parse_documents,
};

use super::{now, resources};

fn errors(yaml: &str) -> Vec<String> {
    parse_documents(yaml, "shop.yaml").unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn every_error_of_a_file_is_shown_with_document_and_field() {
    let yaml = "\
apiVersion: trilobite.dev/v1alpha1
kind: ObservabilityStack
metadata: {name: default}
spec:
  securty: {mode: Enabled}
  network: {mode: Sometimes}
---
# nothing here
---
apiVersion: trilobite.dev/v1alpha1
kind: AppProfile
metadata: {name: UPPER, namespace: shop}
spec: {podSelector: {}, cpu: {frequencyHz: 5000}}
---
apiVersion: apps/v1
kind: Deployment
---
apiVersion: cilium.io/v1alpha1
kind: FlowCapture
---
apiVersion: trilobite.dev/v1alpha1
kind: Stack
---
just words
";
    assert_eq!(
        errors(yaml),
        [
            "shop.yaml, document 1, spec.network.mode: \"Sometimes\" must be one of Enabled, OnDemand, Disabled",
            "shop.yaml, document 1, spec.securty: unknown field; correct its name or remove it",
            "shop.yaml, document 3, metadata.name: must be 1 to 253 lower case letters, digits, '-' or '.', and begin and end with a letter or digit",
            "shop.yaml, document 3, spec.cpu.frequencyHz: 5000 must be at most 999",
            "shop.yaml, document 4, apiVersion: must be trilobite.dev/v1alpha1, is \"apps/v1\"",
            "shop.yaml, document 5, kind: must be TracingPolicy or TracingPolicyNamespaced, is \"FlowCapture\"",
            "shop.yaml, document 6, kind: must be ObservabilityStack, TracingPolicy, TracingPolicyNamespaced, FlowCapture or AppProfile, is \"Stack\"",
            "shop.yaml, document 7: must be an object with apiVersion and kind",
        ]
    );
}

#[test]
fn broken_yaml_is_reported_with_its_line() {
    let found = errors("apiVersion: trilobite.dev/v1alpha1\nkind: [\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("is not valid YAML") && found[0].contains("line"), "{}", found[0]);
}

#[test]
fn duplicate_key_is_an_error() {
    let found = errors("kind: A\nkind: B\n");
    assert!(found[0].contains("duplicate"), "{}", found[0]);
}

#[test]
fn duplicate_name_is_a_conflict_and_the_first_stays() {
    let profile = |seconds: u32| {
        format!(
            "---\napiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {{name: slow}}\nspec: {{podSelector: {{}}, cpu: {{}}, durationSeconds: {seconds}}}\n"
        )
    };
    let (desired, refusals) = desired_from_resources(&resources(&(profile(10) + &profile(20))), now());
    assert_eq!(desired.sessions.len(), 1);
    assert_eq!(desired.sessions[0].expires_at.to_string(), "2026-11-23T18:00:10Z");
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].reason, Reason::Conflict);
}

#[test]
fn resources_above_the_budget_of_their_namespace_are_refused() {
    let object = |kind: &str, namespace: &str, name: &str, spec: &str| {
        format!(
            "---\napiVersion: trilobite.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
        )
    };
    let yaml = [
        "apiVersion: trilobite.dev/v1alpha1\nkind: ObservabilityStack\nmetadata: {name: default}\nspec: {tenancy: {perNamespace: {profiles: 1, bytes: 40000000}}}\n".into(),
        object("AppProfile", "shop", "b", "{podSelector: {}, cpu: {}}"),
        object("AppProfile", "shop", "a", "{podSelector: {}, cpu: {}}"),
        object("AppProfile", "till", "a", "{podSelector: {}, cpu: {}}"),
        // 4456448 bytes each, of which one fits beside a profile of 33554432.
        object("FlowCapture", "shop", "first", "{podSelector: {}}"),
        object("FlowCapture", "shop", "second", "{podSelector: {}}"),
    ]
    .concat();
    let (desired, refusals) = desired_from_resources(&resources(&yaml), now());
    let names: Vec<_> = desired.sessions.iter().map(|session| session.name.as_str()).collect();
    assert_eq!(names, ["appprofile.shop.a", "appprofile.till.a", "flowcapture.shop.first"]);
    let refused: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    assert_eq!(
        refused,
        [
            "AppProfile/shop/b: NamespaceBudgetExceeded: the namespace has 1 AppProfile in use by a; wait, delete one, or \
             raise tenancy.perNamespace.profiles of the stack",
            "FlowCapture/shop/second: NamespaceBudgetExceeded: the namespace has 38010880 of 40000000 bytes in use by a, \
             first, this needs 4456448; wait, delete one, or raise tenancy.perNamespace.bytes of the stack",
        ]
    );
}

#[test]
fn stack_of_another_name_is_refused_and_defaults_apply() {
    // Rules refuse this name in a file; the planner must not rely on them.
    let mut stack = ObservabilityStack::new("mine", ObservabilityStackSpec::default());
    stack.spec.suspend = true;
    let (desired, refusals) = desired_from_resources(&[Resource::Stack(Box::new(stack))], now());
    assert!(!desired.suspended && desired.parts.len() == 1);
    assert_eq!(refusals[0].field, "metadata.name");
}

#[test]
fn expansion_of_aliases_is_bounded() {
    let mut yaml = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = level - 1;
        yaml +=
            &format!("a{level}: &a{level} [*a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}]\n");
    }
    assert!(parse_documents(&yaml, "bomb.yaml").is_err());
}

proptest! {
    #[test]
    fn parser_never_panics_on_any_text(text in "[ -~\n]{0,200}") {
        let _ = parse_documents(&text, "any.yaml");
    }

    #[test]
    fn parser_never_panics_on_any_field_value(
        field in prop::sample::select(vec!["podSelector", "tracepoints", "kprobes", "suspend", "cpu", "ports"]),
        value in prop::sample::select(vec!["", "null", "1", "-1", "1e99", ".nan", "[]", "{}", "[[]]", "{a: {b: c}}", "text", "!tag x", "0x7fffffffffffffffff"]),
        kind in prop::sample::select(vec!["TracingPolicy", "TracingPolicyNamespaced", "ObservabilityStack", "FlowCapture", "AppProfile"]),
    ) {
        let yaml = format!("apiVersion: trilobite.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n  {field}: {value}\n");
        if let Ok(resources) = parse_documents(&yaml, "any.yaml") {
            let _ = desired_from_resources(&resources, now());
        }
    }
}
