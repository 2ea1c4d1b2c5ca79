//! The command line of the operator. Every number that matters at scale is a flag.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, ValueEnum};

/// Runs the controllers of trilobite.dev.
#[derive(Clone, Debug, Parser)]
#[command(name = "trilobite-operator", version)]
pub struct Arguments {
    /// The namespace of the operator, in which the agents run.
    #[arg(long, env = "POD_NAMESPACE", default_value = "trilobite-system")]
    pub namespace: String,
    /// Image of the agent, where the stack names none.
    #[arg(long, env = "TRILOBITE_NODE_IMAGE", default_value = "localhost/trilobite-node:dev")]
    pub node_image: String,
    /// ServiceAccount of the agents; made at installation, with its rights.
    #[arg(long, default_value = "trilobite-node")]
    pub node_service_account: String,
    /// Serves /metrics, /livez and /readyz here.
    #[arg(long, default_value = "[::]:8080")]
    pub listen: SocketAddr,
    /// Counts of a status are written at most once in this time; a condition that changes is written at once.
    #[arg(long, value_parser = seconds, default_value = "5")]
    pub status_interval_seconds: Duration,
    /// A node that joined less than this ago is not counted before it is ready.
    #[arg(long, value_parser = seconds, default_value = "120")]
    pub node_grace_seconds: Duration,
    /// An agent that has been away, not ready or silent for longer than this fails its node.
    #[arg(long, value_parser = seconds, default_value = "30")]
    pub agent_grace_seconds: Duration,
    /// Nodes that are told of a change in one second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub nodes_per_second: u32,
    /// How log lines on standard error look.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} must be a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{text:?} must be a number of seconds, 0 or more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_chart() {
        let arguments = Arguments::parse_from(["trilobite-operator"]);
        assert_eq!(arguments.namespace, "trilobite-system");
        assert_eq!(arguments.node_image, "localhost/trilobite-node:dev");
        assert_eq!(arguments.status_interval_seconds, Duration::from_secs(5));
    }

    #[test]
    fn a_time_that_is_no_number_is_refused_with_what_it_must_be() {
        let error = Arguments::try_parse_from(["trilobite-operator", "--node-grace-seconds", "soon"]).unwrap_err();
        assert!(error.to_string().contains("must be a number of seconds"), "{error}");
    }
}
