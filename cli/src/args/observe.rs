//! `trilobite observe`, with the flags of `hubble observe` that all nodes' flows have a use for.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use jiff::Timestamp;
use trilobite_api::flow;

use super::{color::ColorArgs, filter::FilterArgs, time::point_in_time};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlowsFormat {
    Compact,
    #[value(alias = "jsonpb")]
    Json,
    Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlowProtocol {
    Tcp,
    Udp,
}

impl FlowProtocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlowVerdict {
    Forwarded,
    Dropped,
    Error,
    Audit,
    Redirected,
    Traced,
    Translated,
}

impl FlowVerdict {
    pub(crate) fn number(self) -> i32 {
        i32::from(match self {
            Self::Forwarded => flow::Verdict::Forwarded,
            Self::Dropped => flow::Verdict::Dropped,
            Self::Error => flow::Verdict::Error,
            Self::Audit => flow::Verdict::Audit,
            Self::Redirected => flow::Verdict::Redirected,
            Self::Traced => flow::Verdict::Traced,
            Self::Translated => flow::Verdict::Translated,
        })
    }

    /// As Hubble's JSON has it.
    pub(crate) fn name(self) -> &'static str {
        flow::Verdict::try_from(self.number()).unwrap_or_default().as_str_name()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlowDirection {
    Ingress,
    Egress,
}

impl FlowDirection {
    pub(crate) fn number(self) -> i32 {
        i32::from(match self {
            Self::Ingress => flow::TrafficDirection::Ingress,
            Self::Egress => flow::TrafficDirection::Egress,
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct ObserveArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Keep watching until Ctrl-C.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Number of latest flows to print; with --follow the default is none, with --since all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) last: Option<u64>,
    /// Only flows since then: 30s, 5m, 1h ago, or a time such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = point_in_time)]
    pub(crate) since: Option<Timestamp>,
    /// Only flows until then.
    #[arg(long, value_name = "TIME", value_parser = point_in_time)]
    pub(crate) until: Option<Timestamp>,
    /// Only these protocols, comma-separated.
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    pub(crate) protocol: Vec<FlowProtocol>,
    /// Only flows with one of these ports at either end, comma-separated.
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    pub(crate) port: Vec<u16>,
    /// Only flows with one of these addresses or networks at either end, comma-separated.
    #[arg(long, value_name = "IP|CIDR", value_parser = address, value_delimiter = ',')]
    pub(crate) ip: Vec<String>,
    /// Only these verdicts, comma-separated.
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    pub(crate) verdict: Vec<FlowVerdict>,
    /// Only flows in this direction, as the pod sees it.
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    pub(crate) traffic_direction: Vec<FlowDirection>,
    /// Output format; a table cannot be combined with --follow.
    #[arg(short, long, value_enum, default_value_t = FlowsFormat::Compact)]
    pub(crate) output: FlowsFormat,
    /// Name the node in each compact line.
    #[arg(long)]
    pub(crate) print_node_name: bool,
    #[command(flatten)]
    pub(crate) color: ColorArgs,
}

/// In the canonical spelling, because agents compare texts.
fn address(text: &str) -> Result<String, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    text.parse::<IpNet>()
        .map(|network| network.to_string())
        .map_err(|_| format!("{text:?} is no address and no network, e.g. 10.1.0.7, fd00::7 or 10.1.0.0/16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_spelling() {
        assert_eq!(address("FD00:0::0:7").unwrap(), "fd00::7");
        assert_eq!(address("10.1.0.0/16").unwrap(), "10.1.0.0/16");
        assert!(address("10.1.0").is_err());
    }
}
