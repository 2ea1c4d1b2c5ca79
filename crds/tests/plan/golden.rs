//! Fixtures and their plans.

use std::{env, fmt::Write as _, fs, path::Path};

use kube::{CustomResourceExt, core::object::HasSpec};
use serde::{Serialize, de::DeserializeOwned};
use trilobite_crds::{
    Inputs, Planned, Refusal, Resource, Violation, desired_from_resources,
    node::{Desired, NodeRuntime, NodeRuntimeSpec, ProfileRef},
    plan, schema,
};
use validator::Validate;

use super::{now, resources};

#[test]
fn every_fixture_gives_its_golden_plan() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan");
    let mut fixtures: Vec<_> =
        fs::read_dir(directory.join("fixtures")).unwrap().map(|entry| entry.unwrap().path()).collect();
    fixtures.sort();
    let mut differing = Vec::new();
    for path in fixtures {
        let text = shown(&resources(&fs::read_to_string(&path).unwrap()));
        let golden = directory.join("golden").join(path.file_name().unwrap()).with_extension("txt");
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &text).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != text {
            differing.push(format!("{}:\n{text}", golden.display()));
        }
    }
    assert!(differing.is_empty(), "UPDATE_GOLDEN=1 rewrites these:\n{}", differing.join("\n"));
}

#[test]
fn order_of_resources_does_not_change_the_plan() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/fixtures");
    for entry in fs::read_dir(directory).unwrap() {
        let mut shuffled = resources(&fs::read_to_string(entry.unwrap().path()).unwrap());
        let forward = planned(&shuffled);
        shuffled.reverse();
        let backward = planned(&shuffled);
        assert_eq!((forward.parts, forward.profile), (backward.parts, backward.profile));
    }
}

#[test]
fn every_digest_matches_its_content() {
    let yaml = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/fixtures/all-layers.yaml"));
    let planned = planned(&resources(&yaml.unwrap()));
    assert!(planned.profile.spec.is_intact() && planned.parts.iter().all(|part| part.spec.is_intact()));
    let mut changed = planned.parts[0].spec.clone();
    changed.source.generation += 1;
    assert!(!changed.is_intact());
}

#[test]
fn planned_objects_fit_their_crds() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/fixtures");
    for entry in fs::read_dir(directory).unwrap() {
        let resources = resources(&fs::read_to_string(entry.unwrap().path()).unwrap());
        let Planned { parts, profile, .. } = planned(&resources);
        let profile_ref =
            ProfileRef { name: profile.metadata.name.clone().unwrap(), digest: profile.spec.digest.clone() };
        let sessions = desired_from_resources(&resources, now()).0.sessions;
        let spec = NodeRuntimeSpec { profile_ref: Some(profile_ref), sessions, ..NodeRuntimeSpec::default() };
        let node = NodeRuntime::new("node1", spec);
        let mut violations = violations(&profile);
        violations.extend(self::violations(&node));
        violations.extend(parts.iter().flat_map(self::violations));
        assert_eq!(violations, []);
    }
}

fn violations<K>(object: &K) -> Vec<Violation>
where
    K: CustomResourceExt + HasSpec<Spec: Validate> + Serialize + DeserializeOwned,
{
    let crds = schema::crds();
    let crd = crds.iter().find(|crd| crd["metadata"]["name"] == K::crd_name()).unwrap();
    schema::read::<K>(crd, &serde_json::to_value(object).unwrap(), None).err().unwrap_or_default()
}

fn planned(resources: &[Resource]) -> Planned {
    let fallback = super::resources(
        "{apiVersion: trilobite.dev/v1alpha1, kind: ObservabilityStack, metadata: {name: default}, spec: {}}",
    );
    let stack = |resource: &Resource| match resource {
        Resource::Stack(stack) => Some((**stack).clone()),
        _ => None,
    };
    let stack = resources.iter().chain(&fallback).find_map(stack).unwrap();
    let mut inputs = Inputs::new(&stack);
    for resource in resources {
        match resource {
            Resource::Policy(policy) => inputs.policies.push(policy),
            Resource::NamespacedPolicy(policy) => inputs.namespaced_policies.push(policy),
            Resource::CiliumPolicy(policy) => inputs.cilium_policies.push(policy),
            Resource::CiliumNamespacedPolicy(policy) => inputs.cilium_namespaced_policies.push(policy),
            _ => {}
        }
    }
    plan(&inputs)
}

fn shown(resources: &[Resource]) -> String {
    let (Desired { sessions, .. }, refusals) = desired_from_resources(resources, now());
    let Planned { parts, profile, .. } = planned(resources);
    let mut text = format!("profile {}\n", profile.metadata.name.unwrap());
    writeln!(text, "  suspended: {}\n  export: {}", profile.spec.suspended, json(&profile.spec.export)).unwrap();
    if let Some(application) = &profile.spec.application {
        writeln!(text, "  application: {}", json(application)).unwrap();
    }
    for part in parts {
        writeln!(text, "part {}\n  source: {}", part.metadata.name.unwrap(), part.spec.source).unwrap();
        writeln!(text, "  content: {}", json(&part.spec.content)).unwrap();
    }
    for session in sessions {
        writeln!(
            text,
            "session {}\n  until: {}\n  content: {}",
            session.name,
            session.expires_at,
            json(&session.content)
        )
        .unwrap();
    }
    for refusal in &refusals {
        let Refusal { source, reason, field, message, unlisted: _ } = refusal;
        writeln!(text, "refused {source}\n  {reason} {field}\n  {message}").unwrap();
        assert!(message.chars().count() <= 256, "{message}");
    }
    text
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}
