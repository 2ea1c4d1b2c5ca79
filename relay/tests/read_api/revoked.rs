//! Watches whose user may not read any more, or of whom the API server says nothing.

use std::time::{Duration, Instant};

use trilobite_relay::resources::permission::PermissionTimes;

use crate::{
    fixture::{API, Limits, Relay},
    watches::{large_exec, until},
};

const WATCH: &str = "namespaces/shop/events?watch=true";

/// A decision counts for ten seconds, so that an end comes then.
async fn checking_often() -> Relay {
    let permission =
        PermissionTimes { recheck_interval: Duration::from_millis(200), grace: Duration::from_millis(200) };
    Relay::start_with(Limits { permission, ..Limits::default() }).await
}

#[tokio::test]
async fn watch_ends_when_its_user_may_not_read_any_more() {
    let relay = checking_often().await;
    let mut watch = relay.admin().get(&format!("{API}/{WATCH}")).await;
    let mut profiles = relay.admin().get(&format!("{API}/namespaces/shop/profiles?watch=true")).await;
    relay.rights.lock().allowed.clear();
    for watch in [&mut watch, &mut profiles] {
        let end = watch.line().await.unwrap();
        assert_eq!((end["type"].as_str(), end["object"]["code"].as_u64()), (Some("ERROR"), Some(403)), "{end}");
        assert!(watch.line().await.is_none());
    }
    until("both are closed", || relay.metrics.watchers.get() == 0).await;
}

#[tokio::test]
async fn client_that_does_not_read_is_checked_too() {
    let relay = checking_often().await;
    let unread = relay.admin().get(&format!("{API}/{WATCH}&allowWatchBookmarks=true")).await;
    let sender = relay.alder.state.new_events.clone();
    until("the node is read", || sender.receiver_count() == 1).await;
    (0..2_000).for_each(|number| drop(sender.send(large_exec(number))));
    until("the client's queue is full", || relay.rows("events", "lost") > 0).await;
    let started = Instant::now();
    relay.rights.lock().allowed.clear();
    until("the agents are not read any more", || sender.receiver_count() == 0).await;
    until("its rows are counted", || relay.metrics.watchers.get() == 0 && relay.budget.used() == 0).await;
    assert!(started.elapsed() < Duration::from_secs(50), "before the limit for clients that do not read");
    drop(unread);
}

#[tokio::test]
async fn watch_does_not_outlive_an_absent_api_server() {
    let relay = checking_often().await;
    let mut watch = relay.admin().get(&format!("{API}/{WATCH}")).await;
    relay.rights.lock().is_away = true;
    let end = watch.line().await.unwrap();
    assert_eq!((end["type"].as_str(), end["object"]["code"].as_u64()), (Some("ERROR"), Some(410)), "{end}");
    assert!(watch.line().await.is_none());
}
