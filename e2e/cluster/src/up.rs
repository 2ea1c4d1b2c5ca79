//! Brings a cluster up, independent parts at the same time. A failed start leaves its logs in the state folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::addresses::NodeNumber;
use crate::cache::{Cache, workspace_root};
use crate::cgroups::Hierarchies;
use crate::command::{find_program, output};
use crate::control_plane::{self, API_SERVER, CONTROLLERS, ETCD, SCHEDULER, kubectl};
use crate::error::{Error, Result};
use crate::ports::Ports;
use crate::progress::{Wait, step};
use crate::state::{MOST_NODES, OriginalSettings, Record, State};
use crate::{guest, host, network, node};

/// Programs that a cluster takes from the machine, with the Debian package of each.
const TOOLS: [(&str, &str); 9] = [
    ("etcd", "etcd-server"),
    ("setsid", "util-linux"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nsenter", "util-linux"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("sysctl", "procps"),
];
/// How many of them a control plane alone needs.
const WITHOUT_NODES: usize = 2;

/// Starts etcd, the API server and the controllers: no root, no fixed port, nothing outside the folder.
pub(crate) fn control_plane_only(folder: &Path, cache: &Cache) -> Result<State> {
    check_tools(&TOOLS[..WITHOUT_NODES])?;
    let state = create(folder, cache, 0, None, OriginalSettings::default())?;
    begin_control_plane(&state)?;
    state.mark_complete()?;
    Ok(state)
}

pub(crate) fn begin_control_plane(state: &State) -> Result<()> {
    control_plane::write_identities(state)?;
    for part in [ETCD, API_SERVER, CONTROLLERS] {
        control_plane::start(state, part)?;
    }
    wait_service_account(state)
}

/// Starts a whole cluster; with the series of a kernel, its last node is a guest with that kernel.
pub(crate) fn with_nodes(folder: &Path, cache: &Cache, nodes: u8, guest: Option<&str>) -> Result<State> {
    if !(1..=MOST_NODES).contains(&nodes) {
        return Err(Error::Refused(format!("--nodes {nodes}: a cluster here has 1 to {MOST_NODES} nodes")));
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::Refused(
            "nodes need root (containers, network namespaces); --control-plane-only does not".to_owned(),
        ));
    }
    check_tools(&TOOLS)?;
    let guest_kernel = guest.map(|series| guest_kernel(cache, nodes, series)).transpose()?;
    node::network_plugins()?;
    cache.image_archives()?;
    network::check_free()?;
    let state = create(folder, cache, nodes, guest_kernel, host::inspect()?)?;
    state.keep_copy()?;
    let numbers: Vec<NodeNumber> = state.nodes().collect();
    let left = host::forget_agents(&numbers);
    if !left.is_empty() {
        return Err(Error::Left(left));
    }
    step("network", || network::create(&state))?;
    host::prepare(&state.record.original)?;
    let cgroups = Hierarchies::of_this_machine()?;
    numbers.iter().try_for_each(|number| cgroups.create(&number.name()).map(|_| ()))?;
    step("certificates", || control_plane::write_identities(&state))?;

    std::thread::scope(|scope| {
        let runtimes: Vec<_> =
            numbers.iter().map(|number| scope.spawn(|| node::start_runtime(&state, *number))).collect();
        control_plane::start(&state, ETCD)?;
        control_plane::start(&state, API_SERVER)?;
        control_plane::start(&state, CONTROLLERS)?;
        control_plane::start(&state, SCHEDULER)?;
        for runtime in runtimes {
            runtime.join().map_err(|_| Error::Refused("a node's runtime could not be started".to_owned()))??;
        }
        Ok::<(), Error>(())
    })?;
    step("kubelets and proxies started", || numbers.iter().try_for_each(|number| node::start_agents(&state, *number)))?;
    let names = workspace_root().join("e2e/cluster/manifests/coredns.yaml");
    step("name server asked for", || output(kubectl(&state).args(["apply", "--validate=false", "-f"]).arg(names)))?;
    numbers.iter().try_for_each(|number| node::wait_ready(&state, *number))?;
    wait_service_account(&state)?;
    let wait = Wait { what: "names are answered", limit: Duration::from_secs(120), log: None, of: None };
    let ask = ["-n=kube-system", "get", "deployment", "coredns", "-o=jsonpath={.status.readyReplicas}"];
    wait.until(|| succeeded_with(kubectl(&state).args(ask), "1"))?;
    state.mark_complete()?;
    Ok(state)
}

/// The kernel of the guest, once all that a guest needs is there.
fn guest_kernel(cache: &Cache, nodes: u8, series: &str) -> Result<PathBuf> {
    if nodes < 2 {
        return Err(Error::Refused("--guest: the first node is always this machine, ask for --nodes 2".to_owned()));
    }
    check_tools(&guest::TOOLS)?;
    cache.guest_kernel(series)
}

fn create(
    folder: &Path,
    cache: &Cache,
    nodes: u8,
    guest_kernel: Option<PathBuf>,
    original: OriginalSettings,
) -> Result<State> {
    cache.program("kubectl")?;
    let cache = cache.links().to_owned();
    let ports = if guest_kernel.is_some() { Ports::free_with_https()? } else { Ports::free()? };
    State::create(folder, Record { nodes, guest_kernel, ports, cache, original })
}

/// A namespace has no ServiceAccount for some milliseconds, and takes no pod before.
fn wait_service_account(state: &State) -> Result<()> {
    let log = state.folder.join("log").join(CONTROLLERS);
    let wait =
        Wait { what: "the default ServiceAccount exists", limit: Duration::from_secs(60), log: Some(&log), of: None };
    let ask = ["-n=default", "get", "serviceaccount", "default", "-o=name"];
    wait.until(|| succeeded_with(kubectl(state).args(ask), "serviceaccount/default"))
}

fn succeeded_with(command: &mut Command, text: &str) -> Option<()> {
    let done = command.output().ok()?;
    (String::from_utf8_lossy(&done.stdout).trim() == text).then_some(())
}

fn check_tools(tools: &[(&str, &str)]) -> Result<()> {
    let is_missing = |(tool, _): &&(&str, &str)| find_program(tool).is_none();
    let missing: Vec<&str> = tools.iter().filter(is_missing).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Missing(format!("this machine lacks some programs: apt-get install {}", missing.join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_by_its_package() {
        let error = check_tools(&[("sh", "dash"), ("no-such-program", "some-package")]).unwrap_err().to_string();
        assert!(error.contains("some-package") && !error.contains("dash"), "{error}");
    }

    #[test]
    fn a_cluster_without_nodes_or_with_too_many_is_refused() {
        for nodes in [0, 10] {
            let folder = Path::new("/nonexistent");
            assert!(matches!(with_nodes(folder, &Cache::at("/none"), nodes, None), Err(Error::Refused(_))));
        }
    }

    #[test]
    fn first_node_is_never_a_guest() {
        let error = guest_kernel(&Cache::at("/none"), 1, "6.12").unwrap_err().to_string();
        assert!(error.contains("--nodes 2"), "{error}");
    }
}
