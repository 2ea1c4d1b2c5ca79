//! The flow programs loaded in the kernel: their maps, their ring and their links, one for each interface and direction.

use std::{collections::BTreeMap, sync::Arc};

use libbpf_rs::ProgramMut;
use trilobite_node_ebpf::{
    DropReason, FlowDirection, FlowEndOrder, FlowKey, FlowValue, InterfaceCounts, InterfaceKey, PacketsBytes,
    skeleton::flow::{FlowSkel, FlowSkelBuilder},
};
use zerocopy::IntoBytes;

use crate::{
    kernel::{Link, Map, Ring, attach, net_namespace, packet, skeleton},
    layers::network::decode::{self, FlowTuple},
    problem::Problem,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSizes {
    /// Entries of the flow map.
    pub flow_entries: u32,
    /// Bytes of the ring, a power of two and a multiple of the page size.
    pub ring_bytes: u32,
}

/// Dropping it detaches the programs and frees the maps.
pub(super) struct LoadedPrograms {
    pub(super) sizes: MapSizes,
    links: BTreeMap<u32, [Link; 2]>,
    loaded: Box<FlowSkel<'static>>,
    flows: Map,
    interfaces: Map,
    drops: Map,
    ring: Arc<Ring>,
}

const DIRECTIONS: [FlowDirection; 2] = [FlowDirection::In, FlowDirection::Out];

impl LoadedPrograms {
    /// Loads the programs without attaching them.
    pub(super) fn load(sizes: MapSizes) -> Result<Self, Problem> {
        let mut open = skeleton::open("flow", FlowSkelBuilder::default())?;
        skeleton::resize(&mut open.maps.flows, sizes.flow_entries)?;
        skeleton::resize(&mut open.maps.flow_ring, sizes.ring_bytes)?;
        let constants = skeleton::constants(open.maps.rodata_data.as_deref_mut())?;
        constants.flow_entries = sizes.flow_entries.into();
        constants.interface_namespace = net_namespace::own();
        let loaded = skeleton::load("flow", open)?;
        Ok(Self {
            sizes,
            links: BTreeMap::new(),
            flows: Map::from_object(&loaded.maps.flows)?,
            interfaces: Map::from_object(&loaded.maps.interfaces)?,
            drops: Map::from_object(&loaded.maps.drops)?,
            ring: Arc::new(Ring::new(Map::from_object(&loaded.maps.flow_ring)?)?),
            loaded: Box::new(loaded),
        })
    }

    /// Does nothing if the interface is attached already.
    pub(super) fn attach(&mut self, interface: u32) -> Result<(), Problem> {
        if self.links.contains_key(&interface) {
            return Ok(());
        }
        self.create_counters(interface)?;
        let [incoming, outgoing] = self.programs().map(|program| attach::to_tcx(program, interface));
        let links = incoming.and_then(|incoming| Ok([incoming, outgoing?]));
        match links {
            Ok(links) => {
                self.links.insert(interface, links);
                Ok(())
            }
            Err(problem) => {
                self.delete_counters(interface);
                Err(problem)
            }
        }
    }

    /// When it returns, nothing is counted there any more. The counters stay until `remove_counters`.
    pub(super) fn detach(&mut self, interface: u32) {
        self.links.remove(&interface);
    }

    pub(super) fn detach_all(&mut self) {
        self.links.clear();
    }

    /// Removes the counters of a detached interface.
    pub(super) fn remove_counters(&mut self, interface: u32) {
        if !self.links.contains_key(&interface) {
            self.delete_counters(interface);
        }
    }

    /// Replaces `old` on every interface without missing a packet or counting one twice. The counts of `old` stay there.
    pub(super) fn replace(&mut self, old: &mut Self) -> Result<(), Problem> {
        let interfaces: Vec<u32> = old.links.keys().copied().collect();
        for interface in interfaces {
            self.create_counters(interface)?;
            let Some(mut links) = old.links.remove(&interface) else { continue };
            for (program, link) in self.programs().into_iter().zip(links.iter_mut()) {
                // The link of a deleted interface is attached to nothing; the interface is detached next.
                if let Err(problem) = packet::replace_program(link, program) {
                    tracing::debug!(interface, problem = problem.message(), "a program was not replaced");
                }
            }
            self.links.insert(interface, links);
        }
        Ok(())
    }

    /// Attached interfaces that were deleted since; a new one may have the same index.
    pub(super) fn deleted(&self) -> Vec<u32> {
        let is_deleted = |links: &[Link; 2]| links.iter().any(|link| !link.is_attached());
        self.links.iter().filter(|(_, links)| is_deleted(links)).map(|(interface, _)| *interface).collect()
    }

    pub(super) fn attached(&self) -> Vec<u32> {
        self.links.keys().copied().collect()
    }

    /// Traffic outside flows.
    pub(super) fn counts(&self, interface: u32, direction: FlowDirection) -> InterfaceCounts {
        self.interfaces.get(&interface_key(interface, direction)).ok().flatten().unwrap_or_default()
    }

    /// Records that did not fit the ring; the flow map has their traffic all the same.
    pub(super) fn dropped_records(&self) -> u64 {
        self.drops.sum(DropReason::Flow as u32)
    }

    /// Open flows, read while packets come.
    pub(super) fn live(&self) -> Vec<(FlowTuple, PacketsBytes)> {
        self.flows
            .keys::<FlowKey>()
            .filter_map(|key| {
                let value: FlowValue = self.flows.get(&key).ok().flatten()?;
                let counted = PacketsBytes { packets: value.packets, bytes: value.bytes };
                (value.ended == 0).then_some((decode::tuple(&key)?, counted))
            })
            .collect()
    }

    pub(super) fn ring(&self) -> Arc<Ring> {
        self.ring.clone()
    }

    pub(super) fn send_order(&mut self, order: FlowEndOrder) -> Result<i32, Problem> {
        packet::test_run(&self.loaded.progs.end_flows, order.as_bytes())
    }

    /// In the order of `DIRECTIONS`.
    fn programs(&self) -> [&ProgramMut<'static>; 2] {
        [&self.loaded.progs.flow_in, &self.loaded.progs.flow_out]
    }

    fn create_counters(&self, interface: u32) -> Result<(), Problem> {
        for direction in DIRECTIONS {
            let zero = InterfaceCounts::default();
            self.interfaces.set(&interface_key(interface, direction), &zero).map_err(|error| Problem::LoadFailed {
                what: format!("counting interface {interface}"),
                detail: error.to_string(),
            })?;
        }
        Ok(())
    }

    fn delete_counters(&self, interface: u32) {
        for direction in DIRECTIONS {
            if let Err(error) = self.interfaces.delete(&interface_key(interface, direction)) {
                tracing::debug!(interface, %error, "the counters of an interface could not be deleted");
            }
        }
    }
}

fn interface_key(interface: u32, direction: FlowDirection) -> InterfaceKey {
    InterfaceKey { interface, direction: direction as u32 }
}
