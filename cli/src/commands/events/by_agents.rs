//! GetEvents of every agent as one stream.

use std::io::Write;

use futures::StreamExt;
use tokio::time::{Instant, sleep_until};
use trilobite_api::tetragon::{
    EventType, Filter, GetEventsRequest, fine_guidance_sensors_client::FineGuidanceSensorsClient,
};

use super::printer::EventPrinter;
use crate::{
    agent::{Arrival, Transport, merge, status_text},
    args::{EventsArgs, FilterArgs},
    commands::{
        agents::{connect, open_streams, reconnect},
        failure::Failure,
    },
    output::stderr::stderr_line,
};

pub(super) async fn print_events_by_agents(
    arguments: &EventsArgs,
    transport: &Transport,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let agents = connect(transport, arguments.filter.node.as_deref()).await?;
    let request = request(arguments);
    let open = move |channel| {
        let request = request.clone();
        async move { FineGuidanceSensorsClient::new(channel).get_events(request).await }
    };
    let (transport, follow) = (transport.clone(), arguments.follow);
    let opened = open_streams(agents, "GetEvents", open.clone()).await?;
    let mut events = merge(opened, move |node| reconnect(transport.clone(), follow, node, open.clone()));

    let mut printer = EventPrinter::new(arguments);
    let end = sleep_until(Instant::now() + printer.span());
    tokio::pin!(end);
    while printer.wants_more() {
        let arrival = tokio::select! {
            arrival = events.next() => arrival,
            () = &mut end => break,
        };
        match arrival {
            Some(Arrival::Message(event)) => printer.print(&event, out)?,
            Some(Arrival::End { node, error }) => {
                let why = error.map_or("the agent has stopped".into(), |status| status_text(&status));
                stderr_line!("warning: {node}: no more events: {why}");
            }
            None => return Err(Failure::AllEnded),
        }
    }
    printer.finish();
    Ok(())
}

fn request(arguments: &EventsArgs) -> GetEventsRequest {
    let filter = Filter {
        event_set: arguments.types.iter().map(|kind| kind.event_type().into()).collect(),
        ..pod_filter(&arguments.filter)
    };
    // Filters are alternatives, and an empty one passes all. Agents send losses as RateLimitInfo to clients that ask
    // for it.
    let losses = Filter { event_set: vec![EventType::RateLimitInfo.into()], ..Filter::default() };
    GetEventsRequest { allow_list: vec![filter, losses], ..GetEventsRequest::default() }
}

fn pod_filter(arguments: &FilterArgs) -> Filter {
    let (namespace, pod) = arguments.pod();
    Filter {
        namespace: namespace.map(str::to_owned).into_iter().collect(),
        // Only the '.' of a valid name has a meaning in a regular expression; anything else is escaped too.
        pod_regex: pod.map(|pod| format!("^{}", escaped(pod))).into_iter().collect(),
        ..Filter::default()
    }
}

fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_punctuation() && c != '-' && c != '_' {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use trilobite_api::tetragon::{GetEventsResponse, ProcessThrottle, RateLimitInfo, get_events_response::Event};

    use super::*;
    use crate::{
        agent::fake::{FakeAgent, exec_in},
        args::{Arguments, Command},
    };

    fn arguments(line: &str) -> (EventsArgs, Arguments) {
        let parse = || Arguments::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Events(events) = parse().command else { panic!("another command") };
        (events, parse())
    }

    async fn printed(agent: &FakeAgent, line: &str) -> Result<String, Failure> {
        let (events, _) = arguments(line);
        let mut out = Vec::new();
        print_events_by_agents(&events, &agent.transport(), &mut out).await?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn events_of_an_agent_are_lines() {
        let agent = FakeAgent::with_events(vec![exec_in("shop", "till-1"), exec_in("shop", "till-2")]);
        let text = printed(&agent, "trilobite events --count 2").await.unwrap();
        assert_eq!(text, "🚀 process shop/till-1 /bin/fossil dig\n🚀 process shop/till-2 /bin/fossil dig\n");
        let json = printed(&agent, "trilobite events --count 1 -o json").await.unwrap();
        assert!(json.starts_with(r#"{"process_exec":{"process":{"binary":"/bin/fossil""#), "{json}");
    }

    #[tokio::test]
    async fn losses_are_printed_and_do_not_count_as_events() {
        let of = |event| GetEventsResponse { event: Some(event), node_name: "alder".into(), ..Default::default() };
        let missing = of(Event::RateLimitInfo(RateLimitInfo { number_of_dropped_process_events: 7 }));
        let slow = ProcessThrottle { cgroup: "9 events lost: too slow".into(), ..ProcessThrottle::default() };
        let agent = FakeAgent::with_events(vec![missing, of(Event::ProcessThrottle(slow)), exec_in("shop", "till-1")]);
        let text = printed(&agent, "trilobite events --count 1").await.unwrap();
        assert_eq!(
            text,
            "🕳 lost    alder 7 events lost\n🕳 lost    alder 9 events lost: too slow\n🚀 process shop/till-1 /bin/fossil dig\n"
        );
    }

    #[tokio::test]
    async fn command_fails_when_the_agent_stops() {
        let agent = FakeAgent::with_events(vec![exec_in("shop", "till-1")]).that_stops();
        let failure = printed(&agent, "trilobite events -f").await.unwrap_err();
        assert!(matches!(failure, Failure::AllEnded), "{failure}");
    }

    #[tokio::test]
    async fn command_ends_by_itself_without_follow() {
        let agent = FakeAgent::with_events(Vec::new());
        assert_eq!(printed(&agent, "trilobite events --for 50ms").await.unwrap(), "");
    }

    #[tokio::test]
    async fn refusal_is_shown_with_the_agents_reason() {
        let agent = FakeAgent::with_events(Vec::new()).that_refuses("pod_regex[0]: not a regular expression");
        let failure = printed(&agent, "trilobite events").await.unwrap_err();
        assert!(failure.to_string().ends_with("GetEvents: pod_regex[0]: not a regular expression"), "{failure}");
    }

    #[test]
    fn agent_filters_and_a_name_is_not_an_expression() {
        let (events, _) = arguments("trilobite events -n shop --pod till.1 --type exec,exit");
        let filter = &request(&events).allow_list[0];
        assert_eq!(filter.namespace, ["shop"]);
        assert_eq!(filter.pod_regex, ["^till\\.1"]);
        assert_eq!(filter.event_set, [EventType::ProcessExec as i32, EventType::ProcessExit as i32]);
        assert_eq!(request(&arguments("trilobite events").0).allow_list[0], Filter::default());
        assert_eq!(request(&events).allow_list[1].event_set, [EventType::RateLimitInfo as i32]);
    }
}
