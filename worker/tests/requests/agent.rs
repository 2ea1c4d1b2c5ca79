//! A worker of requests as a process, and what the agent does with it.

use std::{
    fs,
    os::fd::OwnedFd,
    process::Child,
    time::{Duration, Instant},
};

use trilobite_node_ebpf::{DataRecord, data_flag};
use trilobite_worker_wire::{
    Message, RecordingSettings, RequestCounts, RequestRow, RequestSettings, RowQuery,
    channel::{pair, receive, send},
};

use crate::{
    memory_ring::MemoryRing,
    record_fixtures::{header, record},
    worker_process::start_worker,
};

/// How long anything may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The agent's side of a worker. Ends it when dropped.
pub(crate) struct Agent {
    pub(crate) worker: Child,
    pub(crate) ring: MemoryRing,
    socket: OwnedFd,
    buffer: Vec<u8>,
    /// The last counts of the worker.
    pub(crate) counts: RequestCounts,
    /// Everything else that it sent, in order.
    pub(crate) received: Vec<Message>,
}

pub(crate) fn settings() -> RequestSettings {
    RequestSettings { client: true, server: true, retain_ns: u64::MAX, ..RequestSettings::default() }
}

impl Agent {
    pub(crate) fn start(ring_bytes: u32, memory_bytes: u64, settings: RequestSettings) -> Self {
        Self::start_recorded(ring_bytes, memory_bytes, settings, None)
    }

    pub(crate) fn start_recorded(
        ring_bytes: u32,
        memory_bytes: u64,
        settings: RequestSettings,
        recording: Option<RecordingSettings>,
    ) -> Self {
        let (worker, socket) = start_worker();
        let ring = MemoryRing::new(ring_bytes.into());
        let start = Message::StartRequests { ring_bytes, memory_bytes, settings, recording };
        send(&socket, &start.encode().unwrap(), &[ring.fd()], true).unwrap();
        let counts = RequestCounts::default();
        let mut agent = Self { worker, ring, socket, buffer: Vec::new(), counts, received: Vec::new() };
        agent.wait_for(|agent| agent.received.contains(&Message::Ready));
        agent
    }

    pub(crate) fn send(&self, message: &Message) {
        send(&self.socket, &message.encode().unwrap(), &[], true).unwrap();
    }

    /// Writes a record as soon as the ring has room.
    pub(crate) fn write(&mut self, record: &[u8]) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.ring.write(record) {
            self.receive_all();
            assert!(Instant::now() < deadline, "the worker reads the ring");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Receives messages until the condition holds.
    pub(crate) fn wait_for(&mut self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            self.receive_all();
            if condition(self) {
                return;
            }
            assert!(Instant::now() < deadline, "{:?} {:?}", self.counts, self.received.last());
            let ended = self.worker.try_wait().unwrap();
            assert!(ended.is_none(), "the worker has ended: {ended:?} {:?}", self.received.last());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks for rows, and waits for those of the past. The last part is the number of evicted ones.
    pub(crate) fn ask(&mut self, id: u32, query: RowQuery) -> (Vec<RequestRow>, u64) {
        self.send(&Message::RowsWanted { id, query });
        let is_end = |message: &&Message| matches!(message, Message::RowsComplete { id: of, .. } if *of == id);
        self.wait_for(|agent| agent.received.iter().any(|message| is_end(&message)));
        let Some(Message::RowsComplete { evicted, .. }) = self.received.iter().find(is_end) else { unreachable!() };
        let evicted = *evicted;
        (self.rows(id), evicted)
    }

    /// The rows that were received for a query.
    pub(crate) fn rows(&self, id: u32) -> Vec<RequestRow> {
        let of_query = |message: &Message| match message {
            Message::RowsChunk { id: of, rows } if *of == id => rows.clone(),
            _ => Vec::new(),
        };
        self.received.iter().flat_map(of_query).collect()
    }

    /// What the kernel counts against RLIMIT_DATA, in bytes.
    pub(crate) fn worker_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.worker.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmData:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The agent is gone.
    pub(crate) fn close(&mut self) {
        self.socket = pair().unwrap().0;
    }

    fn receive_all(&mut self) {
        while let Ok(packet) = receive(&self.socket, &mut self.buffer, false) {
            if packet.bytes.is_empty() {
                return;
            }
            match Message::decode(&packet.bytes).unwrap() {
                Message::RequestProgress(counts) => self.counts = counts,
                message => self.received.push(message),
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

/// A call of the server on a connection.
pub(crate) fn call(connection: u64, position: u64, bytes: &[u8], flags: u32, time: u64) -> Vec<u8> {
    let flags = (flags | data_flag::SERVER) as u8;
    let mut call = DataRecord { flags, ..header(connection, position, bytes) };
    call.record.time = time;
    record(&call, bytes)
}
