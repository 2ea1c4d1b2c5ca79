//! One connection: its parser, whose panics are caught, and what its rows say of process and addresses.

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
};

use trilobite_protocols::{Connection, Exchange, Name, Role, Settings, Side, Transport, Verdict};
use trilobite_tables::{ConnectionFacts, Upid};

use super::record::DataCall;

/// A parser panicked: its connection is given up.
#[derive(Debug)]
pub(super) struct ParserPanicked;

/// A connection whose bytes are parsed.
pub(super) struct Followed {
    connection: Connection,
    process: Upid,
    cgroup: u64,
    /// Peers of a datagram socket.
    remote: Remote,
    role: Option<Role>,
    encrypted: bool,
    pub(super) mid_stream: bool,
    pub(super) transport: Transport,
    /// Time of the last call, boot clock.
    pub(super) last_call: u64,
    last_side: Side,
    last_sequence: u32,
    /// Bytes have passed in this direction.
    has_passed: [bool; 2],
    /// Bytes that it takes, as counted last.
    pub(super) memory: usize,
    /// The parser's verdict, as taken last.
    verdict: Verdict,
    lost: u64,
    gaps: u64,
    gap_bytes: u64,
}

/// The other ends of a socket.
#[derive(Clone, Copy)]
enum Remote {
    Unknown,
    One(SocketAddr),
    /// A socket without a connection, on which exchanges with several ends overlap.
    Several,
}

/// What a call, or the end of the connection, has brought.
pub(super) struct Progress {
    pub(super) exchanges: Vec<Exchange>,
    /// Messages that were given up.
    pub(super) lost: u64,
    /// Places where bytes are missing.
    pub(super) gaps: u64,
    pub(super) gap_bytes: u64,
}

impl Followed {
    pub(super) fn new(call: &DataCall<'_>, mid_stream: bool, asked: &[Name], settings: &Settings) -> Self {
        Self {
            connection: Connection::new(call.role, call.transport, mid_stream, asked, settings),
            process: call.process,
            cgroup: call.cgroup,
            remote: Remote::Unknown,
            role: call.role,
            encrypted: call.tls.is_some(),
            mid_stream,
            transport: call.transport,
            last_call: call.time,
            last_side: call.side,
            last_sequence: call.sequence,
            has_passed: [false; 2],
            memory: 0,
            verdict: Verdict::Undecided,
            lost: 0,
            gaps: 0,
            gap_bytes: 0,
        }
    }

    /// Gives the bytes of a call to the parser.
    pub(super) fn push(&mut self, call: &DataCall<'_>) -> Result<Progress, ParserPanicked> {
        (self.process, self.cgroup) = (call.process, call.cgroup);
        (self.last_call, self.last_side, self.last_sequence) = (call.time, call.side, call.sequence);
        self.has_passed[direction(call.side)] |= call.position > 0 || call.length > 0;
        if let Some(remote) = call.remote {
            self.remote = match self.remote {
                Remote::Unknown => Remote::One(remote),
                Remote::One(known) if known != remote => Remote::Several,
                same => same,
            };
        }
        self.advance(|connection| {
            #[cfg(test)]
            assert!(!call.bytes.starts_with(tests::PANIC), "on purpose");
            connection.push(call.side, call.position, call.bytes, call.length, call.time);
        })
    }

    /// The call is of another socket: resolvers use a port again whose last socket has ended without a record of its end. Positions
    /// of one socket do not go back; sequence numbers may, by the few calls that other threads are in.
    pub(super) fn is_of_another_socket(&self, call: &DataCall<'_>) -> bool {
        call.sequence < self.last_sequence && call.position == 0 && self.has_passed[direction(call.side)]
    }

    /// The connection has ended.
    pub(super) fn end(&mut self, time: u64) -> Result<Progress, ParserPanicked> {
        self.advance(|connection| connection.finish(time))
    }

    /// The parser's verdict, if it is another than before.
    pub(super) fn take_new_verdict(&mut self) -> Option<Verdict> {
        let verdict = self.connection.verdict();
        let before = std::mem::replace(&mut self.verdict, verdict);
        (verdict != before).then_some(verdict)
    }

    /// The role of the process, as far as it is known.
    pub(super) fn role(&self) -> Option<Role> {
        self.connection.role().or(self.role)
    }

    /// The last call moved bytes of a request, or may have: the role is not known.
    pub(super) fn is_in_flight(&self) -> bool {
        self.role().is_none_or(|role| self.last_side.asks(role))
    }

    /// What rows say of the connection at a call. The socket of plain text may become known, and doubtful again: no address of an
    /// earlier call is used.
    pub(super) fn facts(&self, call: &DataCall<'_>) -> ConnectionFacts {
        ConnectionFacts {
            process: self.process,
            cgroup: self.cgroup,
            connection: call.connection,
            local: call.local,
            remote: match self.remote {
                Remote::One(remote) if self.transport == Transport::Datagram => Some(remote),
                _ => call.remote,
            },
            role: self.role().unwrap_or(Role::Server),
            encrypted: self.encrypted,
        }
    }

    fn advance(&mut self, step: impl FnOnce(&mut Connection)) -> Result<Progress, ParserPanicked> {
        let connection = &mut self.connection;
        // The connection is dropped after a panic, so that a state that is half changed is not seen.
        let parsed = catch_unwind(AssertUnwindSafe(|| {
            step(connection);
            let exchanges: Vec<Exchange> = std::iter::from_fn(|| connection.take_exchange()).collect();
            (exchanges, connection.lost(), connection.gaps(), connection.memory())
        }));
        let (exchanges, lost, gaps, memory) = parsed.map_err(|_| ParserPanicked)?;
        let progress = Progress {
            exchanges,
            lost: lost.saturating_sub(self.lost),
            gaps: gaps.count.saturating_sub(self.gaps),
            gap_bytes: gaps.bytes.saturating_sub(self.gap_bytes),
        };
        (self.lost, self.gaps, self.gap_bytes) = (lost, gaps.count, gaps.bytes);
        self.memory = size_of::<Self>() + memory;
        Ok(progress)
    }
}

fn direction(side: Side) -> usize {
    usize::from(side == Side::Received)
}

#[cfg(test)]
pub(super) mod tests {
    /// Bytes that make a parser panic, in tests.
    pub(in crate::requests) const PANIC: &[u8] = b"PANIC";
}
