//! Filters on the process that calls, and on where it runs.

use super::call::{Call, CallingProcess, Workload};
use crate::{
    node::{WorkloadScope, matches_container},
    policy::{
        BinaryFilter, CapabilityFilter, CredentialFilter, Hook, NamespaceChangeFilter, NamespaceFilter, NamespaceKind,
        Operator, PidFilter, Selector, Vocabulary, WorkloadFilter,
        value::{self, HOST_NAMESPACE},
    },
    selector,
};

/// Whether every filter of the selector on the process matches.
pub(super) fn matches(selector: &Selector, hook: Hook<'_>, call: &Call) -> bool {
    let process = &call.process;
    let executed = if hook.is_before_exec() { call.executed_file.as_slice() } else { &[] };
    let own: Vec<&[u8]> = vec![&process.binary];
    let above: Vec<&[u8]> = process.ancestors.iter().map(|ancestor| ancestor.binary.as_slice()).collect();
    let parent = process.ancestors.first().map_or(&b""[..], |parent| &parent.binary);
    let above_parent = above.get(1..).unwrap_or_default();
    selector.match_pids.iter().all(|filter| pid_matches(filter, process))
        && selector.match_binaries.iter().all(|filter| binary_matches(filter, &own, &above, executed))
        && selector.match_parent_binaries.iter().all(|filter| binary_matches(filter, &[parent], above_parent, &[]))
        && selector.match_namespaces.iter().all(|filter| namespace_matches(filter, process))
        && selector.match_namespace_changes.iter().all(|filter| namespace_change_matches(filter, process))
        && selector.match_capabilities.iter().all(|filter| capability_matches(filter, process))
        && selector.match_capability_changes.iter().all(|filter| capability_change_matches(filter, process))
        && selector.match_credentials.iter().all(|filter| credential_matches(filter, process))
        && selector.match_workloads.as_ref().is_none_or(|filter| workload_matches(filter, &process.workload))
}

/// What a filter says, once it is known whether one of its values applies.
fn judged(operator: Option<Operator>, one_applies: bool) -> bool {
    one_applies != operator.is_some_and(Operator::is_negated)
}

fn pid_matches(filter: &PidFilter, process: &CallingProcess) -> bool {
    let own = if filter.is_namespace_pid { process.namespace_pid } else { process.pid };
    let above = process.ancestors.iter();
    let above = above.map(|ancestor| if filter.is_namespace_pid { ancestor.namespace_pid } else { ancestor.pid });
    let mut ids: Vec<u32> = vec![own];
    if filter.follow_forks {
        // A container's processes descend from the host's, which are none of its namespace.
        ids.extend(above.filter(|id| *id != 0 || own == 0));
    }
    let one_applies = ids.iter().any(|id| filter.values.contains(&i64::from(*id)));
    judged(filter.operator.known(), one_applies)
}

/// `above` are the programs of the ancestors. `executed` are names of a file that is about to be executed: the positive
/// operators match it too, the negative ones mean the process alone.
fn binary_matches(filter: &BinaryFilter, own: &[&[u8]], above: &[&[u8]], executed: &[Vec<u8>]) -> bool {
    let Some(operator) = filter.operator.known() else { return false };
    let applies = |path: &[u8], wanted: &String| match operator.positive() {
        Operator::Prefix => path.starts_with(wanted.as_bytes()),
        Operator::Postfix => path.ends_with(wanted.as_bytes()),
        _ => path == wanted.as_bytes(),
    };
    let mut paths = own.to_vec();
    if filter.follow_children {
        paths.extend(above);
    }
    if !operator.is_negated() {
        paths.extend(executed.iter().map(Vec::as_slice));
    }
    let one_applies = paths.iter().any(|path| filter.values.iter().any(|wanted| applies(path, wanted)));
    judged(Some(operator), one_applies)
}

fn namespace_matches(filter: &NamespaceFilter, process: &CallingProcess) -> bool {
    let Some(kind) = filter.namespace.known() else { return false };
    let own = process.namespaces.id(kind);
    let one_applies = filter.values.iter().any(|value| match value.as_str() {
        HOST_NAMESPACE => own == process.host_namespaces.id(kind),
        number => value::number(number) == Some(own.into()),
    });
    judged(filter.operator.known(), one_applies)
}

/// `In` matches a change of a listed namespace, `NotIn` a change of any other one.
fn namespace_change_matches(filter: &NamespaceChangeFilter, process: &CallingProcess) -> bool {
    let is_negated = filter.operator.known().is_some_and(Operator::is_negated);
    let is_listed = |kind: NamespaceKind| filter.values.iter().any(|listed| listed.known() == Some(kind));
    let changed = |kind| {
        let before = process.namespaces_at_exec.id(kind);
        before != 0 && before != process.namespaces.id(kind)
    };
    NamespaceKind::ALL.iter().any(|kind| is_listed(*kind) != is_negated && changed(*kind))
}

fn capability_matches(filter: &CapabilityFilter, process: &CallingProcess) -> bool {
    let Some(set) = filter.r#type.known() else { return false };
    if filter.is_namespace_capability && is_in_host_user_namespace(process) {
        return false;
    }
    let one_applies = process.capabilities.set(set) & listed_capabilities(filter) != 0;
    judged(filter.operator.known(), one_applies)
}

/// `In` matches a change of a listed capability, `NotIn` a change of others alone.
fn capability_change_matches(filter: &CapabilityFilter, process: &CallingProcess) -> bool {
    let Some(set) = filter.r#type.known() else { return false };
    if filter.is_namespace_capability && is_in_host_user_namespace(process) {
        return false;
    }
    let changed = process.capabilities.set(set) ^ process.capabilities_at_exec.set(set);
    let listed = changed & listed_capabilities(filter) != 0;
    if filter.operator.known().is_some_and(Operator::is_negated) { changed != 0 && !listed } else { listed }
}

fn is_in_host_user_namespace(process: &CallingProcess) -> bool {
    process.namespaces.id(NamespaceKind::User) == process.host_namespaces.id(NamespaceKind::User)
}

fn listed_capabilities(filter: &CapabilityFilter) -> u64 {
    filter.values.iter().filter_map(|name| value::capability(name)).fold(0, |mask, number| mask | 1 << number)
}

fn credential_matches(filter: &CredentialFilter, process: &CallingProcess) -> bool {
    let Some(credential) = filter.credential.known() else { return false };
    let own = i128::from(process.credentials.id(credential));
    let one_applies = filter.values.iter().any(|range| value::range(range).is_some_and(|range| range.contains(own)));
    judged(filter.operator.known(), one_applies)
}

fn workload_matches(filter: &WorkloadFilter, workload: &Workload) -> bool {
    let WorkloadFilter { pod_selector, container_selector, host_selector, other: _ } = filter;
    let scope = WorkloadScope::new(pod_selector.clone(), container_selector.clone(), host_selector.is_some());
    match workload {
        Workload::Host => scope.include_host,
        Workload::Container { namespace, labels, container, repo } => {
            let of_pod = |wanted: &_| selector::matches_pod(wanted, namespace, labels) == Ok(true);
            let of_container = |wanted: &_| matches_container(wanted, container, repo) == Ok(true);
            !scope.without_pods
                && scope.pod_selector.as_ref().is_none_or(of_pod)
                && scope.container_selector.as_ref().is_none_or(of_container)
        }
    }
}
