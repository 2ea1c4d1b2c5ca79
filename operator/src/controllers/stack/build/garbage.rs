//! `Garbage`: objects to delete. NodeRuntimes of nodes that are not selected, old profiles, and parts that no profile
//! lists.

use std::collections::BTreeSet;

use kube::ResourceExt as _;
use trilobite_crds::stack::HubbleRelayMode;

use super::service::wants_service;
use crate::controllers::stack::{
    dereference::{DereferencedRelay, DereferencedStack},
    validate::{Registration, ValidatedStack},
};

/// Unused profiles that are kept, so that a user can see what changed.
const KEPT_PROFILES: usize = 3;

/// Names to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Garbage {
    pub(crate) runtimes: Vec<String>,
    pub(crate) profiles: Vec<String>,
    pub(crate) parts: Vec<String>,
    /// The agents' metrics Service.
    pub(crate) service: bool,
    pub(crate) relay: RelayGarbage,
}

/// Objects of the relay to delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RelayGarbage {
    /// Deleted before anything else is changed.
    pub(crate) api_service: bool,
    pub(crate) deployment: bool,
    pub(crate) disruption_budget: bool,
    pub(crate) service: bool,
    pub(crate) hubble_service: bool,
    /// Those of an unmodified hubble-relay.
    pub(crate) peer_service: bool,
    pub(crate) hubble_relay_secret: bool,
}

fn relay_garbage(validated: &ValidatedStack, relay: &DereferencedRelay) -> RelayGarbage {
    let registered = validated.relay.as_ref().is_ok_and(|relay| relay.registration == Registration::Registered);
    let wanted = validated.relay.is_ok();
    let has_budget = validated.relay.as_ref().is_ok_and(|relay| relay.spec.replicas > 1);
    let serves_hubble_relay =
        validated.relay.as_ref().is_ok_and(|relay| relay.spec.hubble_relay == HubbleRelayMode::Enabled);
    RelayGarbage {
        api_service: relay.api_service.is_some() && !registered,
        deployment: relay.deployment.is_some() && !wanted,
        disruption_budget: relay.has_disruption_budget && !has_budget,
        service: relay.has_service && !wanted,
        hubble_service: relay.has_hubble_service && !wanted,
        peer_service: relay.has_peer_service && !serves_hubble_relay,
        hubble_relay_secret: relay.has_hubble_relay_secret && !serves_hubble_relay,
    }
}

pub(super) fn find_garbage(validated: &ValidatedStack, dereferenced: &DereferencedStack) -> Garbage {
    let selected: BTreeSet<&str> = validated.nodes.iter().map(|(name, _)| name.as_str()).collect();
    let runtimes = dereferenced.runtimes.keys().filter(|name| !selected.contains(name.as_str())).cloned().collect();
    let profiles = unused_profiles(validated, dereferenced);
    let deleted: BTreeSet<&str> = profiles.iter().map(String::as_str).collect();
    let kept = dereferenced.profiles.iter().filter(|profile| !deleted.contains(profile.name_any().as_str()));
    let listed: BTreeSet<&str> = kept
        .chain([&validated.planned.profile])
        .flat_map(|profile| profile.spec.parts.iter().map(|part| part.name.as_str()))
        .collect();
    let parts = dereferenced.parts.iter().filter_map(|meta| meta.name.clone());
    let parts = parts.filter(|name| !listed.contains(name.as_str())).collect();
    let service = dereferenced.has_service && !wants_service(validated);
    Garbage { runtimes, profiles, parts, service, relay: relay_garbage(validated, &dereferenced.relay) }
}

/// Profiles that no node points at or runs, except for the latest ones.
fn unused_profiles(validated: &ValidatedStack, dereferenced: &DereferencedStack) -> Vec<String> {
    let mut used: BTreeSet<String> = BTreeSet::from([validated.profile.name.clone()]);
    for runtime in dereferenced.runtimes.values() {
        let applied = runtime.status.as_ref().and_then(|status| status.applied_profile.as_ref());
        used.extend(runtime.spec.profile_ref.iter().chain(applied).map(|profile| profile.name.clone()));
    }
    let mut unused: Vec<_> = dereferenced
        .profiles
        .iter()
        .filter(|profile| !used.contains(&profile.name_any()))
        .map(|profile| (profile.creation_timestamp().map(|time| time.0), profile.name_any()))
        .collect();
    unused.sort_unstable();
    unused.truncate(unused.len().saturating_sub(KEPT_PROFILES));
    unused.into_iter().map(|(_, name)| name).collect()
}
