//! `ControllerReport`: what controllers send to the index. The only way from a controller to a status.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use trilobite_crds::{
    Refusal,
    node::{ProfileRef, RequestsSession, Source},
    reason::Reason,
};

use super::{relay::RelayState, user_status::UserStatus};
use crate::{resource_key::ResourceKey, stack_nodes::NodeSelection};

/// What the status of one user resource is computed from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StatusInput {
    pub(crate) source: Source,
    pub(crate) uid: String,
    /// The status that the API server has.
    pub(crate) current_status: UserStatus,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) suspended: bool,
    /// The spec asks for requests: of an AppProfile, or of a stack with a standing profile.
    pub(crate) asks_for_requests: bool,
    /// The requests that the stack's standing profile captures; none if it is refused.
    pub(crate) standing: Option<RequestsSession>,
    pub(crate) requested: Requested,
}

/// What has to be active on nodes for the resource to be ready.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Requested {
    /// Refused, suspended, or not planned yet.
    Nothing,
    /// A stack: the whole profile.
    Profile(ProfileRef),
    /// A policy: one part, in any profile that contains it.
    Part {
        profile: ProfileRef,
        digest: String,
        /// The security layer's namespaceSelector in the stack excludes every namespace that the policy is about.
        out_of_scope: bool,
        /// Nodes say whether they could have it active, and load nothing.
        dry_run: bool,
    },
    /// A FlowCapture or AppProfile: a session on some nodes.
    Session(SessionRequest),
}

impl Requested {
    pub(crate) fn is_dry_run(&self) -> bool {
        matches!(self, Self::Part { dry_run: true, .. })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRequest {
    pub(crate) name: String,
    pub(crate) started_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// Nodes that have or should have the session; none until the pods are listed.
    pub(crate) nodes: Option<BTreeSet<String>>,
    /// Those of them whose NodeRuntime has no room for another session.
    pub(crate) full_nodes: BTreeSet<String>,
    /// The layer's namespaceSelector in the stack excludes the resource's namespace.
    pub(crate) out_of_scope: bool,
    /// An AppProfile samples stacks.
    pub(crate) samples_cpu: bool,
    /// The requests that an AppProfile captures.
    pub(crate) requests: Option<RequestsSession>,
}

impl SessionRequest {
    /// Until when rows of requests can be read after the end; none if they leave with it.
    pub(crate) fn rows_kept_until(&self) -> Option<Timestamp> {
        let until = self.requests.as_ref()?.retained_until(self.expires_at);
        (until > self.expires_at).then_some(until)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rollout {
    #[default]
    Progressing,
    /// Too many of the `updated` nodes fail.
    Halted { failing: usize, updated: usize },
}

#[derive(Clone, Debug)]
pub(crate) enum ControllerReport {
    Resource(Box<StatusInput>),
    /// A profile was planned for this generation of the stack, and nodes are about to be pointed at it.
    Planned {
        generation: i64,
        profile: String,
        parts: BTreeSet<String>,
    },
    /// The stack was applied.
    Stack {
        selection: NodeSelection,
        /// Digest of the agents' pod template; none while Kubernetes rejects it.
        template: Option<String>,
        /// Digests of the parts in each live profile, by the digest of the profile.
        profiles: BTreeMap<String, BTreeSet<String>>,
        rollout: Rollout,
    },
    /// How the stack's relay is.
    Relay(RelayState),
    /// The status that the API server has of a resource whose input is what it was, e.g. of one that is completed.
    StatusRead {
        key: ResourceKey,
        uid: String,
        status: Box<UserStatus>,
    },
    /// The operator failed to reconcile this generation.
    ReconcileFailed {
        key: ResourceKey,
        generation: i64,
        reason: Reason,
        message: String,
    },
    /// The resource is being deleted; its status is not written any more.
    Deleting(ResourceKey),
    /// All user resources that exist; others are forgotten.
    Existing(BTreeSet<ResourceKey>),
}
