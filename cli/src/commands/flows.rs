//! `trilobite flows`: GetFlows of every node. Past flows are sorted by time; new ones are printed as they arrive.

use std::io::Write;

use futures::StreamExt;
use tokio::time::timeout;
use trilobite_api::{
    flow::FlowFilter,
    json,
    observer::{GetFlowsRequest, GetFlowsResponse, get_flows_response::ResponseTypes, observer_client::ObserverClient},
};

use super::{
    agents::{connect, open_streams, reconnect},
    failure::Failure,
    print::print_line,
};
use crate::{
    agent::{ANSWER_TIMEOUT, AgentError, Arrival, Transport, merge, status_text},
    args::{FlowsArgs, FlowsFormat},
    output::{flow_line, table::table},
};

/// Number of flows without --last.
const DEFAULT_LAST: u64 = 20;

pub(super) async fn print_flows(
    arguments: &FlowsArgs,
    transport: &Transport,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if arguments.follow && arguments.output == FlowsFormat::Table {
        return Err(Failure::Usage("--follow cannot print a table; use -o compact or -o json"));
    }
    let agents = connect(transport, arguments.filter.node.as_deref()).await?;
    let request = request(arguments);
    let open = |request: GetFlowsRequest| {
        move |channel| {
            let request = request.clone();
            async move { ObserverClient::new(channel).get_flows(request).await }
        }
    };
    let opened = open_streams(agents, "GetFlows", open(request.clone())).await?;
    // A reopened stream must not repeat the latest flows.
    let (transport, follow, reopen) =
        (transport.clone(), arguments.follow, open(GetFlowsRequest { number: 0, ..request }));
    let mut flows = merge(opened, move |node| reconnect(transport.clone(), follow, node, reopen.clone()));

    let mut found = Vec::new();
    let mut failed = None;
    loop {
        // Past flows are there at once; new ones may take any time.
        let arrival = match arguments.follow {
            true => flows.next().await,
            false => timeout(ANSWER_TIMEOUT, flows.next()).await.unwrap_or_else(|_| {
                eprintln!("warning: a node has stopped in the middle of its answer; the flows may be incomplete");
                None
            }),
        };
        let Some(arrival) = arrival else { break };
        match arrival {
            Arrival::Message(flow) if arguments.follow => print_flow(&flow, arguments.output, out)?,
            Arrival::Message(flow) => found.push(flow),
            Arrival::End { node, error: None } if arguments.follow => {
                eprintln!("warning: {node}: no more flows: the agent has stopped");
            }
            Arrival::End { error: None, .. } => {}
            Arrival::End { node, error: Some(status) } => {
                eprintln!("warning: {node}: no more flows: {}", status_text(&status));
                failed = Some(AgentError::refused(&node, "GetFlows", &status));
            }
        }
    }
    if arguments.follow {
        return Err(Failure::AllEnded);
    }
    let found = latest(found, arguments.last.unwrap_or(DEFAULT_LAST));
    if found.is_empty() {
        if let Some(error) = failed {
            return Err(error.into());
        }
        eprintln!("no flows; is the network layer on, or a FlowCapture running? (trilobite status)");
    }
    if arguments.output == FlowsFormat::Table {
        return out.write_all(as_table(&found).as_bytes()).map_err(Failure::Write);
    }
    found.iter().try_for_each(|flow| print_flow(flow, arguments.output, out))
}

/// The `last` flows of all nodes together in the order of time, and all losses.
fn latest(mut found: Vec<GetFlowsResponse>, last: u64) -> Vec<GetFlowsResponse> {
    found.sort_by_key(|flow| flow.time.map(|time| (time.seconds, time.nanos)));
    let is_flow = |one: &GetFlowsResponse| matches!(one.response_types, Some(ResponseTypes::Flow(_)));
    let mut surplus = (found.iter().filter(|one| is_flow(one)).count() as u64).saturating_sub(last);
    found.retain(|one| {
        let drop = surplus > 0 && is_flow(one);
        surplus -= u64::from(drop);
        !drop
    });
    found
}

fn print_flow(flow: &GetFlowsResponse, format: FlowsFormat, out: &mut dyn Write) -> Result<(), Failure> {
    let line = match format {
        FlowsFormat::Json => Some(json::to_string(flow)),
        FlowsFormat::Compact | FlowsFormat::Table => flow_line::line(flow),
    };
    line.map_or(Ok(()), |line| print_line(out, &line))
}

fn as_table(flows: &[GetFlowsResponse]) -> String {
    let rows: Vec<[String; 7]> = flows
        .iter()
        .filter_map(|response| match &response.response_types {
            Some(ResponseTypes::Flow(flow)) => {
                let cells = flow_line::cells(flow, response);
                let (source, destination) = if cells.arrow == "<-" {
                    (cells.destination, cells.source)
                } else {
                    (cells.source, cells.destination)
                };
                Some([cells.time, cells.node, source, destination, cells.kind, cells.verdict, cells.summary])
            }
            _ => None,
        })
        .collect();
    table(["TIMESTAMP", "NODE", "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"], &rows)
}

fn request(arguments: &FlowsArgs) -> GetFlowsRequest {
    let number = match (arguments.last, arguments.follow) {
        (Some(number), _) => number,
        (None, true) => 0,
        (None, false) => DEFAULT_LAST,
    };
    GetFlowsRequest { number, follow: arguments.follow, whitelist: filters(arguments), ..GetFlowsRequest::default() }
}

/// Filters are alternatives: the pod may be the source or the destination.
fn filters(arguments: &FlowsArgs) -> Vec<FlowFilter> {
    let protocol: Vec<String> = arguments.protocol.iter().map(|protocol| protocol.as_str().to_owned()).collect();
    let pod = match arguments.filter.pod() {
        (None, None) => None,
        // A prefix of the name; an empty namespace matches any.
        (namespace, pod) => Some(format!("{}/{}", namespace.unwrap_or_default(), pod.unwrap_or_default())),
    };
    match pod {
        Some(pod) => vec![
            FlowFilter { source_pod: vec![pod.clone()], protocol: protocol.clone(), ..FlowFilter::default() },
            FlowFilter { destination_pod: vec![pod], protocol, ..FlowFilter::default() },
        ],
        None if protocol.is_empty() => Vec::new(),
        None => vec![FlowFilter { protocol, ..FlowFilter::default() }],
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        agent::fake::{FakeAgent, flow_at},
        args::{Arguments, Command},
    };

    fn arguments(line: &str) -> FlowsArgs {
        let Command::Flows(flows) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command")
        };
        flows
    }

    async fn printed(agent: &FakeAgent, line: &str) -> String {
        let mut out = Vec::new();
        print_flows(&arguments(line), &agent.transport(), &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn the_latest_flows_come_in_the_order_of_time() {
        let agent = FakeAgent::with_flows(vec![flow_at(30), flow_at(10), flow_at(20)]);
        let text = printed(&agent, "trilobite flows --last 2").await;
        assert_eq!(
            text,
            "Jan  1 00:00:20.000: shop/till-1 -> shop/shelf-1 to-endpoint FORWARDED\n\
             Jan  1 00:00:30.000: shop/till-1 -> shop/shelf-1 to-endpoint FORWARDED\n"
        );
    }

    #[tokio::test]
    async fn a_table_names_the_node() {
        let agent = FakeAgent::with_flows(vec![flow_at(10)]);
        let text = printed(&agent, "trilobite flows -o table").await;
        assert_eq!(
            text,
            "TIMESTAMP            NODE   SOURCE       DESTINATION   TYPE         VERDICT    SUMMARY\n\
             Jan  1 00:00:10.000  alder  shop/till-1  shop/shelf-1  to-endpoint  FORWARDED\n"
        );
    }

    #[test]
    fn a_pod_is_looked_for_at_both_ends() {
        let filters = filters(&arguments("trilobite flows --pod shop/till --protocol udp"));
        assert_eq!(filters[0].source_pod, ["shop/till"]);
        assert_eq!(filters[1].destination_pod, ["shop/till"]);
        assert!(filters.iter().all(|filter| filter.protocol == ["udp"]));
    }

    #[test]
    fn following_starts_from_now_unless_asked_otherwise() {
        assert_eq!(request(&arguments("trilobite flows -f")).number, 0);
        assert_eq!(request(&arguments("trilobite flows -f --last 5")).number, 5);
        assert_eq!(request(&arguments("trilobite flows")).number, DEFAULT_LAST);
    }
}
