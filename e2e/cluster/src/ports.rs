//! Free ports for the control plane, outside the ranges that the kernel gives to clients and Kubernetes to NodePorts:
//! a port that is given up while the API server is stopped must still be free when it comes back.

use std::net::TcpListener;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const RANGE: Range<u16> = 20_000..29_000;

/// The ports of one control plane.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub etcd: u16,
    pub etcd_peers: u16,
    pub api: u16,
}

/// Where hosted Kubernetes has its API server, and so the one of a cluster with a guest: a policy that lets no process but those
/// that connect to 443 live must not end kubelet and agent.
const HTTPS: u16 = 443;

impl Ports {
    /// Free ports for a cluster with a guest.
    pub(crate) fn free_with_https() -> Result<Self> {
        if TcpListener::bind(("0.0.0.0", HTTPS)).is_err() {
            return Err(Error::Refused(format!("port {HTTPS} is in use: with --guest the API server needs it")));
        }
        Ok(Self { api: HTTPS, ..Self::free()? })
    }

    /// Three free ports; each process begins its search at another number.
    pub(crate) fn free() -> Result<Self> {
        let moment = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let moment = moment.map_or(0, |since| since.subsec_micros());
        let span = u32::from(RANGE.end - RANGE.start);
        let start = moment.wrapping_add(std::process::id().wrapping_mul(7_919)) % span;
        let mut free = (0..span)
            .map(|step| RANGE.start + u16::try_from((start + step) % span).unwrap_or_default())
            .filter(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok());
        let mut next = || free.next().ok_or_else(|| Error::Missing(format!("no free TCP port in {RANGE:?}")));
        Ok(Self { etcd: next()?, etcd_peers: next()?, api: next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_ports_differ_and_can_be_bound() {
        let ports = Ports::free().unwrap();
        let held: Vec<TcpListener> = [ports.etcd, ports.etcd_peers, ports.api]
            .map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap())
            .into();
        assert_eq!(held.len(), 3);
        assert!(RANGE.contains(&ports.api));
    }
}
