//! Three watchers under load, one of which does not read: each gets what was sent or is told how much it lost, and the relay's
//! memory stays flat.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use trilobite_e2e::{
    Fixture, agents,
    clients::Stream,
    eventually,
    parameters::count,
    pods::{self, Workload},
    read_api::{API, wait_until_served},
};

/// Seconds of the load; `TRILOBITE_READ_SECONDS` changes it.
fn seconds() -> u64 {
    count("TRILOBITE_READ_SECONDS", 30) as u64
}

/// Bytes that the relay may hold, anonymous memory in KiB.
const RELAY_KIB: u64 = 30 << 10;
/// Execs of each round of the storm.
const ROUND: &str = "1000";

#[test]
fn stopped_watcher_delays_no_other_and_every_row_is_accounted_for() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled, memoryBudgetBytes: 16777216}}");
    wait_until_served(&fixture.kubectl);
    pods::namespace(&fixture.kubectl, "load");
    let nodes = [("one", "node1"), ("two", "node2")];
    for (name, node) in nodes {
        Workload { namespace: "load", name, node, command: "[sleep, infinity]" }.start(&fixture.kubectl);
    }
    let path = format!("{API}/namespaces/load/events?watch=true&allowWatchBookmarks=true");
    let mut watchers: Vec<Stream> =
        (0..2).map(|_| Stream::start(fixture.kubectl.command(&["get", "--raw", &path]))).collect();
    let mut stopped = fixture.kubectl.spawn(&["get", "--raw", &path]);
    agents::signal(stopped.id(), "-STOP");
    for watcher in &watchers {
        eventually("the watcher has begun", 30, || {
            fixture.kubectl.ask(&["-n", "load", "exec", "one", "--", "echo", "begin"])?;
            let lines = watcher.during(Duration::from_secs(1));
            if lines.iter().any(|line| line.contains("begin")) { Ok(()) } else { Err(format!("{} lines", lines.len())) }
        });
    }
    watchers.iter().for_each(|watcher| drop(watcher.drain(3)));

    let relay = relay_pid();
    let before = agents::memory_kib(relay).0;
    let end = Instant::now() + Duration::from_secs(seconds());
    let mut rounds = 0u64;
    thread::scope(|scope| {
        let storms: Vec<_> = nodes
            .map(|(name, _)| {
                let kubectl = fixture.kubectl.clone();
                scope.spawn(move || {
                    let mut rounds = 0u64;
                    while Instant::now() < end {
                        kubectl.run(&["-n", "load", "exec", name, "--", "execstorm", ROUND]);
                        rounds += 1;
                    }
                    rounds
                })
            })
            .into();
        rounds = storms.into_iter().map(|storm| storm.join().unwrap()).sum();
    });
    let execs = rounds * ROUND.parse::<u64>().unwrap();
    for watcher in watchers.drain(..) {
        let (leaves, lost) = tally(&watcher.drain(8));
        println!("{execs} execs: {leaves} delivered, {lost} counted as lost");
        // Losses are of all rows, exits too, so that the sum of execs alone is a lower bound.
        assert!(leaves <= execs, "{leaves} of {execs}");
        assert!(leaves + lost >= execs, "{leaves} delivered and {lost} lost of {execs}");
    }
    let after = agents::memory_kib(relay).0;
    println!("the relay held {before} KiB before and {after} KiB after");
    assert!(after <= RELAY_KIB, "the relay holds {after} KiB");
    agents::signal(stopped.id(), "-CONT");
    let _ = stopped.kill();
    let _ = stopped.wait();
    fixture.kubectl.run(&["delete", "namespace", "load", "--wait=false"]);
}

/// Execs of the storm's leaves, and rows that were counted as lost, by any of the ways in which a watch says it.
fn tally(lines: &[String]) -> (u64, u64) {
    let (mut leaves, mut lost) = (0, 0);
    for line in lines {
        let Ok(update) = serde_json::from_str::<Value>(line) else { continue };
        let object = &update["object"]["object"];
        if object["process_exec"]["process"]["arguments"].as_str().is_some_and(|text| text.starts_with("--leaf")) {
            leaves += 1;
        }
        lost += number(&object["rate_limit_info"]["number_of_dropped_process_events"]);
    }
    (leaves, lost)
}

/// JSON has numbers of 64 bits as texts.
fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}

fn relay_pid() -> u32 {
    let done = Command::new("pgrep").args(["-of", "^/trilobite-relay"]).output().unwrap();
    String::from_utf8_lossy(&done.stdout).trim().parse().expect("the relay's process")
}
