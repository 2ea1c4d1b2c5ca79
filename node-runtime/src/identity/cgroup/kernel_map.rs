//! The kernel's map of cgroups, which programs of every kind share.

use trilobite_node_ebpf::{CGROUPS_MAX, CgroupState};

use crate::{
    kernel::{Facts, Map, Release, refusal},
    problem::Problem,
};

/// Since this release the program of a perf event may look into a hash that is not preallocated.
const NO_PREALLOC_SINCE: Release = Release { major: 6, minor: 1 };

/// Creates an empty map, which every object with a map of this name then reuses.
pub(crate) fn create_cgroup_map(facts: &Facts) -> Result<Map, Problem> {
    let preallocated = facts.release < NO_PREALLOC_SINCE;
    Map::hash::<u64, CgroupState>("cgroups", CGROUPS_MAX, preallocated).map_err(|error| match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied if facts.has("CAP_BPF") && !refusal::memlock_counts(facts.release) => {
            refusal::forbidden("making the map of cgroups".into())
        }
        libbpf_rs::ErrorKind::PermissionDenied if facts.has("CAP_BPF") => {
            let entry = size_of::<u64>() + size_of::<CgroupState>();
            Problem::MapMemoryExceeded { map: "cgroups".into(), bytes: u64::from(CGROUPS_MAX) * entry as u64 }
        }
        libbpf_rs::ErrorKind::PermissionDenied => {
            Problem::MissingCapability { capability: "CAP_BPF".into(), needed_for: "selecting pods".into() }
        }
        _ => Problem::LoadFailed { what: "making the map of cgroups".into(), detail: error.to_string() },
    })
}
