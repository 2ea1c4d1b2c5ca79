//! One node: containerd, kubelet and kube-proxy, in the node's cgroup tree and network namespace.

use std::ffi::OsString;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::addresses::NodeNumber;
use crate::cache::Cache;
use crate::cgroups::Hierarchies;
use crate::command::output;
use crate::control_plane::kubectl;
use crate::daemon::{Daemon, running};
use crate::error::{Error, Result};
use crate::progress::Wait;
use crate::state::State;
use crate::{files, guest, host, node_config};

pub(crate) const CONTAINERD: &str = "containerd";
pub(crate) const KUBELET: &str = "kubelet";
pub(crate) const PROXY: &str = "kube-proxy";

const KUBELET_PORT: u16 = 10_250;

/// Where distributions put the CNI plugins.
const PLUGINS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

pub(crate) fn network_plugins() -> Result<PathBuf> {
    let found = PLUGINS.iter().map(PathBuf::from).find(|folder| folder.join("ptp").exists());
    found.ok_or_else(|| {
        Error::Missing(format!("no CNI plugins in {}: install containernetworking-plugins", PLUGINS.join(" or ")))
    })
}

fn daemon(state: &State, node: NodeNumber, name: &'static str) -> Result<Daemon> {
    let home = state.node_folder(node);
    let file = |name: &str| home.join(name).display().to_string();
    let arguments = match name {
        CONTAINERD => vec![format!("--config={}", file("containerd.toml"))],
        KUBELET => vec![
            format!("--config={}", file("kubelet.json")),
            format!("--kubeconfig={}", state.certificates().join(format!("{}.kubeconfig", node.name())).display()),
            format!("--root-dir={}", file("kubelet")),
            format!("--hostname-override={}", node.name()),
            format!("--node-ip={},{}", node.v4(), node.v6()),
        ],
        _ => vec![format!("--config={}", file("proxy.json"))],
    };
    // An image that was not loaded fails at once: nothing is asked of a registry.
    let nowhere = |name| (name, OsString::from("http://127.0.0.1:9"));
    Ok(Daemon {
        name,
        cluster: state.folder.clone(),
        program: if name == CONTAINERD { CONTAINERD.into() } else { state.program(name) },
        arguments: arguments.into_iter().map(OsString::from).collect(),
        environment: if name == CONTAINERD { vec![nowhere("HTTP_PROXY"), nowhere("HTTPS_PROXY")] } else { Vec::new() },
        cgroups: vec![Hierarchies::of_this_machine()?.create(&node.name())?],
        namespace: node.namespace(),
        home,
    })
}

/// Writes the configuration files of a node's parts.
fn write_configuration(state: &State, node: NodeNumber) -> Result<()> {
    let folder = state.node_folder(node);
    files::write(&folder.join("cni/10-pods.conflist"), node_config::pod_network(state, node).to_string())?;
    files::write(&folder.join("containerd.toml"), node_config::containerd(state, node, &network_plugins()?))?;
    files::write(&folder.join("kubelet.json"), node_config::kubelet(state, node).to_string())?;
    files::write(&folder.join("proxy.json"), node_config::proxy(state, node).to_string())
}

/// Starts containerd and gives it every image; of a guest, starts the machine, which does all of that by itself.
pub(crate) fn start_runtime(state: &State, node: NodeNumber) -> Result<()> {
    let folder = state.node_folder(node);
    write_configuration(state, node)?;
    if let Some(kernel) = state.guest_kernel(node) {
        return start_guest(state, node, kernel);
    }
    let process = start(state, node, CONTAINERD)?;
    let socket = state.containerd_socket(node);
    let what = format!("{} containerd answers", node.name());
    let wait = Wait {
        what: &what,
        limit: Duration::from_secs(60),
        log: Some(&folder.join("log").join(CONTAINERD)),
        of: Some((CONTAINERD, process)),
    };
    wait.until(|| UnixStream::connect(&socket).is_ok().then_some(()))?;
    load(state, node, &Cache::at(&state.record.cache).image_archives()?)
}

fn start_guest(state: &State, node: NodeNumber, kernel: &Path) -> Result<()> {
    let daemons = [CONTAINERD, KUBELET, PROXY].map(|name| daemon(state, node, name));
    let daemons = daemons.into_iter().collect::<Result<Vec<_>>>()?;
    let file = |name: &str| state.node_folder(node).join(name);
    let identity = |name: &str| state.certificates().join(name);
    let own = |suffix: &str| identity(&format!("{}.{suffix}", node.name()));
    let content = guest::Content {
        daemons: &daemons,
        configuration: [
            ["cni", "containerd.toml", "kubelet.json", "proxy.json"].map(file),
            ["ca.crt", "proxy.crt", "proxy.key", "proxy.kubeconfig"].map(identity),
        ]
        .into_iter()
        .flatten()
        .chain(["crt", "key", "kubeconfig"].map(own))
        .collect(),
        images: Cache::at(&state.record.cache).image_archives()?,
        network_plugins: network_plugins()?,
    };
    guest::start(state, node, kernel, &content)
}

/// Starts kubelet and kube-proxy.
pub(crate) fn start_agents(state: &State, node: NodeNumber) -> Result<()> {
    if state.guest_kernel(node).is_some() {
        return Ok(());
    }
    start(state, node, KUBELET)?;
    start(state, node, PROXY)?;
    Ok(())
}

pub(crate) fn start(state: &State, node: NodeNumber, name: &'static str) -> Result<u32> {
    if let Some(process) = running(&state.node_folder(node), name, &state.folder) {
        return Ok(process);
    }
    Ok(daemon(state, node, name)?.start()?.id())
}

/// Waits until the API server says that the node is ready.
pub(crate) fn wait_ready(state: &State, node: NodeNumber) -> Result<()> {
    let folder = state.node_folder(node);
    let what = format!("{} is Ready", node.name());
    // A guest's processor is emulated.
    let (part, limit) = if state.guest_kernel(node).is_some() { (guest::MACHINE, 900) } else { (KUBELET, 120) };
    let wait = Wait {
        what: &what,
        limit: Duration::from_secs(limit),
        log: Some(&folder.join("log").join(part)),
        of: running(&folder, part, &state.folder).map(|process| (part, process)),
    };
    let ask = r#"-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
    wait.until(|| {
        // A node that was away for a moment is still called ready: ask its kubelet first.
        TcpStream::connect((node.v4(), KUBELET_PORT)).ok()?;
        let done = kubectl(state).args(["get", "node", &node.name(), ask]).output().ok()?;
        (done.stdout == b"True").then_some(())
    })
}

/// Imports image archives.
pub(crate) fn load(state: &State, node: NodeNumber, archives: &[PathBuf]) -> Result<()> {
    archives.iter().try_for_each(|archive| {
        if state.guest_kernel(node).is_some() {
            return guest::import(node, archive);
        }
        let mut import = ctr(state, node);
        output(import.args(["images", "import"]).arg(archive)).map(|_| ())
    })
}

/// containerd's own client, for the images and containers of this node's pods.
pub(crate) fn ctr(state: &State, node: NodeNumber) -> Command {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(state.containerd_socket(node)).args(["--namespace", "k8s.io"]);
    command
}

/// Takes the node away as a power cut would: all that ran there is gone, what was on its disk stays.
pub(crate) fn power_off(state: &State, node: NodeNumber) -> Result<()> {
    let cgroups = Hierarchies::of_this_machine()?;
    let left = cgroups.kill(&node.name());
    if !left.is_empty() {
        return Err(Error::Left(left.iter().map(|process| format!("process {process} of {}", node.name())).collect()));
    }
    let folder = state.node_folder(node);
    host::unmount_below(&folder);
    forget_running(&folder)?;
    cgroups.remove(&node.name());
    Ok(())
}

/// What a real node keeps in memory and so loses when it goes down.
fn forget_running(folder: &Path) -> Result<()> {
    ["run", "pod-addresses"].iter().try_for_each(|name| files::remove(&folder.join(name)))
}

/// Brings a node back.
pub(crate) fn power_on(state: &State, node: NodeNumber) -> Result<()> {
    start_runtime(state, node)?;
    start_agents(state, node)
}
