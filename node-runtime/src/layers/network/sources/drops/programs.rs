//! The program of dropped packets loaded in the kernel: its maps, its ring and its link.

use std::{collections::BTreeSet, net::IpAddr, os::fd::AsFd, sync::Arc};

use trilobite_node_ebpf::{
    ADDRESS_HASH_FACTOR, ADDRESS_HASH_SHIFT, ADDRESS_HASH_WORDS, DropReason, IGNORED_REASONS, IgnoredDrop,
    PacketDropKey, PacketDropValue, PodAddress,
    skeleton::drops::{DropsSkel, DropsSkelBuilder},
};

use crate::{
    kernel::{Link, Map, Ring, attach, misses::recursion_misses, net_namespace, skeleton},
    problem::Problem,
};

/// Whose packets are counted; without a cluster all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub addresses: BTreeSet<IpAddr>,
    /// Network namespaces of these pods, by inode.
    pub namespaces: BTreeSet<u32>,
}

/// Dropping it detaches the program and frees the maps.
pub(super) struct LoadedPrograms {
    link: Option<Link>,
    loaded: Box<DropsSkel<'static>>,
    /// The maps of even and of odd generations.
    counts: [Map; 2],
    generation: Map,
    addresses: Map,
    address_bits: Map,
    namespaces: Map,
    ignored: Map,
    ignored_reasons: Map,
    drops: Map,
    ring: Arc<Ring>,
    /// In the maps of the kernel.
    known: Interest,
    known_bits: AddressBits,
}

/// A bit for each hash of an address.
type AddressBits = [u64; ADDRESS_HASH_WORDS as usize];

impl LoadedPrograms {
    /// Loads and attaches the program; without a cluster every packet of the machine is of interest.
    pub(super) fn load(is_machine: bool) -> Result<Self, Problem> {
        let mut open = skeleton::open("drops", DropsSkelBuilder::default())?;
        let constants = skeleton::constants(open.maps.rodata_data.as_deref_mut())?;
        constants.node_namespace = net_namespace::own();
        constants.is_machine = is_machine.into();
        let loaded = skeleton::load("drops", open)?;
        let maps = &loaded.maps;
        let mut programs = Self {
            link: None,
            counts: [Map::from_object(&maps.even_drops)?, Map::from_object(&maps.odd_drops)?],
            generation: Map::from_object(&maps.drop_generation)?,
            addresses: Map::from_object(&maps.pod_addresses)?,
            address_bits: Map::from_object(&maps.pod_address_bits)?,
            namespaces: Map::from_object(&maps.pod_namespaces)?,
            ignored: Map::from_object(&maps.ignored_drops)?,
            ignored_reasons: Map::from_object(&maps.ignored_reasons)?,
            drops: Map::from_object(&maps.drops)?,
            ring: Arc::new(Ring::new(Map::from_object(&maps.drop_ring)?)?),
            loaded: Box::new(loaded),
            known: Interest::default(),
            known_bits: [0; ADDRESS_HASH_WORDS as usize],
        };
        programs.link = Some(attach::by_section(&programs.loaded.progs.on_packet_drop)?);
        Ok(programs)
    }

    /// No packet is counted any more, but for those on which the program runs at this moment.
    pub(super) fn detach(&mut self) {
        self.link = None;
    }

    pub(super) fn ring(&self) -> Arc<Ring> {
        self.ring.clone()
    }

    /// The kernel counts in the map of this generation from now on.
    pub(super) fn change_over(&self, generation: u32) -> Result<(), Problem> {
        self.generation.set(&0_u32, &generation).map_err(|error| not_written("generation", &error))
    }

    /// Empties the map of even or odd generations, in which the kernel does not count now.
    pub(super) fn read_out(&self, parity: usize) -> Vec<(PacketDropKey, PacketDropValue)> {
        self.counts[parity & 1].drain().unwrap_or_else(|error| {
            tracing::warn!(%error, "dropped packets cannot be read; they are read with the next ones");
            Vec::new()
        })
    }

    /// Counts packets of these pods and of no others.
    pub(super) fn set_interest(&mut self, interest: &Interest) -> Result<(), Problem> {
        let Interest { addresses, namespaces } = interest;
        for address in self.known.addresses.difference(addresses) {
            self.addresses.delete(&pod_address(*address)).map_err(|error| not_written("an address", &error))?;
        }
        for namespace in self.known.namespaces.difference(namespaces) {
            self.namespaces.delete(namespace).map_err(|error| not_written("a namespace", &error))?;
        }
        // What cannot be written is tried again with the next change of pods.
        self.known.addresses.retain(|address| addresses.contains(address));
        self.known.namespaces.retain(|namespace| namespaces.contains(namespace));
        for namespace in namespaces {
            if !self.known.namespaces.contains(namespace) {
                self.namespaces.set(namespace, &1_u8).map_err(|error| not_written("a namespace", &error))?;
                self.known.namespaces.insert(*namespace);
            }
        }
        for address in addresses {
            if !self.known.addresses.contains(address) {
                self.addresses.set(&pod_address(*address), &1_u8).map_err(|error| not_written("an address", &error))?;
                self.known.addresses.insert(*address);
            }
        }
        self.set_address_bits()
    }

    /// After the addresses themselves: a packet is looked up among them only if its bit is set.
    fn set_address_bits(&mut self) -> Result<(), Problem> {
        let bits = address_bits(&self.known.addresses);
        for (index, (word, known)) in (0_u32..).zip(bits.iter().zip(&mut self.known_bits)) {
            if word != known {
                self.address_bits.set(&index, word).map_err(|error| not_written("a hash", &error))?;
                *known = *word;
            }
        }
        Ok(())
    }

    /// Such drops leave the program at once from now on. Without room for it, they are sorted out by the agent.
    pub(super) fn ignore(&self, reason: u32, place: u64) {
        let written = self.ignored.set(&IgnoredDrop { place, reason, pad: 0 }, &1_u8);
        if let Err(error) = written.and_then(|()| self.ignored_reasons.set(&reason.min(IGNORED_REASONS - 1), &1_u8)) {
            tracing::debug!(reason, %error, "drops that are no losses still reach the agent");
        }
    }

    /// Packets that found no room in the map, and those that the kernel did not hand to the program because it was running.
    pub(super) fn losses(&self) -> u64 {
        let skipped = recursion_misses(self.loaded.progs.on_packet_drop.as_fd());
        self.drops.sum(DropReason::PacketEntry as u32) + skipped
    }
}

/// As the kernel's program compares addresses.
fn pod_address(address: IpAddr) -> PodAddress {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes = address.octets(),
    }
    PodAddress { bytes }
}

/// The kernel's program does the same in `is_pod`.
fn address_bits(addresses: &BTreeSet<IpAddr>) -> AddressBits {
    let mut bits = [0; ADDRESS_HASH_WORDS as usize];
    for address in addresses {
        let bytes = pod_address(*address).bytes;
        let combined = bytes.as_chunks::<4>().0.iter().fold(0, |all, word| all ^ u32::from_ne_bytes(*word));
        let hash = combined.wrapping_mul(ADDRESS_HASH_FACTOR) >> ADDRESS_HASH_SHIFT;
        bits[hash as usize / 64] |= 1 << (hash % 64);
    }
    bits
}

fn not_written(what: &str, error: &libbpf_rs::Error) -> Problem {
    Problem::LoadFailed { what: format!("writing {what} for dropped packets"), detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_a_bit_and_most_others_have_none() {
        let pods: BTreeSet<IpAddr> = (0..250).map(|last| IpAddr::from([10, 1, 7, last])).collect();
        let bits = address_bits(&pods);
        let is_set =
            |address: IpAddr| address_bits(&[address].into()).iter().zip(&bits).any(|(one, all)| one & all != 0);
        assert!(pods.iter().all(|address| is_set(*address)));
        let others = (0..1000_u32).filter(|number| is_set(IpAddr::from((0x0a02_0000 + number).to_be_bytes()))).count();
        assert!(others < 100, "{others} of 1,000 other addresses are looked up");
    }
}
