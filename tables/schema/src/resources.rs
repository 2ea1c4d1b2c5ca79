//! Tables of what processes, pods and connections use.

use crate::{
    column::{REMOTE_ADDR, REMOTE_PORT, TIME, TRACE_ROLE, UPID, decoded, duration, number, size, text, truth},
    table_schema::TableSchema,
};

/// Connections and their bytes.
pub const CONN_STATS: TableSchema = TableSchema::plain(
    "conn_stats",
    &[
        TIME,
        UPID,
        REMOTE_ADDR,
        REMOTE_PORT,
        TRACE_ROLE,
        decoded("addr_family", "kSockAddrFamilyDecoder"),
        decoded("protocol", "kTrafficProtocolDecoder"),
        truth("ssl"),
        number("conn_open"),
        number("conn_close"),
        number("conn_active"),
        size("bytes_sent"),
        size("bytes_recv"),
    ],
);

/// Processes: CPU time, memory, faults, bytes read and written, all since they started.
pub const PROCESS_STATS: TableSchema = TableSchema::plain(
    "process_stats",
    &[
        TIME,
        UPID,
        number("major_faults"),
        number("minor_faults"),
        duration("cpu_utime_ns"),
        duration("cpu_ktime_ns"),
        number("num_threads"),
        size("vsize_bytes"),
        size("rss_bytes"),
        size("rchar_bytes"),
        size("wchar_bytes"),
        size("read_bytes"),
        size("write_bytes"),
    ],
);

/// Interfaces of pods: bytes, packets, errors and drops since they were made.
pub const NETWORK_STATS: TableSchema = TableSchema::plain(
    "network_stats",
    &[
        TIME,
        text("pod_id"),
        size("rx_bytes"),
        number("rx_packets"),
        number("rx_errors"),
        number("rx_drops"),
        size("tx_bytes"),
        number("tx_packets"),
        number("tx_errors"),
        number("tx_drops"),
    ],
);

/// Java's garbage collection and heaps.
pub const JVM_STATS: TableSchema = TableSchema::plain(
    "jvm_stats",
    &[
        TIME,
        UPID,
        duration("young_gc_time"),
        duration("full_gc_time"),
        number("used_heap_size"),
        number("total_heap_size"),
        number("max_heap_size"),
    ],
);

/// Stacks of CPU samples, folded, with how often each was seen.
pub const STACK_TRACES: TableSchema = TableSchema::plain(
    "stack_traces.beta",
    &[TIME, UPID, number("stack_trace_id"), text("stack_trace"), number("count")],
);

/// Processes that ended.
pub const PROC_EXIT_EVENTS: TableSchema =
    TableSchema::plain("proc_exit_events", &[TIME, UPID, number("exit_code"), number("signal"), text("comm")]);

/// TCP's bytes and retransmitted segments.
pub const TCP_STATS_EVENTS: TableSchema =
    TableSchema::plain("tcp_stats_events", &[TIME, UPID, size("tx"), size("rx"), number("retransmits")]);
