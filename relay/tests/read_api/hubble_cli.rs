//! The real `hubble` before the relay. It is found in `target/cache/bin`; where it is not, the tests say so and do nothing.

use std::{path::PathBuf, process::Output};

use tokio::process::Command;

use crate::{
    client::SERVICE,
    fixture::{Relay, flow},
    hubble_flows::SECOND,
};

/// None where it was not built, unless it is required.
fn hubble() -> Option<Command> {
    let found = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/cache/bin/hubble");
    if found.exists() {
        return Some(Command::new(found));
    }
    assert!(std::env::var_os("TRILOBITE_REQUIRE_CLIENTS").is_none(), "{} is not there", found.display());
    eprintln!("not tested: {} is not there; `make cache` builds it", found.display());
    None
}

struct Said {
    out: String,
    err: String,
    success: bool,
}

async fn observe(server: &str, words: &[&str]) -> Option<Said> {
    let mut command = hubble()?;
    command.args(words).args(["--server", server]).kill_on_drop(true);
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Said { out: text(&stdout), err: text(&stderr), success: status.success() })
}

/// A relay with a flow of each second in turn.
async fn relay() -> Relay {
    let relay = Relay::start().await;
    for second in 1..=40 {
        let (node, agent) = if second % 2 == 0 { ("alder", &relay.alder) } else { ("birch", &relay.birch) };
        agent.state.flows.lock().push(flow(node, "shop", "cart-7", second * SECOND));
    }
    relay
}

#[tokio::test]
async fn status_and_nodes_are_printed() {
    let relay = relay().await;
    let server = relay.hubble.to_string();
    let Some(status) = observe(&server, &["status"]).await else { return };
    assert!(status.success, "{}", status.err);
    assert!(status.out.contains(": Ok\n") && status.out.contains("Connected Nodes: 2/2"), "{}", status.out);
    assert!(status.out.contains("Current/Max Flows: 40/8,190"), "{}", status.out);
    let nodes = observe(&server, &["list", "nodes", "-o", "wide"]).await.unwrap().out;
    for node in ["alder", "birch"] {
        let is_connected = |line: &str| line.starts_with(node) && line.contains("Connected") && line.contains("9.8.7");
        assert!(nodes.lines().any(is_connected), "{nodes}");
    }
    let namespaces = observe(&server, &["list", "namespaces"]).await.unwrap().out;
    assert_eq!(namespaces.split_whitespace().collect::<Vec<_>>(), ["NAMESPACE", "bank", "shop"]);
    let refused = observe(&server, &["observe", "agent-events", "--last", "1"]).await.unwrap();
    assert!(!refused.success && refused.err.contains("GetAgentEvents is not served by this relay"), "{}", refused.err);
}

#[tokio::test]
async fn last_flows_are_printed_in_the_order_of_time() {
    let relay = relay().await;
    let server = relay.hubble.to_string();
    for (words, from) in [(vec!["--last", "3"], 38), (vec![], 21), (vec!["--all"], 1)] {
        let words = [&["observe", "-o", "json"], words.as_slice()].concat();
        let Some(said) = observe(&server, &words).await else { return };
        assert!(said.success && said.err.is_empty(), "{words:?}: {}", said.err);
        let seconds = |line: &str| {
            let flow: serde_json::Value = serde_json::from_str(line).unwrap();
            let uuid = flow["flow"]["uuid"].as_str().unwrap().to_owned();
            uuid.split('-').nth(1).unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(said.out.lines().map(seconds).collect::<Vec<_>>(), (from..=40).collect::<Vec<_>>(), "{words:?}");
    }
}

#[tokio::test]
async fn node_that_does_not_answer_is_named_on_standard_error() {
    let relay = relay().await;
    let mut addresses = (**relay.addresses.borrow()).clone();
    addresses.insert("cedar".into(), "127.0.0.1:1".parse().unwrap());
    relay.addresses.send_replace(addresses.into());
    let Some(said) = observe(&relay.hubble.to_string(), &["observe", "--last", "2"]).await else { return };
    assert!(said.success && said.out.lines().count() == 2, "{}{}", said.out, said.err);
    assert!(said.err.contains("cedar"), "{}", said.err);
}

#[tokio::test]
async fn token_is_shown_by_the_real_client() {
    let relay = relay().await;
    relay.allow(&["zoe get flows shop"]);
    let folder = std::env::temp_dir().join(format!("trilobite-relay-hubble-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ca = folder.join("ca.crt");
    std::fs::write(&ca, &relay.authority.pem).unwrap();
    let server = format!("tls://{}", relay.hubble_tls);
    let by_tls = ["observe", "--last", "2", "--tls-ca-cert-files", ca.to_str().unwrap(), "--tls-server-name", SERVICE];
    let token = |token| [&by_tls[..], &["--basic-auth-username", "token", "--basic-auth-password", token]].concat();
    let Some(said) = observe(&server, &token("token-of-zoe")).await else { return };
    assert!(said.success && said.out.lines().count() == 2, "{}{}", said.out, said.err);
    let refused = observe(&server, &token("token-of-ida")).await.unwrap();
    assert!(!refused.success && refused.err.contains(r#"User "ida" cannot get resource "flows""#), "{}", refused.err);
    let stranger = observe(&server, &by_tls).await.unwrap();
    assert!(!stranger.success && stranger.err.contains("--basic-auth-username token"), "{}", stranger.err);
    std::fs::remove_dir_all(&folder).unwrap();
}
