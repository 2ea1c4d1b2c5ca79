//! The command line of `hubble`.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use trilobite_api::{
    filter_values::{drop_reason, event_type, http_header, tcp_flags},
    flow::{DropReason, EventTypeFilter, HttpHeader, TcpFlags, Verdict},
};

use crate::commands::foreign_client::endpoint_address;

#[derive(Debug, Parser)]
#[command(name = "hubble", about = "Hubble's client, for the agent of this pod", disable_version_flag = true)]
pub(super) struct HubbleArguments {
    #[command(subcommand)]
    pub(super) command: Command,
    #[command(flatten)]
    pub(super) server: ServerArguments,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Observe flows of a Hubble server
    Observe(Box<ObserveArguments>),
    /// Display status of Hubble server
    Status {
        /// Specify the output format
        #[arg(short, long, value_enum, default_value_t = FlowFormat::Compact)]
        output: FlowFormat,
    },
}

#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// Address of a Hubble server
    #[arg(long, global = true, env = "HUBBLE_SERVER")]
    server: Option<String>,
    /// Hubble server dialing timeout, in seconds
    #[arg(long, global = true, value_parser = seconds, default_value = "5s")]
    pub(super) timeout: Duration,
}

impl ServerArguments {
    pub(super) fn address(&self) -> String {
        endpoint_address(self.server.as_deref())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FlowFormat {
    Compact,
    Json,
    Jsonpb,
}

#[derive(Debug, Default, Args)]
pub(super) struct ObserveArguments {
    /// Follow flows output
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Get all flows stored in Hubble's buffer
    #[arg(long, conflicts_with_all = ["first", "last"])]
    pub(super) all: bool,
    /// Get first N flows stored in Hubble's buffer
    #[arg(long, conflicts_with = "last")]
    pub(super) first: Option<u64>,
    /// Get last N flows stored in Hubble's buffer; 20 without another choice
    #[arg(long)]
    pub(super) last: Option<u64>,
    /// Filter flows since a specific date: RFC 3339, or relative, e.g. 3s, 4m, 1h
    #[arg(long, value_parser = point_in_time)]
    pub(super) since: Option<Timestamp>,
    /// Filter flows until a specific date
    #[arg(long, value_parser = point_in_time)]
    pub(super) until: Option<Timestamp>,
    /// Show all flows related to the given Kubernetes namespace
    #[arg(short, long)]
    pub(super) namespace: Vec<String>,
    /// Show all flows originating in the given Kubernetes namespace
    #[arg(long)]
    pub(super) from_namespace: Vec<String>,
    /// Show all flows terminating in the given Kubernetes namespace
    #[arg(long)]
    pub(super) to_namespace: Vec<String>,
    /// Show all flows related to the given pod name prefix ([namespace/]<pod-name>)
    #[arg(long)]
    pub(super) pod: Vec<String>,
    /// Show all flows originating in the given pod name prefix
    #[arg(long)]
    pub(super) from_pod: Vec<String>,
    /// Show all flows terminating in the given pod name prefix
    #[arg(long)]
    pub(super) to_pod: Vec<String>,
    /// Show only flows related to an endpoint with the given labels
    #[arg(short, long)]
    pub(super) label: Vec<String>,
    /// Show all flows originating or terminating at the given IP address or network
    #[arg(long)]
    pub(super) ip: Vec<String>,
    /// Show all flows originating at the given IP address or network
    #[arg(long)]
    pub(super) from_ip: Vec<String>,
    /// Show all flows terminating at the given IP address or network
    #[arg(long)]
    pub(super) to_ip: Vec<String>,
    /// Show only flows with given port in either source or destination
    #[arg(long)]
    pub(super) port: Vec<u16>,
    /// Show only flows with the given source port
    #[arg(long)]
    pub(super) from_port: Vec<u16>,
    /// Show only flows with the given destination port
    #[arg(long)]
    pub(super) to_port: Vec<u16>,
    /// Show only flows which match the given L4/L7 flow protocol (e.g. "udp", "http")
    #[arg(long)]
    pub(super) protocol: Vec<String>,
    /// Show only flows which match this HTTP status code or its beginning (e.g. "404", "5+")
    #[arg(long)]
    pub(super) http_status: Vec<String>,
    /// Show only flows which match this HTTP method
    #[arg(long)]
    pub(super) http_method: Vec<String>,
    /// Show only flows whose HTTP path matches this regular expression
    #[arg(long)]
    pub(super) http_path: Vec<String>,
    /// Show only flows whose HTTP URL matches this regular expression
    #[arg(long)]
    pub(super) http_url: Vec<String>,
    /// Show only flows with this HTTP header (e.g. "Host:cart")
    #[arg(long, value_parser = http_header)]
    pub(super) http_header: Vec<HttpHeader>,
    /// Show only flows with this verdict
    #[arg(long, value_parser = verdict)]
    pub(super) verdict: Vec<Verdict>,
    /// Filter by event types TYPE[:SUBTYPE]: trace, drop, policy-verdict
    #[arg(short, long, value_parser = event_type)]
    pub(super) r#type: Vec<EventTypeFilter>,
    /// Show only flows which match this drop reason (e.g. "POLICY_DENIED")
    #[arg(long, value_parser = drop_reason)]
    pub(super) drop_reason_desc: Vec<DropReason>,
    /// Show only flows which match the given TCP flags (e.g. "syn,ack")
    #[arg(long, value_parser = tcp_flags)]
    pub(super) tcp_flags: Vec<TcpFlags>,
    /// Show only reply flows
    #[arg(long, conflicts_with = "not_reply")]
    pub(super) reply: bool,
    /// Show only non-reply flows
    #[arg(long)]
    pub(super) not_reply: bool,
    /// Print policy names in output
    #[arg(long)]
    pub(super) print_policy_names: bool,
    /// Print node name in output
    #[arg(long)]
    pub(super) print_node_name: bool,
    /// Specify the output format
    #[arg(short, long, value_enum, default_value = "compact")]
    pub(super) output: Option<FlowFormat>,
}

fn verdict(text: &str) -> Result<Verdict, String> {
    Verdict::from_str_name(&text.to_uppercase()).ok_or_else(|| format!("{text} is no verdict, e.g. DROPPED"))
}

fn point_in_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago: SignedDuration = text.parse().map_err(|_| format!("{text:?} is no time, e.g. 5m or an RFC 3339 date"))?;
    Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text.parse().map_err(|_| format!("{text:?} is no duration, e.g. 5s"))?;
    Duration::try_from(duration).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_the_article_are_known() {
        for line in [
            "hubble observe --namespace payments --follow",
            "hubble observe --namespace payments --verdict DROPPED --follow",
            "hubble observe --namespace payments --protocol http --follow",
            "hubble observe --from-pod payments/payments-api-xxx --to-pod payments/postgres-0 --follow",
            "hubble observe --namespace production --output json --last 50000",
            "hubble status --server unix:///x.sock --timeout 2s",
            "hubble observe -t drop -t policy-verdict --drop-reason-desc POLICY_DENIED --not-reply --print-policy-names",
            "hubble observe --type trace:to-endpoint --tcp-flags syn,ack --reply",
            "hubble observe --http-status 5+ --http-method get --http-path ^/cart --http-url id= --http-header Host:cart",
            "hubble observe --since 5m --until 2030-01-02T03:04:05Z -o jsonpb",
        ] {
            let parsed = HubbleArguments::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
        }
        assert!(HubbleArguments::try_parse_from(["hubble", "observe", "--verdict", "MAYBE"]).is_err());
    }
}
