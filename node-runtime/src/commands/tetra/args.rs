//! The command line of `tetra`.

use std::{fmt, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use trilobite_api::tetragon::EventType;

use crate::commands::foreign_client::endpoint_address;

#[derive(Debug, Parser)]
#[command(name = "tetra", about = "Tetragon's client, for the agent of this pod", disable_version_flag = true)]
pub(super) struct TetraArguments {
    #[command(subcommand)]
    pub(super) command: Command,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print events
    Getevents(Box<EventArguments>),
    /// Print health status
    Status,
    /// Print version from CLI and server
    Version(VersionArguments),
    /// Show tracing policies
    #[command(alias = "tp")]
    Tracingpolicy(PolicyArguments),
}

#[derive(Debug, Args)]
pub(super) struct ConnectionArguments {
    /// gRPC server address
    #[arg(long, global = true, env = "TETRAGON_SERVER_ADDRESS")]
    server_address: Option<String>,
    /// connection timeout
    #[arg(long, global = true, value_parser = duration, default_value = "30s")]
    pub(super) timeout: Duration,
    /// connection retries, with exponential backoff
    #[arg(long, global = true, default_value_t = 1)]
    pub(super) retries: u32,
    /// largest gRPC message in bytes
    #[arg(long, global = true, default_value_t = 10 << 20)]
    pub(super) max_recv_size: usize,
    /// Enable debug messages
    #[arg(short, long, global = true, hide = true)]
    pub(super) debug: bool,
}

impl ConnectionArguments {
    pub(super) fn address(&self) -> String {
        endpoint_address(self.server_address.as_deref())
    }
}

#[derive(Debug, Args)]
pub(super) struct VersionArguments {
    /// Connect and retrieve version from the server
    #[arg(short, long)]
    pub(super) server: bool,
}

#[derive(Debug, Args)]
pub(super) struct PolicyArguments {
    #[command(subcommand)]
    pub(super) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// List loaded tracing policies, use the JSON output format for full output.
    List {
        /// Output format
        #[arg(short, long, value_enum, default_value_t = ListFormat::Text)]
        output: ListFormat,
        /// Domain to be used. Use k8s to act on CRD policies.
        #[arg(long, default_value = "")]
        domain: String,
    },
    /// List loaded tracing policies domains
    Domains,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct EventArguments {
    /// Output format. json or compact
    #[arg(short, long, value_enum, default_value_t = EventFormat::Json)]
    pub(super) output: EventFormat,
    /// Colorize compact output. auto, always, or never
    #[arg(long, value_enum, default_value_t = ColorMode::Auto)]
    pub(super) color: ColorMode,
    /// Include only fields in events
    #[arg(short = 'f', long, value_delimiter = ',')]
    pub(super) include_fields: Vec<String>,
    /// Exclude fields from events
    #[arg(short = 'F', long, value_delimiter = ',')]
    pub(super) exclude_fields: Vec<String>,
    /// Include only events of given types
    #[arg(short = 'e', long, value_delimiter = ',', value_parser = event_type)]
    pub(super) event_types: Vec<EventType>,
    /// Get events by Kubernetes namespace
    #[arg(short, long, alias = "namespaces", value_delimiter = ',')]
    pub(super) namespace: Vec<String>,
    /// Get events by process name regex
    #[arg(long, alias = "processes", value_delimiter = ',')]
    pub(super) process: Vec<String>,
    /// Get events by pod name regex
    #[arg(long, alias = "pods", value_delimiter = ',')]
    pub(super) pod: Vec<String>,
    /// Get events by container name regex
    #[arg(long, value_delimiter = ',')]
    pub(super) containers: Vec<String>,
    /// Get host events
    #[arg(long)]
    pub(super) host: bool,
    /// Include timestamps in compact output
    #[arg(long)]
    pub(super) timestamps: bool,
    /// Include stack traces in compact output
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) stack_traces: bool,
    /// Include ima hashes in compact output
    #[arg(long, action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) ima_hash: bool,
    /// Get events by tracing policy names
    #[arg(long, value_delimiter = ',')]
    pub(super) policy_names: Vec<String>,
    /// Get events by namespace name regex
    #[arg(long, value_delimiter = ',')]
    pub(super) namespace_regex: Vec<String>,
    /// Get events satisfying the CEL expression
    #[arg(long)]
    pub(super) cel_expression: Vec<String>,
    /// Keep trying to connect even if an error occurred
    #[arg(long)]
    pub(super) reconnect: bool,
    /// wait time before attempting to reconnect
    #[arg(long, value_parser = duration, default_value = "2s")]
    pub(super) reconnect_wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum EventFormat {
    Json,
    Compact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorMode {
    Auto,
    Always,
    Never,
}

impl fmt::Display for EventFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Json { "json" } else { "compact" })
    }
}

fn event_type(text: &str) -> Result<EventType, String> {
    EventType::from_str_name(text).ok_or_else(|| format!("{text} is no type of events, e.g. PROCESS_EXEC"))
}

/// As Go writes them: `2s`, `500ms`, `1m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let fault = || format!("{text:?} is no duration, e.g. 30s");
    let end = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(fault)?;
    let (number, unit) = text.split_at(end);
    let number: u32 = number.parse().map_err(|_| fault())?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return Err(fault()),
    };
    Ok(unit * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_the_article_and_of_tetra_are_known() {
        let parse = |line: &str| TetraArguments::try_parse_from(line.split(' '));
        for line in [
            "tetra getevents -o compact",
            "tetra getevents --output json -e PROCESS_EXEC,PROCESS_KPROBE --host -n a,b --stack-traces=false",
            "tetra status --server-address unix:///x/y.sock",
            "tetra --timeout 5s version -s",
            "tetra tp list -o json --domain k8s",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        }
        for line in ["tetra getevents -e PROCESS_EXCE", "tetra getevents -o yaml", "tetra status --timeout 5"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn address_without_a_scheme_is_a_port() {
        let address = |line: &str| TetraArguments::parse_from(line.split(' ')).connection.address();
        assert!(address("tetra status").starts_with("unix:///"));
        assert_eq!(address("tetra status --server-address localhost:54321"), "http://localhost:54321");
        assert_eq!(address("tetra status --server-address unix:///a.sock"), "unix:///a.sock");
    }
}
