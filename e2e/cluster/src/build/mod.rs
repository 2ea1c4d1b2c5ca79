//! Builds once what the cluster needs, into the cache: Kubernetes itself, CoreDNS, the workloads, their images, and the
//! clients that people have. What is there and was made from the same inputs is not made again.

mod go;
mod images;
mod step;
mod workloads;

use std::fs::File;

use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::files;
use go::GoProgram;

/// The version of Kubernetes; `kube/go.mod` names the same.
pub const KUBERNETES: &str = "1.37.2";

const KUBE_NAMES: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"];

/// Everything that `up` needs.
///
/// # Errors
/// When a build fails.
pub fn cluster(cache: &Cache) -> Result<()> {
    let _lock = lock(cache)?;
    kube(cache)?;
    GoProgram::of_module("coredns", "e2e/cluster/coredns").build(cache)?;
    workloads::build(cache)?;
    images::build(cache)
}

/// Kubernetes alone: what `up --control-plane-only` needs.
///
/// # Errors
/// When the build fails.
pub fn control_plane(cache: &Cache) -> Result<()> {
    let _lock = lock(cache)?;
    kube(cache)
}

/// The workload programs and the images alone, which need no Go but for CoreDNS.
///
/// # Errors
/// When a build fails.
pub fn workload_images(cache: &Cache) -> Result<()> {
    let _lock = lock(cache)?;
    workloads::build(cache)?;
    images::build(cache)
}

/// `tetra` and `hubble`, which read what agents say.
///
/// # Errors
/// When a build fails.
pub fn readers(cache: &Cache) -> Result<()> {
    let _lock = lock(cache)?;
    // What each says when it is asked for its version.
    let tetra = "-X github.com/cilium/tetragon/pkg/version.Version=v1.7.0";
    let hubble = "-X github.com/cilium/cilium/hubble/pkg.Version=1.20.2";
    GoProgram::of_module("tetra", "e2e/clients/tetra").tagged("nok8s").linked_with(tetra).build(cache)?;
    GoProgram::of_module("hubble", "e2e/clients/hubble").linked_with(hubble).build(cache)
}

/// `tetra`, `hubble` and `helm`.
///
/// # Errors
/// When a build fails.
pub fn clients(cache: &Cache) -> Result<()> {
    readers(cache)?;
    let _lock = lock(cache)?;
    let helm = "-X helm.sh/helm/v4/internal/version.version=v4.3.1";
    GoProgram::of_version("helm", "helm.sh/helm/v4/cmd/helm", "v4.3.1").linked_with(helm).build(cache)
}

fn kube(cache: &Cache) -> Result<()> {
    let version = format!("-X k8s.io/component-base/version.gitVersion=v{KUBERNETES}");
    GoProgram::of_module("kube", "e2e/cluster/kube").linked_with(&version).build(cache)?;
    for name in KUBE_NAMES {
        let link = cache.bin().join(name);
        if std::fs::read_link(&link).is_ok_and(|target| target.as_os_str() == "kube") {
            continue;
        }
        files::remove(&link)?;
        std::os::unix::fs::symlink("kube", &link).map_err(Error::file("link", &link))?;
    }
    Ok(())
}

/// One builder at a time for a cache.
fn lock(cache: &Cache) -> Result<File> {
    files::create_folder(&cache.bin())?;
    let path = cache.folder().join("lock");
    let file = File::create(&path).map_err(Error::file("create", &path))?;
    if file.try_lock().is_err() {
        eprintln!("          waiting for: another build into {}", cache.folder().display());
        file.lock().map_err(Error::file("lock", &path))?;
    }
    Ok(file)
}
