//! After `kubectl delete observabilitystack`, `helm uninstall` and the CRDs' deletion, nothing of ours is left: not in the
//! cluster, not in the kernel, not on disk; though a policy was active and a profile ran. Runs last, on the cluster that the
//! other tests used.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::{Path, PathBuf};

use trilobite_e2e::{
    Fixture, agents, eventually, kernel,
    pods::{self, Workload},
    wait::that,
};

/// Kinds of which ours carry our name, wherever they are.
const KINDS: &str = "crd,clusterrole,clusterrolebinding,role,rolebinding,validatingadmissionpolicy,\
                     validatingadmissionpolicybinding,namespace,priorityclass,configmap,daemonset,deployment,service";

#[test]
fn after_uninstall_nothing_of_ours_is_left() {
    let fixture = Fixture::open();
    fixture.install();
    fixture.stack("{security: {mode: Enabled}, network: {mode: Enabled}}");
    pods::namespace(&fixture.kubectl, "leaving");
    Workload { namespace: "leaving", name: "primes", node: "node2", command: "[burn_primes]" }.start(&fixture.kubectl);
    fixture.kubectl.apply(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {name: running, namespace: leaving}\nspec: {podSelector: {}, cpu: {}, durationSeconds: 600}\n",
    );
    eventually("the profile runs", 30, || {
        let objects = kernel::objects();
        that(objects.count(kernel::PROFILE) == 1, format!("{objects:?}"))
    });
    fixture.uninstall();

    let names = fixture.kubectl.run(&["get", KINDS, "--all-namespaces", "-o", "name"]);
    // The test cluster's own parts carry our name too.
    let ours: Vec<&str> =
        names.lines().filter(|name| name.contains("trilobite") && !name.contains("trilobite-e2e")).collect();
    assert_eq!(ours, Vec::<&str>::new(), "left in the cluster");
    let nodes = fixture.kubectl.run(&["get", "nodes", "-o", "jsonpath={.items[*].metadata}"]);
    assert!(!nodes.contains("trilobite.dev/"), "left on a node: {nodes}");
    eventually("no program, map or link of ours is in the kernel, and no worker runs", 30, || {
        let objects = kernel::objects();
        that(objects.is_empty() && agents::workers().is_empty(), format!("{objects:?}"))
    });
    for node in ["node1", "node2"] {
        for folder in ["/var/lib/trilobite", "/run/trilobite", "/sys/fs/bpf/trilobite"] {
            let left = files(&Path::new(folder).join(node));
            assert!(left.is_empty(), "left on disk: {left:?}");
        }
    }
    fixture.kubectl.run(&["delete", "namespace", "leaving", "--wait=false"]);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path()).collect()
}
