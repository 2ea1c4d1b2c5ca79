//! Sessions of FlowCaptures and AppProfiles.

use trilobite_crds::{
    AppProfile, FlowCapture, Inputs, ObservabilityStack, Reason, Refusal, RequestProtocol, RequestRole, Resource,
    node::{AppProfileSession, CpuProfileSession, CpuSampling, PodScope, Session, SessionContent},
    plan,
    selector::Labels,
    session_for_capture, session_for_profile,
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
    let session = session_for_profile(
        &profile("{podSelector: {}, cpu: {}, durationSeconds: 90}"),
        &stack("{}"),
        &Labels::new(),
        now(),
    );
    let session = session.unwrap();
    assert_eq!(session.expires_at.to_string(), "2026-11-23T18:01:30Z");
    assert_eq!(session.name, "appprofile.shop.slow");
}

#[test]
fn disabled_layer_refuses_by_name() {
    let profile = session_for_profile(
        &profile("{podSelector: {}, cpu: {}}"),
        &stack("{application: {mode: Disabled}}"),
        &Labels::new(),
        now(),
    );
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
    let refused =
        session_for_profile(&profile("{podSelector: {}, cpu: {}}"), &stack, &Labels::new(), now()).unwrap_err();
    assert_eq!((refused.reason, refused.field.as_str()), (Reason::InvalidSpec, "spec.memoryBudgetBytes"));
    assert_eq!(
        refused.message,
        "spec.memoryBudgetBytes: 33554432 is more than the 16777216 that spec.application.memoryBudgetBytes of the stack \
         allows; ask for less, or raise it there"
    );
    let fitting = profile("{podSelector: {}, cpu: {}, memoryBudgetBytes: 16777216}");
    assert!(session_for_profile(&fitting, &stack, &Labels::new(), now()).is_ok());
}

#[test]
fn too_small_layer_budget_is_a_refusal_of_the_stack() {
    let mut narrow = stack("{}");
    narrow.spec.application.layer.memory_budget_bytes = Some(4 << 20);
    let refused = session_for_profile(&profile("{podSelector: {}, cpu: {}}"), &narrow, &Labels::new(), now());
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
        refusal(session_for_profile(&asked, &stack("{}"), &Labels::new(), now())),
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
    let refused = session_for_profile(&empty, &stack("{}"), &Labels::new(), now());
    assert_eq!(refusal(refused), (Reason::InvalidSpec, "spec.cpu".into()));
}

fn planned(spec: &str, stack: &ObservabilityStack) -> Result<AppProfileSession, Refusal> {
    let session = session_for_profile(&profile(spec), stack, &named("shop"), now())?;
    Ok(session.content.app_profile().unwrap())
}

/// The labels of a namespace that has only those that the API server gives.
fn named(namespace: &str) -> Labels {
    [("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())].into()
}

#[test]
fn one_session_has_everything_that_a_profile_asks_for() {
    let spec = "{podSelector: {}, cpu: {}, requests: {protocols: [pgsql, http], ports: [80], roles: [Server], onlyErrors: true,
        redact: {headers: [X-Key, A-Key]}}, retainMinutes: 15, memoryBudgetBytes: 67108864}";
    let session = planned(spec, &stack("{}")).unwrap();
    assert_eq!(session.cpu, Some(CpuSampling { frequency_hz: 49 }));
    assert_eq!(session.memory_budget_bytes, 64 << 20, "it is divided by the agent");
    let requests = session.requests.unwrap();
    assert_eq!(requests.protocols, [RequestProtocol::Http, RequestProtocol::Pgsql]);
    assert_eq!((requests.roles, requests.ports), (vec![RequestRole::Server], vec![80]));
    assert_eq!((requests.retain_minutes, requests.retain_after_end_minutes), (15, 10));
    assert_eq!(requests.redact_headers, ["a-key", "x-key"]);
    assert!(requests.only_errors && !requests.keep_literals && requests.payload_bytes == 0);
    let all = planned("{podSelector: {}, requests: {}}", &stack("{}")).unwrap();
    assert_eq!(all.requests.unwrap().protocols, RequestProtocol::SUPPORTED);
    assert_eq!(all.cpu, None);
}

#[test]
fn known_protocols_that_are_not_supported_are_refused_by_name() {
    for (word, index) in [("mongodb", 1), ("mqtt", 1), ("amqp", 1)] {
        let refused = planned(&format!("{{podSelector: {{}}, requests: {{protocols: [http, {word}]}}}}"), &stack("{}"));
        let refused = refused.unwrap_err();
        assert_eq!(refused.reason, Reason::Unsupported);
        let supported = RequestProtocol::supported_words();
        let expected =
            format!("spec.requests.protocols[{index}]: {word} is not supported yet; supported are {supported}");
        assert_eq!(refused.message, expected);
    }
}

#[test]
fn payloads_need_the_stacks_leave_for_the_namespace() {
    let allowed = stack("{application: {allowPayloads: {matchLabels: {kubernetes.io/metadata.name: shop}}}}");
    let elsewhere = stack("{application: {allowPayloads: {matchLabels: {kubernetes.io/metadata.name: payments}}}}");
    for (content, field) in [
        ("payload: {maxBytes: 1}", "spec.requests.payload.maxBytes"),
        ("redact: {literals: Keep}", "spec.requests.redact.literals"),
    ] {
        let spec = format!("{{podSelector: {{}}, requests: {{{content}}}}}");
        for refusing in [&stack("{}"), &elsewhere] {
            let refused = planned(&spec, refusing).unwrap_err();
            assert_eq!((refused.reason, refused.field.as_str()), (Reason::PayloadsNotAllowed, field));
            assert!(refused.message.contains("spec.application.allowPayloads of the stack"), "{}", refused.message);
        }
        assert!(planned(&spec, &allowed).is_ok(), "{content}");
    }
    let names_alone = "{podSelector: {}, requests: {payload: {maxBytes: 0}, redact: {headers: [X-Key]}}}";
    assert!(planned(names_alone, &stack("{}")).is_ok(), "they keep nothing");
}

#[test]
fn enabled_needs_requests_and_namespaces() {
    let refusals = |spec: &str| -> Vec<_> {
        let stack = stack(spec);
        let planned = plan(&Inputs::new(&stack));
        assert_eq!(planned.profile.spec.application, None, "{spec}");
        planned.refusals.into_iter().map(|refusal| (refusal.reason, refusal.field)).collect()
    };
    let invalid = |field: &str| vec![(Reason::InvalidSpec, format!("spec.application.{field}"))];
    assert_eq!(refusals("{application: {mode: Enabled}}"), invalid("requests"));
    assert_eq!(refusals("{application: {mode: Enabled, namespaceSelector: {}}}"), invalid("requests"));
    assert_eq!(refusals("{application: {mode: Enabled, requests: {}}}"), invalid("namespaceSelector"));
    let with =
        |requests: &str| format!("{{application: {{mode: Enabled, namespaceSelector: {{}}, requests: {requests}}}}}");
    let field = "spec.application.requests.protocols[0]";
    assert_eq!(refusals(&with("{protocols: [mongodb]}")), [(Reason::Unsupported, field.to_owned())]);
    let field = "spec.application.requests.payload.maxBytes";
    assert_eq!(refusals(&with("{payload: {maxBytes: 9}}")), [(Reason::PayloadsNotAllowed, field.to_owned())]);
    let on_demand = stack("{application: {requests: {}}}");
    assert_eq!(plan(&Inputs::new(&on_demand)).profile.spec.application, None, "OnDemand captures nothing by itself");
}

#[test]
fn standing_profile_is_a_setting_of_every_node() {
    let spec =
        "{application: {mode: Enabled, namespaceSelector: {matchLabels: {team: shop}}, requests: {protocols: [dns]}}}";
    let enabled = stack(spec);
    let profile = plan(&Inputs::new(&enabled)).profile.spec;
    let standing = profile.application.clone().unwrap().standing.unwrap();
    assert_eq!(standing.pods.namespace_selector, enabled.spec.application.layer.namespace_selector);
    assert_eq!((standing.memory_budget_bytes, standing.cpu), (32 << 20, None));
    let requests = standing.requests.unwrap();
    assert_eq!((requests.protocols, requests.retain_after_end_minutes), (vec![RequestProtocol::Dns], 0));
    assert!(profile.is_intact());
    let suspended = stack(&spec.replace("{application", "{suspend: true, application"));
    assert_eq!(plan(&Inputs::new(&suspended)).profile.spec.application, None);
    assert!(planned("{podSelector: {}, cpu: {}}", &enabled).is_ok(), "AppProfiles run beside it");
    let narrow = stack("{application: {nodeMemoryBudgetBytes: 16777216}}");
    let settings = plan(&Inputs::new(&narrow)).profile.spec.application.unwrap();
    assert_eq!((settings.node_memory_budget_bytes, settings.standing), (Some(16 << 20), None));
}

#[test]
fn session_of_an_earlier_operator_is_the_same() {
    let session =
        session_for_profile(&profile("{podSelector: {}, cpu: {}}"), &stack("{}"), &Labels::new(), now()).unwrap();
    let AppProfileSession { pods, memory_budget_bytes, .. } = session.content.app_profile().unwrap();
    let content = SessionContent::CpuProfile(CpuProfileSession { pods, frequency_hz: 49, memory_budget_bytes });
    let earlier = Session { content, ..session.clone() };
    assert!(earlier != session && earlier.is_same(&session));
    let other = CpuProfileSession { pods: PodScope::default(), frequency_hz: 49, memory_budget_bytes };
    assert!(!Session { content: SessionContent::CpuProfile(other), ..session.clone() }.is_same(&session));
}

#[test]
fn nodes_keep_a_session_while_its_rows_can_be_read() {
    let until = |spec: &str| {
        let session = session_for_profile(&profile(spec), &stack("{}"), &Labels::new(), now()).unwrap();
        session.retained_until().duration_since(session.expires_at).as_secs()
    };
    assert_eq!(until("{podSelector: {}, requests: {}}"), 600);
    assert_eq!(until("{podSelector: {}, requests: {}, retainAfterEndMinutes: 0}"), 0);
    assert_eq!(until("{podSelector: {}, cpu: {}}"), 0, "a result is on the node's disk");
}
