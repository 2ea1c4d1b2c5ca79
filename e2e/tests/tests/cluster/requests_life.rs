//! The life of a profile of requests: its pods and no other, also new ones; rows that outlive it and end with it; nothing is left in
//! the kernel, of processes and of memory; and no row for an account without the right to read it.

use std::collections::BTreeMap;

use trilobite_e2e::{
    Fixture, Kubectl, agents, eventually,
    kernel::{self, Objects},
    memory::cgroup_memory,
    parameters::count,
    pods::{TestNamespace, Workload},
    profiles::{self, is_completed, profile_yaml, start_profile},
    read_api::wait_until_served,
    servers::{Row, ServerPod, latest_rows, wait_for},
    users::User,
    wait::{patience, that},
};

const STACK: &str =
    "{security: {mode: OnDemand}, network: {mode: OnDemand}, application: {mode: OnDemand}, relay: {mode: Enabled}}";
/// Memory of the agent's cgroup, its workers included, may differ by this much after a round, in bytes.
const TOLERANCE: u64 = 3 << 19;
/// Seconds after its start in which a new pod must have a row.
const NEW_POD: f64 = 1.0;

/// Serves /etc, and asks for files that are named for the container's age in seconds.
const AGES: &str = r#"[sh, -c, "httpd -p 8080 -h /etc; read start rest </proc/uptime; while true; do read now rest </proc/uptime; wget -q -O /dev/null http://127.0.0.1:8080/at-$start-$now; sleep 0.2; done"]"#;

/// An agent without work: what it has in the kernel, and its memory on node1.
struct Baseline {
    objects: Objects,
    agent: u32,
    memory: u64,
}

impl Baseline {
    fn measure(kubectl: &Kubectl) -> Self {
        let objects = profiles::delete_all(kubectl);
        let agent = agents::pid_on("node1");
        Self { objects, agent, memory: cgroup_memory(agent) }
    }

    #[track_caller]
    fn no_program_is_left(&self) {
        eventually("programs, maps, links and uprobes are as before", 30, || {
            let objects = kernel::objects();
            that(objects == self.objects, format!("before: {:?}\nnow: {objects:?}", self.objects))
        });
    }

    /// Bytes that are more than before.
    #[track_caller]
    fn nothing_is_left(&self) -> u64 {
        self.no_program_is_left();
        eventually("no worker is left", 30, || that(agents::workers().is_empty(), format!("{:?}", agents::workers())));
        let now = eventually("the agent's cgroup holds what it held", 30, || {
            let now = cgroup_memory(self.agent);
            that(now <= self.memory + TOLERANCE, format!("{} bytes before, {now} now", self.memory))?;
            Ok(now)
        });
        assert_eq!(agents::pid_on("node1"), self.agent, "the agent was restarted");
        now.saturating_sub(self.memory)
    }
}

/// A stack whose relay serves rows, and a namespace of the test.
#[track_caller]
fn prepare(namespace: &'static str) -> (&'static Fixture, TestNamespace) {
    let fixture = Fixture::shared();
    fixture.stack(STACK);
    wait_until_served(&fixture.kubectl);
    (fixture, TestNamespace::create(&fixture.kubectl, namespace))
}

#[track_caller]
fn wait_for_rows(kubectl: &Kubectl, namespace: &str) {
    eventually("there are rows", 30, || {
        let rows = latest_rows(kubectl, namespace).len();
        that(rows > 0, rows)
    });
}

fn has_tls_target(kubectl: &Kubectl, namespace: &str, name: &str) -> Result<(), String> {
    let object = kubectl.get(&["-n", namespace, "appprofile", name])?;
    let targets = object["status"]["requests"]["tlsTargets"].as_i64().unwrap_or_default();
    that(targets > 0, format!("{:#}", object["status"]))
}

/// A deployment of two pods whose template is of this revision.
fn deployment(namespace: &str, name: &str, revision: usize) -> String {
    let image = "image: localhost/trilobite-workloads:1, imagePullPolicy: Never";
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  replicas: 2\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}, annotations: \
         {{revision: \"{revision}\"}}}}\n    spec:\n      nodeName: node1\n      terminationGracePeriodSeconds: 1\n      \
         containers:\n      - {{name: main, {image}, command: {AGES}}}\n"
    )
}

fn roll_out(kubectl: &Kubectl, namespace: &str, name: &str, revision: usize) {
    kubectl.apply(&deployment(namespace, name, revision));
    let timeout = format!("--timeout={}s", patience(90));
    kubectl.run(&["-n", namespace, "rollout", "status", &format!("deployment/{name}"), &timeout]);
}

fn pods_of(kubectl: &Kubectl, namespace: &str, name: &str) -> Vec<String> {
    let (selector, running) = (format!("app={name}"), "--field-selector=status.phase=Running");
    let names = kubectl.run(&["-n", namespace, "get", "pods", "-l", &selector, running, "-o", "name"]);
    names.lines().map(|name| name.trim_start_matches("pod/").to_owned()).collect()
}

/// The age of each pod at its first request that has a row: `/at-START-NOW`.
fn first_seen(rows: &[Row]) -> BTreeMap<&str, f64> {
    let mut ages = BTreeMap::new();
    for row in rows {
        let times = row.text("target").strip_prefix("/at-").and_then(|times| times.split_once('-'));
        let Some((start, now)) = times else { continue };
        let age = now.parse::<f64>().unwrap() - start.parse::<f64>().unwrap();
        let first = ages.entry(row.text("pod")).or_insert(age);
        *first = age.min(*first);
    }
    ages
}

#[test]
fn selected_pods_alone_have_rows_and_new_ones_within_a_second() {
    const HERE: &str = "requests-rollout";
    let (fixture, _deleted) = prepare(HERE);
    let kubectl = &fixture.kubectl;
    for name in ["chosen", "other"] {
        roll_out(kubectl, HERE, name, 0);
    }
    let spec = "podSelector: {matchLabels: {app: chosen}}, requests: {protocols: [http]}, durationSeconds: 600";
    start_profile(kubectl, HERE, "chosen", spec);
    let old = pods_of(kubectl, HERE, "chosen");
    for name in ["other", "chosen"] {
        roll_out(kubectl, HERE, name, 1);
    }
    let new: Vec<String> = pods_of(kubectl, HERE, "chosen").into_iter().filter(|pod| !old.contains(pod)).collect();
    assert_eq!(new.len(), 2, "new pods of the rollout, beside {old:?}");
    let rows = eventually("the new pods have rows", 30, || {
        let rows = latest_rows(kubectl, HERE);
        let seen = first_seen(&rows);
        that(new.iter().all(|pod| seen.contains_key(pod.as_str())), format!("{new:?} are not all in {seen:?}"))?;
        Ok(rows)
    });
    let foreign = rows.iter().filter(|row| !row.text("pod").starts_with("chosen-")).count();
    assert_eq!(foreign, 0, "rows of a pod that is not selected");
    let seen = first_seen(&rows);
    assert!(old.iter().all(|pod| seen.contains_key(pod.as_str())), "{old:?} are not all in {seen:?}");
    println!("age of new pods at their first row: {:?}", new.iter().map(|pod| seen[pod.as_str()]).collect::<Vec<_>>());
    assert!(new.iter().all(|pod| seen[pod.as_str()] <= NEW_POD), "{seen:?}");
}

/// In pods with a connection, and with a TLS library that gets probes.
#[test]
fn profiles_on_and_off_leave_nothing() {
    const HERE: &str = "requests-rounds";
    let (fixture, _deleted) = prepare(HERE);
    let kubectl = &fixture.kubectl;
    Workload { namespace: HERE, name: "ages", node: "node1", command: AGES }.start(kubectl);
    let script = "exec python3 -c 'import ssl, time; time.sleep(100000)'";
    ServerPod { namespace: HERE, name: "tls", node: "node1", script, user: 0 }.start(fixture);
    wait_for(kubectl, HERE, "tls", "grep -q libssl /proc/1/maps");
    let before = Baseline::measure(kubectl);
    for round in 0..count("TRILOBITE_ROUNDS", 4) {
        let (name, expires) = (format!("round-{round}"), round % 2 == 1);
        let seconds = if expires { 5 } else { 600 };
        let spec = format!(
            "podSelector: {{}}, requests: {{protocols: [http]}}, durationSeconds: {seconds}, retainAfterEndMinutes: 0"
        );
        kubectl.apply(&profile_yaml(HERE, &name, &spec));
        eventually("the profile is loaded", 30, || {
            let objects = kernel::objects();
            let programs = objects.programs.len() > before.objects.programs.len();
            that(
                programs && objects.links > before.objects.links && !agents::workers().is_empty(),
                format!("{objects:?}"),
            )
        });
        if expires {
            eventually("the profile is completed", 60, || is_completed(kubectl, HERE, &name));
        } else {
            wait_for_rows(kubectl, HERE);
            if round == 0 {
                eventually("the status counts a TLS library", 30, || has_tls_target(kubectl, HERE, &name));
            }
            kubectl.run(&["-n", HERE, "delete", "appprofile", &name]);
        }
        let more = before.nothing_is_left();
        println!("round {round}, {}: {more} bytes more than before", if expires { "by time" } else { "by deletion" });
    }
}

#[test]
#[ignore = "make test-long"]
fn rows_are_read_after_the_end_until_the_profile_is_deleted() {
    const HERE: &str = "requests-ended";
    let (fixture, _deleted) = prepare(HERE);
    let kubectl = &fixture.kubectl;
    Workload { namespace: HERE, name: "ages", node: "node1", command: AGES }.start(kubectl);
    let before = Baseline::measure(kubectl);
    let spec = "podSelector: {}, requests: {protocols: [http]}, durationSeconds: 10";
    kubectl.apply(&profile_yaml(HERE, "short", spec));
    eventually("the profile is completed", 60, || is_completed(kubectl, HERE, "short"));
    before.no_program_is_left();
    let rows = latest_rows(kubectl, HERE);
    assert!(rows.len() >= 20, "{} rows of ten seconds are left", rows.len());
    assert_eq!(latest_rows(kubectl, HERE).len(), rows.len(), "a row came after the end");
    assert_eq!(agents::workers().len(), 1, "the process that has the rows");
    kubectl.run(&["-n", HERE, "delete", "appprofile", "short"]);
    before.nothing_is_left();
    assert!(latest_rows(kubectl, HERE).is_empty(), "rows outlive their profile");
}

#[test]
#[ignore = "make test-long"]
fn stranger_reads_no_request() {
    const HERE: &str = "requests-stranger";
    let (fixture, _deleted) = prepare(HERE);
    let kubectl = &fixture.kubectl;
    Workload { namespace: HERE, name: "ages", node: "node1", command: AGES }.start(kubectl);
    start_profile(kubectl, HERE, "all", "podSelector: {}, requests: {protocols: [http]}, durationSeconds: 600");
    wait_for_rows(kubectl, HERE);
    let stranger = User::create(kubectl, HERE, "stranger");
    let resource = "\"requests\"";
    let list = format!("/apis/read.trilobite.dev/v1alpha1/namespaces/{HERE}/requests");
    let get = ["-n", HERE, "get", "requests.read.trilobite.dev"];
    stranger.is_refused(&get, "cannot list resource", resource);
    stranger.is_refused(&["get", "requests.read.trilobite.dev", "-A"], "cannot list resource", resource);
    stranger.is_refused(&["get", "--raw", &list], "cannot list resource", resource);
    stranger.is_refused(&["get", "--raw", &format!("{list}?watch=true")], "cannot watch resource", resource);
    stranger.command_is_refused(&["requests", "-n", HERE], "cannot list resource", resource);
    stranger.command_is_refused(&["requests", "-n", HERE, "-f"], "cannot watch resource", resource);
    stranger.command_is_refused(&["requests", "-A"], "cannot list resource", resource);
    // Neither does the right to read the profile itself.
    stranger.bind(kubectl, HERE, "trilobite-view");
    eventually("the role is there", 30, || stranger.kubectl.ask(&["-n", HERE, "get", "appprofile", "all"]));
    stranger.is_refused(&get, "cannot list resource", resource);
}
