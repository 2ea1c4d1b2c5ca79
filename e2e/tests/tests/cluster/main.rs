//! Tests on a real cluster of two nodes: `scripts/with-cluster.sh` starts it. They share one installed product, and run one
//! after the other.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod article_commands;
mod bad_input;
mod clients;
mod clients_in_the_pod;
mod command_line;
mod completeness;
mod drops;
mod flow_names;
mod http_flows;
mod hubble_metrics;
mod hubble_relay;
mod isolation;
mod new_pods;
mod on_demand;
mod policy_check;
mod policy_drops;
mod process_events;
mod read_api_certificates;
mod read_api_documented;
mod read_api_life;
mod read_api_load;
mod read_api_matrix;
mod read_api_tenant;
mod requests;
mod requests_agent_killed;
mod requests_dns;
mod requests_http;
mod requests_large;
mod requests_life;
mod requests_pgsql;
mod requests_privacy;
mod requests_redis;
mod requests_standing;
mod requests_tls;
mod robustness;
mod tenants;
mod tetragon_policies;
mod truth;
