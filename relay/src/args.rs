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
    /// Address of the pod's loopback that serves Hubble's API without TLS: port-forwards alone reach it.
    #[arg(long, default_value = "127.0.0.1:4245", value_parser = loopback)]
    pub hubble_listen: SocketAddr,
    /// Address that serves Hubble's API by TLS, to users with a client certificate or a token.
    #[arg(long, default_value = "[::]:4246")]
    pub hubble_tls_listen: SocketAddr,
    /// Port of the agents.
    #[arg(long, default_value_t = AGENT_PORT)]
    pub agent_port: u16,
    /// Format of the log lines on standard error.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// Without TLS there are neither users nor rights.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|error| format!("{error}"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("it is not an address of the loopback, e.g. 127.0.0.1:4245".into())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_served_at_the_loopback_alone() {
        let parse = |address: &str| Arguments::try_parse_from(["trilobite-relay", "--hubble-listen", address]);
        assert!(parse("127.0.0.1:14245").is_ok() && parse("[::1]:4245").is_ok());
        for address in ["0.0.0.0:4245", "[::]:4245", "10.0.0.7:4245"] {
            let refused = parse(address).unwrap_err().to_string();
            assert!(refused.contains("not an address of the loopback"), "{refused}");
        }
    }
}
