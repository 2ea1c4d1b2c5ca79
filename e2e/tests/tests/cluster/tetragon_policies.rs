//! Policies of Tetragon's API group, unchanged: read once its kinds are installed, and judged by the real agents.

use std::fs;

use trilobite_cluster::workspace_root;
use trilobite_e2e::{
    Fixture,
    cilium_kinds::CiliumKinds,
    eventually,
    fixture::{DeleteOnDrop, condition},
    wait::that,
};

fn example(name: &str) -> String {
    fs::read_to_string(workspace_root().join("e2e/policies").join(format!("{name}.yaml"))).unwrap()
}

#[test]
fn example_policies_are_judged_as_documented() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}}");
    let _kinds = CiliumKinds::install(fixture);
    // A raw tracepoint works on every kernel; what is refused, is refused whatever the kernel is.
    let policies = [example("rawtp"), example("lsm-file-open")].join("---\n");
    let _made = DeleteOnDrop(fixture, policies.clone());
    fixture.kubectl.apply(&policies);
    for (name, kind, status, reason) in
        [("rawtp", "Ready", "True", "Ready"), ("lsm-file-open", "Accepted", "False", "Unsupported")]
    {
        eventually(&format!("{name} is judged"), 90, || {
            let object = fixture.kubectl.get(&["tracingpolicies.cilium.io", name])?;
            let found = condition(&object, kind).is_some_and(|c| c["status"] == status && c["reason"] == reason);
            that(found, format!("{:#}", object["status"]))
        });
    }
}
