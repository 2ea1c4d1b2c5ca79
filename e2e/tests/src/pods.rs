//! Pods of the tests: one container with the workload programs.

use crate::{
    Kubectl, eventually,
    wait::{patience, that},
};

/// A pod to be made.
pub struct Workload<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name, and the value of its label `app`.
    pub name: &'a str,
    /// The node that it must run on.
    pub node: &'a str,
    /// Its command, as a JSON list.
    pub command: &'a str,
}

impl Workload<'_> {
    /// As YAML.
    pub fn yaml(&self) -> String {
        let Self { namespace, name, node, command } = self;
        yaml([namespace, name, node], "localhost/trilobite-workloads:1", "{}", command)
    }

    /// Makes it and waits until it runs.
    #[track_caller]
    pub fn start(&self, kubectl: &Kubectl) {
        kubectl.apply(&self.yaml());
        wait_until_ready(kubectl, self.namespace, self.name);
    }

    /// Deletes it and waits until it is gone.
    #[track_caller]
    pub fn stop(&self, kubectl: &Kubectl) {
        kubectl.delete(&self.yaml());
    }

    /// Deletes it and does not wait: after an outage of the API server a kubelet learns of it late.
    #[track_caller]
    pub fn leave(&self, kubectl: &Kubectl) {
        kubectl.run(&["-n", self.namespace, "delete", "pod", self.name, "--wait=false"]);
    }
}

/// A pod of one container, with its security context and command as JSON.
pub(crate) fn yaml([namespace, name, node]: [&str; 3], image: &str, security: &str, command: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  securityContext: {security}
  containers:
    - name: main
      image: {image}
      imagePullPolicy: Never
      command: {command}
"#
    )
}

/// Waits until a pod is ready.
#[track_caller]
pub(crate) fn wait_until_ready(kubectl: &Kubectl, namespace: &str, name: &str) {
    let timeout = format!("--timeout={}s", patience(120));
    kubectl.run(&["-n", namespace, "wait", "--for=condition=Ready", &timeout, &format!("pod/{name}")]);
}

/// A namespace of one test: deleted when the test ends, also after a failure. The test does not wait for the deletion.
pub struct TestNamespace {
    kubectl: &'static Kubectl,
    name: &'static str,
}

impl TestNamespace {
    /// Makes it, see `namespace`.
    #[track_caller]
    pub fn create(kubectl: &'static Kubectl, name: &'static str) -> Self {
        let created = Self { kubectl, name };
        namespace(kubectl, name);
        created
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        if let Err(said) = self.kubectl.ask(&["delete", "namespace", self.name, "--ignore-not-found", "--wait=false"]) {
            eprintln!("kubectl delete: {said}");
        }
    }
}

/// A namespace, with the service account that pods need, after one of the same name that still ends. After an outage of the API
/// server the controllers and the kubelets may wait for a minute before they watch again.
#[track_caller]
pub fn namespace(kubectl: &Kubectl, name: &str) {
    eventually("the namespace of before is gone", 90, || {
        let phase = kubectl.ask(&["get", "namespace", name, "--ignore-not-found", "-o=jsonpath={.status.phase}"])?;
        that(phase != "Terminating", phase)
    });
    kubectl.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"));
    eventually("the namespace has its service account", 90, || {
        kubectl.ask(&["-n", name, "get", "serviceaccount", "default"]).map(drop)
    });
}

/// The address of a pod: 0 is its first family, 1 its second.
pub fn address(kubectl: &Kubectl, namespace: &str, name: &str, family: usize) -> String {
    kubectl.run(&["-n", namespace, "get", "pod", name, &format!("-o=jsonpath={{.status.podIPs[{family}].ip}}")])
}
