//! Selector macros: a selector that names macros gets their filters in addition to its own.

use super::{Selector, TracingPolicySpec};

/// The same policy without macros. Names that `selectorsMacros` does not have are ignored; `check` refuses them.
pub fn expand(policy: &TracingPolicySpec) -> TracingPolicySpec {
    let mut expanded = policy.clone();
    let macros = std::mem::take(&mut expanded.selectors_macros);
    let functions = expanded.kprobes.iter_mut().chain(&mut expanded.fentries).flat_map(|hook| &mut hook.selectors);
    let tracepoints = expanded.tracepoints.iter_mut().flat_map(|hook| &mut hook.selectors);
    for selector in functions.chain(tracepoints) {
        for name in std::mem::take(&mut selector.macros) {
            if let Some(added) = macros.get(&name) {
                add_filters(selector, added);
            }
        }
    }
    expanded
}

/// Appends each list of filters. A workload is taken over where the selector has none; both together are refused.
fn add_filters(selector: &mut Selector, added: &Selector) {
    let Selector {
        label: _,
        match_pids,
        match_args,
        match_data,
        match_return_args,
        match_binaries,
        match_parent_binaries,
        match_namespaces,
        match_namespace_changes,
        match_capabilities,
        match_capability_changes,
        match_credentials,
        match_workloads,
        macros: _,
        match_actions,
        match_return_actions,
        other: _,
    } = added.clone();
    selector.match_pids.extend(match_pids);
    selector.match_args.extend(match_args);
    selector.match_data.extend(match_data);
    selector.match_return_args.extend(match_return_args);
    selector.match_binaries.extend(match_binaries);
    selector.match_parent_binaries.extend(match_parent_binaries);
    selector.match_namespaces.extend(match_namespaces);
    selector.match_namespace_changes.extend(match_namespace_changes);
    selector.match_capabilities.extend(match_capabilities);
    selector.match_capability_changes.extend(match_capability_changes);
    selector.match_credentials.extend(match_credentials);
    selector.match_actions.extend(match_actions);
    selector.match_return_actions.extend(match_return_actions);
    selector.match_workloads = selector.match_workloads.take().or(match_workloads);
}
