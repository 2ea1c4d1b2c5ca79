//! What the kernel's programs write lies where the agent reads it: the types in the objects' BTF against ours.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{collections::BTreeMap, mem::offset_of};

use libbpf_rs::btf::{
    Btf,
    types::{MemberAttr, Struct},
};
use trilobite_node_ebpf as ebpf;

/// Offsets in bytes by name, as clang laid them out.
fn members(object: &'static [u8], name: &str) -> BTreeMap<String, usize> {
    let btf = Btf::from_raw("object", object).unwrap().unwrap();
    let found: Struct<'_> = btf.type_by_name(name).unwrap_or_else(|| panic!("no struct {name} in the object's BTF"));
    let offset = |attribute| match attribute {
        MemberAttr::Normal { offset } => offset as usize / 8,
        MemberAttr::BitField { .. } => panic!("{name} has a bit field"),
    };
    found.iter().map(|member| (member.name.unwrap().to_string_lossy().into_owned(), offset(member.attr))).collect()
}

macro_rules! same {
    ($object:expr, $name:literal, $type:ty, [$($field:ident),* $(,)?]) => {
        let expected = BTreeMap::from([$((stringify!($field).to_owned(), offset_of!($type, $field))),*]);
        assert_eq!(members($object, $name), expected, "{}", $name);
    };
}

#[test]
fn a_records_header_is_the_same_on_both_sides() {
    same!(
        ebpf::process(),
        "record",
        ebpf::record::Record,
        [layout, kind, size, time, cgroup, exec_ktime, exec_pid, tid, connection, source, generation]
    );
}

#[test]
fn records_of_processes_are_the_same_on_both_sides() {
    use ebpf::process::{ExecRecord, ExitRecord, ProcessRecord};
    same!(ebpf::process(), "process_record", ProcessRecord, [header, parent_ktime, parent_pid, ns_pid]);
    same!(ebpf::process(), "exit_record", ExitRecord, [header, parent_ktime, parent_pid, code]);
    same!(
        ebpf::process(),
        "exec_record",
        ExecRecord,
        [
            header,
            parent_ktime,
            parent_pid,
            flags,
            replaced_ktime,
            uid,
            gid,
            permitted,
            effective,
            inheritable,
            securebits,
            auid,
            namespaces,
            ns_pid,
            links,
            inode,
            mode,
            owner,
            group,
            filename_bytes,
            cwd_bytes,
            args_bytes,
            pad
        ]
    );
}

#[test]
fn cgroups_are_the_same_on_both_sides() {
    use ebpf::process::{CgroupRecord, CgroupState};
    same!(ebpf::cgroup(), "cgroup_record", CgroupRecord, [header, parent, level, pad, name]);
    same!(ebpf::cgroup(), "cgroup_state", CgroupState, [decided, wanted, flags, pad]);
}

#[test]
fn tracepoints_are_the_same_on_both_sides() {
    use ebpf::tracepoint::{ArgSpec, HookSpec, TracepointRecord};
    same!(ebpf::tracepoint(), "arg_spec", ArgSpec, [offset, bytes, kind]);
    same!(
        ebpf::tracepoint(),
        "hook_spec",
        HookSpec,
        [slot, source, generation, hook, strings, agent, agent_namespace, args]
    );
    same!(ebpf::tracepoint(), "tracepoint_record", TracepointRecord, [header, hook, undecided, values]);
}

#[test]
fn flows_are_the_same_on_both_sides() {
    use ebpf::flow::{FlowEndOrder, FlowKey, FlowRecord, FlowValue, InterfaceCounts, PacketsBytes};
    same!(
        ebpf::flow(),
        "flow_key",
        FlowKey,
        [source, destination, interface, source_port, destination_port, protocol, family, direction, pad]
    );
    same!(ebpf::flow(), "flow_value", FlowValue, [lock, flags_seen, ended, packets, bytes, first, last, reported, tag]);
    same!(ebpf::flow(), "packets_bytes", PacketsBytes, [packets, bytes]);
    same!(ebpf::flow(), "interface_counts", InterfaceCounts, [other, records_lost, flows]);
    same!(
        ebpf::flow(),
        "flow_end_order",
        FlowEndOrder,
        [interface, remove, idle_closed, idle_syn, idle_tcp, idle_udp, idle_answered]
    );
    same!(
        ebpf::flow(),
        "flow_record",
        FlowRecord,
        [header, key, flags, flags_seen, packets, bytes, first, last, source_mac, destination_mac, reason, pad]
    );
}

#[test]
fn samples_are_the_same_on_both_sides() {
    use ebpf::sample::SampleHead;
    let mut members = members(ebpf::cpu(), "sample");
    assert_eq!(members.remove("stack"), Some(size_of::<SampleHead>()));
    let names = ["record", "comm", "flags", "kernel_bytes", "user_bytes", "proc_pid"];
    let offsets = [
        offset_of!(SampleHead, record),
        offset_of!(SampleHead, comm),
        offset_of!(SampleHead, flags),
        offset_of!(SampleHead, kernel_bytes),
        offset_of!(SampleHead, user_bytes),
        offset_of!(SampleHead, proc_pid),
    ];
    assert_eq!(members, names.map(str::to_owned).into_iter().zip(offsets).collect());
}
