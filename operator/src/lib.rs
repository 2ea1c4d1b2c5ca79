//! The operator as a library, so that its tests can run it against an API server. Everything else is private.

pub mod args;
mod children;
mod context;
mod controllers;
mod established;
mod http;
mod metrics;
mod plan;
pub mod run;
mod selection;
mod shallow;
mod status;
mod sweep;
pub mod telemetry;
mod watch;
