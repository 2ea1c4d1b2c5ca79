//! What is known of policies without a node: syntax, fields, words, and each rule that needs no kernel.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use trilobite_crds::{Resource, desired_from_resources, parse_documents};

use super::{dry_run::CheckedPolicy, verdict::Verdict};
use crate::{commands::failure::Failure, output::stderr::stderr_line};

pub(super) struct CheckedFiles {
    /// Of what is refused.
    pub(super) verdicts: Vec<Verdict>,
    /// Policies that nodes are asked about.
    pub(super) accepted: Vec<CheckedPolicy>,
}

pub(super) fn check_files(files: &[PathBuf]) -> Result<CheckedFiles, Failure> {
    let mut verdicts = Vec::new();
    let mut resources = Vec::new();
    for path in files {
        let text = read_text(path).map_err(|source| Failure::ReadFile { path: path.display().to_string(), source })?;
        match parse_documents(&text, &path.display().to_string()) {
            Ok(found) => resources.extend(found),
            Err(errors) => {
                let lines = errors.iter().map(ToString::to_string).collect();
                verdicts.push(Verdict::refused(path.display().to_string(), lines));
            }
        }
    }
    let (policies, others): (Vec<Resource>, Vec<Resource>) =
        resources.into_iter().partition(|resource| resource.source().kind.is_policy());
    for other in &others {
        stderr_line!("note: {} is no policy, and is not checked", other.source());
    }
    // No session and no time: there are policies alone.
    let (_, refusals) = desired_from_resources(&policies, Timestamp::UNIX_EPOCH);
    let mut refused: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for refusal in refusals {
        let lines = refused.entry(refusal.source.to_string()).or_default();
        lines.push(format!("{}: {}", refusal.reason, refusal.message));
    }
    let accepted = policies.iter().filter(|policy| !refused.contains_key(&policy.source().to_string()));
    let accepted = accepted.filter_map(CheckedPolicy::new).collect();
    verdicts.extend(refused.into_iter().map(|(name, lines)| Verdict::refused(name, lines)));
    Ok(CheckedFiles { verdicts, accepted })
}

fn read_text(path: &Path) -> io::Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(yaml: &str) -> CheckedFiles {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policies.yaml");
        fs::write(&path, yaml).unwrap();
        check_files(&[path]).unwrap()
    }

    fn checked_text(yaml: &str) -> String {
        checked(yaml).verdicts[0].to_string()
    }

    #[test]
    fn wrong_field_is_named_with_its_document() {
        let yaml =
            "apiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec: {tracepoints: open}\n";
        let checked = checked(yaml);
        let text = checked.verdicts[0].to_string();
        assert!(text.contains("document 1, spec.tracepoints: "), "{text}");
        assert_eq!(checked.accepted.len(), 0);
        let unknown = checked_text(&yaml.replace("tracepoints: open", "kprobe: []"));
        assert!(unknown.ends_with("unknown field spec.kprobe; did you mean kprobes?"), "{unknown}");
    }

    #[test]
    fn stack_beside_the_policies_is_left_out() {
        let yaml = "apiVersion: trilobite.dev/v1alpha1\nkind: ObservabilityStack\nmetadata: {name: default}\n\
            spec: {security: {mode: Disabled}}\n---\napiVersion: trilobite.dev/v1alpha1\nkind: TracingPolicyNamespaced\n\
            metadata: {name: p, namespace: shop}\nspec: {tracepoints: [{subsystem: sched, event: sched_switch}]}\n";
        let checked = checked(yaml);
        assert!(checked.verdicts.is_empty());
        assert_eq!(checked.accepted[0].to_string(), "TracingPolicyNamespaced/shop/p");
    }
}
