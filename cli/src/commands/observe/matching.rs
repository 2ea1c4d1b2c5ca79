//! Whether a flow is one that the arguments ask for: what the read API cannot select is selected here. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use trilobite_api::{
    flow::{Endpoint, Flow, layer4::Protocol},
    observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
};

use crate::args::ObserveArgs;

/// Reports of losses always match.
pub(super) fn is_wanted(arguments: &ObserveArgs, response: &GetFlowsResponse) -> bool {
    let Some(ResponseTypes::Flow(flow)) = &response.response_types else { return true };
    let in_list = |wanted: &[i32], found: i32| wanted.is_empty() || wanted.contains(&found);
    let verdicts: Vec<i32> = arguments.verdict.iter().map(|verdict| verdict.number()).collect();
    let directions: Vec<i32> = arguments.traffic_direction.iter().map(|direction| direction.number()).collect();
    let protocol = arguments.protocol.is_empty()
        || arguments.protocol.iter().any(|wanted| protocol(flow).is_some_and(|(name, ..)| name == wanted.as_str()));
    protocol
        && in_list(&verdicts, flow.verdict)
        && in_list(&directions, flow.traffic_direction)
        && is_in_time(arguments, response)
        && has_pod(arguments, flow)
        && has_port(arguments, flow)
        && has_address(arguments, flow)
}

/// Whether the relay alone cannot select what is asked for, so that it has to send more than is printed.
pub(super) fn is_more_than_asked(arguments: &ObserveArgs) -> bool {
    let (_, pod) = arguments.filter.pod();
    pod.is_some()
        || arguments.until.is_some()
        || arguments.verdict.len() > 1
        || arguments.protocol.len() > 1
        || !arguments.port.is_empty()
        || !arguments.ip.is_empty()
        || !arguments.traffic_direction.is_empty()
}

fn is_in_time(arguments: &ObserveArgs, response: &GetFlowsResponse) -> bool {
    let time = response.time.as_ref().and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    time.is_none_or(|time| {
        arguments.since.is_none_or(|since| time >= since) && arguments.until.is_none_or(|until| time <= until)
    })
}

fn has_pod(arguments: &ObserveArgs, flow: &Flow) -> bool {
    let (namespace, pod) = arguments.filter.pod();
    let is_end = |end: &Option<Endpoint>| {
        end.as_ref().is_some_and(|end| {
            namespace.is_none_or(|namespace| end.namespace == namespace)
                && pod.is_none_or(|prefix| !end.pod_name.is_empty() && end.pod_name.starts_with(prefix))
        })
    };
    (namespace.is_none() && pod.is_none()) || is_end(&flow.source) || is_end(&flow.destination)
}

fn has_port(arguments: &ObserveArgs, flow: &Flow) -> bool {
    let is_wanted = |port: u32| arguments.port.iter().any(|wanted| u32::from(*wanted) == port);
    arguments.port.is_empty()
        || protocol(flow).is_some_and(|(_, source, destination)| is_wanted(source) || is_wanted(destination))
}

fn has_address(arguments: &ObserveArgs, flow: &Flow) -> bool {
    let Some(ip) = &flow.ip else { return arguments.ip.is_empty() };
    let ends: Vec<IpAddr> = [&ip.source, &ip.destination].iter().filter_map(|text| text.parse().ok()).collect();
    let is_wanted = |wanted: &String| match wanted.parse::<IpNet>() {
        Ok(network) => ends.iter().any(|end| network.contains(end)),
        Err(_) => wanted.parse().is_ok_and(|address: IpAddr| ends.contains(&address)),
    };
    arguments.ip.is_empty() || arguments.ip.iter().any(is_wanted)
}

/// Name and ports.
fn protocol(flow: &Flow) -> Option<(&'static str, u32, u32)> {
    match flow.l4.as_ref()?.protocol.as_ref()? {
        Protocol::Tcp(tcp) => Some(("tcp", tcp.source_port, tcp.destination_port)),
        Protocol::Udp(udp) => Some(("udp", udp.source_port, udp.destination_port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use trilobite_api::flow::{self, Verdict};

    use super::*;
    use crate::args::{Arguments, Command};

    fn flow() -> GetFlowsResponse {
        let end = |pod: &str| Some(Endpoint { namespace: "shop".into(), pod_name: pod.into(), ..Endpoint::default() });
        let tcp = flow::Tcp { source_port: 40_000, destination_port: 443, ..flow::Tcp::default() };
        let flow = Flow {
            verdict: Verdict::Forwarded.into(),
            traffic_direction: flow::TrafficDirection::Egress.into(),
            source: end("till-1"),
            destination: Some(Endpoint { labels: vec!["reserved:world".into()], ..Endpoint::default() }),
            ip: Some(flow::Ip { source: "10.1.0.7".into(), destination: "192.0.2.9".into(), ..flow::Ip::default() }),
            l4: Some(flow::Layer4 { protocol: Some(Protocol::Tcp(tcp)) }),
            ..Flow::default()
        };
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
        observe
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
        ] {
            assert!(is_wanted(&arguments(line), &flow()), "{line}");
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
        ] {
            assert!(!is_wanted(&arguments(line), &flow()), "{line}");
        }
    }

    #[test]
    fn relay_is_asked_for_more_where_it_cannot_select() {
        for line in ["", "-n shop", "--verdict dropped", "--protocol tcp", "--since 5m", "--node alder"] {
            assert!(!is_more_than_asked(&arguments(line)), "{line}");
        }
        for line in ["--pod till", "--port 80", "--ip 10.1.0.7", "--protocol tcp,udp", "--until 5m"] {
            assert!(is_more_than_asked(&arguments(line)), "{line}");
        }
    }
}
