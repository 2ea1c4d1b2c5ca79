//! After `kubectl delete observabilitystack`, `helm uninstall` and the CRDs' deletion, nothing of ours is left: not in the
//! cluster, not in the kernel, not on disk. Runs last, on the cluster that the other tests used.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;

use trilobite_e2e::{Stage, eventually, kernel, wait::that};

#[test]
fn after_uninstall_nothing_of_ours_is_left() {
    let stage = Stage::open();
    stage.install();
    stage.stack("{security: {mode: Enabled}, network: {mode: Enabled}}");
    stage.uninstall();

    for kind in [
        "crd",
        "clusterrole",
        "clusterrolebinding",
        "validatingadmissionpolicy",
        "validatingadmissionpolicybinding",
        "namespace",
        "priorityclass",
    ] {
        let names = stage.kubectl.run(&["get", kind, "-o", "name"]);
        // The test cluster's own parts carry our name too.
        let ours: Vec<&str> =
            names.lines().filter(|name| name.contains("trilobite") && !name.contains("trilobite-e2e")).collect();
        assert_eq!(ours, Vec::<&str>::new(), "left in the cluster");
    }
    eventually("no program, map or link of ours is in the kernel", 30, || {
        let objects = kernel::objects();
        that(objects.programs_named(&["on_", "flow", "sample"]) == 0, format!("{objects:?}"))
    });
    for folder in
        ["/var/lib/trilobite/node1", "/var/lib/trilobite/node2", "/run/trilobite/node1", "/run/trilobite/node2"]
    {
        let files: Vec<_> =
            std::fs::read_dir(Path::new(folder)).into_iter().flatten().flatten().map(|f| f.path()).collect();
        assert!(files.is_empty(), "left on disk: {files:?}");
    }
}
