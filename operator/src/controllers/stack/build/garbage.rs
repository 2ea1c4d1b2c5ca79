//! What nobody needs any more: node runtimes of nodes that are not the stack's, old profiles, parts that no profile lists.

use std::collections::BTreeSet;

use kube::ResourceExt as _;

use super::super::{dereference::Found, validate::Valid};

/// Profiles that are kept though no node points at them, for whoever looks at what changed.
const KEPT: usize = 3;

/// Names to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Garbage {
    pub(in super::super) runtimes: Vec<String>,
    pub(in super::super) profiles: Vec<String>,
    pub(in super::super) parts: Vec<String>,
    /// The agents' Service, which nobody wants any more.
    pub(in super::super) service: bool,
}

pub(super) fn build(valid: &Valid, found: &Found) -> Garbage {
    let selected: BTreeSet<&str> = valid.nodes.iter().map(|(name, _)| name.as_str()).collect();
    let runtimes = found.runtimes.keys().filter(|name| !selected.contains(name.as_str())).cloned().collect();
    let profiles = profiles(valid, found);
    let going: BTreeSet<&str> = profiles.iter().map(String::as_str).collect();
    let staying = found.profiles.iter().filter(|profile| !going.contains(profile.name_any().as_str()));
    let listed: BTreeSet<&str> = staying
        .chain([&valid.planned.profile])
        .flat_map(|profile| profile.spec.parts.iter().map(|part| part.name.as_str()))
        .collect();
    let parts = found.parts.iter().filter_map(|meta| meta.name.clone());
    let parts = parts.filter(|name| !listed.contains(name.as_str())).collect();
    Garbage { runtimes, profiles, parts, service: found.has_service && !valid.metrics.enabled }
}

/// The oldest of those that nothing points at, but for the last few.
fn profiles(valid: &Valid, found: &Found) -> Vec<String> {
    let mut used: BTreeSet<String> = BTreeSet::from([valid.profile.name.clone()]);
    for runtime in found.runtimes.values() {
        let applied = runtime.status.as_ref().and_then(|status| status.applied_profile.as_ref());
        used.extend(runtime.spec.profile_ref.iter().chain(applied).map(|profile| profile.name.clone()));
    }
    let mut idle: Vec<_> = found
        .profiles
        .iter()
        .filter(|profile| !used.contains(&profile.name_any()))
        .map(|profile| (profile.creation_timestamp().map(|time| time.0), profile.name_any()))
        .collect();
    idle.sort_unstable();
    idle.truncate(idle.len().saturating_sub(KEPT));
    idle.into_iter().map(|(_, name)| name).collect()
}
