//! Policies as JSON in, decisions out.

mod cluster_network_policy;
mod explain;
mod fail_closed;
mod fixture;
mod many_policies;
mod network_policy;
mod properties;
mod tiers;
