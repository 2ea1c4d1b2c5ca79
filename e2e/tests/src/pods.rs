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
        format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: localhost/trilobite-workloads:1
      imagePullPolicy: Never
      command: {command}
"#
        )
    }

    /// Makes it and waits until it runs.
    #[track_caller]
    pub fn start(&self, kubectl: &Kubectl) {
        kubectl.apply(&self.yaml());
        let Self { namespace, name, .. } = self;
        let timeout = format!("--timeout={}s", patience(120));
        kubectl.run(&["-n", namespace, "wait", "--for=condition=Ready", &timeout, &format!("pod/{name}")]);
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
