//! Records of the data ring for tests, also for those of the worker as a process.

use trilobite_node_ebpf::{DataRecord, RECORD_LAYOUT, Record, RecordKind};
use zerocopy::IntoBytes;

const AF_INET: u8 = 2;
const TCP: u8 = 6;

/// A received call on a TCP connection from 10.0.0.9:41000 to 10.0.0.7:8080. Its socket has the connection's number.
pub(crate) fn header(connection: u64, position: u64, bytes: &[u8]) -> DataRecord {
    let address = |last: u8| std::array::from_fn(|at| [10, 0, 0, last].get(at).copied().unwrap_or_default());
    DataRecord {
        record: Record {
            layout: RECORD_LAYOUT,
            kind: RecordKind::Data as u16,
            size: (size_of::<DataRecord>() + bytes.len()) as u32,
            time: 1_000,
            cgroup: 77,
            exec_pid: 4321,
            exec_ktime: 55,
            connection,
            ..Record::default()
        },
        stream: connection,
        position,
        length: bytes.len() as u32,
        copied: bytes.len() as u32,
        local_port: 8080,
        remote_port: 41000,
        local: address(7),
        remote: address(9),
        family: AF_INET,
        protocol: TCP,
        ..DataRecord::default()
    }
}

pub(crate) fn record(header: &DataRecord, bytes: &[u8]) -> Vec<u8> {
    [header.as_bytes(), bytes].concat()
}
