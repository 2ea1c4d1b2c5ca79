//! The relay: events, flows, requests and profiles of all nodes as an aggregated API, so that Kubernetes' own RBAC guards them, and
//! flows as Hubble's clients read them.

pub mod access;
pub mod agents;
pub mod api_error;
pub mod args;
pub mod hubble;
pub mod metrics;
pub mod query;
pub mod relay;
pub mod resources;
pub mod serve;
pub mod telemetry;
