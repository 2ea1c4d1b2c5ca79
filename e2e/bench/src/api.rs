//! Requests to the API server without a process for each: what is timed must not contain the start of kubectl.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use trilobite_cluster::ControlPlane;

use crate::waiting::poll;

/// kubectl's proxy on a unix socket. Dropping it ends it.
pub(crate) struct Api {
    proxy: Child,
    socket: PathBuf,
}

impl Api {
    /// Starts the proxy and waits until it answers.
    pub(crate) fn open(control: &ControlPlane) -> Result<Self> {
        let socket = std::env::temp_dir().join(format!("trilobite-bench-{}.api", std::process::id()));
        let _ = fs::remove_file(&socket);
        let mut command = control.kubectl();
        command.arg("proxy").arg("--unix-socket").arg(&socket).stdout(Stdio::null()).stderr(Stdio::null());
        let api = Self { proxy: command.spawn().context("starting kubectl proxy")?, socket };
        let answers = poll(Duration::from_secs(10), Duration::from_millis(20), || api.get("/version").is_ok());
        ensure!(answers, "kubectl proxy does not answer");
        Ok(api)
    }

    /// An object.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.request("GET", path, "application/json", "")
    }

    /// Makes an object.
    pub(crate) fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.request("POST", path, "application/json", &object.to_string())
    }

    /// Changes an object: what the patch names, and no more.
    pub(crate) fn merge(&self, path: &str, patch: &Value) -> Result<Value> {
        self.request("PATCH", path, "application/merge-patch+json", &patch.to_string())
    }

    /// HTTP/1.0: the answer ends with the connection.
    fn request(&self, method: &str, path: &str, kind: &str, body: &str) -> Result<Value> {
        let ask = || -> std::io::Result<String> {
            let mut peer = UnixStream::connect(&self.socket)?;
            peer.set_read_timeout(Some(Duration::from_secs(20)))?;
            let length = body.len();
            let head = format!(
                "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
            );
            peer.write_all(format!("{head}{body}").as_bytes())?;
            let mut answer = String::new();
            peer.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().with_context(|| format!("{method} {path}"))?;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{method} {path}: no answer"))?;
        let code = head.split(' ').nth(1).unwrap_or_default();
        ensure!(code.starts_with('2'), "{method} {path}: {code} {body}");
        serde_json::from_str(body).with_context(|| format!("what {method} {path} answered"))
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
        let _ = fs::remove_file(&self.socket);
    }
}
