//! One connection: its parser, whose panics are caught, and what its rows say of process and addresses.

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
};

use trilobite_protocols::{Connection, Exchange, Name, Role, Settings, Side, Transport, Verdict};
use trilobite_tables::{ConnectionFacts, Upid};

use super::{
    record::DataCall,
    recording::{Recorder, WaitingCalls},
};

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
    /// After how long without a call it is given up, in nanoseconds; none where a record says that it has ended.
    pub(super) idle_max: Option<u64>,
    /// Time of the last call, boot clock.
    pub(super) last_call: u64,
    last_side: Side,
    /// Position behind the last piece of a call that was read: sent, received.
    next_piece: [u64; 2],
    /// Bytes that it takes, as counted last.
    pub(super) memory: usize,
    /// The parser's verdict, and whether a call may have several messages, as taken last.
    verdict: (Verdict, bool),
    lost: u64,
    gaps: u64,
    gap_bytes: u64,
    /// Calls that may be recorded; none without a recording.
    waiting: Option<WaitingCalls>,
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
    pub(super) fn new(
        call: &DataCall<'_>,
        mid_stream: bool,
        idle_max: Option<u64>,
        asked: &[Name],
        settings: &Settings,
    ) -> Self {
        Self {
            connection: Connection::new(call.role, call.transport, mid_stream, asked, settings),
            process: call.process,
            cgroup: call.cgroup,
            remote: Remote::Unknown,
            role: call.role,
            encrypted: call.is_tls,
            mid_stream,
            transport: call.transport,
            idle_max,
            last_call: call.time,
            last_side: call.side,
            next_piece: [0; 2],
            memory: 0,
            verdict: (Verdict::Undecided, false),
            lost: 0,
            gaps: 0,
            gap_bytes: 0,
            waiting: settings.masks.then(WaitingCalls::default),
        }
    }

    /// Gives the bytes of a call to the parser.
    pub(super) fn push(&mut self, call: &DataCall<'_>) -> Result<Progress, ParserPanicked> {
        (self.process, self.cgroup) = (call.process, call.cgroup);
        (self.last_call, self.last_side) = (call.time, call.side);
        if let Some(remote) = call.remote {
            self.remote = match self.remote {
                Remote::Unknown => Remote::One(remote),
                Remote::One(known) if known != remote => Remote::Several,
                same => same,
            };
        }
        if let Some(waiting) = &mut self.waiting {
            waiting.add(call);
        }
        let bytes = if self.can_read(call) { call.bytes } else { &[] };
        self.advance(|connection| {
            #[cfg(test)]
            assert!(!call.bytes.starts_with(tests::PANIC), "on purpose");
            connection.push(call.side, call.position, bytes, call.length, call.time);
        })
    }

    /// Parsers find their step again where a call begins. So the pieces behind a lost one are lost too, and so are those from which a
    /// joined connection would be judged.
    fn can_read(&mut self, call: &DataCall<'_>) -> bool {
        let next = &mut self.next_piece[usize::from(call.side == Side::Received)];
        let is_joined = self.mid_stream && self.verdict.0 == Verdict::Undecided;
        if call.piece > 0 && (call.position != *next || is_joined) {
            return false;
        }
        *next = call.position.saturating_add(call.bytes.len() as u64);
        true
    }

    /// The connection has ended.
    pub(super) fn end(&mut self, time: u64) -> Result<Progress, ParserPanicked> {
        self.advance(|connection| connection.finish(time))
    }

    /// Records the calls of which it is decided what may be shown.
    pub(super) fn record_decided(&mut self, recorder: &mut Recorder) {
        let until = |side| self.connection.parsed_until(side);
        let (sent, received) = (until(Side::Sent), until(Side::Received));
        if let (Some(waiting), Some(sent), Some(received)) = (&mut self.waiting, sent, received) {
            recorder.record(waiting.take_decided(sent, received));
        }
    }

    /// Records what can be of the connection, of which no more comes, and counts the rest. `ended`: the record that says so.
    pub(super) fn record_rest(&mut self, ended: Option<&DataCall<'_>>, recorder: &mut Recorder) {
        match self.connection.verdict() {
            Verdict::Parse(_) | Verdict::Lengths => {}
            Verdict::Undecided | Verdict::Ignore(_) => return self.leave_out(recorder),
        }
        let Some(mut waiting) = self.waiting.take() else { return };
        if let Some(ended) = ended {
            waiting.add(ended);
        }
        recorder.record(waiting.take_decided(u64::MAX, u64::MAX));
        recorder.leave_out("too many calls waited", waiting.count_untaken());
    }

    /// Counts the calls that were not recorded, with the reason.
    pub(super) fn leave_out(&mut self, recorder: &mut Recorder) {
        let reason = match self.connection.verdict() {
            Verdict::Undecided => "no protocol was recognised",
            Verdict::Parse(_) | Verdict::Lengths => "the role is not wanted",
            Verdict::Ignore(protocol) => protocol.unwrap_or("no protocol was recognised"),
        };
        self.leave_out_for(reason, recorder);
    }

    pub(super) fn leave_out_for(&mut self, reason: &str, recorder: &mut Recorder) {
        if let Some(waiting) = self.waiting.take() {
            recorder.leave_out(reason, waiting.count_untaken());
        }
    }

    /// The parser's verdict, and whether a call may have several messages, if it is another than before.
    pub(super) fn take_new_verdict(&mut self) -> Option<(Verdict, bool)> {
        let verdict = (self.connection.verdict(), self.connection.has_many_in_a_call());
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
            (exchanges, connection.lost(), connection.gaps(), connection.memory(), connection.take_masked())
        }));
        let (exchanges, lost, gaps, memory, masked) = parsed.map_err(|_| ParserPanicked)?;
        let progress = Progress {
            exchanges,
            lost: lost.saturating_sub(self.lost),
            gaps: gaps.count.saturating_sub(self.gaps),
            gap_bytes: gaps.bytes.saturating_sub(self.gap_bytes),
        };
        (self.lost, self.gaps, self.gap_bytes) = (lost, gaps.count, gaps.bytes);
        if let Some(waiting) = &mut self.waiting {
            waiting.show(&masked);
        }
        self.memory = size_of::<Self>() + memory + self.waiting.as_ref().map_or(0, WaitingCalls::memory);
        Ok(progress)
    }
}

#[cfg(test)]
pub(super) mod tests {
    /// Bytes that make a parser panic, in tests.
    pub(in crate::requests) const PANIC: &[u8] = b"PANIC";
}
