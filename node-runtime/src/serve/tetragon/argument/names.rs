//! Names of the kernel's numbers. A number without a name is printed as it is.

/// Address families without `AF_`, by number; empty where the number has no name.
const FAMILIES: &[&str] = &[
    "UNSPEC",
    "UNIX",
    "INET",
    "AX25",
    "IPX",
    "APPLETALK",
    "NETROM",
    "BRIDGE",
    "ATMPVC",
    "X25",
    "INET6",
    "ROSE",
    "DECnet",
    "NETBEUI",
    "SECURITY",
    "KEY",
    "NETLINK",
    "PACKET",
    "ASH",
    "ECONET",
    "ATMSVC",
    "RDS",
    "",
    "IRDA",
    "PPPOX",
    "WANPIPE",
    "LLC",
    "IB",
    "MPLS",
    "CAN",
    "TIPC",
    "BLUETOOTH",
    "IUCV",
    "RXRPC",
    "ISDN",
    "PHONET",
    "IEEE802154",
    "CAIF",
    "ALG",
    "NFC",
    "VSOCK",
    "KCM",
    "QIPCRTR",
    "SMC",
    "XDP",
    "MCTP",
];

/// Without `SOCK_`, from 1 on.
const SOCKET_TYPES: &[&str] = &["STREAM", "DGRAM", "RAW", "RDM", "SEQPACKET", "DCCP", "PACKET"];

/// Without `TCP_`, from 1 on.
const TCP_STATES: &[&str] = &[
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
];

/// Without `BPF_PROG_TYPE_`.
const PROGRAM_TYPES: &[&str] = &[
    "UNSPEC",
    "SOCKET_FILTER",
    "KPROBE",
    "SCHED_CLS",
    "SCHED_ACT",
    "TRACEPOINT",
    "XDP",
    "PERF_EVENT",
    "CGROUP_SKB",
    "CGROUP_SOCK",
    "LWT_IN",
    "LWT_OUT",
    "LWT_XMIT",
    "SOCK_OPS",
    "SK_SKB",
    "CGROUP_DEVICE",
    "SK_MSG",
    "RAW_TRACEPOINT",
    "CGROUP_SOCK_ADDR",
    "LWT_SEG6LOCAL",
    "LIRC_MODE2",
    "SK_REUSEPORT",
    "FLOW_DISSECTOR",
    "CGROUP_SYSCTL",
    "RAW_TRACEPOINT_WRITABLE",
    "CGROUP_SOCKOPT",
    "TRACING",
    "STRUCT_OPS",
    "EXT",
    "LSM",
    "SK_LOOKUP",
    "SYSCALL",
    "NETFILTER",
];

/// Without `BPF_MAP_TYPE_`.
const MAP_TYPES: &[&str] = &[
    "UNSPEC",
    "HASH",
    "ARRAY",
    "PROG_ARRAY",
    "PERF_EVENT_ARRAY",
    "PERCPU_HASH",
    "PERCPU_ARRAY",
    "STACK_TRACE",
    "CGROUP_ARRAY",
    "LRU_HASH",
    "LRU_PERCPU_HASH",
    "LPM_TRIE",
    "ARRAY_OF_MAPS",
    "HASH_OF_MAPS",
    "DEVMAP",
    "SOCKMAP",
    "CPUMAP",
    "XSKMAP",
    "SOCKHASH",
    "CGROUP_STORAGE",
    "REUSEPORT_SOCKARRAY",
    "PERCPU_CGROUP_STORAGE",
    "QUEUE",
    "STACK",
    "SK_STORAGE",
    "DEVMAP_HASH",
    "STRUCT_OPS",
    "RINGBUF",
    "INODE_STORAGE",
    "TASK_STORAGE",
    "BLOOM_FILTER",
    "USER_RINGBUF",
    "CGRP_STORAGE",
    "ARENA",
    "INSN_ARRAY",
];

/// Without `PERF_TYPE_`.
const PERF_EVENT_TYPES: &[&str] = &["HARDWARE", "SOFTWARE", "TRACEPOINT", "HW_CACHE", "RAW", "BREAKPOINT"];

pub(super) fn family(number: u16) -> String {
    name("AF_", FAMILIES, number.into(), 0)
}

pub(super) fn socket_type(number: u16) -> String {
    name("SOCK_", SOCKET_TYPES, number.into(), 1)
}

pub(super) fn tcp_state(number: u8) -> String {
    name("TCP_", TCP_STATES, number.into(), 1)
}

pub(super) fn bpf_program_type(number: u32) -> String {
    name("BPF_PROG_TYPE_", PROGRAM_TYPES, number, 0)
}

pub(super) fn bpf_map_type(number: u32) -> String {
    name("BPF_MAP_TYPE_", MAP_TYPES, number, 0)
}

pub(super) fn perf_event_type(number: u32) -> String {
    name("PERF_TYPE_", PERF_EVENT_TYPES, number, 0)
}

pub(super) fn protocol(number: u16) -> String {
    let name = match number {
        0 => "IPPROTO_IP",
        1 => "IPPROTO_ICMP",
        2 => "IPPROTO_IGMP",
        4 => "IPPROTO_IPIP",
        6 => "IPPROTO_TCP",
        8 => "IPPROTO_EGP",
        12 => "IPPROTO_PUP",
        17 => "IPPROTO_UDP",
        22 => "IPPROTO_IDP",
        29 => "IPPROTO_TP",
        33 => "IPPROTO_DCCP",
        41 => "IPPROTO_IPV6",
        46 => "IPPROTO_RSVP",
        47 => "IPPROTO_GRE",
        50 => "IPPROTO_ESP",
        51 => "IPPROTO_AH",
        92 => "IPPROTO_MTP",
        94 => "IPPROTO_BEETPH",
        98 => "IPPROTO_ENCAP",
        103 => "IPPROTO_PIM",
        108 => "IPPROTO_COMP",
        132 => "IPPROTO_SCTP",
        136 => "IPPROTO_UDPLITE",
        137 => "IPPROTO_MPLS",
        143 => "IPPROTO_ETHERNET",
        255 => "IPPROTO_RAW",
        262 => "IPPROTO_MPTCP",
        _ => return number.to_string(),
    };
    name.to_owned()
}

/// The name at `number`, where the list begins with `first`.
fn name(prefix: &str, names: &[&str], number: u32, first: u32) -> String {
    let at = number.checked_sub(first).and_then(|at| usize::try_from(at).ok());
    match at.and_then(|at| names.get(at)).filter(|name| !name.is_empty()) {
        Some(name) => format!("{prefix}{name}"),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_kernels_names() {
        assert_eq!(
            [family(2), family(10), family(45), family(22), family(99)],
            ["AF_INET", "AF_INET6", "AF_MCTP", "22", "99"]
        );
        assert_eq!([socket_type(1), socket_type(0), socket_type(5)], ["SOCK_STREAM", "0", "SOCK_SEQPACKET"]);
        assert_eq!([tcp_state(10), tcp_state(0), tcp_state(12)], ["TCP_LISTEN", "0", "TCP_NEW_SYN_RECV"]);
        assert_eq!([protocol(6), protocol(262), protocol(3)], ["IPPROTO_TCP", "IPPROTO_MPTCP", "3"]);
        assert_eq!([bpf_program_type(2), bpf_program_type(31)], ["BPF_PROG_TYPE_KPROBE", "BPF_PROG_TYPE_SYSCALL"]);
        assert_eq!([bpf_map_type(27), bpf_map_type(77)], ["BPF_MAP_TYPE_RINGBUF", "77"]);
        assert_eq!(perf_event_type(5), "PERF_TYPE_BREAKPOINT");
    }
}
