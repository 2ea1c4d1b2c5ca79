//! Sockets whose calls are captured in this machine's kernel, and the records of them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fmt,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::BorrowedFd,
};

use parking_lot::{Mutex, MutexGuard};
use trilobite_node::layers::application::requests::programs::{Capture, SlotCounts, SlotId, SlotSpec, Verdict};
use trilobite_node_ebpf::{DataRecord, Record, RecordKind, data_flag};
use trilobite_worker_wire::RingView;
use zerocopy::FromBytes;

pub(crate) const RING: u32 = 1 << 20;

/// One record: a call, or a piece of one.
pub(crate) struct Call {
    pub(crate) header: DataRecord,
    pub(crate) bytes: Vec<u8>,
}

impl Call {
    pub(crate) fn has(&self, flag: u32) -> bool {
        u32::from(self.header.flags) & flag != 0
    }

    pub(crate) fn sent(&self) -> bool {
        self.has(data_flag::SENT)
    }

    pub(crate) fn connection(&self) -> u64 {
        self.header.record.connection
    }

    pub(crate) fn stream(&self) -> u64 {
        self.header.stream
    }

    /// `>` or `<`, the position, the length of the call, and its first bytes.
    pub(crate) fn text(&self) -> String {
        let way = if self.sent() { '>' } else { '<' };
        let end = if self.has(data_flag::END) { " end" } else { "" };
        let bytes = String::from_utf8_lossy(&self.bytes[..self.bytes.len().min(40)]).into_owned();
        format!("{way}{}+{} {bytes}{end}", self.header.position, self.header.length)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} #{} {} flags={:x}", self.connection(), self.header.sequence, self.text(), self.header.flags)
    }
}

/// Tests that load programs run one at a time: some count what is loaded.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock()
}

/// Reads the ring of a slot.
pub(crate) struct Reader(RingView);

impl Reader {
    pub(crate) fn new(ring: BorrowedFd<'_>, bytes: u32) -> Self {
        Self(RingView::map(ring, bytes as usize).unwrap())
    }

    /// The records since the last time.
    pub(crate) fn calls(&mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        self.0.drain(usize::MAX, &mut |bytes| {
            assert_eq!(Record::read(bytes).unwrap().kind(), Some(RecordKind::Data));
            let (header, rest) = DataRecord::read_from_prefix(bytes).unwrap();
            assert_eq!((rest.len(), header.record.size as usize), (header.copied as usize, bytes.len()));
            calls.push(Call { header, bytes: rest.to_vec() });
        });
        calls
    }

    pub(crate) fn texts(&mut self) -> Vec<String> {
        self.calls().iter().map(Call::text).collect()
    }
}

/// A capture of every process of this machine on one port.
pub(crate) struct CapturedPort {
    pub(crate) capture: Capture,
    pub(crate) slot: SlotId,
    pub(crate) reader: Reader,
    _alone: MutexGuard<'static, ()>,
}

impl CapturedPort {
    pub(crate) fn new(port: u16) -> Self {
        let alone = alone();
        let mut capture = Capture::load(None, (0, 0)).unwrap();
        let (slot, reader) = add(&mut capture, &[port]);
        Self { capture, slot, reader, _alone: alone }
    }

    pub(crate) fn set_verdict(&self, stream: u64, verdict: Verdict) {
        self.capture.set_verdict(self.slot, stream, verdict);
    }

    pub(crate) fn counts(&self) -> SlotCounts {
        self.capture.counts(self.slot)
    }
}

/// Adds a slot for every process of this machine on these ports.
pub(crate) fn add(capture: &mut Capture, ports: &[u16]) -> (SlotId, Reader) {
    let slot = capture.add(&SlotSpec { ring_bytes: RING, ports, generation: 7, ..SlotSpec::default() }).unwrap();
    let reader = Reader::new(capture.ring(slot).unwrap(), RING);
    (slot, reader)
}

/// Two ends of a new TCP connection over loopback: the client's and the server's.
pub(crate) fn connected(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

pub(crate) fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// The streams of the client's and of the server's socket, from records of both.
pub(crate) fn streams(calls: &[Call]) -> (u64, u64) {
    let of = |flag| calls.iter().find(|call| call.has(flag)).unwrap().stream();
    (of(data_flag::CLIENT), of(data_flag::SERVER))
}

/// A question and its answer.
pub(crate) fn exchange(client: &mut TcpStream, server: &mut TcpStream, question: &[u8], answer: &[u8]) {
    let mut buffer = [0; 65536];
    client.write_all(question).unwrap();
    server.read_exact(&mut buffer[..question.len()]).unwrap();
    server.write_all(answer).unwrap();
    client.read_exact(&mut buffer[..answer.len()]).unwrap();
}

/// The ends as a record has them: local and remote.
pub(crate) fn ends(call: &Call) -> (SocketAddr, SocketAddr) {
    let address = |bytes: [u8; 16], port| {
        SocketAddr::from((Ipv4Addr::from_bits(u32::from_be_bytes(bytes[..4].try_into().unwrap())), port))
    };
    let header = &call.header;
    assert_eq!(header.family, 2);
    (address(header.local, header.local_port), address(header.remote, header.remote_port))
}
