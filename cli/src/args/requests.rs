//! `trilobite requests`.

use std::time::Duration;

use clap::{
    Args, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use jiff::Timestamp;
use trilobite_crds::RequestProtocol;

use super::{
    color::ColorArgs,
    filter::FilterArgs,
    time::{point_in_time, span},
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RequestsFormat {
    #[default]
    Table,
    Wide,
    Json,
}

/// The most requests of one answer.
pub(crate) const REQUESTS_MAX: u32 = 5_000;
/// Number of requests without --limit and --since.
const DEFAULT_LIMIT: u32 = 50;

#[derive(Debug, Args)]
pub(crate) struct RequestsArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Pods of all namespaces; otherwise those of the context's namespace.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// Only this protocol.
    #[arg(long, value_parser = supported_protocol(), ignore_case = true)]
    pub(crate) protocol: Option<RequestProtocol>,
    /// Only requests that took at least this long.
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) slower_than: Option<Duration>,
    /// Only requests that failed.
    #[arg(long)]
    pub(crate) errors: bool,
    /// Keep watching until Ctrl-C.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only requests since then: 30s, 5m, 1h ago, or a time such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = point_in_time)]
    pub(crate) since: Option<Timestamp>,
    /// Number of latest requests to print; 50 without --since, and with --follow none of the past.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(REQUESTS_MAX)))]
    pub(crate) limit: Option<u32>,
    /// Output format; json has every field, one request a line.
    #[arg(short, long, value_enum, default_value_t = RequestsFormat::Table)]
    pub(crate) output: RequestsFormat,
    #[command(flatten)]
    pub(crate) color: ColorArgs,
}

fn supported_protocol() -> impl TypedValueParser<Value = RequestProtocol> {
    PossibleValuesParser::new(RequestProtocol::SUPPORTED.map(RequestProtocol::as_str))
        .try_map(|word| word.to_ascii_lowercase().parse::<RequestProtocol>())
}

impl RequestsArgs {
    /// Namespace of the pods; none for all. `default_namespace` is that of the kubeconfig's context.
    pub(crate) fn namespace<'a>(&'a self, default_namespace: Option<&'a str>) -> Option<&'a str> {
        let (namespace, _) = self.filter.pod();
        if self.all_namespaces { namespace } else { namespace.or(default_namespace) }
    }

    /// Prefix of the pod's name.
    pub(crate) fn pod(&self) -> Option<&str> {
        self.filter.pod().1
    }

    /// Requests of the past are printed.
    pub(crate) fn wants_past(&self) -> bool {
        !self.follow || self.limit.is_some() || self.since.is_some()
    }

    /// Number of latest requests of the past.
    pub(crate) fn limit(&self) -> u32 {
        match self.limit {
            Some(limit) => limit,
            None if self.since.is_some() => REQUESTS_MAX,
            None => DEFAULT_LIMIT,
        }
    }
}
