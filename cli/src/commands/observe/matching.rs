//! Whether a flow is one that the arguments ask for: what the read API cannot select is selected here, as agents do. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use trilobite_api::{
    flow::{Endpoint, Flow, FlowFilter, Service, TcpFlags, Verdict, Workload, layer4::Protocol, layer7::Record},
    label_selector::LabelSelector,
    lines::flow::ports,
    name_pattern::NamePattern,
    observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
};

use super::{filters::filters, http_matching::HttpMatcher};
use crate::args::ObserveArgs;

pub(super) struct FlowMatcher {
    /// Alternatives; none for all flows.
    filters: Vec<FilterWithSelectors>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

struct FilterWithSelectors {
    filter: FlowFilter,
    source_label: Vec<LabelSelector>,
    destination_label: Vec<LabelSelector>,
    source_fqdn: Vec<NamePattern>,
    destination_fqdn: Vec<NamePattern>,
    http: HttpMatcher,
}

impl FlowMatcher {
    pub(super) fn new(arguments: &ObserveArgs) -> Self {
        // The command line has parsed them before.
        let selectors = |texts: &[String]| texts.iter().filter_map(|text| LabelSelector::parse(text).ok()).collect();
        let names = |texts: &[String]| texts.iter().filter_map(|text| NamePattern::parse(text).ok()).collect();
        let with_selectors = |filter: FlowFilter| FilterWithSelectors {
            source_label: selectors(&filter.source_label),
            destination_label: selectors(&filter.destination_label),
            source_fqdn: names(&filter.source_fqdn),
            destination_fqdn: names(&filter.destination_fqdn),
            http: HttpMatcher::new(&arguments.filter),
            filter,
        };
        let filters = filters(&arguments.filter).into_iter().map(with_selectors).collect();
        Self { filters, since: arguments.since, until: arguments.until }
    }

    /// Reports of losses always match.
    pub(super) fn matches(&self, response: &GetFlowsResponse) -> bool {
        let Some(ResponseTypes::Flow(flow)) = &response.response_types else { return true };
        self.is_in_time(response) && (self.filters.is_empty() || self.filters.iter().any(|filter| filter.holds(flow)))
    }

    fn is_in_time(&self, response: &GetFlowsResponse) -> bool {
        let time = response.time.as_ref().and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
        time.is_none_or(|time| {
            self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
        })
    }
}

impl FilterWithSelectors {
    fn holds(&self, flow: &Flow) -> bool {
        let Self { filter, source_label, destination_label, source_fqdn, destination_fqdn, http } = self;
        let (source, destination) = (flow.source.as_ref(), flow.destination.as_ref());
        let (source_port, destination_port) = ports(flow.l4.as_ref());
        let ip = flow.ip.as_ref();
        has_pod(&filter.source_pod, source)
            && has_pod(&filter.destination_pod, destination)
            && has_service(&filter.source_service, flow.source_service.as_ref())
            && has_service(&filter.destination_service, flow.destination_service.as_ref())
            && has_workload(&filter.source_workload, source)
            && has_workload(&filter.destination_workload, destination)
            && has_labels(source_label, source)
            && has_labels(destination_label, destination)
            && has_dns_name(source_fqdn, &flow.source_names)
            && has_dns_name(destination_fqdn, &flow.destination_names)
            && is_one(&filter.source_identity, &source.map_or(0, |end| end.identity))
            && is_one(&filter.destination_identity, &destination.map_or(0, |end| end.identity))
            && has_address(&filter.source_ip, ip.map_or("", |ip| &ip.source))
            && has_address(&filter.destination_ip, ip.map_or("", |ip| &ip.destination))
            && has_port(&filter.source_port, source_port)
            && has_port(&filter.destination_port, destination_port)
            && has_protocol(&filter.protocol, flow)
            && has_tcp_flags(&filter.tcp_flags, flow)
            && http.holds(flow)
            && has_type(filter, flow)
            && is_one(&filter.verdict, &flow.verdict)
            && (filter.drop_reason_desc.is_empty()
                || flow.verdict() == Verdict::Dropped && filter.drop_reason_desc.contains(&flow.drop_reason_desc))
            && is_one(&filter.traffic_direction, &flow.traffic_direction)
            && is_reply(&filter.reply, flow)
            && is_one(&filter.ip_version, &ip.map_or(0, |ip| ip.ip_version))
            && (filter.interface.is_empty()
                || flow.interface.as_ref().is_some_and(|at| filter.interface.iter().any(|one| one.name == at.name)))
            && is_one(&filter.uuid, &flow.uuid)
    }
}

fn is_one<T: PartialEq>(wanted: &[T], found: &T) -> bool {
    wanted.is_empty() || wanted.contains(found)
}

fn has_pod(wanted: &[String], end: Option<&Endpoint>) -> bool {
    wanted.is_empty() || end.is_some_and(|end| has_name(wanted, &end.namespace, &end.pod_name))
}

fn has_service(wanted: &[String], service: Option<&Service>) -> bool {
    wanted.is_empty() || service.is_some_and(|service| has_name(wanted, &service.namespace, &service.name))
}

/// `namespace/prefix`; without a slash the namespace is `default`, as agents read it.
fn has_name(wanted: &[String], namespace: &str, name: &str) -> bool {
    let is = |one: &String| {
        let (wanted_namespace, prefix) = one.split_once('/').unwrap_or(("default", one));
        name.starts_with(prefix) && (wanted_namespace.is_empty() || wanted_namespace == namespace)
    };
    !(namespace.is_empty() && name.is_empty()) && wanted.iter().any(is)
}

fn has_workload(wanted: &[Workload], end: Option<&Endpoint>) -> bool {
    let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
    wanted.is_empty()
        || end.is_some_and(|end| {
            let is_wanted =
                |found: &Workload| wanted.iter().any(|one| is(&one.name, &found.name) && is(&one.kind, &found.kind));
            end.workloads.iter().any(is_wanted)
        })
}

fn has_labels(wanted: &[LabelSelector], end: Option<&Endpoint>) -> bool {
    let labels = end.map_or(&[][..], |end| &end.labels);
    wanted.is_empty() || wanted.iter().any(|selector| selector.matches(labels))
}

fn has_dns_name(wanted: &[NamePattern], names: &[String]) -> bool {
    wanted.is_empty() || names.iter().any(|name| wanted.iter().any(|pattern| pattern.matches(name)))
}

fn has_port(wanted: &[String], found: Option<u32>) -> bool {
    wanted.is_empty() || found.is_some_and(|port| wanted.contains(&port.to_string()))
}

fn has_address(wanted: &[String], found: &str) -> bool {
    let is = |wanted: &String, address: IpAddr| match wanted.parse::<IpNet>() {
        Ok(network) => network.contains(&address),
        Err(_) => wanted.parse() == Ok(address),
    };
    wanted.is_empty() || found.parse().is_ok_and(|address| wanted.iter().any(|one| is(one, address)))
}

fn has_protocol(wanted: &[String], flow: &Flow) -> bool {
    let names: &[&str] = match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
        Some(Protocol::Tcp(_)) => &["tcp"],
        Some(Protocol::Udp(_)) => &["udp"],
        Some(Protocol::IcmPv4(_)) => &["icmp", "icmpv4"],
        Some(Protocol::IcmPv6(_)) => &["icmp", "icmpv6"],
        _ => &[],
    };
    let of_l7 = match flow.l7.as_ref().and_then(|l7| l7.record.as_ref()) {
        Some(Record::Http(_)) => "http",
        Some(Record::Dns(_)) => "dns",
        _ => "",
    };
    wanted.is_empty() || wanted.iter().any(|one| names.contains(&one.as_str()) || one == of_l7)
}

/// All flags of an entry are set; others may be.
fn has_tcp_flags(wanted: &[TcpFlags], flow: &Flow) -> bool {
    let found = match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
        Some(Protocol::Tcp(tcp)) => tcp.flags,
        _ => None,
    };
    let list = |of: &TcpFlags| [of.fin, of.syn, of.rst, of.psh, of.ack, of.urg, of.ece, of.cwr, of.ns];
    let has = |wanted: &TcpFlags, found: &TcpFlags| list(wanted).iter().zip(list(found)).all(|(one, set)| !one || set);
    wanted.is_empty() || found.is_some_and(|found| wanted.iter().any(|one| has(one, &found)))
}

fn has_type(filter: &FlowFilter, flow: &Flow) -> bool {
    filter.event_type.is_empty()
        || flow.event_type.is_some_and(|found| {
            filter.event_type.iter().any(|wanted| {
                (wanted.r#type == 0 || wanted.r#type == found.r#type)
                    && (!wanted.match_sub_type || wanted.sub_type == found.sub_type)
            })
        })
}

/// What was dropped is no reply if its connection is not known.
fn is_reply(wanted: &[bool], flow: &Flow) -> bool {
    let found = flow.is_reply.or_else(|| (flow.verdict() == Verdict::Dropped).then_some(false));
    wanted.is_empty() || found.is_some_and(|found| wanted.contains(&found))
}

/// Whether the relay alone cannot select what is asked for, so that it has to send more than is printed. It selects one
/// protocol and one verdict, beside namespace and node.
pub(super) fn is_more_than_asked(arguments: &ObserveArgs) -> bool {
    let are_selected = |filter: &FlowFilter| {
        let selected = FlowFilter {
            protocol: filter.protocol.iter().take(1).cloned().collect(),
            verdict: filter.verdict.iter().take(1).copied().collect(),
            ..FlowFilter::default()
        };
        *filter == selected
    };
    let whole_namespace = arguments.filter.namespace.len() == 1 && arguments.filter.pod.is_empty();
    let without_namespace = |mut filter: FlowFilter| {
        if whole_namespace {
            (filter.source_pod, filter.destination_pod) = (Vec::new(), Vec::new());
        }
        filter
    };
    arguments.until.is_some()
        || !filters(&arguments.filter).into_iter().map(without_namespace).all(|filter| are_selected(&filter))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use trilobite_api::flow::{self, CiliumEventType, DropReason};

    use super::*;
    use crate::args::{Arguments, Command};

    fn flow() -> Flow {
        let end = |pod: &str| {
            let workloads = vec![Workload { name: "till".into(), kind: "Deployment".into() }];
            let (namespace, pod_name, labels) = ("shop".into(), pod.into(), vec!["k8s:app=till".into()]);
            Some(Endpoint { namespace, pod_name, labels, workloads, identity: 1001, ..Endpoint::default() })
        };
        let flags = Some(TcpFlags { syn: true, ack: true, ..TcpFlags::default() });
        let tcp = flow::Tcp { source_port: 40_000, destination_port: 443, flags };
        Flow {
            verdict: Verdict::Forwarded.into(),
            traffic_direction: flow::TrafficDirection::Egress.into(),
            source: end("till-1"),
            destination: Some(Endpoint { labels: vec!["reserved:world".into()], identity: 2, ..Endpoint::default() }),
            ip: Some(flow::Ip {
                source: "10.1.0.7".into(),
                destination: "192.0.2.9".into(),
                ip_version: flow::IpVersion::IPv4.into(),
                ..flow::Ip::default()
            }),
            l4: Some(flow::Layer4 { protocol: Some(Protocol::Tcp(tcp)) }),
            event_type: Some(CiliumEventType { r#type: 4, sub_type: 3 }),
            interface: Some(flow::NetworkInterface { index: 3, name: "eth0".into() }),
            destination_names: vec!["shop.example.com".into()],
            is_reply: Some(false),
            uuid: "u1".into(),
            ..Flow::default()
        }
    }

    fn drop() -> Flow {
        Flow {
            verdict: Verdict::Dropped.into(),
            drop_reason_desc: DropReason::PolicyDenied.into(),
            event_type: Some(CiliumEventType { r#type: 1, sub_type: 133 }),
            is_reply: None,
            interface: None,
            l4: Some(flow::Layer4 { protocol: Some(Protocol::IcmPv4(flow::IcmPv4::default())) }),
            ..flow()
        }
    }

    fn response(flow: Flow) -> GetFlowsResponse {
        GetFlowsResponse {
            time: Some(prost_types::Timestamp { seconds: 100, nanos: 0 }),
            response_types: Some(ResponseTypes::Flow(flow)),
            ..GetFlowsResponse::default()
        }
    }

    fn arguments(line: &str) -> ObserveArgs {
        let line = format!("trilobite observe {line}");
        let Command::Observe(observe) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command")
        };
        *observe
    }

    fn matches(line: &str, flow: Flow) -> bool {
        FlowMatcher::new(&arguments(line)).matches(&response(flow))
    }

    #[test]
    fn flow_matches_by_either_end() {
        for line in [
            "",
            "-n shop",
            "--pod shop/till",
            "--pod till",
            "--port 443",
            "--port 1,40000",
            "--ip 192.0.2.0/24",
            "--ip 10.1.0.7",
            "--protocol udp,tcp",
            "--verdict forwarded",
            "--traffic-direction egress",
            "--since 1970-01-01T00:01:40Z --until 1970-01-01T00:01:40Z",
            "--pod shop/till --port 443 --ip 10.1.0.7 --protocol tcp",
            "--label app=till",
            "--label reserved:world",
            "--to-label reserved:world --from-label !missing",
            "--fqdn *.example.com",
            "--to-fqdn shop.example.com. --from-pod till",
            "--from-namespace shop --to-port 443",
            "--workload Deployment/till",
            "--identity world",
            "--from-identity 1001 --to-identity world",
            "--tcp-flags syn,ack",
            "--tcp-flags fin --tcp-flags syn",
            "--type trace",
            "--type trace:to-stack --type drop",
            "--not-reply -4 --interface eth0 --uuid u1",
        ] {
            assert!(matches(line, flow()), "{line}");
        }
    }

    #[test]
    fn flow_of_another_pod_port_or_time_does_not_match() {
        for line in [
            "-n reef",
            "--pod shop/shelf",
            "--pod reef/till",
            "--port 80",
            "--ip 10.2.0.0/16",
            "--ip 10.1.0.70",
            "--protocol udp",
            "--verdict dropped",
            "--traffic-direction ingress",
            "--since 1970-01-01T00:01:41Z",
            "--until 1970-01-01T00:01:39Z",
            "--pod shop/till --port 80",
            "--to-pod shop/till",
            "--from-label reserved:world",
            "--from-fqdn shop.example.com",
            "--fqdn example.com",
            "--to-workload till",
            "--from-identity world",
            "--from-port 443",
            "--service shop/till",
            "--tcp-flags syn,fin",
            "--type drop",
            "--type trace:to-endpoint",
            "--reply",
            "-6",
            "--interface eth1",
            "--uuid u2",
            "--drop-reason-desc policy_denied",
        ] {
            assert!(!matches(line, flow()), "{line}");
        }
    }

    #[test]
    fn drop_matches_by_its_reason_and_is_no_reply() {
        for line in ["--verdict dropped", "--type drop:133", "--drop-reason-desc policy_denied", "--not-reply"] {
            assert!(matches(line, drop()), "{line}");
        }
        for line in ["--reply", "--protocol tcp", "--port 443", "--port 0", "--tcp-flags syn", "--interface eth0"] {
            assert!(!matches(line, drop()), "{line}");
        }
        assert!(matches("--protocol icmp", drop()) && !matches("--protocol icmpv6", drop()));
    }

    #[test]
    fn relay_is_asked_for_more_where_it_cannot_select() {
        for line in ["", "-n shop", "--verdict dropped", "--protocol tcp", "--since 5m", "--node alder"] {
            assert!(!is_more_than_asked(&arguments(line)), "{line}");
        }
        for line in [
            "--pod till",
            "--port 80",
            "--ip 10.1.0.7",
            "--protocol tcp,udp",
            "--until 5m",
            "-n shop -n reef",
            "--from-namespace shop",
            "--type drop",
            "--reply",
        ] {
            assert!(is_more_than_asked(&arguments(line)), "{line}");
        }
    }
}
