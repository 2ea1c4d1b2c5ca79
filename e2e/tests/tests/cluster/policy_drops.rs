//! A NetworkPolicy on a real cluster without an enforcing CNI: with a rule of netfilter in the place of one, a dropped connection
//! names the policy; without it, what passes is audited; and a rule that no policy asks for is no policy's.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;
use trilobite_e2e::{
    Fixture, agents, clients, eventually,
    pods::{self, Workload},
    wait::that,
};

const NAMESPACE: &str = "policy-drops";

const DEFAULT_DENY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: policy-drops}
spec:
  podSelector: {}
  policyTypes: [Ingress]
";

const ALLOW_CLIENT: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-client, namespace: policy-drops}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress:
    - from: [{podSelector: {matchLabels: {app: client}}}]
      ports: [{port: 7000}]
";

/// A rule in the network namespace of a node that drops what is forwarded to a pod's port; gone with the value.
struct DroppingRule {
    node: &'static str,
}

impl DroppingRule {
    fn new(node: &'static str, address: &str) -> Self {
        let rule = format!("ip daddr {address} tcp dport 7000 drop");
        let chain = format!("chain forward {{\ntype filter hook forward priority 0;\n{rule}\n}}");
        nft(node, &format!("table ip enforcer {{\n{chain}\n}}\n"));
        Self { node }
    }
}

impl Drop for DroppingRule {
    fn drop(&mut self) {
        nft(self.node, "delete table ip enforcer\n");
    }
}

fn nft(node: &str, rules: &str) {
    let agent = agents::pid_on(node).to_string();
    let mut nft = Command::new("nsenter");
    let mut nft = nft.args(["-t", &agent, "-n", "nft", "-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "nft on {node}: {rules}");
}

/// The newest flows to the server on its node, newest last.
fn newest(words: &[&str]) -> Vec<Value> {
    let to_server = format!("{NAMESPACE}/server");
    let mut all = vec!["observe", "-o", "json", "--last", "3", "--to-pod", &to_server];
    all.extend(words);
    clients::json_lines(clients::hubble("node1", &all)).into_iter().map(|line| line["flow"].clone()).collect()
}

/// Waits until each of the newest flows has these ends and this reason, and names this policy alone, if any.
#[track_caller]
fn expect(what: &str, words: &[&str], reason: &str, field: &str, policy: &str) {
    eventually(what, 60, || {
        let flows = newest(words);
        let is_right = |flow: &Value| {
            let names: Vec<&str> =
                flow[field].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
            let has_policy = if policy.is_empty() { names.is_empty() } else { names == [policy] };
            let is_named = flow[field][0]["kind"] == "NetworkPolicy" && flow[field][0]["namespace"] == NAMESPACE;
            let reason_of = flow["drop_reason_desc"].as_str().unwrap_or("DROP_REASON_UNKNOWN");
            has_policy
                && (policy.is_empty() || is_named)
                && reason_of == reason
                && flow["source"]["pod_name"] == "client"
                && flow["traffic_direction"] == "INGRESS"
        };
        that(!flows.is_empty() && flows.iter().all(is_right), format!("{flows:#?}"))
    });
}

#[test]
fn policy_is_named_where_it_drops_and_audited_where_it_does_not() {
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    fixture.stack("{network: {mode: Enabled}}");
    pods::namespace(kubectl, NAMESPACE);
    let server =
        Workload { namespace: NAMESPACE, name: "server", node: "node1", command: r#"[netecho, serve, "7000"]"# };
    server.start(kubectl);
    let address = kubectl.run(&["-n", NAMESPACE, "get", "pod", "server", "-o=jsonpath={.status.podIP}"]);
    let talk = format!(r#"[sh, -c, "while true; do timeout 1 netecho send tcp {address} 7000 100; sleep 0.5; done"]"#);
    let client = Workload { namespace: NAMESPACE, name: "client", node: "node2", command: &talk };
    client.start(kubectl);

    kubectl.apply(DEFAULT_DENY);
    let denied_by = "ingress_denied_by";
    expect(
        "a denied connection that passes is audited",
        &["--verdict", "AUDIT"],
        "POLICY_DENIED",
        denied_by,
        "default-deny",
    );

    let rule = DroppingRule::new("node1", &address);
    let dropped = ["--verdict", "DROPPED"];
    expect(
        "a denied connection that is dropped names its policy",
        &dropped,
        "POLICY_DENIED",
        denied_by,
        "default-deny",
    );

    kubectl.delete(DEFAULT_DENY);
    kubectl.apply(ALLOW_CLIENT);
    expect("a drop that no policy asks for is no policy's", &dropped, "DROP_REASON_UNKNOWN", denied_by, "");

    drop(rule);
    let allowed = ["--type", "policy-verdict", "--verdict", "FORWARDED"];
    let allowed_by = "ingress_allowed_by";
    expect("an allowed connection says by which policy", &allowed, "DROP_REASON_UNKNOWN", allowed_by, "allow-client");

    client.stop(kubectl);
    server.stop(kubectl);
    kubectl.delete(ALLOW_CLIENT);
}
