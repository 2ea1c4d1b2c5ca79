//! The clients people have read running agents: the real `tetra`, the real `hubble`, and our own command line.

use std::time::Duration;

use trilobite_e2e::{
    Fixture,
    clients::{self, Stream},
    eventually,
    pods::{self, Workload},
};

const SLEEP: &str = r#"[sh, -c, "while true; do /bin/ls / >/dev/null; sleep 1; done"]"#;

#[test]
fn tetra_shows_an_exec_inside_a_pod_in_compact_and_in_json() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    pods::namespace(&fixture.kubectl, "clients");
    let pod = Workload { namespace: "clients", name: "lister", node: "node1", command: SLEEP };
    pod.start(&fixture.kubectl);

    let compact = Stream::start(clients::tetra("node1", &["getevents", "-o", "compact", "--color", "never"]));
    compact.until("an exec line", 20, |line| line.contains("🚀 process clients/lister") && line.contains("ls /"));
    compact.until("an exit line", 20, |line| line.contains("💥 exit    clients/lister"));

    let json = Stream::start(clients::tetra("node1", &["getevents", "-o", "json", "--namespace", "clients"]));
    let line = json.until("an exec in JSON", 20, |line| line.contains("process_exec") && line.contains("\"/bin/ls\""));
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    let process = &event["process_exec"]["process"];
    assert_eq!(process["pod"]["name"], "lister");
    assert_eq!(process["pod"]["container"]["name"], "main");
    assert_eq!(process["arguments"], "/");
    assert_eq!(event["process_exec"]["parent"]["exec_id"], process["parent_exec_id"]);
    assert_eq!(event["node_name"], "node1");

    let status = clients::succeed(&mut clients::tetra("node1", &["status"]));
    assert!(String::from_utf8_lossy(&status.stdout).contains("Health Status: running"));
    pod.stop(&fixture.kubectl);
}

#[test]
fn tetra_shows_a_tracepoint_of_a_policy_and_not_of_another_namespace() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    for namespace in ["traced", "untraced"] {
        pods::namespace(&fixture.kubectl, namespace);
        Workload { namespace, name: "lister", node: "node2", command: SLEEP }.start(&fixture.kubectl);
    }
    let policy = r"
apiVersion: trilobite.dev/v1alpha1
kind: TracingPolicyNamespaced
metadata: {name: forks, namespace: traced}
spec:
  tracepoints:
    - {subsystem: sched, event: sched_process_exec, raw: true, args: [{index: 1, type: int32}]}
";
    fixture.kubectl.apply(policy);
    let stream = Stream::start(clients::tetra("node2", &["getevents", "-o", "json", "-e", "PROCESS_TRACEPOINT"]));
    let line = stream.until("a tracepoint", 30, |line| line.contains("process_tracepoint"));
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["process_tracepoint"]["policy_name"], "forks");
    assert_eq!(event["process_tracepoint"]["process"]["pod"]["namespace"], "traced");
    let lines = stream.during(Duration::from_secs(5));
    assert!(lines.len() > 2, "only {} tracepoints of a pod that execs once a second", lines.len());
    let foreign: Vec<_> = lines.into_iter().filter(|line| line.contains("\"untraced\"")).collect();
    assert_eq!(foreign, Vec::<String>::new());
    fixture.kubectl.delete(policy);
    fixture.kubectl.run(&["delete", "namespace", "traced", "untraced", "--wait=false"]);
}

#[test]
fn hubble_shows_a_flow_between_two_pods_on_two_nodes_in_all_its_formats() {
    let fixture = Fixture::shared();
    fixture.stack("{network: {mode: Enabled}}");
    pods::namespace(&fixture.kubectl, "shop");
    let server = Workload { namespace: "shop", name: "server", node: "node2", command: r#"[netecho, serve, "7000"]"# };
    let client = Workload { namespace: "shop", name: "client", node: "node1", command: r#"[netecho, serve, "7001"]"# };
    server.start(&fixture.kubectl);
    client.start(&fixture.kubectl);
    let to = pods::address(&fixture.kubectl, "shop", "server", 0);
    let talk = || {
        fixture
            .kubectl
            .ask(&["-n", "shop", "exec", "client", "--", "netecho", "send", "tcp", &to, "7000", "100000"])
            .unwrap()
    };

    let line = eventually("hubble shows the flow", 60, || {
        talk();
        let done =
            clients::succeed(&mut clients::hubble("node1", &["observe", "--namespace", "shop", "--last", "100"]));
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let found = text.lines().find(|line| line.contains("shop/client:") && line.contains("-> shop/server:7000"));
        found.map(str::to_owned).ok_or(text.clone())
    });
    assert!(line.contains("FORWARDED (TCP Flags:"), "{line}");
    for format in ["compact", "dict", "json", "jsonpb", "table"] {
        let done =
            clients::succeed(&mut clients::hubble("node2", &["observe", "-o", format, "--to-pod", "shop/server"]));
        assert!(String::from_utf8_lossy(&done.stdout).contains("server"), "{format}");
    }
    let flows = clients::json_lines(clients::hubble("node1", &["observe", "-o", "json", "--from-pod", "shop/client"]));
    let flow = &flows[0]["flow"];
    assert_eq!(flow["source"]["namespace"], "shop");
    assert_eq!(flow["destination"]["pod_name"], "server");
    assert!(flow["destination"]["labels"].to_string().contains("k8s:app=server"));

    let status = clients::succeed(&mut clients::hubble("node1", &["status"]));
    assert!(String::from_utf8_lossy(&status.stdout).contains(": Ok"));
    server.stop(&fixture.kubectl);
    client.stop(&fixture.kubectl);
}

#[test]
fn our_command_line_makes_one_flame_graph_of_one_pod() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: OnDemand}}");
    pods::namespace(&fixture.kubectl, "busy");
    let pod = Workload { namespace: "busy", name: "primes", node: "node2", command: "[burn_primes]" };
    pod.start(&fixture.kubectl);
    let svg = std::env::temp_dir().join("trilobite-e2e-flame.svg");
    let words = ["profile", "busy/primes", "--for", "6s", "-o", svg.to_str().unwrap()];
    let done = clients::succeed(&mut clients::trilobite(&fixture.kubectl, &words));
    println!("{}", String::from_utf8_lossy(&done.stderr));
    let text = std::fs::read_to_string(&svg).unwrap();
    assert!(text.contains("<svg") && text.contains("burn_primes"), "the flame graph does not name the function");
    assert!(text.contains("CPU of busy/primes on node2: "), "the flame graph does not say what was sampled where");
    assert!(text.contains("<title>primes/"), "pod and container are not at the root");
    let progress = String::from_utf8_lossy(&done.stderr).lines().filter(|line| line.contains(" s left")).count();
    assert!(progress >= 4, "progress was shown {progress} times in 6 s");
    assert_eq!(fixture.kubectl.run(&["-n", "busy", "get", "appprofile", "-o", "name"]), "");
    pod.stop(&fixture.kubectl);
}

#[test]
fn our_command_line_says_what_is_wrong_and_what_to_do() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let done = clients::succeed(&mut clients::trilobite(&fixture.kubectl, &["status"]));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(text.contains("2/2"), "{text}");
    assert!(text.contains("node1") && text.contains("node2"), "{text}");
}
