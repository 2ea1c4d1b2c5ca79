//! GetRequests of every agent. Requests of the past are sorted by the end of their responses; new ones are printed as they come.

use std::{io::Write, time::SystemTime};

use futures::StreamExt;
use tokio::time::timeout;
use trilobite_api::requests::{
    GetRequestsRequest, GetRequestsResponse, Request, RetainedSince, get_requests_response::Response,
    requests_client::RequestsClient,
};
use trilobite_untrusted_text::escape;

use super::{explain::explain_no_rows, printer::RequestPrinter, searched::namespace};
use crate::{
    agent::{ANSWER_TIMEOUT, AgentError, Arrival, Transport, merge, status_text},
    args::RequestsArgs,
    commands::{
        agents::{connect, open_streams, reconnect},
        failure::Failure,
    },
    output::{clock, stderr::stderr_line},
};

pub(super) async fn print_requests_by_agents(
    arguments: &RequestsArgs,
    transport: &Transport,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let namespace = namespace(arguments, transport);
    let agents = connect(transport, arguments.filter.node.as_deref()).await?;
    let request = request(arguments, namespace);
    let open = |request: GetRequestsRequest| {
        move |channel| {
            let request = request.clone();
            async move { RequestsClient::new(channel).get_requests(request).await }
        }
    };
    let opened = open_streams(agents, "GetRequests", open(request.clone())).await?;
    // A reopened stream must not repeat the requests of the past.
    let (transport_again, follow, reopen) =
        (transport.clone(), arguments.follow, open(GetRequestsRequest { limit: 0, since: None, ..request }));
    let mut answers = merge(opened, move |node| reconnect(transport_again.clone(), follow, node, reopen.clone()));

    let mut printer = RequestPrinter::new(arguments, namespace.is_none());
    let (mut found, mut failed) = (Vec::new(), None);
    loop {
        // Requests of the past are there at once; new ones may take any time.
        let arrival = match arguments.follow {
            true => answers.next().await,
            false => timeout(ANSWER_TIMEOUT, answers.next()).await.unwrap_or_else(|_| {
                stderr_line!("warning: a node has stopped in the middle of its answer; requests may be missing");
                None
            }),
        };
        match arrival {
            None => break,
            Some(Arrival::Message(response)) => match (read(&response), arguments.follow) {
                (Some(request), true) => printer.print(&[request], out)?,
                (Some(request), false) => found.push((ended(&response), request)),
                (None, _) => {}
            },
            Some(Arrival::End { error: None, .. }) if !arguments.follow => {}
            Some(Arrival::End { node, error: None }) => {
                stderr_line!("warning: {node}: no more requests: the agent has stopped");
            }
            Some(Arrival::End { node, error: Some(status) }) => {
                stderr_line!("warning: {node}: no more requests: {}", status_text(&status));
                failed = Some(AgentError::refused(&node, "GetRequests", &status));
            }
        }
    }
    if arguments.follow {
        return Err(Failure::AllEnded);
    }
    found.sort_by_key(|(ended, _)| *ended);
    let surplus = found.len().saturating_sub(arguments.limit() as usize);
    let found: Vec<Request> = found.into_iter().skip(surplus).map(|(_, request)| request).collect();
    printer.print(&found, out)?;
    match (found.is_empty(), failed, transport) {
        (false, ..) => Ok(()),
        (true, Some(error), _) => Err(error.into()),
        (true, None, Transport::Cluster { client, .. }) => {
            explain_no_rows(client, namespace).await;
            Ok(())
        }
        (true, None, Transport::Socket(_)) => {
            stderr_line!("no request matches; does an AppProfile with requests run here?");
            Ok(())
        }
    }
}

fn ended(response: &GetRequestsResponse) -> (i64, i32) {
    response.time.as_ref().map(|time| (time.seconds, time.nanos)).unwrap_or_default()
}

/// None for a loss, and for rows that have left a node's memory: they are reported.
fn read(response: &GetRequestsResponse) -> Option<Request> {
    match response.response.as_ref()? {
        Response::Request(request) => Some(request.clone()),
        Response::Lost(lost) => {
            RequestPrinter::report_loss(lost);
            None
        }
        Response::Retained(RetainedSince { profile, since, evicted }) => {
            let reaches = since
                .as_ref()
                .map_or_else(String::new, |since| format!("; its rows reach back to {}", clock::milliseconds(since)));
            let (node, profile) = (escape(&response.node_name), escape(profile));
            stderr_line!("{node}: {evicted} requests of {profile} have left its memory{reaches}");
            None
        }
    }
}

fn request(arguments: &RequestsArgs, namespace: Option<&str>) -> GetRequestsRequest {
    let wants_limit = arguments.limit.is_some() || !arguments.follow;
    GetRequestsRequest {
        namespaces: namespace.map(str::to_owned).into_iter().collect(),
        pod: arguments.pod().unwrap_or_default().to_owned(),
        protocol: arguments.protocol.map(|protocol| protocol.as_str().to_owned()).unwrap_or_default(),
        slower_than: arguments.slower_than.and_then(|time| time.try_into().ok()),
        errors: arguments.errors,
        since: arguments.since.map(|time| SystemTime::from(time).into()),
        limit: if wants_limit { arguments.limit() } else { 0 },
        follow: arguments.follow,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        agent::fake::{FakeAgent, request_at},
        args::{Arguments, Command},
    };

    fn arguments(line: &str) -> RequestsArgs {
        let line = format!("trilobite requests --color never {line}");
        let Command::Requests(requests) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command")
        };
        requests
    }

    async fn printed(agent: &FakeAgent, line: &str) -> String {
        let mut out = Vec::new();
        print_requests_by_agents(&arguments(line), &agent.transport(), &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn latest_requests_come_by_the_end_of_their_responses() {
        let agent = FakeAgent::with_requests(vec![request_at(30), request_at(10), request_at(20)]);
        let text = printed(&agent, "--limit 2 -o json").await;
        let times: Vec<&str> = text.lines().map(|line| line.split('"').nth(3).unwrap()).collect();
        assert_eq!(times, ["1970-01-01T00:00:20Z", "1970-01-01T00:00:30Z"]);
        assert_eq!(printed(&agent, "").await.lines().count(), 4, "a header and three rows");
    }

    #[tokio::test]
    async fn filters_are_sent_to_the_agent() {
        let agent = FakeAgent::with_requests(vec![request_at(10)]);
        printed(&agent, "--pod shop/cart --protocol dns --slower-than 100ms --errors --since 1970-01-01T00:00:07Z")
            .await;
        let request = agent.requested_requests().unwrap();
        assert_eq!((request.namespaces, request.pod.as_str()), (vec!["shop".to_owned()], "cart"));
        assert_eq!((request.protocol.as_str(), request.errors, request.limit), ("dns", true, 5_000));
        assert_eq!((request.slower_than.unwrap().nanos, request.since.unwrap().seconds), (100_000_000, 7));
    }

    #[test]
    fn following_starts_from_now_unless_asked_otherwise() {
        let request = |line: &str| super::request(&arguments(line), Some("shop"));
        assert_eq!((request("-f").limit, request("-f").since, request("-f").follow), (0, None, true));
        assert_eq!(request("-f --limit 5").limit, 5);
        assert_eq!(request("").limit, 50);
    }
}
