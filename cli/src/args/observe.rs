//! `trilobite observe`, with the flags of `hubble observe` that all nodes' flows have a use for.

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::{color::ColorArgs, flow_filter::FlowFilterArgs, time::point_in_time};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlowsFormat {
    Compact,
    /// Blocks of names and values.
    Dict,
    /// Messages as `hubble` prints them.
    #[value(alias = "jsonpb")]
    Json,
    /// Flat JSON for jq: .source.pod_name, .destination.port, .policy.
    Flow,
    Table,
}

#[derive(Debug, Args)]
pub(crate) struct ObserveArgs {
    #[command(flatten)]
    pub(crate) filter: FlowFilterArgs,
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
    /// Output format; a table cannot be combined with --follow.
    #[arg(short, long, value_enum, default_value_t = FlowsFormat::Compact)]
    pub(crate) output: FlowsFormat,
    /// Name the node in each line.
    #[arg(long)]
    pub(crate) print_node_name: bool,
    /// Name the policies behind each verdict of a policy.
    #[arg(long)]
    pub(crate) print_policy_names: bool,
    #[command(flatten)]
    pub(crate) color: ColorArgs,
}
