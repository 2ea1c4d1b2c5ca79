//! Requests by the read API: the latest, or as they come.

use std::io::Write;

use jiff::Timestamp;
use serde_json::Value;
use trilobite_api::{
    json,
    requests::{GetRequestsResponse, Request, get_requests_response::Response},
};

use super::{explain::explain_no_rows, printer::RequestPrinter, searched::namespace};
use crate::{
    agent::Transport,
    args::{REQUESTS_MAX, RequestsArgs},
    commands::{failure::Failure, way::CoverageReport},
    output::stderr::stderr_line,
    read_api::{List, Query, ReadApi, WatchUpdate, Watcher},
};

pub(super) async fn print_requests_by_read_api(
    arguments: &RequestsArgs,
    api: &ReadApi,
    transport: &Transport,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let namespace = namespace(arguments, transport);
    let mut printer = RequestPrinter::new(arguments, namespace.is_none());
    let mut coverage = CoverageReport::default();
    let mut listed = None;
    let since_alone = arguments.follow && arguments.limit.is_none();
    if arguments.wants_past() && !since_alone {
        let list = api.list(&past(arguments, namespace, Timestamp::now())).await?;
        coverage.report(&list.coverage);
        let found = wanted(arguments, &list);
        printer.print(&found, out)?;
        if !arguments.follow {
            if let (true, Transport::Cluster { client, .. }) = (found.is_empty(), transport) {
                explain_no_rows(client, namespace).await;
            }
            return Ok(());
        }
        listed = Some(list);
    }
    // Everything since a time is more than a list holds.
    let watched = match arguments.since {
        Some(since) if since_alone => query(arguments, namespace).since(since, Timestamp::now()),
        _ => query(arguments, namespace),
    };
    let mut watcher = Watcher::open(api, watched, listed.as_ref()).await?;
    drop(listed);
    loop {
        match watcher.next().await? {
            WatchUpdate::Added(item) => match read(&item.object) {
                Some(request) if is_wanted(arguments, &request) => printer.print(&[request], out)?,
                Some(_) | None => {}
            },
            WatchUpdate::Covered(covered) => coverage.report(&covered),
            WatchUpdate::Gap(why) => stderr_line!("warning: requests are missing: {why}"),
            WatchUpdate::Interrupted(why) => stderr_line!("warning: {why}; trying again"),
        }
    }
}

/// None for a loss, which is reported.
fn read(object: &Value) -> Option<Request> {
    if object.get("lost").is_some() {
        if let Ok(GetRequestsResponse { response: Some(Response::Lost(lost)), .. }) = json::read(object) {
            RequestPrinter::report_loss(&lost);
        }
        return None;
    }
    json::read(object).inspect_err(|error| stderr_line!("warning: a request cannot be read: {error}")).ok()
}

/// The latest requests of a list that are asked for.
fn wanted(arguments: &RequestsArgs, list: &List) -> Vec<Request> {
    let mut requests: Vec<Request> = list.items.iter().filter_map(|item| read(&item.object)).collect();
    requests.retain(|request| is_wanted(arguments, request));
    let surplus = requests.len().saturating_sub(arguments.limit() as usize);
    requests.drain(..surplus);
    requests
}

/// What the relay does not select by.
fn is_wanted(arguments: &RequestsArgs, request: &Request) -> bool {
    let began = request.time.as_ref().and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    let is_in_time = arguments.since.zip(began).is_none_or(|(since, began)| began >= since);
    is_in_time && arguments.pod().is_none_or(|prefix| request.pod.starts_with(prefix))
}

fn query(arguments: &RequestsArgs, namespace: Option<&str>) -> Query {
    let mut query = Query::new("requests", namespace);
    if let Some(protocol) = arguments.protocol {
        query = query.field("protocol", protocol.as_str());
    }
    if arguments.errors {
        query = query.field("isError", "true");
    }
    if let Some(slower_than) = arguments.slower_than {
        query = query.parameter("slowerThan", format!("{}ms", slower_than.as_millis()));
    }
    match &arguments.filter.node {
        Some(node) => query.field("node", node),
        None => query,
    }
}

/// The list of the past. The relay does not select by the beginning of a pod's name: its requests may be the oldest of many.
fn past(arguments: &RequestsArgs, namespace: Option<&str>, now: Timestamp) -> Query {
    let limit = if arguments.pod().is_some() { REQUESTS_MAX } else { arguments.limit() };
    let query = query(arguments, namespace).parameter("limit", limit);
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

    fn arguments(line: &str) -> RequestsArgs {
        let line = format!("trilobite requests {line}");
        let Command::Requests(requests) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command")
        };
        requests
    }

    fn past(line: &str) -> Query {
        let arguments = arguments(line);
        let namespace = arguments.namespace(Some("here"));
        super::past(&arguments, namespace, Timestamp::from_second(1_000).unwrap())
    }

    #[test]
    fn relay_selects_what_it_can() {
        let query = Query::new("requests", Some("shop")).field("protocol", "pgsql").field("isError", "true");
        let query = query.parameter("slowerThan", "1500ms").field("node", "alder").parameter("limit", 50);
        assert_eq!(past("-n shop --protocol PGSQL --errors --slower-than 1500ms --node alder"), query);
        assert_eq!(past(""), Query::new("requests", Some("here")).parameter("limit", 50));
        assert_eq!(past("-A --limit 7"), Query::new("requests", None).parameter("limit", 7));
        assert_eq!(past("--pod shop/cart --limit 7"), Query::new("requests", Some("shop")).parameter("limit", 5_000));
        let since = Query::new("requests", Some("here")).parameter("limit", 5_000).parameter("sinceSeconds", 101);
        assert_eq!(past("--since 1970-01-01T00:15:00Z"), since);
    }

    #[test]
    fn pod_and_fraction_of_time_are_selected_here() {
        let request = |pod: &str, seconds| Request {
            pod: pod.into(),
            time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            ..Request::default()
        };
        let arguments = arguments("--pod shop/cart --since 1970-01-01T00:00:07Z");
        assert!(is_wanted(&arguments, &request("cart-7", 7)));
        assert!(!is_wanted(&arguments, &request("till-1", 7)) && !is_wanted(&arguments, &request("cart-7", 6)));
    }
}
