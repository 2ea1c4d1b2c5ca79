//! Nothing is lost silently: what is read and what is counted as lost add up to what happened.

use std::{collections::BTreeSet, thread, time::Duration};

use serde_json::Value;
use trilobite_e2e::{
    Fixture, agents,
    clients::{self, Stream},
    eventually,
    parameters::count,
    pods::{self, Workload},
    wait::that,
};

/// Execs of one storm; `TRILOBITE_EXECS` changes it.
fn execs() -> usize {
    count("TRILOBITE_EXECS", 20_000)
}

#[test]
fn every_exec_of_a_storm_is_read_and_every_parent_resolves() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled, memoryBudgetBytes: 16777216}}");
    let storm = Storm::prepare(fixture);
    let read = storm.run(fixture, || {});
    let lost = LossCounts::on_node1(fixture).since(&storm.before);
    println!("{} execs and {} exits read; {lost:?}", read.execs.len(), read.exits.len());
    assert_eq!(read.execs.len() + lost.execs, execs(), "{lost:?}");
    assert_eq!(read.exits.len() + lost.exits, execs(), "{lost:?}");
    assert_eq!(read.orphans, 0, "a parent did not resolve");
    storm.pod.stop(&fixture.kubectl);
}

/// The smallest ring without a reader: the agent is stopped during the storm.
#[test]
fn read_and_lost_records_add_up_with_a_small_ring() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled, memoryBudgetBytes: 8192}}");
    let storm = Storm::prepare(fixture);
    let agent = agents::pid_on("node1");
    let read = storm.run(fixture, || {
        agents::signal(agent, "-STOP");
        thread::sleep(Duration::from_secs(2));
        agents::signal(agent, "-CONT");
    });
    let lost = eventually("all losses are in the node's status", 30, || {
        let lost = LossCounts::on_node1(fixture).since(&storm.before);
        let sums = (read.execs.len() + lost.execs, read.ends.len() + lost.exits);
        that(sums.0 >= execs() && sums.1 >= execs(), format!("{sums:?}, {lost:?}"))?;
        Ok(lost)
    });
    println!("{} execs and {} exits read; {lost:?}", read.execs.len(), read.ends.len());
    assert!(lost.execs > 0 && lost.exits > 0, "nothing was lost: {lost:?}");
    // Other processes of the node lose records in the same ring: what is counted is at least the storm's own.
    assert!(read.execs.len() + lost.execs <= execs() + OTHERS, "{lost:?}");
    assert!(read.ends.len() + lost.exits <= execs() + OTHERS, "{lost:?}");
    storm.pod.stop(&fixture.kubectl);
    fixture.stack("{security: {mode: Enabled}}");
}

/// `runc init` is in the pod's cgroup for a moment, before it becomes the container's program. `runc create` is its parent, and of
/// the processes that it forks with CLONE_PARENT, but is never there.
#[test]
fn pod_start_shows_runc_init_and_not_its_parent() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let begun = Storm::prepare(fixture);
    let pod = Workload { namespace: "storm", name: "started", node: "node1", command: "[sleep, infinity]" };
    pod.start(&fixture.kubectl);
    let lines = begun.stream.drain(5);
    let events = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let arguments: Vec<String> = events
        .flat_map(|event| ["process_exec", "process_exit"].map(|kind| event[kind]["process"]["arguments"].clone()))
        .filter_map(|arguments| arguments.as_str().map(str::to_owned))
        .collect();
    assert!(arguments.iter().any(|text| text == "init"), "runc init was not seen: {arguments:?}");
    assert!(!arguments.iter().any(|text| text.contains("create --bundle")), "{arguments:?}");
    pod.stop(&fixture.kubectl);
    begun.pod.stop(&fixture.kubectl);
}

/// Processes of the node that are none of the storm's: `kubectl exec`, the runtime's shims, probes.
const OTHERS: usize = 500;

struct Storm {
    pod: Workload<'static>,
    stream: Stream,
    before: LossCounts,
}

#[derive(Default)]
struct Read {
    execs: BTreeSet<String>,
    exits: BTreeSet<String>,
    /// Exits of all processes of the pod: an exit whose exec was lost has no name, and is reported all the same.
    ends: BTreeSet<String>,
    /// Every exec_id that was read.
    sent: BTreeSet<String>,
    /// Events without a parent that was read before, or of the storm without the known one.
    orphans: usize,
}

impl Storm {
    fn prepare(fixture: &Fixture) -> Self {
        pods::namespace(&fixture.kubectl, "storm");
        let pod = Workload { namespace: "storm", name: "storm", node: "node1", command: "[sleep, infinity]" };
        pod.start(&fixture.kubectl);
        let stream = Stream::start(clients::tetra("node1", &["getevents", "-o", "json", "--namespace", "storm"]));
        fixture.kubectl.run(&["-n", "storm", "exec", "storm", "--", "echo", "begin"]);
        stream.until("the stream has begun", 20, |line| line.contains("begin"));
        Self { pod, stream, before: LossCounts::on_node1(fixture) }
    }

    /// Runs it to its end, with `meanwhile` beside it, and reads until nothing comes any more.
    fn run(&self, fixture: &Fixture, meanwhile: impl FnOnce()) -> Read {
        thread::scope(|scope| {
            let words = ["-n", "storm", "exec", "storm", "--", "execstorm", &execs().to_string()].map(str::to_owned);
            let kubectl = fixture.kubectl.clone();
            let storm = scope.spawn(move || kubectl.run(&words.each_ref().map(String::as_str)));
            meanwhile();
            storm.join().unwrap();
        });
        let mut read = Read::default();
        for line in self.stream.drain(5) {
            read.record(&line);
        }
        read
    }
}

impl Read {
    fn record(&mut self, line: &str) {
        let event: Value = serde_json::from_str(line).unwrap();
        let leaf = |kind: &str| {
            let process = event[kind]["process"].clone();
            let leaf = process["arguments"].as_str().is_some_and(|text| text.starts_with("--leaf"));
            leaf.then(|| (process["exec_id"].as_str().unwrap().to_owned(), process["parent_exec_id"].clone()))
        };
        if let Some((id, parent)) = leaf("process_exec") {
            assert!(self.execs.insert(id), "an exec_id came twice: {line}");
            let resolved = &event["process_exec"]["parent"];
            let known = resolved["exec_id"] == parent
                && resolved["binary"].as_str().is_some_and(|name| name.contains("execstorm"));
            self.orphans += usize::from(!known);
        }
        if let Some(id) = event["process_exit"]["process"]["exec_id"].as_str() {
            self.ends.insert(id.to_owned());
        }
        for kind in ["process_exec", "process_exit"] {
            let (process, parent) = (&event[kind]["process"], &event[kind]["parent"]);
            let Some(id) = process["exec_id"].as_str() else { continue };
            let sent = process["parent_exec_id"].as_str().is_some_and(|parent| self.sent.contains(parent));
            self.orphans += usize::from(sent && parent["exec_id"] != process["parent_exec_id"]);
            self.sent.insert(id.to_owned());
        }
        if let Some((id, _)) = leaf("process_exit") {
            assert!(self.exits.insert(id), "a process exited twice: {line}");
        }
    }
}

/// Records lost on node1 so far, as the node's own status says.
#[derive(Debug, Default)]
struct LossCounts {
    execs: usize,
    exits: usize,
}

impl LossCounts {
    fn on_node1(fixture: &Fixture) -> Self {
        let runtime = agents::runtime(&fixture.kubectl, "node1").unwrap();
        let losses = runtime["status"]["losses"].as_array().cloned().unwrap_or_default();
        let of = |kind: &str| {
            let counts = losses.iter().filter(|loss| loss["kind"] == kind).filter_map(|loss| loss["count"].as_u64());
            usize::try_from(counts.sum::<u64>()).unwrap()
        };
        Self { execs: of("exec"), exits: of("exit") }
    }

    fn since(&self, before: &Self) -> Self {
        Self { execs: self.execs - before.execs, exits: self.exits - before.exits }
    }
}
