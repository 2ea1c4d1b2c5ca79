//! Tetragon's kinds, installed while a test runs.

use trilobite_crds::schema::cilium_crds;

use crate::{Fixture, fixture::DeleteOnDrop};

/// Removes the kinds when the test ends, also after a failure.
pub struct CiliumKinds {
    fixture: &'static Fixture,
    kinds: Option<DeleteOnDrop>,
}

impl CiliumKinds {
    /// Installs the kinds of `cilium.io`, and waits until they are served.
    #[track_caller]
    pub fn install(fixture: &'static Fixture) -> Self {
        let crds: Vec<String> = cilium_crds().iter().map(|crd| serde_yaml::to_string(crd).unwrap()).collect();
        let crds = crds.join("---\n");
        let kinds = Self { fixture, kinds: Some(DeleteOnDrop(fixture, crds.clone())) };
        fixture.kubectl.apply(&crds);
        for plural in ["tracingpolicies", "tracingpoliciesnamespaced"] {
            let crd = format!("crd/{plural}.cilium.io");
            fixture.kubectl.run(&["wait", "--for=condition=Established", &crd, "--timeout=20s"]);
        }
        kinds
    }
}

impl Drop for CiliumKinds {
    fn drop(&mut self) {
        drop(self.kinds.take());
        self.fixture.kubectl.forget_kinds();
    }
}
