//! Nothing costs when nobody asked: what a session brought is gone when it ends, twenty times in a row.

use serde_json::Value;
use trilobite_e2e::{
    Stage, agents, eventually, kernel,
    pods::{self, Workload},
    stage::condition,
    wait::that,
};

const BURNERS: [&str; 3] = ["burn_primes", "burn_matrix", "burn_hash"];
const ROUNDS: usize = 20;
/// Memory of the agent's cgroup may differ by this much after a round, in bytes.
const TOLERANCE: u64 = 1 << 20;

fn profile(round: usize) -> String {
    format!(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {{name: round-{round}, namespace: rounds}}\nspec: {{podSelector: {{}}, cpu: {{frequencyHz: 499}}, durationSeconds: 300}}\n"
    )
}

#[test]
fn with_security_alone_no_other_layer_has_a_program_and_a_profile_leaves_nothing_behind() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: Enabled}, network: {mode: OnDemand}, application: {mode: OnDemand}}");
    pods::namespace(&stage.kubectl, "rounds");
    for name in BURNERS {
        let pod = name.replace('_', "-");
        Workload { namespace: "rounds", name: &pod, node: "node1", command: &format!("[{name}]") }
            .start(&stage.kubectl);
    }
    let pid = agents::pid_on("node1");
    let idle = eventually("the kernel has security's programs alone", 30, || {
        let objects = kernel::objects();
        that(objects.programs_named(&["flow", "sample"]) == 0, format!("{objects:?}"))?;
        Ok(objects)
    });
    let memory = cgroup_memory(pid);

    for round in 0..ROUNDS {
        stage.kubectl.apply(&profile(round));
        eventually("the profile has 1,000 samples", 60, || {
            let object = stage.kubectl.get(&["-n", "rounds", "appprofile", &format!("round-{round}")])?;
            let samples = object["status"]["results"]["samples"].as_i64().unwrap_or_default();
            that(samples >= 1000, format!("{:#}", object["status"]))
        });
        stage.kubectl.delete(&profile(round));
        eventually("programs, maps and links are as before", 30, || {
            let objects = kernel::objects();
            that(objects == idle, format!("idle: {idle:?}\nnow: {objects:?}"))
        });
        assert_eq!(agents::pid_on("node1"), pid, "the agent was started anew in round {round}");
    }
    eventually("the agent's cgroup holds what it held", 30, || {
        let now = cgroup_memory(pid);
        that(now <= memory + TOLERANCE, format!("{memory} bytes before, {now} after {ROUNDS} rounds"))
    });
    stage.kubectl.run(&["delete", "namespace", "rounds", "--wait=false"]);
}

#[test]
fn a_profile_ends_by_itself_when_its_time_is_over() {
    let stage = Stage::shared();
    stage.stack("{security: {mode: OnDemand}}");
    pods::namespace(&stage.kubectl, "timed");
    let pod = Workload { namespace: "timed", name: "primes", node: "node2", command: "[burn_primes]" };
    pod.start(&stage.kubectl);
    stage.kubectl.apply(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {name: short, namespace: timed}\nspec: {podSelector: {}, cpu: {}, durationSeconds: 5}\n",
    );
    let done: Value = eventually("the profile is completed", 60, || {
        let object = stage.kubectl.get(&["-n", "timed", "appprofile", "short"])?;
        let completed = condition(&object, "Completed").is_some_and(|c| c["status"] == "True");
        if completed { Ok(object) } else { Err(format!("{:#}", object["status"])) }
    });
    assert_eq!(condition(&done, "Completed").unwrap()["reason"], "DurationElapsed");
    assert!(done["status"]["results"]["samples"].as_i64().unwrap_or_default() > 10, "{:#}", done["status"]);
    eventually("no program samples any more", 20, || {
        let objects = kernel::objects();
        that(objects.programs_named(&["sample"]) == 0, format!("{objects:?}"))
    });
    pod.stop(&stage.kubectl);
}

/// Bytes charged to the agent's container, kernel memory included, files in the page cache not: results stay on disk for an
/// hour, and the kernel takes their pages back by itself.
fn cgroup_memory(pid: u32) -> u64 {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = |controller: &str| {
        groups.lines().find_map(|line| {
            let mut words = line.splitn(3, ':').skip(1);
            (words.next()? == controller).then(|| words.next().unwrap_or_default().to_owned())
        })
    };
    let (folder, usage, cache) = match path("memory") {
        Some(v1) => (format!("/sys/fs/cgroup/memory{v1}"), "memory.usage_in_bytes", "cache"),
        None => (format!("/sys/fs/cgroup{}", path("").unwrap()), "memory.current", "file"),
    };
    let read = |name: &str| {
        let file = format!("{folder}/{name}");
        std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"))
    };
    let stat = read("memory.stat");
    let cached = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse::<u64>().ok()).unwrap_or_default();
    read(usage).trim().parse::<u64>().unwrap().saturating_sub(cached)
}
