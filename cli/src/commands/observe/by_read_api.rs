//! Flows by the read API: the latest, or as they happen.

use std::io::Write;

use jiff::Timestamp;
use trilobite_api::{json, observer::GetFlowsResponse};

use super::{
    filters::common_namespace,
    matching::{FlowMatcher, is_more_than_asked},
    printing::{explain_no_flow, latest, number, print_flow, print_found, style},
};
use crate::{
    args::ObserveArgs,
    commands::{failure::Failure, way::CoverageReport},
    output::stderr::stderr_line,
    read_api::{List, Query, ReadApi, WatchUpdate, Watcher},
};

/// The most that one list can hold.
const LIMIT_MAX: u64 = 5_000;

pub(super) async fn print_flows_by_read_api(
    arguments: &ObserveArgs,
    api: &ReadApi,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let style = style(arguments);
    let matcher = FlowMatcher::new(arguments);
    let mut coverage = CoverageReport::default();
    let mut listed = None;
    let wants_past = !arguments.follow || arguments.last.is_some() || arguments.since.is_some();
    if wants_past {
        let list = api.list(&past(arguments, Timestamp::now())).await?;
        coverage.report(&list.coverage);
        let found = latest(wanted(&matcher, &list), number(arguments));
        if !arguments.follow {
            if found.is_empty() {
                explain_no_flow(arguments, "is the network layer on, or a FlowCapture running in the namespace?");
            }
            return print_found(&found, arguments, out);
        }
        found.iter().try_for_each(|flow| print_flow(flow, arguments.output, style, out))?;
        listed = Some(list);
    }
    let mut watcher = Watcher::open(api, query(arguments), listed.as_ref()).await?;
    drop(listed);
    loop {
        match watcher.next().await? {
            WatchUpdate::Added(item) => match json::read::<GetFlowsResponse>(&item.object) {
                Ok(flow) if matcher.matches(&flow) => {
                    print_flow(&flow, arguments.output, style, out)?;
                }
                Ok(_) => {}
                Err(error) => stderr_line!("warning: a flow cannot be read: {error}"),
            },
            WatchUpdate::Covered(covered) => coverage.report(&covered),
            WatchUpdate::Gap(why) => stderr_line!("warning: flows are missing: {why}"),
            WatchUpdate::Interrupted(why) => stderr_line!("warning: {why}; trying again"),
        }
    }
}

fn wanted(matcher: &FlowMatcher, list: &List) -> Vec<GetFlowsResponse> {
    let mut flows = Vec::with_capacity(list.items.len());
    for item in &list.items {
        match json::read(&item.object) {
            Ok(flow) => flows.push(flow),
            Err(error) => stderr_line!("warning: a flow cannot be read: {error}"),
        }
    }
    flows.retain(|flow| matcher.matches(flow));
    flows
}

/// What the relay selects by.
fn query(arguments: &ObserveArgs) -> Query {
    let mut query = Query::new("flows", common_namespace(&arguments.filter).as_deref());
    if let [protocol] = arguments.filter.protocol.as_slice() {
        query = query.field("protocol", protocol.as_str());
    }
    if let [verdict] = arguments.filter.verdict.as_slice() {
        query = query.field("verdict", verdict.name());
    }
    match &arguments.filter.node {
        Some(node) => query.field("node", node),
        None => query,
    }
}

/// The list of past flows. Those that are asked for may be the oldest of many.
fn past(arguments: &ObserveArgs, now: Timestamp) -> Query {
    let limit = match number(arguments) {
        0 => LIMIT_MAX,
        _ if is_more_than_asked(arguments) => LIMIT_MAX,
        number => number.min(LIMIT_MAX),
    };
    let query = query(arguments).parameter("limit", limit);
    match arguments.since {
        Some(since) => query.since(since, now),
        None => query,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    fn past(line: &str) -> Query {
        let line = format!("trilobite observe {line}");
        let Command::Observe(observe) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command")
        };
        super::past(&observe, Timestamp::from_second(1_000).unwrap())
    }

    #[test]
    fn relay_selects_namespace_node_verdict_and_protocol() {
        let query = Query::new("flows", Some("shop")).field("protocol", "tcp").field("verdict", "DROPPED");
        let query = query.field("node", "alder").parameter("limit", 20);
        assert_eq!(past("-n shop --protocol tcp --verdict dropped --node alder"), query);
    }

    #[test]
    fn limit_is_the_number_unless_flows_are_selected_here() {
        assert_eq!(past("--last 7"), Query::new("flows", None).parameter("limit", 7));
        assert_eq!(past("--last 7 --pod till"), Query::new("flows", None).parameter("limit", 5_000));
        let since = Query::new("flows", None).parameter("limit", 5_000).parameter("sinceSeconds", 101);
        assert_eq!(past("--since 1970-01-01T00:15:00Z"), since);
    }
}
