//! Worlds to plans.

use std::{env, fmt::Write as _, fs, path::Path};

use trilobite_crds::{
    Inputs, Planned, Refusal, Resource, desired_from_resources,
    node::{Desired, NodeRuntimeSpec, ProfileRef},
    plan, schema,
};

use super::{now, world};

#[test]
fn every_world_gives_the_plan_that_is_written_down() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan");
    let mut worlds: Vec<_> =
        fs::read_dir(directory.join("worlds")).unwrap().map(|entry| entry.unwrap().path()).collect();
    worlds.sort();
    let mut differing = Vec::new();
    for path in worlds {
        let text = shown(&world(&fs::read_to_string(&path).unwrap()));
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
fn the_order_of_resources_changes_nothing() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/worlds");
    for entry in fs::read_dir(directory).unwrap() {
        let mut resources = world(&fs::read_to_string(entry.unwrap().path()).unwrap());
        let forward = planned(&resources);
        resources.reverse();
        let backward = planned(&resources);
        assert_eq!((forward.parts, forward.profile), (backward.parts, backward.profile));
    }
}

#[test]
fn every_digest_can_be_checked_by_who_reads_it() {
    let yaml = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/worlds/all-layers.yaml"));
    let planned = planned(&world(&yaml.unwrap()));
    assert!(planned.profile.spec.is_intact() && planned.parts.iter().all(|part| part.spec.is_intact()));
    let mut changed = planned.parts[0].spec.clone();
    changed.source.generation += 1;
    assert!(!changed.is_intact());
}

#[test]
fn what_is_planned_fits_the_schemas_of_parts_profiles_and_nodes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/worlds");
    let crds = schema::crds();
    let violations = |kind: &str, spec: serde_json::Value| {
        let crd = crds.iter().find(|crd| crd["spec"]["names"]["kind"] == kind).unwrap();
        schema::check(&schema::schema_of(crd)["properties"]["spec"], &spec, kind)
    };
    for entry in fs::read_dir(directory).unwrap() {
        let resources = world(&fs::read_to_string(entry.unwrap().path()).unwrap());
        let Planned { parts, profile, .. } = planned(&resources);
        let profile_ref =
            ProfileRef { name: profile.metadata.name.clone().unwrap(), digest: profile.spec.digest.clone() };
        let sessions = desired_from_resources(&resources, now()).0.sessions;
        let node = NodeRuntimeSpec { profile_ref: Some(profile_ref), sessions };
        let mut found = violations("NodeProfile", serde_json::to_value(&profile.spec).unwrap());
        found.extend(violations("NodeRuntime", serde_json::to_value(&node).unwrap()));
        for part in parts {
            found.extend(violations("ProfilePart", serde_json::to_value(&part.spec).unwrap()));
        }
        assert_eq!(found, []);
    }
}

fn planned(resources: &[Resource]) -> Planned {
    let fallback =
        world("{apiVersion: trilobite.dev/v1alpha1, kind: ObservabilityStack, metadata: {name: default}, spec: {}}");
    let stack = |resource: &Resource| match resource {
        Resource::Stack(stack) => Some((**stack).clone()),
        _ => None,
    };
    let stack = resources.iter().chain(&fallback).find_map(stack).unwrap();
    let mut inputs = Inputs { stack: &stack, policies: Vec::new(), namespaced_policies: Vec::new() };
    for resource in resources {
        match resource {
            Resource::Policy(policy) => inputs.policies.push(policy),
            Resource::NamespacedPolicy(policy) => inputs.namespaced_policies.push(policy),
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
        assert!(message.chars().count() <= 200, "{message}");
    }
    text
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}
