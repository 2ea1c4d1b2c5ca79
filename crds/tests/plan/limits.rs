//! A profile that is full refuses the newest policies and keeps the others.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use trilobite_crds::{
    Inputs, ObservabilityStack, Reason, Tracepoint, TracingPolicy, TracingPolicySpec, plan,
    planner::{MAX_PARTS, MAX_PROFILE_BYTES},
};

/// A policy that was made `age` seconds after the first.
fn policy(name: String, second: i64) -> TracingPolicy {
    let hook = Tracepoint { subsystem: "sched".into(), event: "sched_switch".into(), ..Tracepoint::default() };
    let mut policy = TracingPolicy::new(&name, TracingPolicySpec { tracepoints: vec![hook], ..Default::default() });
    policy.metadata.creation_timestamp = Some(Time(jiff::Timestamp::from_second(second).unwrap()));
    policy
}

/// Names in the opposite order of age. The newest are short, so that by itself one of them might still fit;
/// the oldest have `padding`, so that in some of the worlds one does.
fn name_at(age: i64, padding: usize) -> String {
    let long = match age {
        0..5 => padding,
        5..590 => 60,
        _ => 0,
    };
    format!("p{}{}", 999 - age, "x".repeat(long))
}

#[test]
fn a_full_profile_refuses_the_newest_policies_and_keeps_the_others() {
    for padding in (0..36).step_by(6) {
        let stack = ObservabilityStack::new("default", Default::default());
        let policies: Vec<_> = (0..600).rev().map(|age| policy(name_at(age, padding), age)).collect();
        let inputs = Inputs { stack: &stack, policies: policies.iter().collect(), namespaced_policies: Vec::new() };
        let planned = plan(&inputs);
        let bytes = serde_json::to_vec(&planned.profile.spec).unwrap().len();
        assert!(bytes <= MAX_PROFILE_BYTES && planned.parts.len() <= MAX_PARTS, "{bytes} bytes");
        // The processes of the stack are one of the parts.
        let kept = planned.parts.len() - 1;
        assert!(kept > 300 && kept + planned.refusals.len() == 600, "{kept} policies fit");
        for refusal in &planned.refusals {
            assert_eq!(refusal.reason, Reason::ProfileTooLarge);
            let age = 999 - refusal.source.name[1..4].parse::<usize>().unwrap();
            assert!(age >= kept, "{} is older than one that was kept", refusal.source);
        }
        let words = &planned.refusals[0].message;
        assert!(words.contains("512") && words.contains("65536"), "{words}");
    }
}

#[test]
fn names_of_parts_stay_names_however_long_the_names_of_policies_are() {
    let stack = ObservabilityStack::new("default", Default::default());
    let policies = [policy("a".repeat(253), 0), policy(format!("{}b", "a".repeat(252)), 0)];
    let inputs = Inputs { stack: &stack, policies: policies.iter().collect(), namespaced_policies: Vec::new() };
    let names: std::collections::BTreeSet<_> =
        plan(&inputs).parts.into_iter().map(|part| part.metadata.name.unwrap()).collect();
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| name.len() <= 63 && !name.ends_with('-')));
}
