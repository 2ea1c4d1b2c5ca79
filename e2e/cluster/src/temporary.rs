//! A control plane for one test: ended when the value is dropped, and also when the test's process dies in any way.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cache::Cache;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::state::MARK;

/// Waits until its input ends, which the kernel does when the test's process is gone; then kills and removes.
const GUARD: &str = r#"read -r _
for file in "$1"/pid/*; do kill -9 "$(cat "$file")"; done
rm -rf "$1""#;

/// etcd, an API server and the controllers, on free ports of loopback, without root and without nodes.
///
/// It may be kept in a `static`, which Rust never drops: it ends with the process.
#[derive(Debug)]
pub struct ControlPlane {
    cluster: Cluster,
    guard: Child,
}

impl ControlPlane {
    /// Starts one and waits until it is ready, about three seconds.
    pub fn start() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("trilobite-{}-{count}", std::process::id()));
        let guard = guard(&folder)?;
        // From here the guard cleans up, whatever fails.
        let cluster = Cluster::up_control_plane(&folder, &Cache::from_environment());
        match cluster {
            Ok(cluster) => Ok(Self { cluster, guard }),
            Err(error) => {
                release(guard);
                Err(error)
            }
        }
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.cluster.kubeconfig()
    }

    /// kubectl with the administrator's rights.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.cluster.kubectl()
    }

    /// Stops the API server; etcd keeps what it held.
    pub fn stop_api_server(&self) -> Result<()> {
        self.cluster.stop("apiserver")
    }

    /// Starts the API server again, on the same port.
    pub fn start_api_server(&self) -> Result<()> {
        self.cluster.start("apiserver")
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

fn guard(folder: &std::path::Path) -> Result<Child> {
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", GUARD, "sh"]).arg(folder).env_remove(MARK);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(|source| Error::Start { program: "setsid".to_owned(), source })
}

fn release(mut guard: Child) {
    drop(guard.stdin.take());
    let _ = guard.wait();
}
