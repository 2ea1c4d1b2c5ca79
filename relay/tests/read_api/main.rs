//! The relay between real TLS on both sides: requests as the API server passes them on or as Hubble's clients send them, and agents
//! that are fakes.

#![allow(clippy::unwrap_used)]

mod authority;
mod bounds;
mod certificates;
mod client;
mod discovery;
mod fake_agent;
mod fake_api_server;
mod fixture;
mod hubble_cli;
mod hubble_client;
mod hubble_flows;
mod hubble_follow;
mod hubble_users;
mod lists;
mod permissions;
mod profiles;
mod requests;
mod revoked;
mod watches;
