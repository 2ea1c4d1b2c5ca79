//! Who has an address now: a pod of this node, or what the network layer's directory knows of the cluster.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::sync::watch;
use trilobite_api::requests::Endpoint;

use crate::{
    identity::{IdentityService, Pod},
    layers::network::{
        decode::Transport,
        directory::SharedDirectory,
        endpoint::{AddressOwner, Endpoint as Owner, Reserved},
    },
};

/// The addresses of one call, whose pods of this node are read again when they change.
pub(super) struct AddressBook {
    identity: IdentityService,
    directory: SharedDirectory,
    changed: watch::Receiver<u64>,
    pods: HashMap<IpAddr, Arc<Pod>>,
}

impl AddressBook {
    pub(super) fn new(identity: IdentityService, directory: SharedDirectory) -> Self {
        let changed = identity.changed();
        let mut book = Self { identity, directory, changed, pods: HashMap::new() };
        book.read_pods();
        book
    }

    fn read_pods(&mut self) {
        self.changed.mark_unchanged();
        // A pod that has ended has no address, and that of a pod of the host's network is the node's.
        let with_address = self.identity.pods().into_iter().filter(|pod| !pod.ended && !pod.host_network);
        self.pods = with_address.flat_map(|pod| pod.ips.clone().into_iter().map(move |ip| (ip, pod.clone()))).collect();
    }

    /// The end of a connection that was open at that time, on the wall clock and since boot. An owner that got the address
    /// later is not its owner: the name stays empty.
    pub(super) fn endpoint(
        &mut self,
        transport: Transport,
        address: SocketAddr,
        (time, boot_ns): (Timestamp, u64),
    ) -> Endpoint {
        if self.changed.has_changed().unwrap_or_default() {
            self.read_pods();
        }
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let end = address_only(address);
        if let Some(pod) = self.pods.get(&address.ip()) {
            return match pod.created.is_none_or(|created| created <= time) {
                true => Endpoint { namespace: pod.namespace.clone(), pod: pod.name.clone(), ..end },
                false => end,
            };
        }
        let found = self.directory.owner(transport, address);
        let had_it = |since: u64| since <= boot_ns;
        match (found.endpoint, found.service) {
            (Some(AddressOwner { owner, since }), _) if had_it(since) => named(end, &owner),
            (None, Some(AddressOwner { owner, since })) if had_it(since) => {
                Endpoint { namespace: owner.namespace.clone(), name: owner.name.clone(), ..end }
            }
            _ => end,
        }
    }
}

fn named(end: Endpoint, owner: &Owner) -> Endpoint {
    if !owner.pod.is_empty() {
        return Endpoint { namespace: owner.namespace.clone(), pod: owner.pod.clone(), ..end };
    }
    let name = owner.reserved_name().filter(|name| *name != Reserved::Unknown.name()).unwrap_or_default();
    Endpoint { namespace: owner.namespace.clone(), name: name.to_owned(), ..end }
}

/// An end without names. An IPv4 address of an IPv6 socket is shown in its usual form.
pub(super) fn address_only(address: SocketAddr) -> Endpoint {
    Endpoint { ip: address.ip().to_canonical().to_string(), port: address.port().into(), ..Endpoint::default() }
}
