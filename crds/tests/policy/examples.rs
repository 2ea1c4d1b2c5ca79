//! Tetragon's example policies, written anew: those that need later features are refused by name, all others are accepted.

use std::fs;

use trilobite_crds::{Resource, parse_documents, policy::TracingPolicySpec};

use super::{faults, repository};

pub(super) struct Example {
    pub(super) name: String,
    /// What its first line says: `accepted`, or a part of what is refused.
    expected: String,
    pub(super) spec: TracingPolicySpec,
}

/// The policies of e2e/policies, by name. The first line of each is `# accepted` or `# refused: part of the message`.
pub(super) fn examples() -> Vec<Example> {
    let mut paths: Vec<_> =
        fs::read_dir(repository("e2e/policies")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let resources = parse_documents(&text, &name).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let spec = match resources.into_iter().next().unwrap() {
            Resource::CiliumPolicy(policy) => policy.spec.0,
            Resource::CiliumNamespacedPolicy(policy) => policy.spec.0,
            other => panic!("{name}: {}", other.source()),
        };
        let expected = text.lines().next().unwrap().trim_start_matches("# ").to_owned();
        Example { name, expected, spec }
    };
    paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).map(read).collect()
}

#[test]
fn examples_are_accepted_or_refused_as_announced() {
    let examples = examples();
    assert_eq!(examples.len(), 83);
    for Example { name, expected, spec } in &examples {
        let found = faults(spec);
        match expected.strip_prefix("refused: ") {
            None => assert!(expected == "accepted" && found.is_empty(), "{name}: {expected}, {found:?}"),
            Some(words) => {
                assert!(found.iter().any(|fault| fault.contains(words)), "{name}: {words:?} is not in {found:?}")
            }
        }
    }
}

#[test]
fn only_later_features_are_refused() {
    for Example { name, spec, .. } in &examples() {
        for fault in faults(spec) {
            assert!(fault.contains("is not supported yet"), "{name}: {fault}");
        }
    }
}
