//! Builds what the cluster and the tests need, once: Kubernetes itself, CoreDNS, the workloads, their images, and the clients
//! that people have. An entry that was built from the same inputs, by any clone, is used as it is.

mod entry;
mod go;
mod images;
mod inputs;
mod packages;
mod workloads;

use std::path::PathBuf;
use std::process::Command;

use crate::cache::Cache;
use crate::command::output;
use crate::error::Result;
use crate::files;
use go::GoProgram;
pub use inputs::Inputs;

/// The version of Kubernetes; `e2e/programs/go.mod` names the same.
pub const KUBERNETES: &str = "1.37.2";

const KUBE_NAMES: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"];

/// Everything that `up` needs.
pub fn cluster(cache: &Cache) -> Result<()> {
    control_plane(cache)?;
    GoProgram::new("coredns").build(cache)?;
    workload_images(cache)
}

/// Kubernetes alone: what `up --control-plane-only` needs.
pub fn control_plane(cache: &Cache) -> Result<()> {
    let version = format!("v{KUBERNETES}");
    let kube = GoProgram::new("kube").variable("k8s.io/component-base/version.gitVersion", &version);
    let entry = kube.build(cache)?;
    KUBE_NAMES.iter().try_for_each(|name| entry::link(&entry, &cache.bin().join(name)))
}

/// The workload programs and the images alone, which need no Go but for CoreDNS.
pub fn workload_images(cache: &Cache) -> Result<()> {
    workloads::build(cache)?;
    images::build(cache)
}

/// The image of real servers and their clients, which needs the archive of Debian.
pub fn servers(cache: &Cache) -> Result<()> {
    images::build_servers(cache)
}

/// The folder with nginx, Redis, `redis-benchmark` and `wrk` of Debian's packages, and the libraries of all.
pub fn benchmark_servers(cache: &Cache) -> Result<PathBuf> {
    images::unpack_benchmark_servers(cache)
}

/// `tetra` and `hubble`, which read events and flows of agents.
pub fn readers(cache: &Cache) -> Result<()> {
    let tetra = GoProgram::new("tetra").tagged("nok8s");
    tetra.variable("github.com/cilium/tetragon/pkg/version.Version", "v1.7.0").build(cache)?;
    let hubble = GoProgram::new("hubble");
    hubble.variable("github.com/cilium/cilium/hubble/pkg.Version", "1.20.2").build(cache).map(|_| ())
}

/// `tetra`, `hubble`, `hubble-relay`, `helm`, a client on Tetragon's Go API, and the descriptors of the published APIs.
pub fn clients(cache: &Cache) -> Result<()> {
    readers(cache)?;
    let relay = GoProgram::new("hubble-relay").in_folder("hubble/relay");
    relay.variable("github.com/cilium/cilium/pkg/version.ciliumVersion", "1.20.2").build(cache)?;
    GoProgram::new("tetragon-api").build(cache)?;
    let helm = GoProgram::new("helm");
    helm.variable("helm.sh/helm/v4/internal/version.version", "v4.3.1").build(cache)?;
    descriptors(cache)
}

/// Every entry of the store that no clone uses any more goes.
pub fn prune(cache: &Cache) {
    entry::prune(cache);
}

/// What Tetragon's and Hubble's published gRPC APIs are made of, for the tests that compare ours with them.
fn descriptors(cache: &Cache) -> Result<()> {
    let inputs = go::module_inputs(Inputs::default(), "descriptors")?;
    let print = |path: &std::path::Path| {
        let mut go = Command::new("go");
        let text =
            output(go.args(["run", "-trimpath", "."]).current_dir(go::folder("descriptors")).env("CGO_ENABLED", "0"))?;
        files::write(path, text)
    };
    entry::build(cache, "descriptors.json", inputs, print).map(|_| ())
}
