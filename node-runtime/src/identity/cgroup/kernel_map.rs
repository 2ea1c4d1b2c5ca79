//! The kernel's maps of cgroups and classes, which programs of every kind share.

use trilobite_node_ebpf::{CGROUPS_MAX, CLASSES_MAX, CgroupClass, CgroupState};

use crate::{
    kernel::{Facts, Map, Release, refusal},
    problem::Problem,
};

/// Since this release the program of a perf event may look into a hash that is not preallocated.
const NO_PREALLOC_SINCE: Release = Release { major: 6, minor: 1 };

/// Creates an empty map, which every object with a map of this name then reuses.
pub(crate) fn create_cgroup_map(facts: &Facts) -> Result<Map, Problem> {
    let preallocated = facts.release < NO_PREALLOC_SINCE;
    Map::hash::<u64, CgroupState>("cgroups", CGROUPS_MAX, preallocated)
        .map_err(|error| refused(&error, "cgroups", CGROUPS_MAX, size_of::<u64>() + size_of::<CgroupState>(), facts))
}

/// Creates the map of classes, in which nothing is decided.
pub(crate) fn create_class_map(facts: &Facts) -> Result<Map, Problem> {
    Map::array::<CgroupClass>("classes", CLASSES_MAX)
        .map_err(|error| refused(&error, "classes", CLASSES_MAX, size_of::<CgroupClass>(), facts))
}

fn refused(error: &libbpf_rs::Error, map: &str, entries: u32, entry_bytes: usize, facts: &Facts) -> Problem {
    match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied if facts.has("CAP_BPF") && !refusal::memlock_counts(facts.release) => {
            refusal::forbidden(format!("making the map of {map}"))
        }
        libbpf_rs::ErrorKind::PermissionDenied if facts.has("CAP_BPF") => {
            Problem::MapMemoryExceeded { map: map.into(), bytes: u64::from(entries) * entry_bytes as u64 }
        }
        libbpf_rs::ErrorKind::PermissionDenied => {
            Problem::MissingCapability { capability: "CAP_BPF".into(), needed_for: "selecting pods".into() }
        }
        _ => Problem::LoadFailed { what: format!("making the map of {map}"), detail: error.to_string() },
    }
}
