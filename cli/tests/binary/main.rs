//! The real binary before an API server and agents that are made here: every command as a user starts it.

#![allow(clippy::unwrap_used)]

mod api_server;
#[path = "../../src/agent/fake/services.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "shared with the unit tests, which use all of it")]
mod fake_agent;
mod kubeconfigs;
mod observe;
mod outputs;
mod profiles;
mod read_api;
mod requests;
mod run;
mod status;
mod streams;
mod tunnel;
