//! The state folder of a cluster: its record, what it changed on the machine, and the paths of its files.
//! The record is written before anything is started, so that `down` can clean up after a crash at any point.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::addresses::NodeNumber;
use crate::error::{Error, Result};
use crate::files;
use crate::ports::Ports;

/// The variable that every process of a cluster carries, so that `down` ends no other process that reused a process id.
pub(crate) const MARK: &str = "TRILOBITE_CLUSTER";

/// A copy of the record of the cluster whose nodes are on this machine, for when its folder is removed under it.
const COPY: &str = "/run/trilobite-cluster.json";

/// The last file that `up` writes.
const COMPLETE: &str = "complete";

/// The longest path below a state folder counts on one digit.
pub(crate) const MOST_NODES: u8 = 9;

/// A unix socket's path may have 107 bytes; the longest below a state folder takes these.
const LONGEST_FOLDER: usize = 107 - "/node9/kubelet/pod-resources/kubelet.sock".len();

/// Decisions of `up`, and the settings of the machine before it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// How many nodes; none is a control plane alone.
    pub nodes: u8,
    /// The folder of the kernel with which the last node runs as a QEMU guest.
    #[serde(default)]
    pub guest_kernel: Option<PathBuf>,
    pub ports: Ports,
    /// The folder of the programs.
    pub cache: PathBuf,
    pub original: OriginalSettings,
}

impl Record {
    /// A record for a cluster whose own is gone.
    pub(crate) fn lost(nodes: u8) -> Self {
        let ports = Ports { etcd: 0, etcd_peers: 0, api: 0 };
        Self { nodes, guest_kernel: None, ports, cache: PathBuf::new(), original: OriginalSettings::default() }
    }
}

/// Settings of the machine before the cluster; `down` restores them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct OriginalSettings {
    pub sysctls: BTreeMap<String, String>,
    /// Folders outside the state folder that were not there.
    pub missing_folders: Vec<PathBuf>,
    /// Mounts that were not there.
    pub missing_mounts: Vec<PathBuf>,
    /// Tables of iptables that were not there.
    pub missing_tables: Vec<String>,
}

/// A state folder with its record.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub folder: PathBuf,
    pub record: Record,
}

impl State {
    /// Makes the folder and writes the record.
    pub(crate) fn create(folder: &Path, record: Record) -> Result<Self> {
        files::create_folder(folder)?;
        let folder = folder.canonicalize().map_err(Error::file("find", folder))?;
        if folder.as_os_str().len() > LONGEST_FOLDER {
            return Err(Error::Refused(format!(
                "{}: the path is longer than {LONGEST_FOLDER} bytes, unix sockets below it would not fit: choose another with --state",
                folder.display()
            )));
        }
        let path = folder.join("cluster.json");
        if path.exists() {
            return Err(Error::Refused(format!(
                "{} holds a cluster already: take it down first (`down --state {}`)",
                folder.display(),
                folder.display()
            )));
        }
        let text =
            serde_json::to_string_pretty(&record).map_err(|source| Error::Record { path: path.clone(), source })?;
        files::write(&path, text)?;
        Ok(Self { folder, record })
    }

    /// Keeps the record outside its folder too.
    pub(crate) fn keep_copy(&self) -> Result<()> {
        let path = self.folder.join("cluster.json");
        std::fs::copy(&path, COPY).map(|_| ()).map_err(Error::file("copy", &path))
    }

    /// The cluster whose nodes are on this machine, of which the folder is gone.
    pub(crate) fn without_folder(folder: &Path) -> Self {
        let copy = files::read(Path::new(COPY)).ok().and_then(|text| serde_json::from_str(&text).ok());
        let record = copy.unwrap_or_else(|| Record::lost(MOST_NODES));
        Self { folder: folder.to_owned(), record }
    }

    /// Marks the cluster as complete: `up` succeeded.
    pub(crate) fn mark_complete(&self) -> Result<()> {
        files::write(&self.folder.join(COMPLETE), "")
    }

    /// False for a cluster whose `up` was interrupted: it has a record and may answer, but lacks its last parts.
    pub(crate) fn is_complete(&self) -> bool {
        self.folder.join(COMPLETE).exists()
    }

    /// Removes the folder and the record.
    pub(crate) fn remove(&self) -> Result<()> {
        files::remove(&self.folder)?;
        if self.record.nodes > 0 { files::remove(Path::new(COPY)) } else { Ok(()) }
    }

    /// Reads the record of a folder; none when there is no cluster.
    pub(crate) fn open(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("cluster.json");
        if !path.exists() {
            return Ok(None);
        }
        let folder = folder.canonicalize().map_err(Error::file("find", folder))?;
        let record = serde_json::from_str(&files::read(&path)?)
            .map_err(|source| Error::Record { path: path.clone(), source })?;
        Ok(Some(Self { folder, record }))
    }

    /// As `open`, for commands that need a cluster.
    pub(crate) fn open_existing(folder: &Path) -> Result<Self> {
        Self::open(folder)?.ok_or_else(|| Error::Missing(format!("there is no cluster in {}", folder.display())))
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeNumber> + use<> {
        (1..=self.record.nodes).map(NodeNumber)
    }

    pub(crate) fn node(&self, name: &str) -> Result<NodeNumber> {
        let node = NodeNumber::from_name(name).filter(|node| node.0 <= self.record.nodes);
        node.ok_or_else(|| Error::Refused(format!("this cluster has no node `{name}`")))
    }

    /// The kernel of a node that is a QEMU guest; none for the nodes that share this machine's kernel.
    pub(crate) fn guest_kernel(&self, node: NodeNumber) -> Option<&Path> {
        self.record.guest_kernel.as_deref().filter(|_| node.0 == self.record.nodes)
    }

    pub(crate) fn certificates(&self) -> PathBuf {
        self.folder.join("certificates")
    }

    pub(crate) fn node_folder(&self, node: NodeNumber) -> PathBuf {
        self.folder.join(node.name())
    }

    pub(crate) fn containerd_socket(&self, node: NodeNumber) -> PathBuf {
        self.node_folder(node).join("containerd.sock")
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The address of the API server: loopback alone when there are no nodes.
    pub(crate) fn api_address(&self) -> std::net::IpAddr {
        if self.record.nodes == 0 { std::net::Ipv4Addr::LOCALHOST.into() } else { NodeNumber(1).v4().into() }
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.record.cache.join("bin").join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let ports = Ports { etcd: 1, etcd_peers: 2, api: 3 };
        let original = OriginalSettings::default();
        Record { nodes: 2, guest_kernel: None, ports, cache: PathBuf::from("/cache"), original }
    }

    #[test]
    fn only_the_last_node_can_be_a_guest() {
        let kernel = PathBuf::from("/kernels/6.12");
        let mixed = State {
            folder: PathBuf::from("/state"),
            record: Record { guest_kernel: Some(kernel.clone()), ..record() },
        };
        assert_eq!([1, 2].map(|number| mixed.guest_kernel(NodeNumber(number))), [None, Some(kernel.as_path())]);
        let same = State { record: record(), ..mixed };
        assert_eq!(same.guest_kernel(NodeNumber(2)), None);
    }

    #[test]
    fn record_without_a_guest_is_still_read() {
        let mut text = serde_json::to_value(record()).unwrap();
        text.as_object_mut().unwrap().remove("guest_kernel").unwrap();
        assert_eq!(serde_json::from_value::<Record>(text).unwrap().guest_kernel, None);
    }

    #[test]
    fn a_folder_takes_one_cluster_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        State::create(folder.path(), record()).unwrap();
        assert!(State::create(folder.path(), record()).unwrap_err().to_string().contains("take it down first"));
        assert_eq!(State::open(folder.path()).unwrap().unwrap().record.nodes, 2);
    }

    #[test]
    fn a_folder_without_a_record_holds_no_cluster() {
        assert!(State::open(Path::new("/nonexistent")).unwrap().is_none());
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_before_anything_starts() {
        let folder = tempfile::tempdir().unwrap();
        let error = State::create(&folder.path().join("x".repeat(100)), record()).unwrap_err();
        assert!(error.to_string().contains("--state"), "{error}");
    }

    #[test]
    fn what_is_asked_before_the_long_build_is_what_is_refused_after_it() {
        let asked = include_str!("../../../scripts/preflight");
        let longest = LONGEST_FOLDER - "/target/cluster".len();
        assert!(
            asked.contains(&format!("longest={longest}\n")),
            "scripts/preflight takes another length than {longest}"
        );
    }

    #[test]
    fn a_cluster_is_complete_when_up_said_so_and_not_by_its_record() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::create(folder.path(), record()).unwrap();
        assert!(!State::open(folder.path()).unwrap().unwrap().is_complete());
        state.mark_complete().unwrap();
        assert!(State::open(folder.path()).unwrap().unwrap().is_complete());
    }

    #[test]
    fn only_its_own_nodes_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::create(folder.path(), record()).unwrap();
        assert!(state.node("node2").is_ok() && state.node("node3").is_err());
    }
}
