//! One metric with its options, as agents get it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

/// An enum of words: the word of each value in the order of the list, and the value of a word.
macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[doc = $variant_doc])+ #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All values.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word, as Hubble writes it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

words! {
    /// A metric of Hubble that agents count.
    MetricName {
        /// `hubble_dns_queries_total`, `hubble_dns_responses_total` and `hubble_dns_response_types_total`.
        Dns = "dns",
        /// `hubble_drop_total`.
        Drop = "drop",
        /// `hubble_flows_processed_total`.
        Flow = "flow",
        /// `hubble_flows_to_world_total`.
        FlowsToWorld = "flows-to-world",
        /// `hubble_http_requests_total`, `hubble_http_responses_total` and `hubble_http_request_duration_seconds`.
        Http = "http",
        /// `hubble_http_requests_total` of answered requests with their status, and `hubble_http_request_duration_seconds`.
        HttpV2 = "httpV2",
        /// `hubble_icmp_total`.
        Icmp = "icmp",
        /// `hubble_policy_verdicts_total`.
        Policy = "policy",
        /// `hubble_port_distribution_total`.
        PortDistribution = "port-distribution",
        /// `hubble_tcp_flags_total`.
        Tcp = "tcp",
    }
}

words! {
    /// What names an end of a flow.
    ContextIdentifier {
        /// All labels of its identity, joined by commas.
        Identity = "identity",
        /// Its namespace.
        Namespace = "namespace",
        /// `namespace/name` of the pod.
        Pod = "pod",
        /// The pod's name.
        PodName = "pod-name",
        /// Its DNS names, joined by commas.
        Dns = "dns",
        /// Its address.
        Ip = "ip",
        /// The `reserved:` label of an end that is no pod.
        ReservedIdentity = "reserved-identity",
        /// `namespace/name` of the workload.
        Workload = "workload",
        /// The workload's name.
        WorkloadName = "workload-name",
        /// The pod's label `app.kubernetes.io/name`, `k8s-app` or `app`.
        App = "app",
    }
}

words! {
    /// A label of `labelsContext`, in the order in which Hubble gives them.
    ContextLabel {
        /// Address of the source.
        SourceIp = "source_ip",
        /// Name of the source's pod.
        SourcePod = "source_pod",
        /// Namespace of the source.
        SourceNamespace = "source_namespace",
        /// Name of the source's workload.
        SourceWorkload = "source_workload",
        /// Kind of the source's workload.
        SourceWorkloadKind = "source_workload_kind",
        /// See `ContextIdentifier::App`.
        SourceApp = "source_app",
        /// Address of the destination.
        DestinationIp = "destination_ip",
        /// Name of the destination's pod.
        DestinationPod = "destination_pod",
        /// Namespace of the destination.
        DestinationNamespace = "destination_namespace",
        /// Name of the destination's workload.
        DestinationWorkload = "destination_workload",
        /// Kind of the destination's workload.
        DestinationWorkloadKind = "destination_workload_kind",
        /// See `ContextIdentifier::App`.
        DestinationApp = "destination_app",
        /// Ingress or egress.
        TrafficDirection = "traffic_direction",
    }
}

words! {
    /// An option without a value.
    MetricOption {
        /// `flows-to-world` counts drops of every reason, not only those of policies.
        AnyDrop = "any-drop",
        /// `flows-to-world` has the label `port`.
        Port = "port",
        /// `flows-to-world` counts the SYN of a TCP connection only.
        SynOnly = "syn-only",
        /// The metric has Hubble's labels only.
        HubbleLabels = "hubbleLabels",
        /// `dns` counts queries as Hubble does: when they are asked, without a response code.
        HubbleRcode = "hubbleRcode",
        /// `dns` leaves out queries for AAAA alone, and their answers.
        IgnoreAaaa = "ignoreAAAA",
        /// `dns` has the label `query`.
        Query = "query",
    }
}

/// How one end of a flow is named: the first identifier that gives a text.
#[derive(Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Contexts {
    /// For every flow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 16))]
    pub both: Vec<ContextIdentifier>,
    /// For flows of the direction egress, if it is not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 16))]
    pub egress: Vec<ContextIdentifier>,
    /// For flows of the direction ingress, if it is not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 16))]
    pub ingress: Vec<ContextIdentifier>,
}

impl Contexts {
    /// Whether the metric has no label for this end.
    pub fn is_empty(&self) -> bool {
        self.both.is_empty() && self.egress.is_empty() && self.ingress.is_empty()
    }

    /// Whether an identifier is used for any flow.
    pub fn uses(&self, identifier: ContextIdentifier) -> bool {
        [&self.both, &self.egress, &self.ingress].into_iter().any(|list| list.contains(&identifier))
    }
}

/// One of Hubble's metrics with its options.
#[derive(Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HubbleMetric {
    /// Which metric.
    pub name: MetricName,
    /// The label `source`.
    #[serde(default, skip_serializing_if = "Contexts::is_empty")]
    #[validate(nested)]
    pub source: Contexts,
    /// The label `destination`.
    #[serde(default, skip_serializing_if = "Contexts::is_empty")]
    #[validate(nested)]
    pub destination: Contexts,
    /// Labels of `labelsContext`, in Hubble's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 16))]
    pub labels: Vec<ContextLabel>,
    /// Options without a value, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 8))]
    pub options: Vec<MetricOption>,
}

impl HubbleMetric {
    /// A metric without options.
    pub fn new(name: MetricName) -> Self {
        Self {
            name,
            source: Contexts::default(),
            destination: Contexts::default(),
            labels: Vec::new(),
            options: Vec::new(),
        }
    }

    /// Whether the option is set.
    pub fn has(&self, option: MetricOption) -> bool {
        self.options.contains(&option)
    }
}

impl MetricName {
    /// Whether both make metrics of the same names.
    pub(super) fn shares_families(self, other: Self) -> bool {
        matches!((self, other), (Self::Http, Self::HttpV2) | (Self::HttpV2, Self::Http))
    }

    /// The options without a value that the metric knows.
    pub fn options(self) -> &'static [MetricOption] {
        match self {
            Self::Dns => &[MetricOption::HubbleRcode, MetricOption::IgnoreAaaa, MetricOption::Query],
            Self::FlowsToWorld => &[MetricOption::AnyDrop, MetricOption::Port, MetricOption::SynOnly],
            Self::Drop | Self::Flow | Self::Http | Self::HttpV2 => &[MetricOption::HubbleLabels],
            Self::Icmp | Self::Policy | Self::PortDistribution | Self::Tcp => &[],
        }
    }
}
