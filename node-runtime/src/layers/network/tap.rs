//! The kernel side of the layer: the object, its maps, and what it is attached to. One attachment for each interface and
//! direction, whoever asked for it.

use std::{collections::BTreeMap, mem::offset_of, sync::Arc};

use trilobite_node_ebpf::flow::{FLOW_END_MORE, FlowDirection, FlowEndOrder, FlowValue, InterfaceCounts, PacketsBytes};

use super::record::{self, Tuple};
use crate::{
    kernel::{Fields, Link, Loaded, Map, Opened, Ring},
    report::Problem,
};

/// What the kernel is asked to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Entries of the flow map.
    pub flow_entries: u32,
    /// Bytes of the ring, a power of two and a multiple of the page size.
    pub ring_bytes: u32,
}

/// How long a flow may be silent before it is ended, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// After FIN or RST; no other is shorter.
    pub closed: u64,
    /// After a SYN that nothing followed.
    pub syn: u64,
    /// TCP that nobody has closed.
    pub tcp: u64,
    /// UDP.
    pub udp: u64,
    /// UDP that was a question or two and as many answers.
    pub answered: u64,
}

/// What one order to end flows has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// So many were ended.
    pub flows: u32,
    /// There are more; the ring is to be drained before the next order.
    pub more: bool,
}

/// The programs in the kernel. Dropping it detaches them and gives the maps back.
pub struct Tap {
    links: BTreeMap<u32, [Link; 2]>,
    loaded: Loaded,
    flows: Map,
    interfaces: Map,
    ring: Arc<Ring>,
}

/// The two directions, each with its program.
const DIRECTIONS: [(FlowDirection, &str); 2] = [(FlowDirection::In, "flow_in"), (FlowDirection::Out, "flow_out")];

impl Tap {
    /// Loads the programs; they are attached nowhere.
    pub fn load(sizes: Sizes) -> Result<Self, Problem> {
        let mut opened = Opened::open("flow", trilobite_node_ebpf::flow())?;
        opened.resize("flows", sizes.flow_entries)?;
        opened.resize("flow_ring", sizes.ring_bytes)?;
        opened.set("flow_entries", u64::from(sizes.flow_entries))?;
        let loaded = opened.load()?;
        Ok(Self {
            links: BTreeMap::new(),
            flows: loaded.map("flows")?,
            interfaces: loaded.map("interfaces")?,
            ring: Arc::new(loaded.ring("flow_ring")?),
            loaded,
        })
    }

    /// Watches an interface; one that is watched already stays as it is, see `dead`.
    pub fn watch(&mut self, interface: u32) -> Result<(), Problem> {
        if self.links.contains_key(&interface) {
            return Ok(());
        }
        self.make_counters(interface)?;
        let [incoming, outgoing] = DIRECTIONS.map(|(_, program)| self.loaded.attach_tcx(program, interface));
        let links = incoming.and_then(|incoming| Ok([incoming, outgoing?]));
        match links {
            Ok(links) => {
                self.links.insert(interface, links);
                Ok(())
            }
            Err(problem) => {
                self.drop_counters(interface);
                Err(problem)
            }
        }
    }

    /// Detaches from an interface; when it returns, nothing is counted there any more. Its counters stay until `forget`.
    pub fn unwatch(&mut self, interface: u32) {
        self.links.remove(&interface);
    }

    /// Detaches from all.
    pub fn unwatch_all(&mut self) {
        self.links.clear();
    }

    /// Takes the counters of an interface that is watched no more out of the kernel.
    pub fn forget(&mut self, interface: u32) {
        if !self.links.contains_key(&interface) {
            self.drop_counters(interface);
        }
    }

    /// Takes the place of `old` on every interface, with no packet unseen or seen twice between them. What `old` has
    /// counted stays in `old`.
    pub fn take_over(&mut self, old: &mut Self) -> Result<(), Problem> {
        let interfaces: Vec<u32> = old.links.keys().copied().collect();
        for interface in interfaces {
            self.make_counters(interface)?;
            let Some(mut links) = old.links.remove(&interface) else { continue };
            for ((_, program), link) in DIRECTIONS.iter().zip(links.iter_mut()) {
                // An interface that is gone has a link that holds nothing: it will be unwatched for being gone.
                if let Err(problem) = self.loaded.take_over(program, link) {
                    tracing::debug!(interface, problem = problem.message(), "a program was not replaced");
                }
            }
            self.links.insert(interface, links);
        }
        Ok(())
    }

    /// Interfaces that were watched and are gone; another may have got the same index since.
    pub fn dead(&self) -> Vec<u32> {
        let is_dead = |links: &[Link; 2]| links.iter().any(|link| !link.is_attached());
        self.links.iter().filter(|(_, links)| is_dead(links)).map(|(interface, _)| *interface).collect()
    }

    /// Interfaces that are watched.
    pub fn watched(&self) -> Vec<u32> {
        self.links.keys().copied().collect()
    }

    /// Ends the flows that are silent, of one interface or of all; each gives a record with its final counters. Those that
    /// are not silent for so long, and have carried something since they were told, give a record too. It fills half of the
    /// ring at most, so that those that begin meanwhile find room.
    pub fn end_flows(&mut self, interface: Option<u32>, patience: Patience) -> Result<Ended, Problem> {
        let answer = self.order(FlowEndOrder {
            interface: interface.unwrap_or(0),
            remove: 0,
            idle_closed: patience.closed,
            idle_syn: patience.syn,
            idle_tcp: patience.tcp,
            idle_udp: patience.udp,
            idle_answered: patience.answered,
        })?;
        Ok(Ended { flows: (answer & !FLOW_END_MORE).unsigned_abs(), more: answer & FLOW_END_MORE != 0 })
    }

    /// Takes ended flows out of the map. Comes so long after `end_flows` that no packet is still on its way to one, or
    /// after `unwatch`.
    pub fn remove_ended(&mut self, interface: Option<u32>) -> Result<i32, Problem> {
        self.order(FlowEndOrder { interface: interface.unwrap_or(0), remove: 1, ..FlowEndOrder::default() })
    }

    /// What went through an interface and is in no flow, and the records that did not fit the ring.
    pub fn counts(&self, interface: u32, direction: FlowDirection) -> InterfaceCounts {
        let value = self.interfaces.get(&interface_key(interface, direction)).ok().flatten().unwrap_or_default();
        let number = |at| Fields(&value).u64(at).unwrap_or_default();
        let mut counts = InterfaceCounts {
            records_lost: number(offset_of!(InterfaceCounts, records_lost)),
            flows: number(offset_of!(InterfaceCounts, flows)),
            ..InterfaceCounts::default()
        };
        for (index, other) in counts.other.iter_mut().enumerate() {
            let at = offset_of!(InterfaceCounts, other) + index * size_of::<PacketsBytes>();
            other.packets = number(at + offset_of!(PacketsBytes, packets));
            other.bytes = number(at + offset_of!(PacketsBytes, bytes));
        }
        counts
    }

    /// The flows that have not ended, as they are found while packets come.
    pub fn live(&self) -> Vec<(Tuple, PacketsBytes)> {
        self.flows
            .keys()
            .filter_map(|key| {
                let value = self.flows.get(&key).ok().flatten()?;
                let fields = Fields(&value);
                let ended = fields.u16(offset_of!(FlowValue, ended))? != 0;
                let packets = fields.u64(offset_of!(FlowValue, packets))?;
                let counted = PacketsBytes { packets, bytes: fields.u64(offset_of!(FlowValue, bytes))? };
                (!ended).then_some((record::tuple(&key)?, counted))
            })
            .collect()
    }

    /// The ring of records.
    pub fn ring(&self) -> Arc<Ring> {
        self.ring.clone()
    }

    fn order(&mut self, order: FlowEndOrder) -> Result<i32, Problem> {
        let mut bytes = Vec::with_capacity(size_of::<FlowEndOrder>());
        bytes.extend_from_slice(&order.interface.to_ne_bytes());
        bytes.extend_from_slice(&order.remove.to_ne_bytes());
        for nanoseconds in [order.idle_closed, order.idle_syn, order.idle_tcp, order.idle_udp, order.idle_answered] {
            bytes.extend_from_slice(&nanoseconds.to_ne_bytes());
        }
        self.loaded.run_on_packet("end_flows", &bytes)
    }

    fn make_counters(&self, interface: u32) -> Result<(), Problem> {
        for (direction, _) in DIRECTIONS {
            let zero = [0; size_of::<InterfaceCounts>()];
            self.interfaces.set(&interface_key(interface, direction), &zero).map_err(|error| Problem::LoadFailed {
                what: format!("counting interface {interface}"),
                detail: error.to_string(),
            })?;
        }
        Ok(())
    }

    fn drop_counters(&self, interface: u32) {
        for (direction, _) in DIRECTIONS {
            if let Err(error) = self.interfaces.delete(&interface_key(interface, direction)) {
                tracing::debug!(interface, %error, "the counters of an interface could not be removed");
            }
        }
    }
}

fn interface_key(interface: u32, direction: FlowDirection) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&interface.to_ne_bytes());
    key[4..].copy_from_slice(&u32::from(direction as u8).to_ne_bytes());
    key
}
