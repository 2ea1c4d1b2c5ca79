//! The name of a container from its OCI bundle, which the runtime writes before it makes the container's cgroup: seconds before the
//! API server has the container's id.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// A larger file is not read.
const BYTES_MAX: u64 = 1 << 20;

/// Bundles of containerd and CRI-O, by the id of the container.
const BUNDLES: [(&str, &str); 3] = [
    ("run/containerd/io.containerd.runtime.v2.task/k8s.io", "config.json"),
    ("run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io", "config.json"),
    ("run/containers/storage/overlay-containers", "userdata/config.json"),
];

/// Annotations with the container's name, and with its type.
const NAMES: [&str; 2] = ["io.kubernetes.cri.container-name", "io.kubernetes.container.name"];
const TYPES: [&str; 2] = ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"];

/// What the bundle says of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::identity) enum BundleName {
    /// The sandbox of a pod, which is none of its containers.
    Sandbox,
    Container(String),
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Reads the bundle of a container, given the root of the node's file system; none where it is not reachable.
pub(in crate::identity) fn read_name(root: &Path, container_id: &str) -> Option<BundleName> {
    BUNDLES.iter().find_map(|(folder, file)| read_config(&root.join(folder).join(container_id).join(file)))
}

/// The file system of the node, where the agent may see it: that of the node's first process.
pub(in crate::identity) fn node_root() -> PathBuf {
    "/proc/1/root".into()
}

fn read_config(path: &Path) -> Option<BundleName> {
    let mut text = String::new();
    File::open(path).ok()?.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    let Config { annotations } = serde_json::from_str(&text).ok()?;
    let first = |keys: [&str; 2]| keys.iter().find_map(|key| annotations.get(*key));
    match first(TYPES).map(String::as_str) {
        Some("sandbox") => Some(BundleName::Sandbox),
        _ => first(NAMES).map(|name| BundleName::Container(name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn bundle(root: &Path, folder: &str, config: &str) {
        let path = root.join(folder);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, config).unwrap();
    }

    #[test]
    fn both_runtimes_name_a_container_before_the_api_server() {
        let root = tempfile::tempdir().unwrap();
        let containerd = "run/containerd/io.containerd.runtime.v2.task/k8s.io";
        bundle(
            root.path(),
            &format!("{containerd}/a1/config.json"),
            r#"{"ociVersion": "1.2.0", "annotations":
            {"io.kubernetes.cri.container-name": "till", "io.kubernetes.cri.container-type": "container"}}"#,
        );
        bundle(
            root.path(),
            &format!("{containerd}/a2/config.json"),
            r#"{"annotations":
            {"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-name": "till-1"}}"#,
        );
        bundle(
            root.path(),
            "run/containers/storage/overlay-containers/b1/userdata/config.json",
            r#"{"annotations":
            {"io.kubernetes.container.name": "kelp", "io.kubernetes.cri-o.ContainerType": "container"}}"#,
        );
        let name = |id| read_name(root.path(), id);
        assert_eq!(name("a1"), Some(BundleName::Container("till".into())));
        assert_eq!(name("a2"), Some(BundleName::Sandbox));
        assert_eq!(name("b1"), Some(BundleName::Container("kelp".into())));
        assert_eq!(name("c1"), None);
    }

    #[test]
    fn unreadable_bundle_names_nothing() {
        let root = tempfile::tempdir().unwrap();
        for (id, config) in [("a1", "{"), ("a2", "{}"), ("a3", r#"{"annotations": null}"#)] {
            bundle(
                root.path(),
                &format!("run/containers/storage/overlay-containers/{id}/userdata/config.json"),
                config,
            );
            assert_eq!(read_name(root.path(), id), None, "{config}");
        }
    }
}
