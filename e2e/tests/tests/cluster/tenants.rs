//! A team with rights in one namespace cannot see or use up what is another's, and the security team's policy stays active.

use std::time::Duration;

use serde_json::{Value, json};
use trilobite_e2e::{
    Fixture, Kubectl,
    clients::{self, Stream},
    eventually,
    fixture::NAMESPACE,
    pods::{self, Workload},
    wait::that,
};

const LISTS: &str = r#"[sh, -c, "while true; do /bin/ls / >/dev/null; sleep 0.5; done"]"#;
/// Acts as the team's ServiceAccount.
const TEAM: &str = "--as=system:serviceaccount:mine:team";
/// The default budgets of a namespace.
const PROFILES: usize = 16;
const CAPTURES: usize = 16;

/// kubectl with the rights of the team.
struct Team<'a>(&'a Kubectl);

impl Team<'_> {
    /// A command that the API server forbids, in these words.
    fn is_forbidden(&self, words: &[&str], named: &str) {
        // Behind the words of an exec it would be the program's.
        let done = self.0.output(&[&[TEAM], words].concat());
        let said = String::from_utf8_lossy(&done.stderr);
        let refused = !done.status.success() && said.contains("forbidden") && said.contains(named);
        assert!(refused, "{words:?} was not refused with {named:?}: {said}");
    }

    /// An object that the API server forbids.
    fn may_not_create(&self, object: &Value, named: &str) {
        let file = std::env::temp_dir().join("trilobite-team.json");
        std::fs::write(&file, object.to_string()).unwrap();
        self.is_forbidden(&["create", "-f", file.to_str().unwrap()], named);
    }

    fn create(&self, object: &Value) {
        let file = std::env::temp_dir().join("trilobite-team.json");
        std::fs::write(&file, object.to_string()).unwrap();
        self.0.run(&["create", TEAM, "-f", file.to_str().unwrap()]);
    }
}

fn object(kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "trilobite.dev/v1alpha1", "kind": kind, "metadata": { "name": name, "namespace": namespace }, "spec": spec })
}

fn profile(namespace: &str, name: &str) -> Value {
    object("AppProfile", namespace, name, json!({ "podSelector": {}, "cpu": {}, "durationSeconds": 300 }))
}

fn capture(namespace: &str, name: &str) -> Value {
    object("FlowCapture", namespace, name, json!({ "podSelector": {}, "durationSeconds": 300 }))
}

/// A policy with a selector of its own, so that each takes a selection of the node.
fn policy(namespace: &str, name: &str) -> Value {
    let hook = json!({ "subsystem": "sched", "event": "sched_process_exec" });
    let selector = json!({ "matchLabels": { "app": name } });
    object("TracingPolicyNamespaced", namespace, name, json!({ "podSelector": selector, "tracepoints": [hook] }))
}

fn condition(kubectl: &Kubectl, words: &[&str], named: &str) -> Result<(), String> {
    let object = kubectl.get(words)?;
    that(object["status"]["conditions"].to_string().contains(named), format!("{:#}", object["status"]))
}

#[test]
fn team_cannot_see_or_use_up_what_is_anothers() {
    let fixture = Fixture::shared();
    let kubectl = &fixture.kubectl;
    fixture.stack("{security: {mode: Enabled}}");
    for namespace in ["mine", "theirs"] {
        pods::namespace(kubectl, namespace);
        Workload { namespace, name: "till", node: "node1", command: LISTS }.start(kubectl);
    }
    kubectl.apply(
        "{apiVersion: v1, kind: ServiceAccount, metadata: {name: team, namespace: mine}}\n---\n\
         {apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: team, namespace: mine}, \
          roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: trilobite-edit}, \
          subjects: [{kind: ServiceAccount, name: team, namespace: mine}]}",
    );
    kubectl.apply(
        "{apiVersion: trilobite.dev/v1alpha1, kind: TracingPolicy, metadata: {name: security-team}, \
          spec: {tracepoints: [{subsystem: sched, event: sched_process_exec}]}}",
    );
    kubectl.apply(&profile("theirs", "secret").to_string());
    let team = Team(kubectl);
    eventually("the role is there", 30, || kubectl.ask(&["-n", "mine", "get", "appprofiles", TEAM]));

    // What the API server refuses.
    team.is_forbidden(
        &["-n", NAMESPACE, "exec", "ds/trilobite-node", "--", "trilobite-node", "proxy"],
        "trilobite-system",
    );
    team.is_forbidden(&["-n", NAMESPACE, "get", "pods"], "pods");
    team.is_forbidden(&["-n", "theirs", "get", "appprofile", "secret"], "appprofiles");
    team.is_forbidden(&["get", "noderuntimes"], "noderuntimes");
    team.is_forbidden(&["get", "profileparts"], "profileparts");
    team.may_not_create(&profile("theirs", "stolen"), "appprofiles");
    team.may_not_create(&capture("theirs", "stolen"), "flowcaptures");
    team.may_not_create(&policy("theirs", "stolen"), "tracingpoliciesnamespaced");
    let mut everywhere = policy("mine", "everywhere");
    everywhere["kind"] = json!("TracingPolicy");
    everywhere["metadata"].as_object_mut().unwrap().remove("namespace");
    team.may_not_create(&everywhere, "tracingpolicies");
    team.is_forbidden(&["label", "namespace", "theirs", "trilobite.dev/app-profile=cpu.15m"], "namespaces");

    // What the operator bounds. A label that names another namespace selects nothing.
    let elsewhere = json!({ "matchLabels": { "io.kubernetes.pod.namespace": "theirs" } });
    let reaching = json!({ "podSelector": elsewhere, "cpu": {}, "durationSeconds": 300 });
    team.create(&object("AppProfile", "mine", "reaching", reaching));
    eventually("a profile of another namespace's pods has none", 30, || {
        condition(kubectl, &["-n", "mine", "appprofile", "reaching"], "NoMatchingPods")
    });
    kubectl.run(&["-n", "mine", "delete", "appprofile", "reaching"]);
    for (kind, count, make) in
        [("appprofile", PROFILES, profile as fn(&str, &str) -> Value), ("flowcapture", CAPTURES, capture)]
    {
        (0..=count).for_each(|number| team.create(&make("mine", &format!("run-{number:02}"))));
        eventually("one more than the budget is refused, and says so", 60, || {
            let list = kubectl.get(&["-n", "mine", kind])?;
            let refused = list["items"].as_array().unwrap().iter();
            let refused =
                refused.filter(|item| item["status"]["conditions"].to_string().contains("NamespaceBudgetExceeded"));
            that(refused.count() == 1, format!("{kind}: {:#}", list["items"][count]["status"]))
        });
        kubectl.apply(&make("theirs", "beside").to_string());
        eventually("another namespace is not affected", 30, || {
            condition(kubectl, &["-n", "theirs", kind, "beside"], "\"Valid\"")
        });
        kubectl.run(&["-n", "mine", "delete", kind, "--all"]);
    }

    // As many selections as a node had bits for, and the policy of the security team is active throughout.
    for number in 0..70 {
        team.create(&policy("mine", &format!("greedy-{number:02}")));
    }
    eventually("the greedy policies were judged", 60, || {
        condition(kubectl, &["-n", "mine", "tracingpolicynamespaced", "greedy-69"], "Programmed")
    });
    eventually("the security team's policy is ready", 30, || {
        let object = kubectl.get(&["tracingpolicy", "security-team"])?;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        that(ready, format!("{:#}", object["status"]))
    });
    let stream = Stream::start(clients::tetra("node1", &["getevents", "-o", "json"]));
    let lines = stream.during(Duration::from_secs(4));
    let of_policy = |line: &&String| line.contains("security-team") && line.contains("\"namespace\":\"theirs\"");
    assert!(
        lines.iter().any(|line| of_policy(&line)),
        "no event of the security team's policy in {} lines",
        lines.len()
    );
    kubectl.run(&["delete", "tracingpolicy", "security-team"]);
    kubectl.run(&["delete", "namespace", "mine", "theirs", "--wait=false"]);
}
