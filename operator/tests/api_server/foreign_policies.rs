//! Policies of Tetragon's API group, whose CRDs come while the operator runs: with a status, and as Tetragon's own without
//! one. The CRDs are gone at the end of each test, so that `kubectl get tracingpolicy` means our own kind in the others.

use serde_json::{Value, json};
use trilobite_crds::schema::cilium_crds;

use crate::{
    fake_agent::Behaviour,
    test_cluster::{STACK, TestCluster, condition, eventually, stack, with_test_cluster},
};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const POLICIES: &str = "/apis/cilium.io/v1alpha1/tracingpolicies";

fn policy(name: &str, hooks: &str) -> String {
    format!("---\napiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec: {{{hooks}}}\n")
}

/// The CRDs as Tetragon installs them: no status.
fn without_status(mut crd: Value) -> Value {
    let version = &mut crd["spec"]["versions"][0];
    version["subresources"] = json!({});
    version["additionalPrinterColumns"] = json!([]);
    version["schema"]["openAPIV3Schema"]["properties"].as_object_mut().unwrap().remove("status");
    crd
}

async fn install(cluster: &TestCluster<'_>, crds: Vec<Value>) {
    let yaml: Vec<String> = crds.iter().map(|crd| serde_yaml::to_string(crd).unwrap()).collect();
    cluster.apply(&yaml.join("---\n"));
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "tracingpolicies.cilium.io", "--timeout=20s"]);
}

async fn uninstall(cluster: &TestCluster<'_>) {
    for plural in ["tracingpolicies", "tracingpoliciesnamespaced"] {
        cluster.delete(&format!("{CRDS}/{plural}.cilium.io")).await;
    }
    eventually("the CRD is gone", 60, async || match cluster.get(&format!("{CRDS}/tracingpolicies.cilium.io")).await {
        Err(error) if error.contains("not found") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[test]
fn policy_of_a_crd_that_comes_later_gets_its_status() {
    with_test_cluster(async |mut cluster| {
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&stack("{security: {mode: Enabled}}"));
        cluster.condition(STACK, "Ready", "True", "Ready").await;
        install(&cluster, cilium_crds()).await;
        let good = policy("good", "tracepoints: [{subsystem: sched, event: sched_switch}]");
        cluster.apply(&(good + &policy("bad", "options: [{name: policy-mdoe}], kprobes: [{call: sys_dup}]")));
        cluster.condition(&format!("{POLICIES}/good"), "Ready", "True", "Ready").await;
        let bad = cluster.condition(&format!("{POLICIES}/bad"), "Accepted", "False", "InvalidSpec").await;
        let message = condition(&bad, "Accepted").unwrap()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("policy-mdoe is not known; did you mean policy-mode?"), "{message}");
        // Without the CRD, the policy is gone, and the stack stays ready.
        uninstall(&cluster).await;
        eventually("the part is gone", 40, async || {
            let parts = cluster.kubectl(&["get", "noderuntime", "reef-1", "-o", "jsonpath={.status.parts}"]);
            if parts.contains("cilium") { Err(parts) } else { Ok(()) }
        })
        .await;
        cluster.condition(STACK, "Ready", "True", "Ready").await;
    });
}

#[test]
fn policy_without_a_status_is_judged_by_events() {
    with_test_cluster(async |mut cluster| {
        install(&cluster, cilium_crds().into_iter().map(without_status).collect()).await;
        cluster.node("reef-1", Behaviour::default()).await;
        cluster.start_operator();
        cluster.apply(&stack("{security: {mode: Enabled}}"));
        let good = policy("good", "tracepoints: [{subsystem: sched, event: sched_switch}]");
        cluster.apply(&(good + &policy("bad", "lsmhooks: [{hook: file_open}]")));
        let message = |name: &str, reason: &str| {
            let fields = format!("involvedObject.name={name},reason={reason}");
            cluster.kubectl(&["get", "events", "-A", "--field-selector", &fields, "-o", "jsonpath={.items[*].message}"])
        };
        eventually("the Events say so", 60, async || {
            let (bad, good) = (message("bad", "Unsupported"), message("good", "Ready"));
            if bad.contains("spec.lsmhooks is not supported yet; remove it") && good.contains("1 of 1 node ready") {
                Ok(())
            } else {
                Err(format!("{bad}; {good}"))
            }
        })
        .await;
        eventually("the stack's status lists them", 20, async || {
            let stack = cluster.get(STACK).await?;
            let listed = &stack["status"]["foreignPolicies"];
            let found = |index: usize| [&listed[index]["name"], &listed[index]["ready"], &listed[index]["reason"]];
            let as_expected = found(0) == ["bad", "False", "Unsupported"] && found(1) == ["good", "True", "Ready"];
            if as_expected { Ok(()) } else { Err(format!("{:#}", stack["status"])) }
        })
        .await;
        uninstall(&cluster).await;
    });
}
