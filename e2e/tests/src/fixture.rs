//! The product, installed by its charts on the cluster of `make cluster-up`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;
use trilobite_cluster::{Cache, Cluster, command::without_proxies, default_folder, workspace_root};

use crate::{
    Kubectl, eventually,
    wait::{patience, that},
};

/// Namespace of the product.
pub const NAMESPACE: &str = "trilobite-system";

/// The cluster with the product on it.
pub struct Fixture {
    /// The cluster: to stop and start its parts.
    pub cluster: Cluster,
    /// As administrator.
    pub kubectl: Kubectl,
}

impl Fixture {
    /// The installation that all tests of one run share; the first of them installs it.
    pub fn shared() -> &'static Self {
        static FIXTURE: OnceLock<Fixture> = OnceLock::new();
        FIXTURE.get_or_init(|| {
            let fixture = Self::open();
            fixture.install();
            fixture
        })
    }

    /// The cluster as it is, with or without the product.
    pub fn open() -> Self {
        let folder = default_folder(false);
        let cluster = Cluster::open(&folder).expect("`make cluster-up` first");
        let kubectl = Kubectl::new(cluster.kubeconfig());
        Self { cluster, kubectl }
    }

    /// Installs both charts and waits for the operator.
    pub fn install(&self) {
        let crds = workspace_root().join("charts/trilobite-crds");
        let chart = workspace_root().join("charts/trilobite");
        self.helm(&[
            "upgrade",
            "--install",
            "trilobite-crds",
            &text(&crds),
            "--namespace",
            NAMESPACE,
            "--create-namespace",
        ]);
        self.helm(&["upgrade", "--install", "trilobite", &text(&chart), "--namespace", NAMESPACE]);
        let timeout = format!("--timeout={}s", patience(60));
        self.kubectl.run(&["-n", NAMESPACE, "rollout", "status", "deployment/trilobite-operator", &timeout]);
    }

    /// Uninstalls as the docs say: the stack, then the charts, then the CRDs, which the chart keeps.
    pub fn uninstall(&self) {
        self.kubectl.run(&["delete", "observabilitystack", "--all", "--wait=true", "--timeout=60s"]);
        self.helm(&["uninstall", "trilobite", "--namespace", NAMESPACE, "--wait"]);
        self.helm(&["uninstall", "trilobite-crds", "--namespace", NAMESPACE]);
        let crds = self.kubectl.run(&["get", "crd", "-o", "name"]);
        for crd in crds.lines().filter(|name| name.ends_with(".trilobite.dev")) {
            self.kubectl.run(&["delete", crd]);
        }
        self.kubectl.run(&["delete", "namespace", NAMESPACE, "--ignore-not-found"]);
    }

    /// Applies a stack with this spec (YAML in flow style) and waits until it is ready on both nodes.
    #[track_caller]
    pub fn stack(&self, spec: &str) {
        self.kubectl.apply(&stack_yaml(spec));
        self.ready("2/2");
    }

    /// The same without a relay, after one of before is gone: what is said of a relay that starts or ends differs from run to run.
    #[track_caller]
    pub fn stack_without_relay(&self, spec: &str) {
        self.kubectl.apply(&stack_yaml(spec));
        eventually("the relay is disabled, and no agent listens for it", 90, || {
            let stack = self.kubectl.get(&["observabilitystack", "default"])?;
            let disabled = condition(&stack, "RelayReady").is_some_and(|c| c["reason"] == "RelayDisabled");
            let runtimes = self.kubectl.get(&["noderuntimes"])?;
            let listens =
                runtimes["items"].as_array().is_some_and(|items| items.iter().any(|r| !r["spec"]["listen"].is_null()));
            that(disabled && !listens, format!("{:#}{:#}", stack["status"], runtimes["items"]))
        });
        self.ready("2/2");
        self.no_session_is_left();
    }

    /// Waits until the sessions of earlier tests have left the nodes: a node that is asked to end one while its agent is away owes
    /// an answer, which the stack's status says.
    #[track_caller]
    fn no_session_is_left(&self) {
        eventually("no node runs a session, and each agent has reported on that", 60, || {
            let runtimes = self.kubectl.get(&["noderuntimes"])?;
            let is_idle = |runtime: &Value| {
                runtime["spec"]["sessions"].as_array().is_none_or(Vec::is_empty)
                    && runtime["status"]["observedGeneration"] == runtime["metadata"]["generation"]
            };
            let is_idle = runtimes["items"].as_array().is_some_and(|items| items.iter().all(is_idle));
            that(is_idle, format!("{:#}", runtimes["items"]))
        });
    }

    /// Waits until the stack says that it is ready on so many nodes, at its present generation, and that all of them have the
    /// policies beside it.
    #[track_caller]
    pub fn ready(&self, nodes: &str) {
        eventually("the stack is ready", 150, || {
            let stack = self.kubectl.get(&["observabilitystack", "default"])?;
            let current = stack["status"]["observedGeneration"] == stack["metadata"]["generation"];
            let holds = |kind| condition(&stack, kind).is_some_and(|condition| condition["status"] == "True");
            if current && holds("Ready") && holds("Programmed") && stack["status"]["readyNodes"] == nodes {
                return Ok(());
            }
            Err(format!("{:#}", stack["status"]))
        });
    }

    /// Starts the API server again, and restarts the controllers: their watches wait up to a minute after an outage, and a
    /// namespace created meanwhile has no service account. Our own operator and agents are not restarted: they are under test.
    #[track_caller]
    pub fn api_server_returns(&self) {
        self.cluster.start("apiserver").unwrap();
        self.cluster.kill("kube-controller-manager").unwrap();
        self.cluster.start("kube-controller-manager").unwrap();
    }

    fn helm(&self, words: &[&str]) {
        let helm = Cache::from_environment().program("helm").expect("`trilobite-cluster build clients` first");
        let mut helm = Command::new(helm);
        without_proxies(&mut helm).arg("--kubeconfig").arg(self.kubectl.kubeconfig()).args(words);
        let done = helm.output().unwrap();
        assert!(done.status.success(), "helm {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Starts a part of the cluster again when the test ends, also after a failure: the next test needs it.
pub struct StartOnDrop(pub &'static Fixture, pub &'static str);

impl Drop for StartOnDrop {
    fn drop(&mut self) {
        if let Err(error) = self.0.cluster.start(self.1) {
            eprintln!("{} could not be started again: {error}", self.1);
        }
    }
}

/// Thaws a frozen part of the cluster when the test ends, also after a failure.
pub struct ThawOnDrop(pub &'static Fixture, pub &'static str);

impl Drop for ThawOnDrop {
    fn drop(&mut self) {
        if let Err(error) = self.0.cluster.thaw(self.1) {
            eprintln!("{} is still frozen: {error}", self.1);
        }
    }
}

/// Deletes the objects of a test when it ends, also after a failure.
pub struct DeleteOnDrop(pub &'static Fixture, pub String);

impl Drop for DeleteOnDrop {
    fn drop(&mut self) {
        if let Err(said) = self.0.kubectl.try_delete(&self.1) {
            eprintln!("kubectl delete: {said}");
        }
    }
}

/// A stack with this spec.
pub fn stack_yaml(spec: &str) -> String {
    format!("apiVersion: trilobite.dev/v1alpha1\nkind: ObservabilityStack\nmetadata: {{name: default}}\nspec: {spec}\n")
}

/// A condition of an object by its type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// The folder of the binaries: `make build`.
pub fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os("TRILOBITE_BIN")
        .map_or_else(|| workspace_root().join("target/x86_64-unknown-linux-gnu/debug"), PathBuf::from);
    folder.join(name)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
