//! The programs of DNS loaded in the kernel: their ring and their links, one for each interface and direction.

use std::{collections::BTreeMap, io, os::fd::OwnedFd, sync::Arc};

use libbpf_rs::ProgramMut;
use trilobite_node_ebpf::{
    DNS_RING_BYTES, DropReason, FlowDirection,
    skeleton::dns::{DnsSkel, DnsSkelBuilder},
};

use crate::{
    kernel::{Map, net_namespace, skeleton, tc_filter::FilterRole},
    layers::network::sources::packet_hooks::{PacketAttachment, PacketHooks},
    problem::Problem,
};

/// The ring of copied packets, which a worker reads.
#[derive(Debug)]
pub struct DnsRing(Map);

impl DnsRing {
    pub const BYTES: u32 = DNS_RING_BYTES;

    /// For a worker.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.fd().try_clone_to_owned()
    }
}

/// Dropping it detaches the programs; the ring lives as long as a worker reads it.
pub(super) struct LoadedPrograms {
    links: BTreeMap<u32, [PacketAttachment; 2]>,
    loaded: Box<DnsSkel<'static>>,
    drops: Map,
    ring: Arc<DnsRing>,
}

impl LoadedPrograms {
    /// Loads the programs without attaching them.
    pub(super) fn load() -> Result<Self, Problem> {
        let mut open = skeleton::open("dns", DnsSkelBuilder::default())?;
        skeleton::constants(open.maps.rodata_data.as_deref_mut())?.interface_namespace = net_namespace::own();
        let loaded = skeleton::load("dns", open)?;
        Ok(Self {
            links: BTreeMap::new(),
            drops: Map::from_object(&loaded.maps.drops)?,
            ring: Arc::new(DnsRing(Map::from_object(&loaded.maps.dns_ring)?)),
            loaded: Box::new(loaded),
        })
    }

    /// Does nothing if the interface is attached already.
    pub(super) fn attach(&mut self, hooks: &PacketHooks, interface: u32) -> Result<(), Problem> {
        if self.links.contains_key(&interface) {
            return Ok(());
        }
        let attach = |(program, direction)| hooks.attach(program, interface, direction, FilterRole::Dns);
        let [incoming, outgoing] = self.programs().map(attach);
        self.links.insert(interface, [incoming?, outgoing?]);
        Ok(())
    }

    pub(super) fn detach(&mut self, interface: u32) {
        PacketAttachment::detach_all(self.links.remove(&interface).into_iter().flatten());
    }

    pub(super) fn attached(&self) -> Vec<u32> {
        self.links.keys().copied().collect()
    }

    /// The interface was deleted since; a new one may have the same index.
    pub(super) fn is_deleted(&self, interface: u32) -> bool {
        self.links.get(&interface).is_some_and(|links| links.iter().any(|link| !link.is_attached()))
    }

    /// Packets that found no room in the ring.
    pub(super) fn dropped_records(&self) -> u64 {
        self.drops.sum(DropReason::Dns as u32)
    }

    pub(super) fn ring(&self) -> Arc<DnsRing> {
        self.ring.clone()
    }

    fn programs(&self) -> [(&ProgramMut<'static>, FlowDirection); 2] {
        let programs = &self.loaded.progs;
        [(&programs.dns_in, FlowDirection::In), (&programs.dns_out, FlowDirection::Out)]
    }
}
