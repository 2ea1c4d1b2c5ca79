//! `OwnedObjects`: all objects that a stack owns, a file each. Pure; they exist once `apply` has returned.

mod config_map;
mod daemon_set;
mod export_container;
mod garbage;
mod node_runtime;
mod parts;
mod pod;
mod relay;
mod rollout;
mod service;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Service},
};
use trilobite_crds::node::{NodeProfile, NodeRuntime, ProfilePart};

use self::{
    config_map::build_config_map,
    daemon_set::build_daemon_set,
    garbage::find_garbage,
    node_runtime::{build_node_runtime, build_port_changes},
    relay::build_relay,
    rollout::next_step,
    service::build_service,
};
pub(super) use self::{
    garbage::{Garbage, RelayGarbage},
    relay::{HubbleRelayObjects, RelayObjects},
};
use super::{dereference::DereferencedStack, validate::ValidatedStack};
use crate::{certificate_authority::AuthorityError, controllers::phase::Prepared, status::Rollout};

#[derive(Debug)]
pub(super) struct OwnedObjects<Phase> {
    /// ProfileParts that do not exist yet.
    pub(super) parts: Vec<ProfilePart>,
    pub(super) profile: NodeProfile,
    pub(super) config_map: ConfigMap,
    /// None if the agents serve no metrics.
    pub(super) service: Option<Service>,
    pub(super) daemon_set: DaemonSet,
    /// NodeRuntimes that are pointed at the profile in this step.
    pub(super) runtimes: Vec<NodeRuntime>,
    /// NodeRuntimes whose port for the relay changes, and nothing else.
    pub(super) port_changes: Vec<NodeRuntime>,
    /// None if no relay is wanted.
    pub(super) relay: Option<RelayObjects>,
    pub(super) garbage: Garbage,
    pub(super) rollout: Rollout,
    /// Number of nodes that later steps update.
    pub(super) remaining_nodes: usize,
    pub(super) namespace: String,
    pub(super) phase: PhantomData<Phase>,
}

pub(super) fn build(
    validated: &ValidatedStack,
    dereferenced: &DereferencedStack,
) -> Result<OwnedObjects<Prepared>, AuthorityError> {
    let config_map = build_config_map(validated);
    let daemon_set = build_daemon_set(validated, &config_map);
    let step = next_step(validated, dereferenced);
    let (port_changes, later) = build_port_changes(validated, dereferenced, &step);
    let point = |(name, uid): &(String, String)| build_node_runtime(validated, &validated.profile, name, uid);
    Ok(OwnedObjects {
        parts: parts::missing_parts(validated, dereferenced),
        profile: parts::build_profile(validated),
        config_map,
        service: build_service(validated),
        daemon_set,
        runtimes: step.nodes.iter().map(point).collect(),
        port_changes,
        relay: build_relay(validated, dereferenced)?,
        garbage: find_garbage(validated, dereferenced),
        rollout: step.rollout,
        remaining_nodes: step.remaining_nodes + later,
        namespace: validated.namespace.clone(),
        phase: PhantomData,
    })
}
