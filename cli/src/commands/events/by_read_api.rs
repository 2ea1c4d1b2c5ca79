//! Events by the read API, as they happen.

use std::io::Write;

use tokio::time::{Instant, sleep_until};
use trilobite_api::{
    json,
    tetragon::{GetEventsResponse, Process, get_events_response::Event},
};

use super::printer::EventPrinter;
use crate::{
    args::EventsArgs,
    commands::{failure::Failure, way::CoverageReport},
    output::{event_line, stderr::stderr_line},
    read_api::{Query, ReadApi, WatchUpdate, Watcher},
};

pub(super) async fn print_events_by_read_api(
    arguments: &EventsArgs,
    api: &ReadApi,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut watcher = Watcher::open(api, query(arguments), None).await?;
    let mut printer = EventPrinter::new(arguments);
    let end = sleep_until(Instant::now() + printer.span());
    tokio::pin!(end);
    let mut coverage = CoverageReport::default();
    while printer.wants_more() {
        let update = tokio::select! {
            update = watcher.next() => update?,
            () = &mut end => break,
        };
        match update {
            WatchUpdate::Added(item) => match json::read::<GetEventsResponse>(&item.object) {
                Ok(event) if is_wanted(arguments, &event) => printer.print(&event, out)?,
                Ok(_) => {}
                Err(error) => stderr_line!("warning: an event cannot be read: {error}"),
            },
            WatchUpdate::Covered(covered) => coverage.report(&covered),
            WatchUpdate::Gap(why) => stderr_line!("warning: events are missing: {why}"),
            WatchUpdate::Interrupted(why) => stderr_line!("warning: {why}; trying again"),
        }
    }
    printer.finish();
    Ok(())
}

/// What the relay selects by; `is_wanted` does the rest.
fn query(arguments: &EventsArgs) -> Query {
    let (namespace, _) = arguments.filter.pod();
    let mut query = Query::new("events", namespace);
    if let [kind] = arguments.types.as_slice() {
        query = query.field("event", kind.name());
    }
    match &arguments.filter.node {
        Some(node) => query.field("node", node),
        None => query,
    }
}

/// A loss might be one of anything.
fn is_wanted(arguments: &EventsArgs, response: &GetEventsResponse) -> bool {
    if event_line::is_loss(response) {
        return true;
    }
    let Some(event) = &response.event else { return false };
    let (_, pod) = arguments.filter.pod();
    let name = process(event).and_then(|process| process.pod.as_ref()).map_or("", |pod| pod.name.as_str());
    let is_kind = arguments.types.is_empty() || arguments.types.iter().any(|kind| kind.is_kind_of(event));
    is_kind && pod.is_none_or(|prefix| name.starts_with(prefix))
}

fn process(event: &Event) -> Option<&Process> {
    match event {
        Event::ProcessExec(event) => event.process.as_ref(),
        Event::ProcessExit(event) => event.process.as_ref(),
        Event::ProcessKprobe(event) => event.process.as_ref(),
        Event::ProcessTracepoint(event) => event.process.as_ref(),
        Event::ProcessLoader(event) => event.process.as_ref(),
        Event::ProcessUprobe(event) => event.process.as_ref(),
        Event::ProcessLsm(event) => event.process.as_ref(),
        Event::ProcessUsdt(event) => event.process.as_ref(),
        Event::ProcessThrottle(_) | Event::Test(_) | Event::RateLimitInfo(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use trilobite_api::tetragon::RateLimitInfo;

    use super::*;
    use crate::{
        agent::fake::exec_in,
        args::{Arguments, Command},
    };

    fn arguments(line: &str) -> EventsArgs {
        let Command::Events(events) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command")
        };
        events
    }

    #[test]
    fn namespace_node_and_one_kind_are_selected_by_the_relay() {
        let query = |line: &str| super::query(&arguments(line));
        assert_eq!(query("trilobite events"), Query::new("events", None));
        let one = Query::new("events", Some("shop")).field("event", "exec").field("node", "alder");
        assert_eq!(query("trilobite events --pod shop/till --type exec --node alder"), one);
        assert_eq!(query("trilobite events -n shop --type exec,exit"), Query::new("events", Some("shop")));
    }

    #[test]
    fn pod_and_kinds_are_selected_here() {
        let till = exec_in("shop", "till-1");
        assert!(is_wanted(&arguments("trilobite events --pod shop/till"), &till));
        assert!(!is_wanted(&arguments("trilobite events --pod shop/shelf"), &till));
        assert!(is_wanted(&arguments("trilobite events --type exec,exit"), &till));
        assert!(!is_wanted(&arguments("trilobite events --type exit,tracepoint"), &till));
        let event = Some(Event::RateLimitInfo(RateLimitInfo { number_of_dropped_process_events: 7 }));
        let loss = GetEventsResponse { event, ..GetEventsResponse::default() };
        assert!(is_wanted(&arguments("trilobite events --pod shop/shelf --type exit"), &loss));
    }
}
