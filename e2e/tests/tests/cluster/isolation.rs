//! Who is not selected is not seen, and two nodes that share a kernel stay two nodes.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use trilobite_e2e::{
    Fixture, Kubectl, agents,
    cgroups::PodCgroups,
    clients::{self, Stream},
    eventually,
    pods::{self, Workload},
    profiles,
    wait::that,
};

const EXECS: &str = r#"[sh, -c, "while true; do /bin/ls / >/dev/null; sleep 0.5; done"]"#;
const FREQUENCY: u32 = 99;
const SECONDS: u64 = 15;

#[test]
fn no_agent_reports_a_pod_of_the_other_node() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    pods::namespace(&fixture.kubectl, "apart");
    for node in ["node1", "node2"] {
        Workload { namespace: "apart", name: &format!("on-{node}"), node, command: EXECS }.start(&fixture.kubectl);
    }
    for (node, other) in [("node1", "on-node2"), ("node2", "on-node1")] {
        let stream = Stream::start(clients::tetra(node, &["getevents", "-o", "json"]));
        stream.until("the node's own pod", 20, |line| line.contains(&format!("on-{node}")));
        let lines = stream.during(Duration::from_secs(4));
        let foreign: Vec<&String> = lines.iter().filter(|line| line.contains(other)).collect();
        assert!(foreign.is_empty(), "{node} reported {other}: {foreign:?}");
        let own = lines.iter().filter(|line| line.contains(&format!("on-{node}"))).count();
        assert!(own > 5, "only {own} events of the node's own pod");
    }
    fixture.kubectl.run(&["delete", "namespace", "apart", "--wait=false"]);
}

/// Both run the same binary on the same node and are restarted while one of them is sampled, which burns in a cgroup below its
/// container's.
#[test]
fn only_the_selected_of_two_pods_with_one_binary_is_sampled() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: OnDemand}}");
    pods::namespace(&fixture.kubectl, "twins");
    for name in ["chosen", "other"] {
        Workload { namespace: "twins", name, node: "node1", command: "[burn_primes]" }.start(&fixture.kubectl);
    }
    let chosen = PodCgroups::of(&fixture.kubectl, "node1", "twins", "chosen");
    let other = PodCgroups::of(&fixture.kubectl, "node1", "twins", "other");
    nest_the_burner(&chosen);
    let log = CpuLog::of(PodCgroups::of(&fixture.kubectl, "node1", "twins", "chosen"));
    fixture.kubectl.apply(&format!(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {{name: chosen, namespace: twins}}\nspec: {{podSelector: {{matchLabels: {{app: chosen}}}}, cpu: {{frequencyHz: {FREQUENCY}}}, durationSeconds: {SECONDS}}}\n"
    ));
    thread::sleep(Duration::from_secs(4));
    for (name, pod) in [("chosen", &chosen), ("other", &other)] {
        restart(&fixture.kubectl, name, pod);
    }
    nest_the_burner(&chosen);

    eventually("the profile is completed", 60, || {
        let object = fixture.kubectl.get(&["-n", "twins", "appprofile", "chosen"])?;
        that(object["status"]["conditions"].to_string().contains("DurationElapsed"), format!("{:#}", object["status"]))
    });
    let meta = eventually("the result is kept", 30, || profiles::meta("node1", "twins/chosen"));
    let time = |field: &str| meta[field].as_str().unwrap().parse::<Timestamp>().unwrap();
    let used = log.end().between(time("started"), time("ended"));
    let samples = meta["samples"].as_f64().unwrap();
    println!("{samples} samples of {used:.2} s of CPU time at {FREQUENCY} Hz; {meta:#}");
    assert_eq!(
        (&meta["others"], &meta["undecided"]),
        (&0.into(), &0.into()),
        "records of another pod reached the ring"
    );
    assert!(used > 2.0, "the pod hardly ran: {used} s");
    assert!(samples >= 0.9 * f64::from(FREQUENCY) * used, "{samples} samples for {used} s of CPU time");
    let runtime = agents::runtime(&fixture.kubectl, "node2").unwrap();
    let told = !runtime["spec"]["sessions"].as_array().is_none_or(Vec::is_empty);
    assert!(!told, "a node without a matching pod got a session");
    fixture.kubectl.run(&["delete", "namespace", "twins", "--wait=false"]);
}

fn nest_the_burner(pod: &PodCgroups) {
    let burner = eventually("the burner runs", 20, || {
        pod.processes("burn_primes").first().copied().ok_or_else(|| "none".to_owned())
    });
    pod.nest(burner);
}

/// Ends the container's process; the kubelet restarts the container.
fn restart(kubectl: &Kubectl, name: &str, pod: &PodCgroups) {
    for process in pod.processes("burn_primes") {
        assert!(Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success());
    }
    eventually("the container was restarted", 30, || {
        let restarts = "-o=jsonpath={.status.containerStatuses[0].restartCount}";
        let restarts = kubectl.ask(&["-n", "twins", "get", "pod", name, restarts])?;
        that(restarts == "1" && !pod.processes("burn_primes").is_empty(), restarts)
    });
}

/// CPU time of a pod as it goes by, so that it can be asked between any two moments.
struct CpuLog {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Vec<(Timestamp, f64)>>,
}

struct Logged(Vec<(Timestamp, f64)>);

impl CpuLog {
    fn of(pod: PodCgroups) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let end = Instant::now() + Duration::from_secs(300);
        let thread = thread::spawn(move || {
            let mut log = Vec::new();
            while !ended.load(Ordering::Relaxed) && Instant::now() < end {
                log.push((Timestamp::now(), pod.cpu_seconds()));
                thread::sleep(Duration::from_millis(20));
            }
            log
        });
        Self { stop, thread }
    }

    fn end(self) -> Logged {
        self.stop.store(true, Ordering::Relaxed);
        Logged(self.thread.join().unwrap())
    }
}

impl Logged {
    /// CPU seconds between two times, by the last note before each.
    fn between(&self, from: Timestamp, to: Timestamp) -> f64 {
        let at = |time| self.0.iter().rev().find(|(noted, _)| *noted <= time).map_or(0.0, |(_, seconds)| *seconds);
        at(to) - at(from)
    }
}
