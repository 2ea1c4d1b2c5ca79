//! A policy as it was read: its place in the order of evaluation, the pods that it selects, and its rules.

use std::sync::Arc;

use crate::{matching::PodSelector, policy_name::PolicyName, refused::Refused, rule::Rule};

/// The order in which tiers are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    Admin,
    NetworkPolicy,
    Baseline,
}

/// The lower is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Precedence {
    pub(crate) tier: Tier,
    pub(crate) priority: i64,
}

/// A network policy of any kind, made by [`Policy::from_json`].
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) name: PolicyName,
    pub(crate) precedence: Precedence,
    /// None where the policy selects no pod.
    pub(crate) pods: Option<PodSelector>,
    /// None where the policy is not about the direction.
    pub(crate) egress: Option<Arc<[Rule]>>,
    pub(crate) ingress: Option<Arc<[Rule]>>,
    pub(crate) refused: Vec<Refused>,
}

impl Policy {
    /// Kind, namespace and name.
    pub fn name(&self) -> &PolicyName {
        &self.name
    }

    /// What of it cannot be read or evaluated; the first 32 fields.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }
}
