//! The real `hubble` against the relay: by a port-forward, as an article about Hubble has it, and by TLS with a user's token.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Child, Command},
    thread,
    time::Duration,
};

use serde_json::Value;
use trilobite_cluster::{Cache, command::without_proxies};
use trilobite_e2e::{
    Fixture, agents,
    clients::{self, Stream, hubble_from_environment},
    eventually,
    fixture::NAMESPACE,
    parameters::count,
    pods::{self, TestNamespace, Workload},
    port_forward::PortForward,
    read_api::{node_address, wait_until_served},
    users::User,
    wait::that,
};

const STACK: &str = "{security: {mode: OnDemand}, network: {mode: Enabled}, relay: {mode: Enabled}}";
/// As the article prints it, but for the namespace.
const FORWARD: &str = "kubectl port-forward -n trilobite-system svc/hubble-relay 4245:80";
const SERVE: &str = r#"[netecho, serve, "7000"]"#;
const TALK: &str = r#"[sh, -c, "while true; do netecho send tcp $PEER 7000 100; sleep 0.2; done"]"#;

/// A pod on each node of a namespace: the second talks to the first, all the time.
fn start_talk(fixture: &'static Fixture, namespace: &'static str) -> TestNamespace {
    let talk = TestNamespace::create(&fixture.kubectl, namespace);
    Workload { namespace, name: "till", node: "node1", command: SERVE }.start(&fixture.kubectl);
    let peer = pods::address(&fixture.kubectl, namespace, "till", 0);
    let command = TALK.replace("$PEER", &peer);
    Workload { namespace, name: "cart", node: "node2", command: &command }.start(&fixture.kubectl);
    talk
}

fn prepare() -> &'static Fixture {
    let fixture = Fixture::shared();
    fixture.stack(STACK);
    wait_until_served(&fixture.kubectl);
    fixture
}

fn observe(server: &str, words: &[&str]) -> Command {
    let mut command = hubble_from_environment(words);
    command.env("HUBBLE_SERVER", server);
    command
}

/// The flows that a command prints until it ends.
fn flows(command: Command) -> Vec<Value> {
    clients::json_lines(command).into_iter().map(|line| line["flow"].clone()).filter(Value::is_object).collect()
}

fn is_in(flow: &Value, namespace: &str) -> bool {
    ["source", "destination"].iter().any(|end| flow[end]["namespace"] == namespace)
}

#[test]
fn commands_of_the_article_about_hubble_work_as_printed() {
    let fixture = prepare();
    let _talk = start_talk(fixture, "payments");
    let folder = std::env::temp_dir().join(format!("trilobite-e2e-hubble-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for name in ["kubectl", "hubble"] {
        let link = folder.join(name);
        let _ = fs::remove_file(&link);
        symlink(Cache::from_environment().program(name).unwrap(), link).unwrap();
    }
    // A stream is ended by its process alone.
    let shell = |line: &str| {
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        without_proxies(&mut command).env("PATH", path).env("KUBECONFIG", fixture.kubectl.kubeconfig());
        command.env("HUBBLE_SERVER", "localhost:4245").args(["-c", &format!("exec {line}")]);
        command
    };
    let forward = PortForward::of_command(shell(FORWARD));
    assert_eq!(forward.port, 4245);

    let follow = Stream::start(shell("hubble observe --namespace payments --follow"));
    follow.until("a flow of each side", 30, |line| line.contains("payments/cart") && line.contains("to-endpoint"));
    drop(follow);
    let pair = "hubble observe --from-pod payments/cart --to-pod payments/till --follow";
    let follow = Stream::start(shell(pair));
    follow.until("a flow between two pods", 30, |line| line.contains("-> payments/till:7000"));
    drop(follow);

    // What the article gives to jq: `.source.namespace + "/" + .source.pod_name, ...`.
    let mut graph = shell("hubble observe --namespace payments --output json --last 50000");
    graph.env("HUBBLE_COMPAT", "legacy-json-output");
    let lines = clients::json_lines(graph);
    let edge = |flow: &Value| {
        let name =
            |end: &str| Some(format!("{}/{}", flow[end]["namespace"].as_str()?, flow[end]["pod_name"].as_str()?));
        name("source").zip(name("destination"))
    };
    let edges: Vec<_> = lines.iter().filter_map(edge).collect();
    assert!(edges.contains(&("payments/cart".into(), "payments/till".into())), "{edges:?}");
    let nodes: Vec<_> = lines.iter().filter_map(|flow| flow["node_name"].as_str()).collect();
    assert!(["node1", "node2"].iter().all(|node| nodes.contains(node)), "{nodes:?}");

    // `hubble` finds the Service and its first port by itself, too.
    drop(forward);
    let own = format!(
        "hubble status --port-forward --kube-namespace {NAMESPACE} --kubeconfig {}",
        fixture.kubectl.kubeconfig().display()
    );
    let status = String::from_utf8(clients::succeed(&mut shell(&own)).stdout).unwrap();
    assert!(status.contains(": Ok\n") && status.contains("Connected Nodes: 2/2"), "{status}");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn status_and_nodes_are_those_of_the_whole_cluster() {
    let fixture = prepare();
    let forward = PortForward::start(&fixture.kubectl, NAMESPACE, "svc/hubble-relay", 80);
    let said = eventually("both nodes are connected", 30, || {
        let done = observe(&forward.server(), &["status"]).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        that(said.contains("Connected Nodes: 2/2"), format!("{said}{}", String::from_utf8_lossy(&done.stderr)))?;
        Ok(said)
    });
    assert!(said.contains(": Ok\n"), "{said}");
    let nodes = clients::succeed(&mut observe(&forward.server(), &["list", "nodes"]));
    let nodes = String::from_utf8(nodes.stdout).unwrap();
    for node in ["node1", "node2"] {
        assert!(nodes.lines().any(|line| line.starts_with(node) && line.contains("Connected")), "{nodes}");
    }
    clients::succeed(&mut observe(&forward.server(), &["list", "namespaces"]));
    let refused = observe(&forward.server(), &["observe", "agent-events", "--last", "1"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("observer.Observer/GetAgentEvents is not served"), "{said}");
}

#[test]
fn last_flows_of_both_nodes_are_the_newest_each_once_in_order() {
    let fixture = prepare();
    let namespace = "history";
    let _history = TestNamespace::create(&fixture.kubectl, namespace);
    Workload { namespace, name: "till", node: "node1", command: SERVE }.start(&fixture.kubectl);
    Workload { namespace, name: "cart", node: "node2", command: "[sleep, infinity]" }.start(&fixture.kubectl);
    let peer = pods::address(&fixture.kubectl, namespace, "till", 0);
    let connections = count("TRILOBITE_CONNECTIONS", 100);
    let script = format!("i=0; while [ $i -lt {connections} ]; do netecho send tcp {peer} 7000 10; i=$((i+1)); done");
    fixture.kubectl.run(&["-n", namespace, "exec", "cart", "--", "sh", "-c", &script]);

    // Pods ask for routers of IPv6 by ICMP for minutes.
    let question = ["observe", "--namespace", namespace, "--protocol", "tcp", "-o", "json"];
    let of_node = |node: &str| flows(clients::hubble(node, &[&question[..], &["--all"]].concat()));
    // Flows end seconds after their connection: none comes any more once two answers are the same. A flow with packets that no
    // record has told is reported 5 seconds after its last one.
    let mut before = Vec::new();
    let expected = eventually("no flow comes any more", 120, || {
        let all = ["node1", "node2"].iter().flat_map(|node| of_node(node));
        let mut all: Vec<(String, String)> = all.map(|flow| (text(&flow, "time"), text(&flow, "uuid"))).collect();
        all.sort_unstable();
        let is_same = !all.is_empty() && all == before;
        before.clone_from(&all);
        thread::sleep(Duration::from_secs(9));
        that(is_same, all.len())?;
        Ok(all)
    });
    let forward = PortForward::start(&fixture.kubectl, NAMESPACE, "svc/hubble-relay", 80);
    for last in [1, 20, expected.len() / 2, 50_000] {
        let number = last.to_string();
        let found = flows(observe(&forward.server(), &[&question[..], &["--last", &number]].concat()));
        let found: Vec<(String, String)> = found.iter().map(|flow| (text(flow, "time"), text(flow, "uuid"))).collect();
        // Events of one packet, and flows that one sweep ends, have one time: which of them are the newest is not defined. Sweeps
        // go on within microseconds, so that milliseconds are compared.
        let times =
            |flows: &[(String, String)]| flows.iter().map(|(time, _)| time[..23].to_owned()).collect::<Vec<_>>();
        let newest = &expected[expected.len().saturating_sub(last)..];
        assert_eq!(times(&found), times(newest), "--last {last}: the newest, in the order of time");
        let different: BTreeSet<_> = found.iter().filter(|flow| expected.contains(flow)).collect();
        assert_eq!(different.len(), found.len(), "--last {last}: each once");
    }
}

/// Times have nine digits behind the point, so that they are sorted as texts.
fn text(flow: &Value, field: &str) -> String {
    let value = flow[field].as_str().unwrap_or_default();
    match (field, value.strip_suffix('Z').and_then(|value| value.split_once('.'))) {
        ("time", Some((seconds, fraction))) => format!("{seconds}.{fraction:0<9}Z"),
        ("time", None) => value.replace('Z', ".000000000Z"),
        _ => value.to_owned(),
    }
}

#[test]
fn stream_goes_on_while_an_agent_is_killed_and_comes_back() {
    let fixture = prepare();
    let _talk = start_talk(fixture, "outage");
    let forward = PortForward::start(&fixture.kubectl, NAMESPACE, "svc/hubble-relay", 80);
    let words = ["observe", "--namespace", "outage", "--follow", "-o", "json"];
    let stream = Stream::start(observe(&forward.server(), &words));
    let of_node = |node: &str| format!("\"node_name\":\"{node}\"");
    for node in ["node1", "node2"] {
        stream.until(&format!("a flow of {node}"), 30, |line| line.contains(&of_node(node)));
    }
    agents::kill("node1");
    // A pod that has not been seen before: what is read of it happened after the kill.
    let peer = pods::address(&fixture.kubectl, "outage", "till", 0);
    let command = TALK.replace("$PEER", &peer);
    Workload { namespace: "outage", name: "later", node: "node2", command: &command }.start(&fixture.kubectl);
    let of_later = |node: &str, line: &str| line.contains(&of_node(node)) && line.contains("\"later\"");
    stream.until("the other node is read on", 30, |line| of_later("node2", line));
    stream.until("the node is read again", 90, |line| of_later("node1", line));
    fixture.ready("2/2");
}

#[test]
fn token_shows_the_flows_of_its_namespaces_alone() {
    let fixture = prepare();
    let _talks = ["payments", "ledger"].map(|namespace| start_talk(fixture, namespace));
    let admin = &fixture.kubectl;
    let team = User::create(admin, "payments", "team");
    team.bind(admin, "payments", "trilobite-read-flows-and-profiles");
    let stranger = User::create(admin, "ledger", "nobody");
    let forward = PortForward::start(admin, NAMESPACE, "svc/hubble-relay", 443);
    let ca = bundle(fixture);
    let as_user = |user: &User, words: &[&str]| {
        let (namespace, account) = user.name.trim_start_matches("system:serviceaccount:").split_once(':').unwrap();
        let token = admin.run(&["-n", namespace, "create", "token", account]);
        let ca = ca.to_str().unwrap();
        let by_tls = ["--tls", "--tls-ca-cert-files", ca, "--tls-server-name", "instance.hubble-relay.cilium.io"];
        let token = ["--basic-auth-username", "token", "--basic-auth-password", token.trim()];
        observe(&forward.server(), &[words, &by_tls[..], &token[..]].concat())
    };
    let seen = eventually("flows of both nodes", 60, || {
        let seen = flows(as_user(&team, &["observe", "--last", "500", "-o", "json"]));
        let both = ["node1", "node2"].iter().all(|node| seen.iter().any(|flow| flow["node_name"] == **node));
        that(both, seen.len())?;
        Ok(seen)
    });
    let foreign: Vec<_> = seen.iter().filter(|flow| !is_in(flow, "payments")).collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
    let status = clients::succeed(&mut as_user(&team, &["status"]));
    assert!(String::from_utf8_lossy(&status.stdout).contains("Connected Nodes: 2/2"));
    // A filter of another namespace finds nothing.
    assert!(flows(as_user(&team, &["observe", "--namespace", "ledger", "--last", "50", "-o", "json"])).is_empty());

    let refused = as_user(&stranger, &["observe", "--last", "1"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("cannot get resource \"flows\""), "{said}");
}

/// The certificates that clients of the relay trust, as a file.
fn bundle(fixture: &Fixture) -> PathBuf {
    let map = fixture.kubectl.get(&["-n", NAMESPACE, "configmap", "trilobite-ca"]).unwrap();
    let path = std::env::temp_dir().join(format!("trilobite-e2e-ca-{}.pem", std::process::id()));
    fs::write(&path, map["data"]["ca.crt"].as_str().unwrap()).unwrap();
    path
}

/// pods/portforward is the lock of the port without TLS: no pod may get around it.
#[test]
fn no_pod_reaches_the_port_without_tls() {
    let fixture = prepare();
    let _curious = TestNamespace::create(&fixture.kubectl, "curious");
    for node in ["node1", "node2"] {
        Workload { namespace: "curious", name: node, node, command: "[sleep, infinity]" }.start(&fixture.kubectl);
    }
    let relay = "-l=app.kubernetes.io/name=trilobite-relay";
    let address = "-o=jsonpath={.items[0].status.podIP}";
    let pod = fixture.kubectl.run(&["-n", NAMESPACE, "get", "pods", relay, address]);
    let service = ["-n", NAMESPACE, "get", "service", "hubble-relay", "-o=jsonpath={.spec.clusterIP}"];
    let service = fixture.kubectl.run(&service);
    for (address, port, is_open) in [(&pod, "4246", true), (&pod, "4245", false), (&service, "80", false)] {
        for node in ["node1", "node2"] {
            // What listens says nothing to this, but the connection is made, and reset or closed.
            let script = format!("timeout 5 netecho send tcp {address} {port} 1; true");
            let exec = ["-n", "curious", "exec", node, "--", "sh", "-c", &script];
            let said = fixture.kubectl.output(&exec);
            let said = String::from_utf8_lossy(&said.stderr).into_owned();
            assert_eq!(!said.contains("refused"), is_open, "{address}:{port} from {node}: {said}");
        }
    }
}

/// Ended when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// With what the operator gives it: the Secret, and any agent, which names the others.
#[test]
fn unmodified_hubble_relay_reads_both_nodes_by_its_certificate() {
    let fixture = Fixture::shared();
    fixture
        .stack("{security: {mode: OnDemand}, network: {mode: Enabled}, relay: {mode: Enabled, hubbleRelay: Enabled}}");
    let _talk = start_talk(fixture, "upstream");
    let secret = eventually("the Secret of hubble-relay exists", 30, || {
        fixture.kubectl.get(&["-n", NAMESPACE, "secret", "hubble-relay-client-certs"])
    });
    let service = fixture.kubectl.get(&["-n", NAMESPACE, "service", "hubble-peer"]).unwrap();
    assert_eq!(service["spec"]["ports"][0]["targetPort"], 4244);
    let folder = std::env::temp_dir().join(format!("trilobite-e2e-hubble-relay-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        let entry = format!("-o=go-template={{{{index .data \"{name}\" | base64decode}}}}");
        let text = fixture.kubectl.run(&["-n", NAMESPACE, "get", "secret", "hubble-relay-client-certs", &entry]);
        assert!(!secret["data"][name].is_null());
        fs::write(folder.join(name), text).unwrap();
    }
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut relay = Command::new(Cache::from_environment().program("hubble-relay").unwrap());
    relay.args(["serve", "--disable-server-tls", "--gops=false", "--health-listen-address", "127.0.0.1:0"]);
    let peer_service = format!("{}:4244", node_address(&fixture.kubectl, "node1"));
    relay.args(["--listen-address", &listen, "--peer-service", &peer_service]);
    for (flag, name) in [
        ("--tls-hubble-client-cert-file", "tls.crt"),
        ("--tls-hubble-client-key-file", "tls.key"),
        ("--tls-hubble-server-ca-files", "ca.crt"),
    ] {
        relay.arg(flag).arg(folder.join(name));
    }
    let _relay = Running(relay.spawn().unwrap());
    eventually("hubble-relay is connected to both nodes", 60, || {
        let done = observe(&listen, &["status"]).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        that(said.contains("Connected Nodes: 2/2"), format!("{said}{}", String::from_utf8_lossy(&done.stderr)))
    });
    let seen = flows(observe(&listen, &["observe", "--namespace", "upstream", "--last", "50", "-o", "json"]));
    for node in ["node1", "node2"] {
        assert!(seen.iter().any(|flow| flow["node_name"] == node), "{node}: {seen:#?}");
    }
    // What is not asked for any more goes.
    fixture.stack(STACK);
    eventually("the Secret is gone", 30, || {
        let found = fixture.kubectl.ask(&["-n", NAMESPACE, "get", "secret,service", "-o", "name"])?;
        that(!found.contains("hubble-relay-client-certs") && !found.contains("hubble-peer"), found)
    });
    fs::remove_dir_all(&folder).unwrap();
}
