//! The flow programs loaded in the kernel: their maps, their ring, and where they are attached.

use std::{collections::BTreeMap, sync::Arc};

use libbpf_rs::ProgramMut;
use trilobite_node_ebpf::{
    DropReason, FlowDirection, FlowKey, FlowValue, InterfaceCounts, InterfaceKey, PacketsBytes,
    skeleton::flow::{FlowSkel, FlowSkelBuilder},
};

use super::end_walk::EndWalk;
use crate::{
    kernel::{Map, Ring, net_namespace, packet, skeleton, tc_filter::FilterRole},
    layers::network::{
        decode::{self, FlowTuple},
        sources::packet_hooks::{PacketAttachment, PacketHooks},
    },
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
    attachments: BTreeMap<u32, [PacketAttachment; 2]>,
    loaded: Box<FlowSkel<'static>>,
    flows: Map,
    interfaces: Map,
    drops: Map,
    ring: Arc<Ring>,
    pub(super) walk: EndWalk,
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
            attachments: BTreeMap::new(),
            flows: Map::from_object(&loaded.maps.flows)?,
            interfaces: Map::from_object(&loaded.maps.interfaces)?,
            drops: Map::from_object(&loaded.maps.drops)?,
            ring: Arc::new(Ring::new(Map::from_object(&loaded.maps.flow_ring)?)?),
            walk: EndWalk::default(),
            loaded: Box::new(loaded),
        })
    }

    /// Does nothing if the interface is attached already.
    pub(super) fn attach(&mut self, hooks: &PacketHooks, interface: u32) -> Result<(), Problem> {
        if self.attachments.contains_key(&interface) {
            return Ok(());
        }
        self.create_counters(interface)?;
        let attach = |(program, direction)| hooks.attach(program, interface, direction, FilterRole::Flows);
        let [incoming, outgoing] = self.programs().map(attach);
        match incoming.and_then(|incoming| Ok([incoming, outgoing?])) {
            Ok(attachments) => {
                self.attachments.insert(interface, attachments);
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
        PacketAttachment::detach_all(self.attachments.remove(&interface).into_iter().flatten());
    }

    pub(super) fn detach_all(&mut self) {
        PacketAttachment::detach_all(std::mem::take(&mut self.attachments).into_values().flatten());
    }

    /// Removes the counters of a detached interface.
    pub(super) fn remove_counters(&mut self, interface: u32) {
        if !self.attachments.contains_key(&interface) {
            self.delete_counters(interface);
        }
    }

    /// Replaces `old` on every interface without missing a packet or counting one twice. The counts of `old` stay there.
    pub(super) fn replace(&mut self, old: &mut Self) -> Result<(), Problem> {
        let interfaces: Vec<u32> = old.attachments.keys().copied().collect();
        for interface in interfaces {
            self.create_counters(interface)?;
            let Some(mut attachments) = old.attachments.remove(&interface) else { continue };
            for ((program, _), attachment) in self.programs().into_iter().zip(&mut attachments) {
                // Nothing is attached to a deleted interface; it is detached next.
                if let Err(problem) = attachment.replace_program(program) {
                    tracing::debug!(interface, problem = problem.message(), "a program was not replaced");
                }
            }
            self.attachments.insert(interface, attachments);
        }
        Ok(())
    }

    /// Attached interfaces that were deleted since; a new one may have the same index.
    pub(super) fn deleted(&self) -> Vec<u32> {
        let is_deleted = |attachments: &[PacketAttachment; 2]| attachments.iter().any(|one| !one.is_attached());
        self.attachments
            .iter()
            .filter(|(_, attachments)| is_deleted(attachments))
            .map(|(interface, _)| *interface)
            .collect()
    }

    pub(super) fn attached(&self) -> Vec<u32> {
        self.attachments.keys().copied().collect()
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
        let entries = self.entries().unwrap_or_else(|problem| {
            tracing::error!(problem = problem.message(), "open flows cannot be read: their counts are missing");
            Vec::new()
        });
        let open = |(key, value): (FlowKey, FlowValue)| {
            let counted = PacketsBytes { packets: value.packets, bytes: value.bytes };
            (value.ended == 0).then_some((decode::tuple(&key)?, counted))
        };
        entries.into_iter().filter_map(open).collect()
    }

    /// Flows in the map, ended ones among them, read while packets come.
    pub(super) fn entries(&self) -> Result<Vec<(FlowKey, FlowValue)>, Problem> {
        self.flows
            .entries()
            .map_err(|error| Problem::LoadFailed { what: "reading the flow map".into(), detail: error.to_string() })
    }

    pub(super) fn ring(&self) -> Arc<Ring> {
        self.ring.clone()
    }

    /// Runs `end_flows` on an order and its keys.
    pub(super) fn run_end_flows(&self, order: &[u8]) -> Result<i32, Problem> {
        packet::test_run(&self.loaded.progs.end_flows, order)
    }

    fn programs(&self) -> [(&ProgramMut<'static>, FlowDirection); 2] {
        let programs = &self.loaded.progs;
        [(&programs.flow_in, FlowDirection::In), (&programs.flow_out, FlowDirection::Out)]
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
