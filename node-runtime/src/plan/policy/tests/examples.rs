//! Tetragon's example policies, written anew in `e2e/policies`, and random mutations of them.

use std::{fs, path::Path, sync::Arc};

use serde_json::{Value, json};
use trilobite_crds::{
    node::PolicyPart,
    policy::{TracingPolicySpec, check},
};

use super::{
    any_kernel::AnyKernel,
    differential::input,
    random::{Random, seeds},
};
use crate::plan::policy::{Compiled, compile, dimension::MAX_DIMENSIONS, value::MAX_VALUES};

/// Name and spec of each.
fn examples() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/policies");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let document: Value = serde_yaml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            found.push((path.file_name().unwrap().to_string_lossy().into_owned(), document["spec"].clone()));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

fn part(spec: TracingPolicySpec) -> Arc<PolicyPart> {
    Arc::new(PolicyPart { pods: Arc::default(), spec: Arc::new(spec), ring_bytes: 1 << 20, dry_run: false })
}

#[test]
fn all_examples_without_faults_are_planned_together() {
    let kernel = AnyKernel::new();
    let mut inputs = Vec::new();
    for (id, (name, spec)) in (1..).zip(examples()) {
        let spec: TracingPolicySpec = serde_json::from_value(spec).unwrap();
        if check::check(&spec, false).is_err() {
            continue;
        }
        let alone = compile(&[input(id, part(spec.clone()))], &kernel, &Compiled::default());
        assert!(alone.refused.is_empty(), "{name}: {:?}", alone.refused);
        assert!(!alone.hooks.is_empty(), "{name}");
        inputs.push(input(id, part(spec)));
    }
    assert!(inputs.len() > 50, "{}", inputs.len());
    let together = compile(&inputs, &kernel, &Compiled::default());
    assert!(together.refused.is_empty(), "{:?}", together.refused);
    assert_eq!(together.planned.len(), inputs.len());
}

/// Replaces, removes or doubles something anywhere in a spec.
fn mutate(value: &mut Value, random: &mut Random) {
    let words = [
        json!(null),
        json!(""),
        json!(-1),
        json!(7),
        json!(1_u64 << 40),
        json!("list:x"),
        json!("Equal"),
        json!("NotDAddr"),
        json!("10.0.0.0/33"),
        json!("sock"),
        json!("string"),
        json!("\u{0}é"),
        json!(true),
        json!([]),
        json!({}),
        json!("99999999999999999999"),
    ];
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let name = fields.keys().nth(random.below(fields.len())).unwrap().clone();
            match random.below(8) {
                0 => drop(fields.remove(&name)),
                1 => drop(fields.insert(name + "x", json!("unknown"))),
                _ => mutate(fields.get_mut(&name).unwrap(), random),
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let index = random.below(items.len());
            match random.below(8) {
                0 => drop(items.remove(index)),
                1 => items.push(items[index].clone()),
                _ => mutate(&mut items[index], random),
            }
        }
        other => *other = random.pick(&words).clone(),
    }
}

fn fuzz(seeds: std::ops::Range<u64>) {
    let kernel = AnyKernel::new();
    let examples = examples();
    let (mut planned, mut refused) = (0, 0);
    for seed in seeds {
        let mut random = Random::new(seed);
        let (name, mut spec) = random.pick(&examples).clone();
        for _ in 0..1 + random.below(3) {
            mutate(&mut spec, &mut random);
        }
        // What has not the types of the spec is refused by the API server.
        let Ok(spec) = serde_json::from_value::<TracingPolicySpec>(spec) else { continue };
        let compiled = compile(&[input(1, part(spec))], &kernel, &Compiled::default());
        for problem in compiled.refused.values().flatten() {
            assert!(problem.field().starts_with("spec"), "seed {seed}, {name}: {problem:?}");
        }
        for plan in compiled.hooks.values() {
            let fits = plan.values.len() <= MAX_VALUES && plan.dimensions.len() <= MAX_DIMENSIONS;
            assert!(fits && plan.tables.len() == plan.dimensions.len(), "seed {seed}, {name}");
        }
        planned += usize::from(!compiled.hooks.is_empty());
        refused += compiled.refused.len();
    }
    assert!(planned > 0 && refused > 0, "{planned} planned, {refused} refused");
}

#[test]
fn mutated_examples_are_refused_by_field_or_planned() {
    fuzz(seeds(2_000));
}
