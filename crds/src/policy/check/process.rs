//! Filters on the process that calls.

use super::{
    fault::Faults,
    nearest::advice,
    wording::{either, known_word, shown},
};
use crate::policy::{
    BinaryFilter, CapabilityFilter, CapabilitySet, Credential, CredentialFilter, NamespaceChangeFilter,
    NamespaceFilter, NamespaceKind, Operator, PidFilter, Selector, Vocabulary, Word,
    operator::{BINARY, LISTED},
    value::{self, CAPABILITY_NAMES, HOST_NAMESPACE, NumberRange},
};

pub(super) fn check_process_filters(path: &str, selector: &Selector, faults: &mut Faults) {
    let path_of = |section: &str, index: usize| format!("{path}.{section}[{index}]");
    for (index, filter) in selector.match_pids.iter().enumerate() {
        check_pids(&path_of("matchPIDs", index), filter, faults);
    }
    for (index, filter) in selector.match_binaries.iter().enumerate() {
        check_binaries(&path_of("matchBinaries", index), filter, faults);
    }
    for (index, filter) in selector.match_parent_binaries.iter().enumerate() {
        check_binaries(&path_of("matchParentBinaries", index), filter, faults);
    }
    for (index, filter) in selector.match_namespaces.iter().enumerate() {
        check_namespaces(&path_of("matchNamespaces", index), filter, faults);
    }
    for (index, filter) in selector.match_namespace_changes.iter().enumerate() {
        check_namespace_changes(&path_of("matchNamespaceChanges", index), filter, faults);
    }
    for (index, filter) in selector.match_capabilities.iter().enumerate() {
        check_capabilities(&path_of("matchCapabilities", index), filter, faults);
    }
    for (index, filter) in selector.match_capability_changes.iter().enumerate() {
        check_capabilities(&path_of("matchCapabilityChanges", index), filter, faults);
    }
    for (index, filter) in selector.match_credentials.iter().enumerate() {
        check_credentials(&path_of("matchCredentials", index), filter, faults);
    }
}

/// The operator, where it is one of `allowed`.
fn check_operator(path: &str, word: &Word<Operator>, allowed: &[Operator], faults: &mut Faults) -> Option<Operator> {
    let field = format!("{path}.operator");
    let operator = known_word(&field, word, allowed, faults)?;
    let is_allowed = allowed.contains(&operator);
    if !is_allowed {
        let names = either(allowed.iter().map(|operator| operator.as_str()));
        faults.invalid(&field, || format!("{operator} has no meaning here; use {names}"));
    }
    Some(operator).filter(|_| is_allowed)
}

fn check_not_empty<T>(path: &str, values: &[T], faults: &mut Faults) {
    if values.is_empty() {
        faults.invalid(&format!("{path}.values"), || "must have at least 1 item".into());
    }
}

fn check_pids(path: &str, filter: &PidFilter, faults: &mut Faults) {
    check_operator(path, &filter.operator, LISTED, faults);
    check_not_empty(path, &filter.values, faults);
}

fn check_binaries(path: &str, filter: &BinaryFilter, faults: &mut Faults) {
    let operator = check_operator(path, &filter.operator, BINARY, faults);
    check_not_empty(path, &filter.values, faults);
    if filter.follow_children && operator.is_some_and(|operator| !LISTED.contains(&operator)) {
        faults
            .invalid(&format!("{path}.followChildren"), || "is for In and NotIn; use one of them, or remove it".into());
    }
    let is_whole_path = operator.is_some_and(|operator| LISTED.contains(&operator));
    for (index, text) in filter.values.iter().enumerate() {
        let field = format!("{path}.values[{index}]");
        if text.is_empty() {
            faults.invalid(&field, || "must not be empty".into());
        } else if is_whole_path && !text.starts_with('/') {
            faults.invalid(&field, || {
                format!("{} must be a whole path, e.g. /usr/bin/curl; or use Postfix", shown(text))
            });
        }
    }
}

fn check_namespaces(path: &str, filter: &NamespaceFilter, faults: &mut Faults) {
    known_word(&format!("{path}.namespace"), &filter.namespace, NamespaceKind::ALL, faults);
    check_operator(path, &filter.operator, LISTED, faults);
    check_not_empty(path, &filter.values, faults);
    for (index, text) in filter.values.iter().enumerate() {
        let is_inode = value::number(text).is_some_and(|number| (0..=i128::from(u32::MAX)).contains(&number));
        if text != HOST_NAMESPACE && !is_inode {
            faults.invalid(&format!("{path}.values[{index}]"), || {
                format!(
                    "{} is no namespace id; matchNamespaces means Linux namespaces. For a Kubernetes namespace use \
                     TracingPolicyNamespaced, or podSelector on k8s:io.kubernetes.pod.namespace",
                    shown(text)
                )
            });
        }
    }
}

fn check_namespace_changes(path: &str, filter: &NamespaceChangeFilter, faults: &mut Faults) {
    check_operator(path, &filter.operator, LISTED, faults);
    check_not_empty(path, &filter.values, faults);
    for (index, word) in filter.values.iter().enumerate() {
        known_word(&format!("{path}.values[{index}]"), word, NamespaceKind::ALL, faults);
    }
}

fn check_capabilities(path: &str, filter: &CapabilityFilter, faults: &mut Faults) {
    known_word(&format!("{path}.type"), &filter.r#type, CapabilitySet::ALL, faults);
    check_operator(path, &filter.operator, LISTED, faults);
    check_not_empty(path, &filter.values, faults);
    for (index, text) in filter.values.iter().enumerate() {
        if value::capability(text).is_none() {
            faults.invalid(&format!("{path}.values[{index}]"), || {
                let advice = advice(text, CAPABILITY_NAMES.iter().copied(), "use a name such as CAP_SYS_ADMIN");
                format!("{} is no capability; {advice}", shown(text))
            });
        }
    }
}

fn check_credentials(path: &str, filter: &CredentialFilter, faults: &mut Faults) {
    known_word(&format!("{path}.credential"), &filter.credential, Credential::ALL, faults);
    check_operator(path, &filter.operator, LISTED, faults);
    check_not_empty(path, &filter.values, faults);
    let ids = NumberRange { min: 0, max: u32::MAX.into() };
    for (index, text) in filter.values.iter().enumerate() {
        if !value::range(text).is_some_and(|range| range.is_within(ids)) {
            faults.invalid(&format!("{path}.values[{index}]"), || {
                format!("{} must be an id from 0 to {}, or a range such as 1000:1999", shown(text), u32::MAX)
            });
        }
    }
}
