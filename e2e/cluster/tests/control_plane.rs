//! A control plane alone, as the operator's tests use it. Needs `trilobite-cluster build control-plane` first.

#![allow(clippy::unwrap_used, reason = "an unexpected error is what a test is to show")]

use std::process::Command;

use trilobite_cluster::ControlPlane;

fn said(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

fn processes_of(folder: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("environ")).ok())
        .filter(|environment| String::from_utf8_lossy(environment).contains(folder))
        .count()
}

#[test]
#[ignore = "starts etcd and an API server: needs `trilobite-cluster build control-plane`"]
fn two_control_planes_keep_their_objects_through_a_stop() {
    let first = ControlPlane::start().unwrap();
    let second = ControlPlane::start().unwrap();
    said(first.kubectl().args(["create", "configmap", "kept", "--from-literal=a=b"]));
    assert!(!second.kubectl().args(["get", "configmap", "kept"]).output().unwrap().status.success());

    first.stop_api_server().unwrap();
    assert!(!first.kubectl().args(["get", "configmap", "kept"]).output().unwrap().status.success());
    first.start_api_server().unwrap();
    assert_eq!(said(first.kubectl().args(["get", "configmap", "kept", "-o=jsonpath={.data.a}"])), "b");

    let folder = first.kubeconfig().parent().unwrap().to_owned();
    assert_eq!(processes_of(&folder.display().to_string()), 3);
    drop(first);
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder.display().to_string()), 0);
}

#[test]
#[ignore = "starts etcd and an API server: needs `trilobite-cluster build control-plane`"]
fn what_is_owned_goes_with_its_owner() {
    let control_plane = ControlPlane::start().unwrap();
    said(control_plane.kubectl().args(["create", "configmap", "owner"]));
    let uid = said(control_plane.kubectl().args(["get", "configmap", "owner", "-o=jsonpath={.metadata.uid}"]));
    said(control_plane.kubectl().args(["create", "configmap", "owned"]));
    let owner = format!(
        r#"{{"metadata":{{"ownerReferences":[{{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"{uid}"}}]}}}}"#
    );
    said(control_plane.kubectl().args(["patch", "configmap", "owned", "--type=merge", "-p", &owner]));
    said(control_plane.kubectl().args(["delete", "configmap", "owner"]));
    said(control_plane.kubectl().args(["wait", "--for=delete", "configmap/owned", "--timeout=30s"]));
}
