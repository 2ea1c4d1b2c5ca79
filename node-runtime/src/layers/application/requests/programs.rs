//! The kernel's part of requests: one set of programs for all profiles of a node. Each profile has a slot, with a scope, ports and a
//! ring of its own; to add one is a few map writes.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    mem::offset_of,
    os::fd::{AsFd, BorrowedFd},
};

pub use trilobite_node_ebpf::SlotCounts;
use trilobite_node_ebpf::{
    DATA_BYTES_MAX, DATA_CALL_MAX, DataVerdict, REQUEST_SLOTS_MAX, SCOPES_MAX, SLOT_PORTS_MAX, SlotSettings, SlotTable,
    Verdict as KernelVerdict, VerdictKey,
    skeleton::{
        socket::{SocketSkel, SocketSkelBuilder},
        socket_fexit::{SocketFexitSkel, SocketFexitSkelBuilder},
    },
};

use crate::{
    identity::SelectionMaps,
    kernel::{Link, Map, Release, Table, UprobeAccess, attach, object, probe, skeleton, uprobe},
    problem::Problem,
};

/// The tracepoints of sockets exist since 6.3, but sendfile passes them since 6.5.
const TRACEPOINTS_SINCE: Release = Release { major: 6, minor: 5 };
/// The functions that receive have one argument less since.
const WITHOUT_NONBLOCK_SINCE: Release = Release { major: 5, minor: 19 };

/// Words of the one element of the kernel's table of slots.
const ACTIVE: usize = offset_of!(SlotTable, active) / 8;
const END: usize = offset_of!(SlotTable, end) / 8;
const EPOCH: usize = offset_of!(SlotTable, epoch) / 8;
const SINCE: usize = offset_of!(SlotTable, since) / 8;
const SCOPE: usize = offset_of!(SlotTable, scope) / 8;

/// What a slot asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlotSpec<'a> {
    /// The id of its scope; none for every process of the node.
    pub scope: Option<u32>,
    /// Size of its ring, a power of two.
    pub ring_bytes: u32,
    /// Ports of either end, 32 at most; none for all.
    pub ports: &'a [u16],
    /// Generation of the AppProfile.
    pub generation: u32,
}

/// A slot, until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotId(u32);

/// One call may take so much of its slot's ring.
const CALL_PART_OF_RING: u32 = 8;

/// How much of a stream, a socket or an object of a TLS library, a slot wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So many bytes of each call, by what it does.
    Parse { sent: u32, received: u32 },
    /// Records without bytes.
    Lengths,
    /// Nothing more; this cannot be taken back.
    Ignore,
}

/// The maps of slots.
struct CaptureMaps {
    slot_table: Map,
    slot_settings: Map,
    slot_rings: Map,
    slot_counts: Map,
    verdicts: Map,
}

/// The maps of the probes of TLS libraries.
pub struct TlsMaps {
    pub slots: Map,
    pub excluded: Map,
    pub objects: Map,
}

/// Programs that are loaded and attached. Dropping it unloads them.
pub struct Capture {
    links: Vec<Link>,
    maps: CaptureMaps,
    /// None where the kernel allows no probes.
    tls: Option<TlsMaps>,
    table: Table,
    slots: BTreeMap<SlotId, Slot>,
    // Dropped last, after the links.
    programs: Programs,
}

struct Slot {
    ring: Map,
    /// Bytes of a call at most, whatever a verdict says: a call must not fill the ring.
    call_bytes_max: u32,
    /// What an earlier slot of the same number had counted.
    before: SlotCounts,
}

/// Kept for as long as they are attached.
enum Programs {
    Tracepoints(Box<SocketSkel<'static>>),
    #[allow(dead_code, reason = "kept for as long as it is attached")]
    Functions(Box<SocketFexitSkel<'static>>),
}

/// What both objects have, under the same names.
macro_rules! share_selection {
    ($open:ident, $selection:ident, $node_cgroup:ident) => {{
        let selection = $selection.as_ref();
        skeleton::reuse_or_shrink(&mut $open.maps.cgroups, selection.map(|maps| maps.cgroups.as_fd()))?;
        skeleton::reuse_or_shrink(&mut $open.maps.classes, selection.map(|maps| maps.classes.as_fd()))?;
        let constants = skeleton::constants($open.maps.rodata_data.as_deref_mut())?;
        (constants.node_cgroup, constants.node_cgroup_level) = $node_cgroup;
        constants.key_secret = random();
        constants
    }};
}

macro_rules! capture_maps {
    ($loaded:ident) => {
        CaptureMaps {
            slot_table: Map::from_object(&$loaded.maps.slot_table)?,
            slot_settings: Map::from_object(&$loaded.maps.slot_settings)?,
            slot_rings: Map::from_object(&$loaded.maps.slot_rings)?,
            slot_counts: Map::from_object(&$loaded.maps.slot_counts)?,
            verdicts: Map::from_object(&$loaded.maps.verdicts)?,
        }
    };
}

impl Capture {
    /// Loads and attaches. If the kernel refuses any of it, nothing stays loaded. `selection` is shared by all slots; without it
    /// every slot is about every process of the node. `node_cgroup`: the cgroup above the node's pods and its depth; zeros if the
    /// whole machine is the node.
    pub fn load(selection: Option<SelectionMaps>, node_cgroup: (u64, u32)) -> Result<Self, Problem> {
        if uses_tracepoints(probe::release()) {
            Self::load_tracepoints(selection, node_cgroup)
        } else {
            Self::load_functions(selection, node_cgroup, probe::release())
        }
    }

    fn load_tracepoints(selection: Option<SelectionMaps>, node_cgroup: (u64, u32)) -> Result<Self, Problem> {
        let mut open = skeleton::open("socket", SocketSkelBuilder::default())?;
        share_selection!(open, selection, node_cgroup);
        let allows_probes = uprobe::access() == UprobeAccess::Allowed;
        open.progs.on_tls_call.set_autoload(allows_probes);
        let loaded = skeleton::load("socket", open)?;
        let programs = &loaded.progs;
        let links = attach_all(&[&programs.on_connection_end, &programs.on_send, &programs.on_receive])?;
        let maps = capture_maps!(loaded);
        let tls = TlsMaps {
            slots: Map::from_object(&loaded.maps.tls_slots)?,
            excluded: Map::from_object(&loaded.maps.tls_excluded)?,
            objects: Map::from_object(&loaded.maps.tls_objects)?,
        };
        Self::new(links, maps, allows_probes.then_some(tls), Programs::Tracepoints(Box::new(loaded)))
    }

    fn load_functions(
        selection: Option<SelectionMaps>,
        node_cgroup: (u64, u32),
        release: Release,
    ) -> Result<Self, Problem> {
        let mut open = skeleton::open("socket_fexit", SocketFexitSkelBuilder::default())?;
        let constants = share_selection!(open, selection, node_cgroup);
        constants.has_nonblock = has_nonblock(release);
        let loaded = skeleton::load("socket_fexit", open)?;
        let programs = &loaded.progs;
        // The ends of sockets first, then returns before entries: nothing is kept of a call whose return is not seen.
        let links = attach_all(&[
            &programs.on_connection_end,
            &programs.on_inet_destruct,
            &programs.on_unix_destruct,
            &programs.on_tcp_send,
            &programs.on_tcp_send_page,
            &programs.on_tcp_receive,
            &programs.on_udp_send,
            &programs.on_udp_receive,
            &programs.on_udpv6_send,
            &programs.on_udpv6_receive,
            &programs.on_unix_send,
            &programs.on_unix_receive,
            &programs.on_tcp_send_entry,
            &programs.on_tcp_receive_entry,
            &programs.on_udp_send_entry,
            &programs.on_udp_receive_entry,
            &programs.on_udpv6_send_entry,
            &programs.on_udpv6_receive_entry,
            &programs.on_unix_send_entry,
            &programs.on_unix_receive_entry,
        ])?;
        let maps = capture_maps!(loaded);
        Self::new(links, maps, None, Programs::Functions(Box::new(loaded)))
    }

    fn new(links: Vec<Link>, maps: CaptureMaps, tls: Option<TlsMaps>, programs: Programs) -> Result<Self, Problem> {
        let table = Table::map(&maps.slot_table)?;
        Ok(Self { links, maps, tls, table, slots: BTreeMap::new(), programs })
    }

    /// Adds a slot: from now on the processes of its scope are captured.
    pub fn add(&mut self, spec: &SlotSpec<'_>) -> Result<SlotId, Problem> {
        let free = (0..REQUEST_SLOTS_MAX).map(SlotId).find(|id| !self.slots.contains_key(id));
        let id = free.ok_or_else(|| Problem::Unsupported {
            field: "spec.requests".into(),
            detail: format!("{REQUEST_SLOTS_MAX} profiles capture requests on this node already; delete one"),
        })?;
        let ring = object::create_ring("slot_ring", spec.ring_bytes)?;
        self.write_slot(id, spec, &ring)
            .map_err(|error| Problem::LoadFailed { what: "a slot for requests".into(), detail: error.to_string() })?;
        let call_bytes_max = (spec.ring_bytes / CALL_PART_OF_RING).clamp(DATA_BYTES_MAX, DATA_CALL_MAX);
        self.slots.insert(id, Slot { ring, call_bytes_max, before: self.counted(id) });
        let epoch = self.table.load(0, EPOCH) + 1;
        // What sockets remember of an earlier slot of this number is older than this epoch.
        self.table.store(0, SINCE + id.index(), epoch);
        self.table.store(0, SCOPE + id.index(), spec.scope.unwrap_or(SCOPES_MAX).into());
        self.table.store(0, EPOCH, epoch);
        self.activate();
        Ok(id)
    }

    fn write_slot(&self, id: SlotId, spec: &SlotSpec<'_>, ring: &Map) -> libbpf_rs::Result<()> {
        let mut settings = SlotSettings { generation: spec.generation, ..SlotSettings::default() };
        for (to, port) in settings.ports.iter_mut().zip(spec.ports.iter().take(SLOT_PORTS_MAX as usize)) {
            *to = *port;
            settings.port_count += 1;
        }
        self.maps.slot_settings.set(&id.0, &settings)?;
        self.maps.slot_rings.set_map(id.0, ring)
    }

    /// Tells the programs which slots there are.
    fn activate(&self) {
        let active = self.slots.keys().fold(0, |bits, id| bits | 1 << id.0);
        let end = self.slots.keys().next_back().map_or(0, |id| u64::from(id.0) + 1);
        // The programs stop at the end: it must never be too low for a bit that is set.
        self.table.store(0, END, end.max(self.table.load(0, END)));
        self.table.store(0, ACTIVE, active);
        self.table.store(0, END, end);
    }

    /// The ring of a slot, for its worker; none of a slot that was removed.
    pub fn ring(&self, id: SlotId) -> Option<BorrowedFd<'_>> {
        Some(self.slots.get(&id)?.ring.fd())
    }

    /// Says how much of a stream a slot wants. Where the stream has ended meanwhile, the verdict stays until others need the room.
    pub fn set_verdict(&self, id: SlotId, stream: u64, verdict: Verdict) {
        let Some(slot) = self.slots.get(&id) else { return };
        let (kind, bytes) = match verdict {
            Verdict::Parse { sent, received } => (DataVerdict::Parse, [received, sent]),
            Verdict::Lengths => (DataVerdict::Lengths, [0; 2]),
            Verdict::Ignore => (DataVerdict::Ignore, [0; 2]),
        };
        let key = VerdictKey { stream, slot: id.0, pad: 0 };
        let value = KernelVerdict { bytes: bytes.map(|bytes| bytes.min(slot.call_bytes_max)), kind: kind as u32 };
        if let Err(error) = self.maps.verdicts.set(&key, &value) {
            tracing::debug!(%error, "a verdict about a stream was not written: 4 KiB of each call are copied");
        }
    }

    /// Since the slot was added.
    pub fn counts(&self, id: SlotId) -> SlotCounts {
        let before = self.slots.get(&id).map(|slot| slot.before).unwrap_or_default();
        combine(self.counted(id), before, u64::saturating_sub)
    }

    fn counted(&self, id: SlotId) -> SlotCounts {
        let processors = self.maps.slot_counts.of_processors::<SlotCounts>(id.0);
        processors.into_iter().fold(SlotCounts::default(), |sum, one| combine(sum, one, u64::saturating_add))
    }

    /// Removes a slot. When it returns, no program writes to its ring any more; what is in the ring stays readable there.
    pub fn remove(&mut self, id: SlotId) {
        if self.slots.remove(&id).is_none() {
            return;
        }
        self.activate();
        // Waits for programs that are running.
        if let Err(error) = self.maps.slot_rings.delete(&id.0) {
            tracing::warn!(%error, "the ring of a slot stays allocated until the last slot is removed");
        }
        let keys: Vec<VerdictKey> = self.maps.verdicts.keys().filter(|key: &VerdictKey| key.slot == id.0).collect();
        for key in keys {
            if let Err(error) = self.maps.verdicts.delete(&key) {
                tracing::debug!(%error, "a verdict of a removed slot could not be deleted");
            }
        }
    }

    /// No slot is left: it can be dropped.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The kind of programs, for status and logs.
    pub fn way(&self) -> &'static str {
        match self.programs {
            Programs::Tracepoints(_) => "tp_btf",
            Programs::Functions(_) => "fexit",
        }
    }

    /// The program of TLS probes and its maps; none where the kernel allows no probes.
    pub fn tls(&self) -> Option<(&libbpf_rs::ProgramMut<'static>, &TlsMaps)> {
        match (&self.programs, &self.tls) {
            (Programs::Tracepoints(loaded), Some(maps)) => Some((&loaded.progs.on_tls_call, maps)),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (way, slots) = (self.way(), self.slots.keys());
        f.debug_struct("Capture").field("way", &way).field("links", &self.links.len()).field("slots", &slots).finish()
    }
}

impl SlotId {
    /// Its number in the maps.
    pub fn number(self) -> u32 {
        self.0
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Whether sockets are followed by tracepoints, and not at the functions that send and receive.
pub fn uses_tracepoints(release: Release) -> bool {
    release >= TRACEPOINTS_SINCE
}

/// A constant of the programs at functions: 1 where the functions that receive still have the argument.
pub fn has_nonblock(release: Release) -> u32 {
    (release < WITHOUT_NONBLOCK_SINCE).into()
}

fn attach_all(programs: &[&libbpf_rs::ProgramMut<'_>]) -> Result<Vec<Link>, Problem> {
    programs.iter().map(|program| attach::by_section(program)).collect()
}

fn combine(one: SlotCounts, other: SlotCounts, word: fn(u64, u64) -> u64) -> SlotCounts {
    SlotCounts {
        records: word(one.records, other.records),
        bytes: word(one.bytes, other.bytes),
        gaps: word(one.gaps, other.gaps),
        gap_bytes: word(one.gap_bytes, other.gap_bytes),
        lost_records: word(one.lost_records, other.lost_records),
        lost_bytes: word(one.lost_bytes, other.lost_bytes),
    }
}

/// A number that no process can guess; not for cryptography.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_where_sendfile_passes_no_tracepoint_use_functions() {
        let release = |major, minor| Release { major, minor };
        assert!(uses_tracepoints(release(6, 12)) && uses_tracepoints(release(7, 2)));
        assert!(!uses_tracepoints(release(6, 4)) && !uses_tracepoints(release(5, 10)));
    }

    #[test]
    fn counts_of_an_earlier_slot_of_the_number_are_left_out() {
        let now = SlotCounts { records: 7, bytes: 90, lost_records: 2, ..SlotCounts::default() };
        let before = SlotCounts { records: 4, bytes: 60, lost_records: 2, ..SlotCounts::default() };
        let counts = combine(now, before, u64::saturating_sub);
        assert_eq!((counts.records, counts.bytes, counts.lost_records), (3, 30, 0));
    }
}
