//! `hubble observe`.

use std::io::{IsTerminal, Write, stdout};

use anyhow::Context;
use jiff::Timestamp;
use trilobite_api::{
    flow::FlowFilter,
    json,
    lines::{
        flow::{FlowStyle, line},
        paint::Paint,
    },
    observer::{GetFlowsRequest, GetFlowsResponse},
};

use super::{
    args::{FlowFormat, ObserveArguments, ServerArguments},
    connection::connect,
};

/// Flows that are printed without another choice.
const LAST: u64 = 20;

pub(super) async fn print_flows(arguments: &ObserveArguments, server: &ServerArguments) -> anyhow::Result<()> {
    let mut client = connect(server).await?;
    let flows = client.get_flows(request(arguments)).await.context("failed getting flows")?;
    let mut flows = flows.into_inner();
    let style = FlowStyle {
        paint: Paint(stdout().is_terminal()),
        node: arguments.print_node_name,
        policies: arguments.print_policy_names,
    };
    while let Some(response) = flows.message().await.context("failed receiving flows")? {
        let Some(text) = text(&response, arguments.output, style) else { continue };
        let mut out = stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()?;
    }
    Ok(())
}

fn text(response: &GetFlowsResponse, output: Option<FlowFormat>, style: FlowStyle) -> Option<String> {
    match output {
        Some(FlowFormat::Json | FlowFormat::Jsonpb) => Some(json::to_string(response)),
        Some(FlowFormat::Compact) | None => line(response, style),
    }
}

fn request(arguments: &ObserveArguments) -> GetFlowsRequest {
    let ObserveArguments { follow, all, first, last, since, until, .. } = arguments;
    // As hubble does: a start in time means all flows since then, and following begins now.
    let number = match (first, last) {
        (Some(number), _) | (_, Some(number)) => *number,
        _ if *all => u64::MAX,
        _ if since.is_some() || *follow => 0,
        _ => LAST,
    };
    GetFlowsRequest {
        number,
        first: first.is_some(),
        follow: *follow,
        since: since.map(proto_time),
        until: until.map(proto_time),
        whitelist: filters(arguments),
        ..GetFlowsRequest::default()
    }
}

fn proto_time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// Flags about either end make two filters, one for each end.
fn filters(arguments: &ObserveArguments) -> Vec<FlowFilter> {
    let numbers = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<String>>();
    let namespace = |names: &[String]| names.iter().map(|name| format!("{name}/")).collect::<Vec<String>>();
    let both = FlowFilter {
        source_pod: [namespace(&arguments.from_namespace), arguments.from_pod.clone()].concat(),
        destination_pod: [namespace(&arguments.to_namespace), arguments.to_pod.clone()].concat(),
        source_ip: arguments.from_ip.clone(),
        destination_ip: arguments.to_ip.clone(),
        source_port: numbers(&arguments.from_port),
        destination_port: numbers(&arguments.to_port),
        protocol: arguments.protocol.clone(),
        http_status_code: arguments.http_status.clone(),
        http_method: arguments.http_method.clone(),
        http_path: arguments.http_path.clone(),
        http_url: arguments.http_url.clone(),
        http_header: arguments.http_header.clone(),
        verdict: arguments.verdict.iter().map(|verdict| (*verdict).into()).collect(),
        event_type: arguments.r#type.clone(),
        drop_reason_desc: arguments.drop_reason_desc.iter().map(|reason| (*reason).into()).collect(),
        tcp_flags: arguments.tcp_flags.clone(),
        reply: [(arguments.reply, true), (arguments.not_reply, false)]
            .into_iter()
            .filter(|(is_wanted, _)| *is_wanted)
            .map(|(_, reply)| reply)
            .collect(),
        ..FlowFilter::default()
    };
    let pods = [namespace(&arguments.namespace), arguments.pod.clone()].concat();
    let (labels, addresses, ports) = (arguments.label.clone(), arguments.ip.clone(), numbers(&arguments.port));
    if pods.is_empty() && labels.is_empty() && addresses.is_empty() && ports.is_empty() {
        return if both == FlowFilter::default() { Vec::new() } else { vec![both] };
    }
    let mut source = both.clone();
    source.source_pod.extend(pods.clone());
    source.source_label.extend(labels.clone());
    source.source_ip.extend(addresses.clone());
    source.source_port.extend(ports.clone());
    let mut destination = both;
    destination.destination_pod.extend(pods);
    destination.destination_label.extend(labels);
    destination.destination_ip.extend(addresses);
    destination.destination_port.extend(ports);
    vec![source, destination]
}

#[cfg(test)]
mod tests {
    use trilobite_api::flow::{DropReason, EventTypeFilter};

    use super::*;

    #[test]
    fn either_end_makes_two_filters() {
        let arguments = ObserveArguments {
            namespace: vec!["payments".into()],
            port: vec![80],
            protocol: vec!["tcp".into()],
            ..ObserveArguments::default()
        };
        let [source, destination] = &filters(&arguments)[..] else { panic!() };
        assert_eq!((source.source_pod[0].as_str(), source.source_port[0].as_str()), ("payments/", "80"));
        assert_eq!(destination.destination_pod, ["payments/"]);
        assert!(source.destination_pod.is_empty() && destination.protocol == ["tcp"]);
        assert!(filters(&ObserveArguments::default()).is_empty());
    }

    #[test]
    fn events_are_selected_by_type_reason_flags_and_reply() {
        let arguments = ObserveArguments {
            r#type: vec![EventTypeFilter { r#type: 1, ..EventTypeFilter::default() }],
            drop_reason_desc: vec![DropReason::PolicyDenied],
            not_reply: true,
            ..ObserveArguments::default()
        };
        let [filter] = &filters(&arguments)[..] else { panic!() };
        assert_eq!(
            (filter.event_type[0].r#type, &filter.drop_reason_desc[..], &filter.reply[..]),
            (1, &[133][..], &[false][..])
        );
    }

    #[test]
    fn number_of_flows_is_as_with_hubble() {
        let number = |arguments: ObserveArguments| request(&arguments).number;
        assert_eq!(number(ObserveArguments::default()), LAST);
        assert_eq!(number(ObserveArguments { follow: true, ..Default::default() }), 0);
        assert_eq!(number(ObserveArguments { last: Some(7), follow: true, ..Default::default() }), 7);
        assert_eq!(number(ObserveArguments { all: true, ..Default::default() }), u64::MAX);
    }
}
