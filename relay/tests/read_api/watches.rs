//! Watches: rows as they come, clients that stop reading, positions, bookmarks.

use std::time::Duration;

use serde_json::Value;
use trilobite_api::tetragon::{GetEventsResponse, RateLimitInfo, get_events_response::Event};

use crate::fixture::{API, Relay, exec, flow};

/// So large that a few of them fill the buffers of sockets.
pub(crate) fn large_exec(number: u32) -> GetEventsResponse {
    let mut event = exec("alder", "shop", "cart-7", number);
    if let Some(Event::ProcessExec(exec)) = &mut event.event
        && let Some(process) = &mut exec.process
    {
        process.arguments = "x".repeat(16 << 10);
    }
    event
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}");
}

fn coverage(bookmark: &Value) -> Value {
    assert_eq!(bookmark["type"], "BOOKMARK", "{bookmark}");
    serde_json::from_str(bookmark["object"]["metadata"]["annotations"]["trilobite.dev/coverage"].as_str().unwrap())
        .unwrap()
}

#[tokio::test]
async fn events_of_both_nodes_arrive() {
    let relay = Relay::start().await;
    let mut watch = relay.admin().get(&format!("{API}/namespaces/shop/events?watch=true")).await;
    assert_eq!(watch.status, 200);
    let senders = [&relay.alder.state.new_events, &relay.birch.state.new_events];
    until("both nodes are read", || senders.iter().all(|sender| sender.receiver_count() > 0)).await;
    senders[0].send(exec("alder", "shop", "cart-7", 1)).unwrap();
    let first = watch.line().await.unwrap();
    assert_eq!((first["type"].as_str(), first["object"]["kind"].as_str()), (Some("ADDED"), Some("RuntimeEvent")));
    assert_eq!(first["object"]["object"]["process_exec"]["process"]["pid"], 1);
    senders[1].send(exec("birch", "shop", "till-1", 2)).unwrap();
    assert_eq!(watch.line().await.unwrap()["object"]["object"]["node_name"], "birch");
}

#[tokio::test]
async fn stopped_client_blocks_nobody_and_its_rows_are_counted() {
    const ROWS: u64 = 2_000;
    let relay = Relay::start().await;
    let path = format!("{API}/namespaces/shop/events?watch=true&allowWatchBookmarks=true");
    let mut reading = relay.admin().get(&path).await;
    let stopped = relay.admin().get(&path).await;
    let sender = relay.alder.state.new_events.clone();
    until("the node is read for both", || sender.receiver_count() == 2).await;
    let mut read = 0;
    for number in 0..ROWS {
        sender.send(large_exec(u32::try_from(number).unwrap())).unwrap();
        if number % 10 == 9 {
            // As fast as a client on the same thread can be.
            while read <= number {
                let line = reading.line().await.unwrap();
                read += u64::from(line["type"] == "ADDED");
            }
        }
    }
    assert_eq!(read, ROWS, "the client that reads gets every row");
    until("all rows have come", || relay.rows("events", "received") == 2 * ROWS).await;
    assert!(relay.budget.used() <= 1 << 20, "{}", relay.budget.used());
    let lost_before = relay.rows("events", "lost");
    assert!(lost_before > 0);

    drop(stopped);
    until("the queue of the client that has gone is counted", || {
        relay.rows("events", "received") == relay.rows("events", "delivered") + relay.rows("events", "lost")
    })
    .await;
    assert_eq!(relay.budget.used(), 0);
    drop(reading);
    until("agents are not read for nobody", || sender.receiver_count() == 0).await;
}

/// Sends more than queue and sockets hold before the client reads.
async fn overflow(relay: &Relay, rows: u32) {
    let sender = relay.alder.state.new_events.clone();
    until("the node is read", || sender.receiver_count() == 1).await;
    (0..rows).for_each(|number| drop(sender.send(large_exec(number))));
    until("rows are lost", || relay.rows("events", "lost") > 0).await;
}

#[tokio::test]
async fn slow_client_with_bookmarks_is_told_what_it_lost() {
    let relay = Relay::start().await;
    let path = format!("{API}/namespaces/shop/events?watch=true&allowWatchBookmarks=1");
    let mut watch = relay.admin().get(&path).await;
    overflow(&relay, 2_000).await;
    until("all rows have come", || relay.rows("events", "received") == 2_000).await;
    let (mut read, mut lost) = (0, 0);
    while read + lost < 2_000 {
        let line = watch.line().await.unwrap();
        match line["type"].as_str().unwrap() {
            "ADDED" => read += 1,
            _ => lost = coverage(&line)["lost"].as_u64().unwrap(),
        }
    }
    assert_eq!((read + lost, lost), (2_000, relay.rows("events", "lost")));
    let _ = relay.alder.state.new_events.send(exec("alder", "shop", "cart-7", 7));
    assert_eq!(watch.line().await.unwrap()["type"], "ADDED", "the watch goes on");
}

#[tokio::test]
async fn slow_client_without_bookmarks_ends_with_410() {
    let relay = Relay::start().await;
    let mut watch = relay.admin().get(&format!("{API}/namespaces/shop/events?watch=true")).await;
    overflow(&relay, 2_000).await;
    let mut read = 0;
    let report = loop {
        let line = watch.line().await.unwrap();
        if line["type"] == "ERROR" {
            break line;
        }
        read += 1;
    };
    assert_eq!((&report["object"]["code"], &report["object"]["reason"]), (&410.into(), &"Expired".into()));
    let message = report["object"]["message"].as_str().unwrap();
    assert!(message.contains(" rows are lost because the client reads too slowly"), "{message}");
    assert!(watch.line().await.is_none(), "the watch ends");
    until("what was left is counted", || {
        relay.rows("events", "received") == relay.rows("events", "delivered") + relay.rows("events", "lost")
    })
    .await;
    assert_eq!(relay.rows("events", "delivered"), read);
}

#[tokio::test]
async fn losses_of_agents_are_rows_or_bookmarks() {
    let relay = Relay::start().await;
    let mut plain = relay.admin().get(&format!("{API}/namespaces/shop/events?watch=true")).await;
    let path = format!("{API}/namespaces/shop/events?watch=true&allowWatchBookmarks=true");
    let mut with_bookmarks = relay.admin().get(&path).await;
    let sender = relay.alder.state.new_events.clone();
    until("the node is read for both", || sender.receiver_count() == 2).await;
    let event = Some(Event::RateLimitInfo(RateLimitInfo { number_of_dropped_process_events: 9 }));
    sender.send(GetEventsResponse { event, ..GetEventsResponse::default() }).unwrap();
    let row = plain.line().await.unwrap();
    assert_eq!(row["object"]["object"]["rate_limit_info"]["number_of_dropped_process_events"], "9");
    let mut bookmark = coverage(&with_bookmarks.line().await.unwrap());
    assert_eq!(bookmark["nodes"]["answered"], 2, "the first says who answers");
    while bookmark["lost"] == 0 {
        bookmark = coverage(&with_bookmarks.line().await.unwrap());
    }
    assert_eq!(bookmark["lost"], 9);
}

#[tokio::test]
async fn watch_of_flows_goes_on_after_its_list() {
    let relay = Relay::start().await;
    let now = u64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    let listed = flow("alder", "shop", "cart-7", now - 100_000_000);
    relay.alder.state.flows.lock().push(listed);
    let (_, list) = relay.admin().get_json(&format!("{API}/namespaces/shop/flows")).await;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    // It came into the agent's buffer late, with an earlier time.
    let between = flow("alder", "shop", "cart-8", now - 50_000_000);
    relay.alder.state.flows.lock().push(between);
    let path = format!("{API}/namespaces/shop/flows?watch=true&resourceVersion={version}");
    let mut watch = relay.admin().get(&path).await;
    let line = watch.line().await.unwrap();
    assert_eq!(line["object"]["object"]["flow"]["destination"]["pod_name"], "cart-8", "neither skipped nor repeated");
}

#[tokio::test]
async fn position_that_agents_have_not_kept_is_gone() {
    let relay = Relay::start().await;
    *relay.birch.state.complete_since.lock() = Some(9_000_000_000);
    let path = format!("{API}/namespaces/shop/flows?watch=true&resourceVersion=");
    let (status, body) = relay.admin().get_json(&format!("{path}8000000000")).await;
    assert_eq!((status, body["reason"].as_str()), (410, Some("Expired")));
    let message = body["message"].as_str().unwrap();
    assert!(
        message
            .starts_with("node birch has not kept its flows from 1970-01-01T00:00:08.000Z to 1970-01-01T00:00:09.000Z"),
        "{message}"
    );
    assert_eq!(relay.admin().get(&format!("{path}9000000000")).await.status, 200);
    let (status, body) =
        relay.admin().get_json(&format!("{API}/namespaces/shop/events?watch=true&resourceVersion=5")).await;
    assert_eq!(status, 410);
    assert!(body["message"].as_str().unwrap().starts_with("events are not kept"), "{body}");
}

#[tokio::test]
async fn watch_follows_nodes_that_come_and_go() {
    let relay = Relay::start().await;
    let both = relay.addresses.borrow().clone();
    let mut only_alder = (*both).clone();
    only_alder.remove("birch");
    relay.addresses.send_replace(only_alder.into());
    let path = format!("{API}/namespaces/shop/events?watch=true");
    let mut watch = relay.admin().get(&path).await;
    let sender = relay.birch.state.new_events.clone();
    assert_eq!(sender.receiver_count(), 0);
    relay.addresses.send_replace(both);
    until("the new node is read", || sender.receiver_count() == 1).await;
    sender.send(exec("birch", "shop", "till-1", 2)).unwrap();
    assert_eq!(watch.line().await.unwrap()["object"]["object"]["node_name"], "birch");
}

#[tokio::test]
async fn timeout_ends_a_watch_and_users_have_a_bound() {
    let relay = Relay::start().await;
    let path = format!("{API}/namespaces/shop/events?watch=true");
    let mut short = relay.admin().get(&format!("{path}&timeoutSeconds=1")).await;
    assert!(short.line().await.is_none());
    drop(short);
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(relay.admin().get(&path).await);
    }
    let (status, body) = relay.admin().get_json(&path).await;
    assert_eq!((status, body["message"].as_str()), (429, Some("4 watches of user \"admin\" are open already")));
    open.pop();
    until("the place is free", || relay.alder.state.new_events.receiver_count() == 3).await;
    assert_eq!(relay.admin().get(&path).await.status, 200);
}
