//! Which flows: the filters of `hubble observe`. A flag that is repeated, or has a list, names alternatives; all flags hold.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use regex::Regex;
use trilobite_api::{
    filter_values::{drop_reason, event_type, http_header, identity, tcp_flags, workload},
    flow::{self, DropReason, EventTypeFilter, HttpHeader, IpVersion, TcpFlags, Workload},
    http_values::StatusCodes,
    label_selector::LabelSelector,
    name_pattern::NamePattern,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlowProtocol {
    Tcp,
    Udp,
    Icmp,
    Icmpv4,
    Icmpv6,
    Http,
    Dns,
}

impl FlowProtocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv4 => "icmpv4",
            Self::Icmpv6 => "icmpv6",
            Self::Http => "http",
            Self::Dns => "dns",
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

#[derive(Debug, Default, Args)]
pub(crate) struct FlowFilterArgs {
    /// Only flows with a pod of this namespace at either end.
    #[arg(short, long, conflicts_with_all = ["from_namespace", "to_namespace", "from_pod", "to_pod"])]
    pub(crate) namespace: Vec<String>,
    /// Only flows from a pod of this namespace.
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) from_namespace: Vec<String>,
    /// Only flows to a pod of this namespace.
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) to_namespace: Vec<String>,
    /// Only flows with a pod at either end whose name begins with this, as POD or NAMESPACE/POD.
    #[arg(long, conflicts_with_all = ["from_namespace", "to_namespace", "from_pod", "to_pod"])]
    pub(crate) pod: Vec<String>,
    /// Only flows from such a pod.
    #[arg(long, value_name = "POD")]
    pub(crate) from_pod: Vec<String>,
    /// Only flows to such a pod.
    #[arg(long, value_name = "POD")]
    pub(crate) to_pod: Vec<String>,
    /// Only flows with an address of this Service at either end, as NAMESPACE/NAME.
    #[arg(long, conflicts_with_all = ["from_service", "to_service"])]
    pub(crate) service: Vec<String>,
    /// Only flows from an address of this Service.
    #[arg(long, value_name = "SERVICE")]
    pub(crate) from_service: Vec<String>,
    /// Only flows to an address of this Service.
    #[arg(long, value_name = "SERVICE")]
    pub(crate) to_service: Vec<String>,
    /// Only flows with this workload at either end, as NAME, KIND/NAME or KIND/.
    #[arg(long, value_parser = workload, conflicts_with_all = ["from_workload", "to_workload"])]
    pub(crate) workload: Vec<Workload>,
    /// Only flows from this workload.
    #[arg(long, value_name = "WORKLOAD", value_parser = workload)]
    pub(crate) from_workload: Vec<Workload>,
    /// Only flows to this workload.
    #[arg(long, value_name = "WORKLOAD", value_parser = workload)]
    pub(crate) to_workload: Vec<Workload>,
    /// Only flows with this name in DNS at either end, e.g. *.example.com: one that the pod at the other end has looked up.
    #[arg(long, value_name = "NAME", value_parser = name, conflicts_with_all = ["from_fqdn", "to_fqdn"])]
    pub(crate) fqdn: Vec<String>,
    /// Only flows from an end with this name in DNS.
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) from_fqdn: Vec<String>,
    /// Only flows to an end with this name in DNS.
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) to_fqdn: Vec<String>,
    /// Only flows with these labels at either end, e.g. app=cart or reserved:world.
    #[arg(short, long, value_name = "SELECTOR", value_parser = label, conflicts_with_all = ["from_label", "to_label"])]
    pub(crate) label: Vec<String>,
    /// Only flows from an end with these labels.
    #[arg(long, value_name = "SELECTOR", value_parser = label)]
    pub(crate) from_label: Vec<String>,
    /// Only flows to an end with these labels.
    #[arg(long, value_name = "SELECTOR", value_parser = label)]
    pub(crate) to_label: Vec<String>,
    /// Only flows with this identity at either end: a number, or e.g. world.
    #[arg(long, value_parser = identity, conflicts_with_all = ["from_identity", "to_identity"])]
    pub(crate) identity: Vec<u32>,
    /// Only flows from this identity.
    #[arg(long, value_name = "IDENTITY", value_parser = identity)]
    pub(crate) from_identity: Vec<u32>,
    /// Only flows to this identity.
    #[arg(long, value_name = "IDENTITY", value_parser = identity)]
    pub(crate) to_identity: Vec<u32>,
    /// Only flows with one of these addresses or networks at either end, comma-separated.
    #[arg(long, value_name = "IP|CIDR", value_parser = address, value_delimiter = ',', conflicts_with_all = ["from_ip", "to_ip"])]
    pub(crate) ip: Vec<String>,
    /// Only flows from one of these addresses or networks.
    #[arg(long, value_name = "IP|CIDR", value_parser = address, value_delimiter = ',')]
    pub(crate) from_ip: Vec<String>,
    /// Only flows to one of these addresses or networks.
    #[arg(long, value_name = "IP|CIDR", value_parser = address, value_delimiter = ',')]
    pub(crate) to_ip: Vec<String>,
    /// Only flows with one of these ports at either end, comma-separated.
    #[arg(long, value_name = "PORT", value_delimiter = ',', conflicts_with_all = ["from_port", "to_port"])]
    pub(crate) port: Vec<u16>,
    /// Only flows from one of these ports.
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    pub(crate) from_port: Vec<u16>,
    /// Only flows to one of these ports.
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    pub(crate) to_port: Vec<u16>,
    /// Only these protocols, comma-separated.
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    pub(crate) protocol: Vec<FlowProtocol>,
    /// Only TCP packets with all these flags, e.g. syn,ack.
    #[arg(long, value_name = "FLAGS", value_parser = tcp_flags)]
    pub(crate) tcp_flags: Vec<TcpFlags>,
    /// Only HTTP responses with one of these statuses, e.g. 404 or 5+.
    #[arg(long, value_name = "STATUS", value_parser = status, value_delimiter = ',')]
    pub(crate) http_status: Vec<String>,
    /// Only HTTP requests of these methods.
    #[arg(long, value_name = "METHOD", value_delimiter = ',')]
    pub(crate) http_method: Vec<String>,
    /// Only HTTP requests whose path matches this regular expression.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub(crate) http_path: Vec<Regex>,
    /// Only HTTP requests whose URL matches this regular expression.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub(crate) http_url: Vec<Regex>,
    /// Only HTTP requests and responses with this header, as NAME:VALUE.
    #[arg(long, value_name = "NAME:VALUE", value_parser = http_header)]
    pub(crate) http_header: Vec<HttpHeader>,
    /// Only events of this type: trace, drop, policy-verdict or l7, with a subtype as in trace:to-endpoint.
    #[arg(short, long, value_name = "TYPE[:SUBTYPE]", value_parser = event_type)]
    pub(crate) r#type: Vec<EventTypeFilter>,
    /// Only these verdicts, comma-separated.
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    pub(crate) verdict: Vec<FlowVerdict>,
    /// Only drops for this reason, e.g. POLICY_DENIED.
    #[arg(long, value_name = "REASON", value_parser = drop_reason)]
    pub(crate) drop_reason_desc: Vec<DropReason>,
    /// Only flows in this direction, as the pod sees it.
    #[arg(long, value_enum, ignore_case = true, value_delimiter = ',')]
    pub(crate) traffic_direction: Vec<FlowDirection>,
    /// Only replies.
    #[arg(long, conflicts_with = "not_reply")]
    pub(crate) reply: bool,
    /// Only flows that are no replies.
    #[arg(long)]
    pub(crate) not_reply: bool,
    /// Only IPv4.
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub(crate) ipv4: bool,
    /// Only IPv6.
    #[arg(short = '6', long)]
    pub(crate) ipv6: bool,
    /// Only flows at the interface of this name, as its node has it.
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Vec<String>,
    /// Only the flow with this uuid.
    #[arg(long)]
    pub(crate) uuid: Vec<String>,
    /// Only this node's agent.
    #[arg(long)]
    pub(crate) node: Option<String>,
}

impl FlowFilterArgs {
    /// Only HTTP can match.
    pub(crate) fn wants_http(&self) -> bool {
        self.protocol.contains(&FlowProtocol::Http)
            || !(self.http_status.is_empty() && self.http_method.is_empty() && self.http_header.is_empty())
            || !(self.http_path.is_empty() && self.http_url.is_empty())
    }

    /// IP versions; empty for both.
    pub(crate) fn ip_versions(&self) -> Vec<i32> {
        let wanted = [(self.ipv4, IpVersion::IPv4), (self.ipv6, IpVersion::IPv6)];
        wanted.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, version)| version.into()).collect()
    }

    /// Whether only replies are wanted, or only others.
    pub(crate) fn replies(&self) -> Vec<bool> {
        let wanted = [(self.reply, true), (self.not_reply, false)];
        wanted.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, reply)| reply).collect()
    }
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

fn status(text: &str) -> Result<String, String> {
    StatusCodes::parse(text).map(|_| text.to_owned())
}

/// The error's last line says what is wrong.
fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string().lines().last().unwrap_or_default().to_owned())
}

/// Checked here, so that a wrong one is refused before anything is read.
fn name(text: &str) -> Result<String, String> {
    NamePattern::parse(text).map(|_| text.to_owned())
}

fn label(text: &str) -> Result<String, String> {
    LabelSelector::parse(text).map(|_| text.to_owned())
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

    #[test]
    fn selector_that_cannot_be_read_is_refused() {
        assert!(label("app=cart").is_ok() && label("app=cart,").is_err());
    }
}
