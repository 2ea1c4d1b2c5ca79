//! A full profile refuses the newest policies and keeps the others.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use trilobite_crds::{
    Inputs, ObservabilityStack, Planned, Reason, Tracepoint, TracingPolicy, TracingPolicyNamespaced, TracingPolicySpec,
    node::PartContent,
    plan,
    planner::{MAX_NAMESPACED_PARTS, MAX_PARTS, MAX_PROFILE_BYTES},
    policy::NamespacedSpec,
    user_kind::DRY_RUN_ANNOTATION,
};

/// A policy created at `second`.
fn policy(name: String, second: i64) -> TracingPolicy {
    let hook = Tracepoint { subsystem: "sched".into(), event: "sched_switch".into(), ..Tracepoint::default() };
    let mut policy = TracingPolicy::new(&name, TracingPolicySpec { tracepoints: vec![hook], ..Default::default() });
    policy.metadata.creation_timestamp = Some(Time(jiff::Timestamp::from_second(second).unwrap()));
    policy
}

/// Names in the opposite order of age. The newest are short, so that one of them alone might still fit; the oldest have
/// `padding`, so that in some rounds one does.
fn name_at(age: i64, padding: usize) -> String {
    let long = match age {
        0..5 => padding,
        5..2390 => 60,
        _ => 0,
    };
    format!("p{}{}", 9999 - age, "x".repeat(long))
}

#[test]
fn full_profile_refuses_newest_policies_and_keeps_others() {
    for padding in (0..36).step_by(12) {
        let stack = ObservabilityStack::new("default", Default::default());
        let policies: Vec<_> = (0..2400).rev().map(|age| policy(name_at(age, padding), age)).collect();
        let inputs = Inputs { policies: policies.iter().collect(), ..Inputs::new(&stack) };
        let planned = plan(&inputs);
        let bytes = serde_json::to_vec(&planned.profile.spec).unwrap().len();
        assert!(bytes <= MAX_PROFILE_BYTES && planned.parts.len() <= MAX_PARTS, "{bytes} bytes");
        // The processes of the stack are one of the parts.
        let kept = planned.parts.len() - 1;
        assert!(kept > 1200 && kept + planned.refusals.len() == 2400, "{kept} policies fit");
        for refusal in &planned.refusals {
            assert_eq!(refusal.reason, Reason::ProfileTooLarge);
            let age = 9999 - refusal.source.name[1..5].parse::<usize>().unwrap();
            assert!(age >= kept, "{} is older than one that was kept", refusal.source);
        }
        let words = &planned.refusals[0].message;
        assert!(words.contains("2048") && words.contains("262144"), "{words}");
    }
}

#[test]
fn namespaces_leave_a_third_of_the_profile_to_the_cluster() {
    let stack = ObservabilityStack::new("default", Default::default());
    let namespaced: Vec<_> = (0..2400)
        .map(|age| {
            let policy = policy(format!("p{age}"), age);
            let mut namespaced = TracingPolicyNamespaced::new(&format!("p{age}"), NamespacedSpec(policy.spec));
            namespaced.metadata.namespace = Some(format!("n{}", age % 7));
            namespaced.metadata.creation_timestamp = policy.metadata.creation_timestamp;
            namespaced
        })
        .collect();
    let cluster_wide: Vec<_> = (0..600).map(|age| policy(format!("newer-{age}"), 5000 + age)).collect();
    let inputs = Inputs {
        policies: cluster_wide.iter().collect(),
        namespaced_policies: namespaced.iter().collect(),
        ..Inputs::new(&stack)
    };
    let planned = plan(&inputs);
    let of_cluster = planned.parts.iter().filter(|part| part.spec.source.name.starts_with("newer")).count();
    assert_eq!(of_cluster, 600, "though they are the newest");
    let of_namespaces = planned.parts.iter().filter(|part| part.spec.source.namespace.is_some()).count();
    assert!((1000..=MAX_NAMESPACED_PARTS).contains(&of_namespaces), "{of_namespaces}");
    assert_eq!(planned.refusals.len(), 2400 - of_namespaces);
    let refusal = &planned.refusals[0];
    assert!(
        refusal.reason == Reason::ProfileTooLarge && refusal.message.starts_with("the namespaces' share"),
        "{refusal}"
    );
}

#[test]
fn refusals_beyond_the_limit_are_counted() {
    let stack = ObservabilityStack::new("default", Default::default());
    let mut faulty = policy("faulty".into(), 0);
    faulty.spec.other = (0..180_000).map(|number| (format!("k{number}"), true.into())).collect();
    faulty.spec.other.insert("x".repeat(1_000_000), true.into());
    let good = policy("good".into(), 1);
    let inputs = Inputs { policies: vec![&faulty, &good], ..Inputs::new(&stack) };
    let planned = plan(&inputs);
    assert_eq!((planned.refusals.len(), planned.parts.len()), (20, 2));
    assert_eq!(planned.refusals.iter().map(|refusal| 1 + refusal.unlisted).sum::<u32>(), 180_001);
    assert!(planned.refusals[19].to_string().ends_with(" (and 179981 more)"), "{}", planned.refusals[19]);
}

#[test]
fn long_key_makes_no_long_refusal() {
    let stack = ObservabilityStack::new("default", Default::default());
    let mut faulty = policy("faulty".into(), 0);
    faulty.spec.other.insert("x".repeat(1_000_000), true.into());
    let inputs = Inputs { policies: vec![&faulty], ..Inputs::new(&stack) };
    let refusals = plan(&inputs).refusals;
    assert!(refusals[0].field.len() < 300 && refusals[0].message.len() < 300);
}

#[test]
fn message_is_cut_as_in_tetragon_between_characters() {
    let stack = ObservabilityStack::new("default", Default::default());
    let with = |message: &str| {
        let mut one = policy("one".into(), 0);
        one.spec.tracepoints[0].message = message.into();
        let inputs = Inputs { policies: vec![&one], ..Inputs::new(&stack) };
        plan(&inputs)
    };
    let shown = |planned: Planned| {
        planned.parts.into_iter().find_map(|part| match part.spec.content {
            PartContent::Policy(content) => Some(content.spec.tracepoints[0].message.clone()),
            _ => None,
        })
    };
    assert_eq!(shown(with(&"a".repeat(300))), Some("a".repeat(256)));
    assert_eq!(shown(with(&format!("a{}", "é".repeat(300)))), Some(format!("a{}", "é".repeat(127))));
    assert_eq!(shown(with("")), Some(String::new()));
    assert_eq!(with("a").refusals[0].field, "spec.tracepoints[0].message");
}

#[test]
fn long_policy_names_give_valid_part_names() {
    let stack = ObservabilityStack::new("default", Default::default());
    let policies = [policy("a".repeat(253), 0), policy(format!("{}b", "a".repeat(252)), 0)];
    let inputs = Inputs { policies: policies.iter().collect(), ..Inputs::new(&stack) };
    let names: std::collections::BTreeSet<_> =
        plan(&inputs).parts.into_iter().map(|part| part.metadata.name.unwrap()).collect();
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| name.len() <= 63 && !name.ends_with('-')));
}

#[test]
fn dry_run_takes_no_policys_room_and_follows_no_process() {
    let spec = serde_json::json!({"security": {"mode": "OnDemand"}});
    let stack = ObservabilityStack::new("default", serde_json::from_value(spec).unwrap());
    let mut checked = policy("checked".into(), 0);
    checked.metadata.annotations = Some([(DRY_RUN_ANNOTATION.to_owned(), "true".to_owned())].into());
    let alone = plan(&Inputs { policies: vec![&checked], ..Inputs::new(&stack) });
    assert_eq!(alone.parts.len(), 1, "there is no part for processes");
    assert!(alone.parts[0].spec.content.is_dry_run());
    // The oldest of all, and yet it is the one that is refused.
    let others: Vec<_> = (1..2400).map(|age| policy(format!("p{age}"), age)).collect();
    let fits = plan(&Inputs { policies: others.iter().collect(), ..Inputs::new(&stack) });
    let both = plan(&Inputs { policies: others.iter().chain([&checked]).collect(), ..Inputs::new(&stack) });
    assert_eq!(both.parts, fits.parts);
    assert_eq!(both.refusals.len(), fits.refusals.len() + 1);
}
