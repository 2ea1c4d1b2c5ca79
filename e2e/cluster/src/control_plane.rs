//! etcd, the API server, the controllers and the scheduler: how each is started, and what says that it is ready.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::addresses::{API_SERVICE, NodeNumber, SERVICES_V4, SERVICES_V6};
use crate::certificates::{Authority, CertificateSubject, api_server_names, create_token_key};
use crate::command::without_proxies;
use crate::daemon::{Daemon, running};
use crate::error::{Error, Result};
use crate::files;
use crate::progress::Wait;
use crate::state::State;

pub(crate) const ETCD: &str = "etcd";
pub(crate) const API_SERVER: &str = "kube-apiserver";
pub(crate) const CONTROLLERS: &str = "kube-controller-manager";
pub(crate) const SCHEDULER: &str = "kube-scheduler";
/// User and certificate of the API server before aggregated ones.
const FRONT_PROXY: &str = "front-proxy-client";
/// In the order of their start.
pub(crate) const PARTS: [&str; 4] = [ETCD, API_SERVER, CONTROLLERS, SCHEDULER];

/// Writes every certificate of the cluster, its nodes' too, and the administrator's kubeconfig.
pub(crate) fn write_identities(state: &State) -> Result<()> {
    let folder = state.certificates();
    let authority = Authority::create(&folder)?;
    create_token_key(&folder)?;
    let proxy = CertificateSubject { user: FRONT_PROXY, group: None, names: Vec::new() };
    Authority::create_front_proxy(&folder)?.issue(&folder, FRONT_PROXY, &proxy)?;
    let mut reached_by = vec![state.api_address(), std::net::Ipv4Addr::LOCALHOST.into()];
    reached_by.extend(NodeNumber(1).addresses());
    reached_by.extend(API_SERVICE.iter().filter_map(|address| address.parse::<std::net::IpAddr>().ok()));
    let names = api_server_names(&reached_by);
    authority.issue(&folder, "apiserver", &CertificateSubject { user: "kube-apiserver", group: None, names })?;
    for (file, user, group) in [
        ("admin", "admin", Some("system:masters")),
        ("scheduler", "system:kube-scheduler", None),
        ("proxy", "system:kube-proxy", None),
    ] {
        authority.issue(&folder, file, &CertificateSubject { user, group, names: Vec::new() })?;
        write_kubeconfig(state, file)?;
    }
    for node in state.nodes() {
        let name = node.name();
        let names = [name.clone()].into_iter().chain(node.addresses().map(|address| address.to_string()));
        let user = format!("system:node:{name}");
        let subject = CertificateSubject { user: &user, group: Some("system:nodes"), names: names.collect() };
        authority.issue(&folder, &name, &subject)?;
        write_kubeconfig(state, &name)?;
    }
    let admin = folder.join("admin.kubeconfig");
    std::fs::copy(&admin, state.kubeconfig()).map_err(Error::file("copy", &admin))?;
    Ok(())
}

fn write_kubeconfig(state: &State, file: &str) -> Result<()> {
    let folder = state.certificates();
    let config = kubeconfig(&format!("https://{}:{}", state.api_address(), state.record.ports.api), &folder, file);
    files::write(&folder.join(format!("{file}.kubeconfig")), config.to_string())
}

fn kubeconfig(server: &str, folder: &Path, file: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "trilobite", "cluster": {
            "server": server,
            "certificate-authority": folder.join("ca.crt"),
        }}],
        "users": [{"name": file, "user": {
            "client-certificate": folder.join(format!("{file}.crt")),
            "client-key": folder.join(format!("{file}.key")),
        }}],
        "contexts": [{"name": "trilobite", "context": {"cluster": "trilobite", "user": file}}],
        "current-context": "trilobite",
    })
}

fn daemon(state: &State, name: &'static str) -> Daemon {
    let ports = state.record.ports;
    let pki = |file: &str| state.certificates().join(file).display().to_string();
    let etcd = format!("http://127.0.0.1:{}", ports.etcd);
    let peers = format!("http://127.0.0.1:{}", ports.etcd_peers);
    let arguments = match name {
        ETCD => vec![
            // Its data is worth nothing after the test: no write waits for the disk.
            "--unsafe-no-fsync".to_owned(),
            format!("--data-dir={}", state.folder.join("etcd").display()),
            format!("--listen-client-urls={etcd}"),
            format!("--advertise-client-urls={etcd}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
        ],
        API_SERVER => api_server_flags(state, &etcd),
        CONTROLLERS => vec![
            // Not one ServiceAccount for each of forty controllers: making them is two seconds of every start.
            format!("--kubeconfig={}", pki("admin.kubeconfig")),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
            format!("--service-account-private-key-file={}", pki("sa.key")),
            format!("--root-ca-file={}", pki("ca.crt")),
            format!("--cluster-signing-cert-file={}", pki("ca.crt")),
            format!("--cluster-signing-key-file={}", pki("ca.key")),
            // A node that stops is noticed within a test's patience.
            "--node-monitor-period=2s".to_owned(),
            "--node-monitor-grace-period=16s".to_owned(),
        ],
        _ => vec![
            format!("--kubeconfig={}", pki("scheduler.kubeconfig")),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ],
    };
    Daemon {
        name,
        home: state.folder.clone(),
        cluster: state.folder.clone(),
        program: if name == ETCD { ETCD.into() } else { state.program(name) },
        arguments: arguments.into_iter().map(OsString::from).collect(),
        environment: Vec::new(),
        cgroups: Vec::new(),
        namespace: None,
    }
}

fn api_server_flags(state: &State, etcd: &str) -> Vec<String> {
    let pki = |file: &str| state.certificates().join(file).display().to_string();
    let address = state.api_address();
    let mut flags = vec![
        format!("--etcd-servers={etcd}"),
        format!("--bind-address={address}"),
        format!("--advertise-address={address}"),
        format!("--secure-port={}", state.record.ports.api),
        format!("--service-cluster-ip-range={SERVICES_V4},{SERVICES_V6}"),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--service-account-key-file={}", pki("sa.pub")),
        format!("--service-account-signing-key-file={}", pki("sa.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
    ];
    // Aggregated API servers, as every installer of Kubernetes sets them up.
    flags.extend([
        format!("--requestheader-client-ca-file={}", pki("front-proxy-ca.crt")),
        format!("--requestheader-allowed-names={FRONT_PROXY}"),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        format!("--proxy-client-cert-file={}", pki(&format!("{FRONT_PROXY}.crt"))),
        format!("--proxy-client-key-file={}", pki(&format!("{FRONT_PROXY}.key"))),
    ]);
    if state.record.nodes == 0 {
        // A loopback address may not be an endpoint, and there is no pod to look for one.
        flags.push("--endpoint-reconciler-type=none".to_owned());
    } else {
        flags.extend([
            // Or it looks for the nodes' names in DNS.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--kubelet-client-certificate={}", pki("admin.crt")),
            format!("--kubelet-client-key={}", pki("admin.key")),
            format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        ]);
    }
    flags
}

/// Starts one part, if it does not run, and waits until it is ready.
pub(crate) fn start(state: &State, name: &'static str) -> Result<()> {
    let daemon = daemon(state, name);
    let process = match running(&state.folder, name, &state.folder) {
        Some(process) => process,
        None => daemon.start()?.id(),
    };
    let log = daemon.log();
    let what = format!("{name} is ready");
    let wait = Wait { what: &what, limit: Duration::from_secs(60), log: Some(&log), of: Some((name, process)) };
    match name {
        ETCD => wait.until(|| etcd_is_healthy(state.record.ports.etcd).then_some(())),
        API_SERVER => wait.until(|| api_server_is_ready(state).then_some(())),
        // They retry by themselves, and nothing depends on their first second.
        _ => Ok(()),
    }
}

fn etcd_is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(r#""health":"true""#))
}

fn api_server_is_ready(state: &State) -> bool {
    // kubectl is slow to start: not before the port is open.
    TcpStream::connect((state.api_address(), state.record.ports.api)).is_ok()
        && kubectl(state).args(["get", "--raw", "/readyz"]).output().is_ok_and(|done| done.status.success())
}

/// kubectl with the administrator's rights.
pub(crate) fn kubectl(state: &State) -> Command {
    let mut command = Command::new(state.program("kubectl"));
    without_proxies(&mut command).env("KUBECONFIG", state.kubeconfig());
    command
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ports::Ports;
    use crate::state::{OriginalSettings, Record};

    fn state(nodes: u8) -> State {
        let ports = Ports { etcd: 20_001, etcd_peers: 20_002, api: 20_003 };
        let (cache, original) = (PathBuf::from("/cache"), OriginalSettings::default());
        let record = Record { nodes, guest_kernel: None, ports, cache, original };
        State { folder: PathBuf::from("/state"), record }
    }

    fn flags(nodes: u8, name: &'static str) -> Vec<String> {
        daemon(&state(nodes), name).arguments.into_iter().map(|flag| flag.into_string().unwrap()).collect()
    }

    #[test]
    fn a_control_plane_alone_is_on_loopback_and_no_endpoint() {
        let flags = flags(0, API_SERVER);
        assert!(flags.contains(&"--bind-address=127.0.0.1".to_owned()));
        assert!(flags.contains(&"--endpoint-reconciler-type=none".to_owned()));
        assert!(!flags.iter().any(|flag| flag.starts_with("--kubelet-")));
    }

    #[test]
    fn aggregated_servers_know_the_api_server_by_an_authority_of_its_own() {
        let flags = flags(2, API_SERVER);
        let value = |name: &str| flags.iter().find_map(|flag| flag.strip_prefix(&format!("--{name}="))).unwrap();
        assert_ne!(value("requestheader-client-ca-file"), value("client-ca-file"));
        assert!(value("proxy-client-cert-file").ends_with(&format!("{}.crt", value("requestheader-allowed-names"))));
    }

    #[test]
    fn with_nodes_the_api_server_is_where_every_node_reaches_it() {
        let flags = flags(2, API_SERVER);
        assert!(flags.contains(&"--advertise-address=10.99.0.1".to_owned()));
        assert!(flags.contains(&"--kubelet-preferred-address-types=InternalIP".to_owned()));
    }

    #[test]
    fn every_flag_with_a_port_is_of_this_cluster() {
        assert!(flags(0, ETCD).contains(&"--listen-client-urls=http://127.0.0.1:20001".to_owned()));
        assert!(flags(0, API_SERVER).contains(&"--etcd-servers=http://127.0.0.1:20001".to_owned()));
        assert!(flags(0, API_SERVER).contains(&"--secure-port=20003".to_owned()));
    }

    #[test]
    fn a_kubeconfig_names_its_user_and_its_server() {
        let config = kubeconfig("https://10.99.0.1:20003", Path::new("/state/certificates"), "node1");
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://10.99.0.1:20003");
        assert_eq!(config["users"][0]["user"]["client-key"], "/state/certificates/node1.key");
    }
}
