//! The kernel's map of cgroups, as this kernel takes it from programs of every kind.

use trilobite_node_ebpf::{limits::CGROUPS_MAX, process::CgroupState};

use crate::{
    kernel::{Facts, Map, Release, refusal},
    report::Problem,
};

/// Since this release a perf event's program may look into a hash that is not preallocated.
const NO_PREALLOC_SINCE: Release = Release { major: 6, minor: 1 };

/// An empty one. Every object that has a map of this name is given it.
pub fn make(facts: &Facts) -> Result<Map, Problem> {
    let bytes = u32::try_from(size_of::<CgroupState>()).unwrap_or(u32::MAX);
    let preallocated = facts.release < NO_PREALLOC_SINCE;
    Map::hash("cgroups", 8, bytes, CGROUPS_MAX, preallocated).map_err(|error| match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied if facts.has("CAP_BPF") && !refusal::memlock_counts(facts.release) => {
            refusal::forbidden("making the map of cgroups".into())
        }
        libbpf_rs::ErrorKind::PermissionDenied if facts.has("CAP_BPF") => {
            Problem::MapMemoryExceeded { map: "cgroups".into(), bytes: u64::from(CGROUPS_MAX) * u64::from(8 + bytes) }
        }
        libbpf_rs::ErrorKind::PermissionDenied => {
            Problem::MissingCapability { capability: "CAP_BPF".into(), needed_for: "selecting pods".into() }
        }
        _ => Problem::LoadFailed { what: "making the map of cgroups".into(), detail: error.to_string() },
    })
}
