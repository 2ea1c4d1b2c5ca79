//! The language of tracing policies, from outside: the table of operators and types, Tetragon's examples, the evaluator, and
//! random policies. `UPDATE_GOLDEN=1` rewrites docs/which-policies-work.md.

#![allow(clippy::unwrap_used)]

mod evaluate;
mod examples;
mod page;
mod random;
mod table;

use std::path::{Path, PathBuf};

use trilobite_crds::policy::{TracingPolicySpec, check::check};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The policy as the stages after the check get it.
fn checked(yaml: &str) -> TracingPolicySpec {
    let policy: TracingPolicySpec = serde_yaml::from_str(yaml).unwrap();
    check(&policy, false).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// Messages of the faults.
fn faults(policy: &TracingPolicySpec) -> Vec<String> {
    let faults = check(policy, false).err().unwrap_or_default();
    faults.listed.into_iter().map(|fault| fault.message).collect()
}
