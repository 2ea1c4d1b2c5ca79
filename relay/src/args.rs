//! The command line of the relay.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};
use trilobite_crds::read_api::AGENT_PORT;

/// Serves read.trilobite.dev: events, flows, requests and profiles of all nodes.
#[derive(Clone, Debug, Parser)]
#[command(name = "trilobite-relay", version)]
pub struct Arguments {
    /// Namespace of the relay; the agents run there too.
    #[arg(long, env = "POD_NAMESPACE", default_value = "trilobite-system")]
    pub namespace: String,
    /// Address that serves the aggregated API, by TLS, with /livez and /readyz.
    #[arg(long, default_value = "[::]:8443")]
    pub listen: SocketAddr,
    /// Address that serves /metrics, without TLS, with /livez and /readyz.
    #[arg(long, default_value = "[::]:8080")]
    pub metrics_listen: SocketAddr,
    /// Port of the agents.
    #[arg(long, default_value_t = AGENT_PORT)]
    pub agent_port: u16,
    /// Format of the log lines on standard error.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
