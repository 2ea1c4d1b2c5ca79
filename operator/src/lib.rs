//! The operator as a library, so that its tests can run it against an API server. Everything else is private.
//!
//! Modules import downwards only: `operator` -> `garbage_collector` -> `controllers` -> `context` -> `status` ->
//! `watch` -> the files that stand alone (`args`, `labels`, `metrics`, `plan`, `resource_key`, ...).

pub mod args;
mod certificate_authority;
mod context;
mod controllers;
mod garbage_collector;
mod http;
mod json_depth_limit;
mod labels;
mod metrics;
pub mod operator;
mod plan;
mod rate_limiter;
mod resource_key;
mod stack_nodes;
mod start_times;
mod status;
pub mod telemetry;
mod wait_for_crds;
mod watch;
