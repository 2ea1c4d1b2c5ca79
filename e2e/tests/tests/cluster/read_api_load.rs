//! Three watchers under load, one of which does not read: each gets what was sent or is told how much it lost, and the relay's
//! memory stays flat. `TRILOBITE_READ_SECONDS` prolongs it.

use std::{
    process::Command,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;
use trilobite_e2e::{
    Fixture, agents,
    clients::Stream,
    eventually,
    parameters::{count, keep},
    pods::{self, Workload},
    read_api::{API, RelayRows, RowCounts, wait_until_served},
    wait::that,
};

const METRICS_PORT: u16 = 9464;
const NODES: [(&str, &str); 2] = [("one", "node1"), ("two", "node2")];
/// Processes of a round, and how long a round lasts: with execs and exits, 2,000 events a second of both nodes.
const ROUND: usize = 250;
const ROUNDS_A_SECOND: usize = 2;
/// Without a row for so long, everything has arrived.
const QUIET: u64 = 10;
/// Resident memory of the relay, and by how much it may grow between the first third of the load and the last.
const RELAY_KIB: u64 = 30 << 10;
const GROWTH_KIB: u64 = 2 << 10;

/// The relay cuts off a client that has not read for a minute; its rows are accounted for with those of all watches.
const NEVER_CUT: Duration = Duration::from_secs(50);

/// What a watch has given to its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct WatchCounts {
    rows: u64,
    /// Rows of the load's processes.
    of_load: u64,
    /// Of the last bookmark.
    lost: u64,
    /// The watch was ended by the relay.
    ended: bool,
}

impl WatchCounts {
    /// Only the few lines that are no rows are parsed: the watchers share two cores with the cluster.
    fn add(&mut self, line: &str) {
        if line.starts_with(r#"{"type":"ADDED""#) {
            self.rows += 1;
            self.of_load += u64::from(line.contains("--leaf"));
        } else if let Ok(update) = serde_json::from_str::<Value>(line) {
            self.ended |= update["type"] == "ERROR";
            let coverage = update["object"]["metadata"]["annotations"]["trilobite.dev/coverage"].as_str();
            if let Some(coverage) = coverage.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
                self.lost = coverage["lost"].as_u64().unwrap_or_default();
            }
        }
    }
}

#[test]
fn stopped_watcher_delays_no_other_and_every_row_is_accounted_for() {
    let fixture = Fixture::shared();
    let seconds = count("TRILOBITE_READ_SECONDS", 30);
    let metrics = format!("metrics: {{enabled: true, port: {METRICS_PORT}}}");
    fixture.stack(&format!("{{security: {{mode: Enabled, memoryBudgetBytes: 16777216}}, {metrics}}}"));
    wait_until_served(&fixture.kubectl);
    pods::namespace(&fixture.kubectl, "load");
    for (name, node) in NODES {
        Workload { namespace: "load", name, node, command: "[sleep, infinity]" }.start(&fixture.kubectl);
    }
    let relay_before = relay_rows(fixture);
    let sent_before = sent_by_agents(fixture);
    let path = format!("{API}/namespaces/load/events?watch=true&allowWatchBookmarks=true");
    let watch = || Stream::start(fixture.kubectl.command(&["get", "--raw", &path]));
    let (readers, stopped) = ([watch(), watch()], watch());
    for watcher in readers.iter().chain([&stopped]) {
        for (pod, _) in NODES {
            eventually("the watcher has begun on both nodes", 30, || {
                fixture.kubectl.ask(&["-n", "load", "exec", pod, "--", "echo", pod, "begins"])?;
                let lines = watcher.during(Duration::from_secs(1));
                let begins = format!("{pod} begins");
                that(lines.iter().any(|line| line.contains(&begins)), format!("{} lines", lines.len()))
            });
        }
    }
    // From here on all three are sent the same.
    let [first, second] = readers.map(|reader| {
        reader.drain(3);
        count_rows(reader)
    });
    stopped.drain(3);
    agents::signal(stopped.id(), "-STOP");

    let relay = relay_pid();
    let memory = sample_memory(relay, seconds);
    let begin = Instant::now();
    let processes = storm(fixture, seconds);
    let rate = 2 * processes as u64 * 1000 / begin.elapsed().as_millis() as u64;
    let readers = [first, second].map(|reader| reader.join().unwrap());
    let stopped_for = begin.elapsed();
    agents::signal(stopped.id(), "-CONT");
    let stopped = count_rows(stopped).join().unwrap();
    let memory = memory.join().unwrap();
    let (peak, flat) = (memory.iter().max().copied().unwrap_or_default(), flatness(&memory));
    let lost = readers.map(|reader| reader.lost);
    keep(&format!(
        "read API under load: {seconds} s, {rate} events/s, {} rows a reader of which {lost:?} counted as lost; the watcher that did \
         not read got {} rows and {} counted; relay {peak} KiB at most, {flat} KiB more in the last third than in the first",
        readers[0].rows, stopped.rows, stopped.lost
    ));

    for reader in readers {
        assert!(!reader.ended, "a watch was ended: {readers:?}");
        let expected = 2 * processes as u64;
        assert!(reader.of_load <= expected && reader.rows + reader.lost >= expected, "{reader:?} of {expected}");
        assert!(reader.lost > 0 || reader.of_load == expected, "{reader:?} of {expected}");
    }
    let totals = readers.map(|reader| reader.rows + reader.lost);
    assert_eq!(totals[0], totals[1], "both are sent the same: {readers:?}");
    if !stopped.ended && stopped_for < NEVER_CUT {
        assert_eq!(stopped.rows + stopped.lost, totals[0], "what did not fit is counted: {stopped:?}");
    }
    every_sent_row_is_accounted_for(fixture, relay_before, sent_before);
    assert!(peak <= RELAY_KIB, "the relay held {peak} KiB");
    assert!(flat <= GROWTH_KIB, "the relay grew by {flat} KiB: {memory:?}");
    fixture.kubectl.run(&["delete", "namespace", "load", "--wait=false"]);
}

/// Counts a watch's rows until it rests, and ends it.
fn count_rows(watcher: Stream) -> JoinHandle<WatchCounts> {
    thread::spawn(move || {
        let mut counts = WatchCounts::default();
        watcher.for_each(QUIET, |line| counts.add(line));
        counts
    })
}

/// Processes of both nodes at a steady rate; returns how many there were.
fn storm(fixture: &Fixture, seconds: usize) -> usize {
    let rounds = seconds * ROUNDS_A_SECOND;
    let pause = 1.0 / ROUNDS_A_SECOND as f64;
    let script = format!(
        "i=0; while [ $i -lt {rounds} ]; do sleep {pause} & execstorm {ROUND} || exit 1; wait; i=$((i+1)); done"
    );
    thread::scope(|scope| {
        for (pod, _) in NODES {
            scope.spawn(|| fixture.kubectl.run(&["-n", "load", "exec", pod, "--", "sh", "-c", &script]));
        }
    });
    NODES.len() * rounds * ROUND
}

/// Resident memory each second, for as long as the load lasts.
fn sample_memory(relay: u32, seconds: usize) -> JoinHandle<Vec<u64>> {
    thread::spawn(move || {
        let sample = |_| {
            thread::sleep(Duration::from_secs(1));
            agents::memory_kib(relay).1
        };
        (0..seconds.max(3)).map(sample).collect()
    })
}

/// By how much the most of the last third exceeds the most of the first, in KiB.
fn flatness(memory: &[u64]) -> u64 {
    let third = memory.len() / 3;
    let most = |part: &[u64]| part.iter().max().copied().unwrap_or_default();
    most(&memory[memory.len() - third..]).saturating_sub(most(&memory[..third]))
}

/// Of all watches together, once they have ended.
fn every_sent_row_is_accounted_for(fixture: &Fixture, before: RelayRows, sent_before: u64) {
    eventually("sent = received = delivered + lost", 30, || {
        let rows = relay_rows(fixture).since(before);
        let sent = sent_by_agents(fixture) - sent_before;
        that(
            sent == rows.received && rows.received == rows.delivered + rows.lost,
            format!("{sent} sent by agents, {rows:?} of the relay"),
        )
    });
}

fn relay_rows(fixture: &Fixture) -> RelayRows {
    RelayRows::read(&fixture.kubectl, "events")
}

fn sent_by_agents(fixture: &Fixture) -> u64 {
    NODES.iter().map(|(_, node)| RowCounts::of_node(&fixture.kubectl, node, METRICS_PORT, "events").sent).sum()
}

fn relay_pid() -> u32 {
    let done = Command::new("pgrep").args(["-nf", "^/trilobite-relay"]).output().unwrap();
    String::from_utf8_lossy(&done.stdout).trim().parse().expect("the relay's process")
}
