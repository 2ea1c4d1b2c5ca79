//! The command line of the operator. Every limit that matters at scale is a flag.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, ValueEnum};

/// Runs the controllers of trilobite.dev.
#[derive(Clone, Debug, Parser)]
#[command(name = "trilobite-operator", version)]
pub struct Arguments {
    /// Namespace of the operator; the agents run there too.
    #[arg(long, env = "POD_NAMESPACE", default_value = "trilobite-system")]
    pub namespace: String,
    /// Image of the agent if the stack sets none.
    #[arg(long, env = "TRILOBITE_NODE_IMAGE", default_value = "localhost/trilobite-node:dev")]
    pub node_image: String,
    /// Image of the relay.
    #[arg(long, env = "TRILOBITE_RELAY_IMAGE", default_value = "localhost/trilobite-relay:dev")]
    pub relay_image: String,
    /// ServiceAccount of the agents; the installation creates it with its permissions.
    #[arg(long, default_value = "trilobite-node")]
    pub node_service_account: String,
    /// Address that serves /metrics, /livez and /readyz.
    #[arg(long, default_value = "[::]:8080")]
    pub listen: SocketAddr,
    /// Least time between two writes of a status in which only counts changed; a changed condition is written at once.
    #[arg(long, value_parser = parse_seconds, default_value = "5")]
    pub status_interval_seconds: Duration,
    /// A node younger than this is not counted before it is ready.
    #[arg(long, value_parser = parse_seconds, default_value = "120")]
    pub node_grace_seconds: Duration,
    /// A node fails if its agent is missing, not ready or silent for longer than this.
    #[arg(long, value_parser = parse_seconds, default_value = "30")]
    pub agent_grace_seconds: Duration,
    /// An APIService of the relay that the API server cannot reach is withdrawn after this.
    #[arg(long, value_parser = parse_seconds, default_value = "20")]
    pub relay_grace_seconds: Duration,
    /// Nodes that are updated in one second during a rollout.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub nodes_per_second: u32,
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

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} must be a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{text:?} must be a number of seconds, 0 or more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_chart() {
        let arguments = Arguments::parse_from(["trilobite-operator"]);
        assert_eq!(arguments.namespace, "trilobite-system");
        assert_eq!(arguments.node_image, "localhost/trilobite-node:dev");
        assert_eq!(arguments.status_interval_seconds, Duration::from_secs(5));
    }

    #[test]
    fn a_duration_that_is_no_number_is_rejected() {
        let error = Arguments::try_parse_from(["trilobite-operator", "--node-grace-seconds", "soon"]).unwrap_err();
        assert!(error.to_string().contains("must be a number of seconds"), "{error}");
    }
}
