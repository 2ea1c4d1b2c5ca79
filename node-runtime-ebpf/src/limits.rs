//! Every limit of the kernel side, as `bpf/include/limits.h` has it; a test compares the two.

/// Goes up whenever any record changes.
pub const RECORD_LAYOUT: u16 = 2;
/// Levels that a lookup climbs from the leaf cgroup.
pub const CGROUP_DEPTH_MAX: u32 = 12;
/// Cgroups whose state is kept.
pub const CGROUPS_MAX: u32 = 8192;
/// Distinct selections on a node.
pub const SLOTS_MAX: u32 = 64;
/// Flows that are counted at a time, where the stack says nothing.
pub const FLOW_ENTRIES: u32 = 16384;
/// Bytes of the ring of flow records, where the stack says nothing.
pub const FLOW_RING_BYTES: u32 = 262144;
/// Interfaces that are watched at a time.
pub const FLOW_INTERFACES: u32 = 1024;
/// A flow that goes on is told again after this many nanoseconds.
pub const FLOW_REPORT_NS: u64 = 5_000_000_000;
/// Frames that are taken of a stack.
pub const STACK_FRAMES_MAX: u32 = 127;
/// A user stack of so few frames counts as truncated, unless one has the name of a root.
pub const STACK_FRAMES_SHORT: u32 = 2;
/// Bytes of the smallest ring of samples.
pub const SAMPLE_RING_MIN: u32 = 65536;
/// Processes that are followed.
pub const PROCESSES_MAX: u32 = 16384;
/// Bytes of a binary's path.
pub const FILENAME_MAX: u32 = 1024;
/// Bytes of a working directory, its last name not counted.
pub const CWD_MAX: u32 = 1024;
/// Names and mounts on the way from a working directory to the root.
pub const CWD_DEPTH_MAX: u32 = 64;
/// The same before 6.12, whose verifiers take long over it, or give up.
pub const CWD_DEPTH_OLD: u32 = 32;
/// Bytes of arguments.
pub const ARGS_MAX: u32 = 4096;
/// Bytes of a cgroup's own name.
pub const CGROUP_NAME_MAX: u32 = 128;
/// Arguments of a policy's tracepoint.
pub const TRACEPOINT_ARGS_MAX: u32 = 5;
/// Bytes of one of them that is a string, its end included.
pub const TRACEPOINT_STRING_MAX: u32 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_have_the_same_limits() {
        let header = include_str!("../bpf/include/limits.h");
        let limits = [
            ("RECORD_LAYOUT", u64::from(RECORD_LAYOUT)),
            ("CGROUP_DEPTH_MAX", CGROUP_DEPTH_MAX.into()),
            ("CGROUPS_MAX", CGROUPS_MAX.into()),
            ("SLOTS_MAX", SLOTS_MAX.into()),
            ("FLOW_ENTRIES", FLOW_ENTRIES.into()),
            ("FLOW_RING_BYTES", FLOW_RING_BYTES.into()),
            ("FLOW_INTERFACES", FLOW_INTERFACES.into()),
            ("FLOW_REPORT_NS", FLOW_REPORT_NS),
            ("STACK_FRAMES_MAX", STACK_FRAMES_MAX.into()),
            ("STACK_FRAMES_SHORT", STACK_FRAMES_SHORT.into()),
            ("SAMPLE_RING_MIN", SAMPLE_RING_MIN.into()),
            ("PROCESSES_MAX", PROCESSES_MAX.into()),
            ("FILENAME_MAX", FILENAME_MAX.into()),
            ("CWD_MAX", CWD_MAX.into()),
            ("CWD_DEPTH_MAX", CWD_DEPTH_MAX.into()),
            ("CWD_DEPTH_OLD", CWD_DEPTH_OLD.into()),
            ("ARGS_MAX", ARGS_MAX.into()),
            ("CGROUP_NAME_MAX", CGROUP_NAME_MAX.into()),
            ("TRACEPOINT_ARGS_MAX", TRACEPOINT_ARGS_MAX.into()),
            ("TRACEPOINT_STRING_MAX", TRACEPOINT_STRING_MAX.into()),
        ];
        for (name, value) in limits {
            let line = header.lines().find(|line| line.starts_with(&format!("#define {name} "))).expect(name);
            assert_eq!(line.split_whitespace().nth(2), Some(value.to_string().as_str()), "{name}");
        }
    }
}
