//! The CRDs and the samples before a real API server, without nodes: what is meant to be accepted is, and what is not is
//! refused with the field.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{fs, path::PathBuf};

use trilobite_cluster::{ControlPlane, workspace_root};
use trilobite_e2e::{Kubectl, eventually};

fn files(folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(workspace_root().join(folder)).unwrap().map(|file| file.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    found.sort();
    assert!(!found.is_empty(), "{folder} is empty");
    found
}

#[test]
fn the_api_server_takes_every_good_sample_and_refuses_every_bad_one() {
    let control_plane = ControlPlane::start().unwrap();
    let kubectl = Kubectl::new(control_plane.kubeconfig());
    kubectl.run(&["apply", "--server-side", "-k", &workspace_root().join("config/crd").display().to_string()]);
    eventually("the CRDs are established", 20, || {
        kubectl.ask(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=10s"])
    });
    for path in files("config/samples").into_iter().chain(files("crds/samples/accepted")) {
        let done = kubectl.output(&["apply", "--dry-run=server", "-f", &path.display().to_string()]);
        assert!(done.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&done.stderr));
    }
    for path in files("crds/samples/refused") {
        let text = fs::read_to_string(&path).unwrap();
        let announced = text.lines().next().and_then(|line| line.strip_prefix("# refused: ")).unwrap().to_owned();
        // The last document is the one that is meant; those before it only make it a change.
        let documents: Vec<&str> = text.split("\n---\n").collect();
        let (refused, before) = documents.split_last().unwrap();
        before.iter().for_each(|document| kubectl.apply(document));
        let said = kubectl.try_apply(refused).expect_err(&format!("{} was accepted", path.display()));
        assert!(said.contains(&announced), "{}: {announced:?} is not said:\n{said}", path.display());
    }
}
