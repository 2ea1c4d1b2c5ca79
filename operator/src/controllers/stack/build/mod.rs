//! Everything that a stack has made, one file each. Pure: what is built here exists when `apply` has run.

mod config_map;
mod daemon_set;
mod garbage;
mod node_runtime;
mod parts;
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

pub(super) use garbage::Garbage;

use super::{dereference::Found, validate::Valid};
use crate::status::Rollout;

/// Built, not applied.
#[derive(Debug)]
pub(super) enum Prepared {}
/// In the API server.
#[derive(Debug)]
pub(super) enum Applied {}

/// All children. `apply` names every field: a child that nobody applies does not compile.
#[derive(Debug)]
pub(super) struct Children<Phase> {
    /// Parts that do not exist yet.
    pub(super) parts: Vec<ProfilePart>,
    pub(super) profile: NodeProfile,
    pub(super) config_map: ConfigMap,
    /// None while no agent serves metrics.
    pub(super) service: Option<Service>,
    pub(super) daemon_set: DaemonSet,
    /// Nodes that are told of the profile in this step.
    pub(super) told: Vec<NodeRuntime>,
    pub(super) garbage: Garbage,
    pub(super) rollout: Rollout,
    /// Nodes that are left for later steps.
    pub(super) left: usize,
    pub(super) namespace: String,
    pub(super) phase: PhantomData<Phase>,
}

pub(super) fn run(valid: &Valid, found: &Found) -> Children<Prepared> {
    let config_map = config_map::build(valid);
    let daemon_set = daemon_set::build(valid, &config_map);
    let step = rollout::next(valid, found);
    Children {
        parts: parts::missing(valid, found),
        profile: parts::profile(valid),
        config_map,
        service: service::build(valid),
        daemon_set,
        told: step.nodes.iter().map(|(name, uid)| node_runtime::build(valid, name, uid)).collect(),
        garbage: garbage::build(valid, found),
        rollout: step.rollout,
        left: step.left,
        namespace: valid.namespace.clone(),
        phase: PhantomData,
    }
}
