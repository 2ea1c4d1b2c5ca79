//! GetFlows of every agent. Past flows are sorted by time; new ones are printed as they arrive.

use std::{io::Write, time::SystemTime};

use futures::StreamExt;
use tokio::time::timeout;
use trilobite_api::observer::{GetFlowsRequest, observer_client::ObserverClient};

use super::{
    filters::filters,
    printing::{explain_no_flow, latest, number, print_flow, print_found, style},
};
use crate::{
    agent::{ANSWER_TIMEOUT, AgentError, Arrival, Transport, merge, status_text},
    args::{ObserveArgs, own_command},
    commands::{
        agents::{connect, open_streams, reconnect},
        failure::Failure,
    },
    output::stderr::stderr_line,
};

pub(super) async fn print_flows_by_agents(
    arguments: &ObserveArgs,
    transport: &Transport,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let agents = connect(transport, arguments.filter.node.as_deref()).await?;
    let request = request(arguments);
    let style = style(arguments);
    let status = match transport {
        Transport::Cluster { namespace, .. } => own_command("status", namespace),
        Transport::Socket(_) => "trilobite status --socket PATH".to_owned(),
    };
    let open = |request: GetFlowsRequest| {
        move |channel| {
            let request = request.clone();
            async move { ObserverClient::new(channel).get_flows(request).await }
        }
    };
    let opened = open_streams(agents, "GetFlows", open(request.clone())).await?;
    // A reopened stream must not repeat the latest flows.
    let (transport, follow, reopen) =
        (transport.clone(), arguments.follow, open(GetFlowsRequest { number: 0, since: None, ..request }));
    let mut flows = merge(opened, move |node| reconnect(transport.clone(), follow, node, reopen.clone()));

    let mut found = Vec::new();
    let mut failed = None;
    loop {
        // Past flows are there at once; new ones may take any time.
        let arrival = match arguments.follow {
            true => flows.next().await,
            false => timeout(ANSWER_TIMEOUT, flows.next()).await.unwrap_or_else(|_| {
                stderr_line!("warning: a node has stopped in the middle of its answer; the flows may be incomplete");
                None
            }),
        };
        let Some(arrival) = arrival else { break };
        match arrival {
            Arrival::Message(flow) if arguments.follow => print_flow(&flow, arguments.output, style, out)?,
            Arrival::Message(flow) => found.push(flow),
            Arrival::End { node, error: None } if arguments.follow => {
                stderr_line!("warning: {node}: no more flows: the agent has stopped");
            }
            Arrival::End { error: None, .. } => {}
            Arrival::End { node, error: Some(status) } => {
                stderr_line!("warning: {node}: no more flows: {}", status_text(&status));
                failed = Some(AgentError::refused(&node, "GetFlows", &status));
            }
        }
    }
    if arguments.follow {
        return Err(Failure::AllEnded);
    }
    let found = latest(found, number(arguments));
    if found.is_empty() {
        if let Some(error) = failed {
            return Err(error.into());
        }
        explain_no_flow(arguments, &format!("is the network layer on, or a FlowCapture running? See '{status}'"));
    }
    print_found(&found, arguments, out)
}

fn request(arguments: &ObserveArgs) -> GetFlowsRequest {
    GetFlowsRequest {
        number: number(arguments),
        follow: arguments.follow,
        since: arguments.since.map(|time| SystemTime::from(time).into()),
        until: arguments.until.map(|time| SystemTime::from(time).into()),
        whitelist: filters(&arguments.filter),
        ..GetFlowsRequest::default()
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

    fn arguments(line: &str) -> ObserveArgs {
        let Command::Observe(flows) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command")
        };
        *flows
    }

    async fn printed(agent: &FakeAgent, line: &str) -> String {
        let mut out = Vec::new();
        print_flows_by_agents(&arguments(line), &agent.transport(), &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn the_latest_flows_come_in_the_order_of_time() {
        let agent = FakeAgent::with_flows(vec![flow_at(30), flow_at(10), flow_at(20)]);
        let text = printed(&agent, "trilobite observe --last 2").await;
        assert_eq!(
            text,
            "Jan  1 00:00:20.000: shop/till-1 -> shop/shelf-1 to-endpoint FORWARDED\n\
             Jan  1 00:00:30.000: shop/till-1 -> shop/shelf-1 to-endpoint FORWARDED\n"
        );
    }

    #[tokio::test]
    async fn filters_are_sent_to_the_agent() {
        let agent = FakeAgent::with_flows(vec![flow_at(10)]);
        printed(&agent, "trilobite observe --port 80").await;
        assert_eq!(agent.requested_flows().unwrap().whitelist.len(), 2);
    }

    #[tokio::test]
    async fn a_table_names_the_node() {
        let agent = FakeAgent::with_flows(vec![flow_at(10)]);
        let text = printed(&agent, "trilobite observe -o table").await;
        assert_eq!(
            text,
            "TIMESTAMP            NODE   SOURCE       DESTINATION   TYPE         VERDICT    SUMMARY\n\
             Jan  1 00:00:10.000  alder  shop/till-1  shop/shelf-1  to-endpoint  FORWARDED\n"
        );
    }

    #[test]
    fn following_starts_from_now_unless_asked_otherwise() {
        assert_eq!(request(&arguments("trilobite observe -f")).number, 0);
        assert_eq!(request(&arguments("trilobite observe -f --last 5")).number, 5);
        assert_eq!(request(&arguments("trilobite observe")).number, super::super::printing::DEFAULT_LAST);
    }

    #[test]
    fn since_takes_all_flows_of_that_time() {
        let request = request(&arguments("trilobite observe --since 1970-01-01T00:00:07Z"));
        assert_eq!((request.number, request.since.unwrap().seconds), (0, 7));
        let both = super::request(&arguments("trilobite observe --since 5m --last 3"));
        assert_eq!(both.number, 3);
    }
}
