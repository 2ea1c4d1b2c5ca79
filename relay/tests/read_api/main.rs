//! The relay between real TLS on both sides: requests as the API server passes them on, and agents that are fakes.

#![allow(clippy::unwrap_used)]

mod authority;
mod bounds;
mod certificates;
mod client;
mod discovery;
mod fake_agent;
mod fake_api_server;
mod fixture;
mod lists;
mod permissions;
mod profiles;
mod requests;
mod revoked;
mod watches;
