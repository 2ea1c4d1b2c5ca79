//! One tenant, or a stranger, does not take the relay from others.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use trilobite_relay::{resources::byte_budget::SHARE_BYTES, serve::ConnectionLimits};

use crate::{
    client::HttpsClient,
    fixture::{API, Limits, Relay, exec},
    watches::{large_exec, until},
};

async fn with_limits(connections: ConnectionLimits) -> Relay {
    Relay::start_with(Limits { connections, ..Limits::default() }).await
}

#[tokio::test]
async fn stopped_watches_of_a_tenant_leave_room_for_others() {
    const ROWS: u64 = 1_500;
    let relay = Relay::start().await;
    let path = format!("{API}/namespaces/shop/events?watch=true&allowWatchBookmarks=true");
    let account = |name: &str| {
        let user = format!("system:serviceaccount:shop:{name}");
        relay.allow(&[&format!("{user} watch events shop")]);
        relay.user(&user)
    };
    let mut stopped = Vec::new();
    for name in ["one", "two", "three", "four"] {
        stopped.push(account(name).get(&path).await);
    }
    let (status, refusal) = account("five").get_json(&path).await;
    assert_eq!(status, 429, "{refusal}");
    let mut reading = relay.admin().get(&path).await;
    let sender = relay.alder.state.new_events.clone();
    until("the node is read for all", || sender.receiver_count() == 5).await;
    let (mut read, mut most) = (0, 0);
    for number in 0..ROWS {
        sender.send(large_exec(u32::try_from(number).unwrap())).unwrap();
        if number % 10 == 9 {
            while read <= number {
                read += u64::from(reading.line().await.unwrap()["type"] == "ADDED");
            }
            most = most.max(relay.budget.used());
        }
    }
    assert!(relay.rows("events", "lost") > 0, "the stopped ones have lost rows");
    // The client that reads has a few rows in its queue.
    assert!(most > SHARE_BYTES / 2 && most <= SHARE_BYTES + (1 << 20), "{most}");
}

#[tokio::test]
async fn watch_that_is_not_read_is_closed() {
    let unread = Duration::from_millis(500);
    let relay = with_limits(ConnectionLimits { unread, ..ConnectionLimits::default() }).await;
    let stopped = relay.admin().get(&format!("{API}/namespaces/shop/events?watch=true")).await;
    let idle = relay.admin().get(&format!("{API}/namespaces/bank/events?watch=true")).await;
    let sender = relay.alder.state.new_events.clone();
    until("the node is read for both", || sender.receiver_count() == 2).await;
    (0..2_000).for_each(|number| drop(sender.send(large_exec(number))));
    until("the client's queue is full", || relay.rows("events", "lost") > 0).await;
    until("the watch is closed", || relay.metrics.watchers.get() == 1).await;
    until("its memory is free", || relay.budget.used() == 0).await;
    tokio::time::sleep(2 * unread).await;
    assert_eq!(relay.metrics.watchers.get(), 1, "one to whom nothing is sent stays");
    drop((stopped, idle));
}

#[tokio::test]
async fn flood_of_strangers_keeps_no_user_out() {
    let relay = Relay::start().await;
    relay.allow(&["zoe list flows shop"]);
    let stranger = HttpsClient::new(relay.address, &relay.authority, None);
    let mut flood = Vec::new();
    for number in 0..600 {
        let mut tcp = TcpStream::connect(relay.address).await.unwrap();
        if number % 3 == 0 {
            // The beginning of a handshake.
            let _ = tcp.write_all(&[22, 3, 1, 2, 0]).await;
        }
        flood.push(tcp);
        if number % 100 == 99 {
            flood.push(TcpStream::connect(relay.plain_address).await.unwrap());
            let path = format!("{API}/namespaces/shop/flows");
            assert_eq!(relay.user("zoe").get(&path).await.status, 200, "{number} strangers");
            assert_eq!(stranger.get("/livez").await.status, 200, "{number} strangers");
        }
    }
    // Those that are left last five seconds.
    let started = Instant::now();
    for mut tcp in flood {
        let mut byte = [0];
        let read = timeout(Duration::from_secs(20), tcp.read(&mut byte)).await.expect("it is closed");
        assert!(!matches!(read, Ok(1)));
    }
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn flood_of_the_metrics_port_keeps_no_probe_out() {
    let relay = Relay::start().await;
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(TcpStream::connect(relay.plain_address).await.unwrap());
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        let mut tcp = TcpStream::connect(relay.plain_address).await.unwrap();
        tcp.write_all(format!("GET {path} HTTP/1.1\r\nhost: relay\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(20), tcp.read_to_string(&mut answer)).await.expect("an answer").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
}

#[tokio::test]
async fn user_with_a_token_is_no_stranger() {
    let lifetime = Duration::from_secs(2);
    let relay = with_limits(ConnectionLimits { stranger_lifetime: lifetime, ..ConnectionLimits::default() }).await;
    relay.allow(&["zoe watch events shop"]);
    let zoe = HttpsClient::new(relay.address, &relay.authority, None).with("authorization", "Bearer token-of-zoe");
    let mut watch = zoe.get(&format!("{API}/namespaces/shop/events?watch=true")).await;
    let sender = relay.alder.state.new_events.clone();
    until("the node is read", || sender.receiver_count() == 1).await;
    tokio::time::sleep(lifetime + Duration::from_millis(500)).await;
    sender.send(exec("alder", "shop", "cart-7", 7)).unwrap();
    assert_eq!(watch.line().await.unwrap()["object"]["object"]["process_exec"]["process"]["pid"], 7);

    let stranger = HttpsClient::new(relay.address, &relay.authority, None);
    let mut open = stranger.kept_open().await;
    assert_eq!(open.get("/livez").await, (200, Some("close".into())));
}
