//! The connections of a profile: calls in, rows and verdicts out. Bounded: connections without a call for the longest time leave
//! first.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    num::NonZeroU64,
};

use trilobite_protocols::{Exchange, Name, Role, Settings, Transport, Verdict, infer};
use trilobite_tables::{Row, Upid};
use trilobite_worker_wire::{RequestCounts, RequestSettings, VerdictKind};

use super::{
    counts::count_name,
    exchange_filter::ExchangeFilter,
    followed::{Followed, Progress},
    record::DataCall,
    verdicts::Verdicts,
};

/// Bytes of an entry of the map, beside what its `Followed` takes.
const ENTRY_BYTES: usize = 2 * size_of::<(StreamId, State)>();
/// No record says that a datagram socket has ended: after so long without a call it is given up, in nanoseconds.
const DATAGRAM_IDLE_NS: u64 = 15_000_000_000;
/// An eviction makes room for the next connections: one part in so many of what all may take.
const EVICTED_PART: usize = 8;

/// A stream of bytes in each direction that has one verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StreamId {
    /// One end of a connection. Where both ends are on this node, they share the connection's key.
    Socket { connection: u64, end: SocketEnd },
    /// Plain text of an object of a TLS library.
    Tls(NonZeroU64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SocketEnd {
    Address(SocketAddr),
    /// Of a unix socket where one end has a name.
    Role(Role),
    /// Of a pair of unix sockets without names.
    Process(Upid),
}

enum State {
    Followed(Box<Followed>),
    /// Its bytes are of no interest. The entry stays, so that a later call does not begin a new connection.
    Ignored {
        /// It speaks TLS, and its plain text has not been seen.
        encrypted: bool,
        mid_stream: bool,
    },
}

pub(super) struct Connections {
    states: HashMap<StreamId, State>,
    /// Bytes that all connections take.
    memory: usize,
    /// Ends whose role is not asked for, since the last review.
    unwanted: Vec<StreamId>,
    asked: Vec<Name>,
    settings: Settings,
    filter: ExchangeFilter,
}

impl StreamId {
    fn new(call: &DataCall<'_>) -> Self {
        call.tls.map_or_else(|| Self::socket(call), Self::Tls)
    }

    fn socket(call: &DataCall<'_>) -> Self {
        let end = match (call.local, call.role) {
            (Some(local), _) => SocketEnd::Address(local),
            (None, Some(role)) => SocketEnd::Role(role),
            (None, None) => SocketEnd::Process(call.process),
        };
        Self::Socket { connection: call.connection, end }
    }

    /// The key of its verdict in the kernel program's map.
    fn verdict_key(self) -> u64 {
        match self {
            Self::Socket { connection, .. } => connection,
            Self::Tls(stream) => stream.get(),
        }
    }
}

impl Connections {
    pub(super) fn new(settings: &RequestSettings) -> Self {
        // A word that this worker does not know is a newer agent's: its connections are named as another protocol.
        let asked = settings.protocols.iter().filter_map(|word| word.parse().ok());
        let all = settings.protocols.is_empty();
        Self {
            states: HashMap::new(),
            memory: 0,
            unwanted: Vec::new(),
            asked: if all { Name::ALL.to_vec() } else { asked.collect() },
            settings: Settings {
                payload_bytes: settings.payload_bytes as usize,
                keep_literals: settings.keep_literals,
                redact_headers: settings.redact_headers.clone().into(),
            },
            filter: ExchangeFilter::new(settings),
        }
    }

    /// Bytes that all connections take.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Applies a call. Returns the rows that it completes.
    pub(super) fn apply(
        &mut self,
        call: &DataCall<'_>,
        counts: &mut RequestCounts,
        verdicts: &mut Verdicts,
    ) -> Vec<Row> {
        let id = StreamId::new(call);
        if call.ended {
            let Some((followed, exchanges)) = self.end(id, call.time, counts) else { return Vec::new() };
            return self.filter.rows(exchanges, followed.facts(call), counts);
        }
        if call.tls.is_some() && call.connection != 0 {
            self.forget_ciphertext(StreamId::socket(call), counts, verdicts);
        }
        counts.bytes += call.length;
        if self.is_of_another_socket(id, call) {
            // Exchanges that are complete have made their rows.
            self.end(id, call.time, counts);
        }
        let state = match self.states.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                // Also without MID_STREAM: its first records were lost, or it was evicted for the budget.
                let is_late = call.transport == Transport::Stream && call.position > 0;
                let mid_stream = call.mid_stream || is_late;
                counts.connections += 1;
                counts.mid_stream += u64::from(mid_stream);
                self.memory += ENTRY_BYTES;
                let followed = Followed::new(call, mid_stream, &self.asked, &self.settings);
                entry.insert(State::Followed(Box::new(followed)))
            }
        };
        let State::Followed(followed) = state else { return Vec::new() };
        let before = followed.memory;
        let progress = followed.push(call);
        self.memory = self.memory + followed.memory - before;
        let Ok(progress) = progress else {
            counts.lost_parse += 1;
            self.ignore(id, false, verdicts);
            return Vec::new();
        };
        let (verdict, role, facts) = (followed.take_new_verdict(), followed.role(), followed.facts(call));
        let rows = self.filter.rows(count(progress, counts), facts, counts);
        if let Some(verdict) = verdict {
            self.decide(id, verdict, role, counts, verdicts);
        }
        rows
    }

    /// Gives up the connections without a call for the longest time until the rest takes at most so many bytes. What was in
    /// flight on them is missing, and counted.
    pub(super) fn evict_to(&mut self, bytes: usize, counts: &mut RequestCounts) {
        if self.memory <= bytes {
            return;
        }
        let mut by_age: Vec<(u64, StreamId)> = self
            .states
            .iter()
            .map(|(id, state)| match state {
                State::Followed(followed) => (followed.last_call, *id),
                State::Ignored { .. } => (0, *id),
            })
            .collect();
        by_age.sort_unstable_by_key(|(last_call, _)| *last_call);
        // More than it has to, so that the next call does not sort again.
        let rest = bytes - bytes / EVICTED_PART;
        for (_, id) in by_age {
            if self.memory <= rest {
                return;
            }
            if let Some(State::Followed(followed)) = self.remove(id) {
                counts.lost_budget += u64::from(followed.is_in_flight());
            }
        }
    }

    /// Decides what needs some time: removes datagram sockets without calls, and ignores connections of which only an unwanted end
    /// is here. A verdict is for both ends, and the other one may be wanted.
    pub(super) fn review(&mut self, now: u64, counts: &mut RequestCounts, verdicts: &mut Verdicts) {
        let unwanted = std::mem::take(&mut self.unwanted).into_iter().map(|id| (id.verdict_key(), 0));
        let mut ends: HashMap<u64, u32> = unwanted.collect();
        if !ends.is_empty() {
            for id in self.states.keys() {
                if let Some(ends) = ends.get_mut(&id.verdict_key()) {
                    *ends += 1;
                }
            }
        }
        let alone = ends.into_iter().filter(|(_, ends)| *ends < 2);
        alone.for_each(|(key, _)| verdicts.push(key, VerdictKind::Ignore));
        let idle: Vec<StreamId> = self
            .states
            .iter()
            .filter(|(_, state)| match state {
                State::Followed(followed) => {
                    followed.transport == Transport::Datagram
                        && now.saturating_sub(followed.last_call) > DATAGRAM_IDLE_NS
                }
                State::Ignored { .. } => false,
            })
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            self.end(id, now, counts);
        }
    }

    /// No more calls come.
    pub(super) fn clear(&mut self) {
        self.states = HashMap::new();
        self.unwanted = Vec::new();
        self.memory = 0;
    }

    /// Removes a connection, and counts what its end brings. Returns it with the exchanges that its end completes; none if it
    /// was ignored, or its parser panicked.
    fn end(&mut self, id: StreamId, time: u64, counts: &mut RequestCounts) -> Option<(Box<Followed>, Vec<Exchange>)> {
        let State::Followed(mut followed) = self.remove(id)? else { return None };
        let Ok(progress) = followed.end(time) else {
            counts.lost_parse += 1;
            return None;
        };
        Some((followed, count(progress, counts)))
    }

    /// The entry is that of an earlier socket with the same key, which ended without a record of its end.
    fn is_of_another_socket(&self, id: StreamId, call: &DataCall<'_>) -> bool {
        // Only a socket's first calls can say so: the others need no lookup.
        if call.position > 0 && call.sequence > 0 {
            return false;
        }
        match self.states.get(&id) {
            Some(State::Followed(followed)) => followed.is_of_another_socket(call),
            // The verdict was about the earlier socket.
            Some(State::Ignored { .. }) => call.sequence == 0,
            None => false,
        }
    }

    /// Plain text of a connection has come: its ciphertext does not count as a connection any more. The entry stays: the ring may
    /// have more of the ciphertext.
    fn forget_ciphertext(&mut self, ciphertext: StreamId, counts: &mut RequestCounts, verdicts: &mut Verdicts) {
        let mid_stream = match self.states.get_mut(&ciphertext) {
            Some(State::Ignored { encrypted, mid_stream }) if *encrypted => {
                *encrypted = false;
                counts.encrypted -= 1;
                *mid_stream
            }
            Some(State::Followed(followed)) => {
                let mid_stream = followed.mid_stream;
                self.ignore(ciphertext, false, verdicts);
                mid_stream
            }
            Some(State::Ignored { .. }) | None => return,
        };
        counts.connections -= 1;
        counts.mid_stream -= u64::from(mid_stream);
    }

    /// Applies a verdict that is new.
    fn decide(
        &mut self,
        id: StreamId,
        verdict: Verdict,
        role: Option<Role>,
        counts: &mut RequestCounts,
        verdicts: &mut Verdicts,
    ) {
        let kind = match verdict {
            Verdict::Undecided => return,
            Verdict::Parse(_) if role.is_some_and(|role| !self.filter.wants(role)) => {
                counts.other_role += 1;
                self.unwanted.push(id);
                return self.forget(id, false);
            }
            Verdict::Parse(_) => VerdictKind::Parse,
            Verdict::Lengths => VerdictKind::Lengths,
            Verdict::Ignore(Some(infer::TLS)) => {
                counts.encrypted += 1;
                return self.ignore(id, true, verdicts);
            }
            Verdict::Ignore(protocol) => {
                count_name(&mut counts.other_protocols, protocol.unwrap_or("unknown"));
                return self.ignore(id, false, verdicts);
            }
        };
        verdicts.push(id.verdict_key(), kind);
    }

    fn ignore(&mut self, id: StreamId, encrypted: bool, verdicts: &mut Verdicts) {
        verdicts.push(id.verdict_key(), VerdictKind::Ignore);
        self.forget(id, encrypted);
    }

    fn forget(&mut self, id: StreamId, encrypted: bool) {
        let Some(state) = self.states.get_mut(&id) else { return };
        if let State::Followed(followed) = state {
            self.memory -= followed.memory;
            *state = State::Ignored { encrypted, mid_stream: followed.mid_stream };
        }
    }

    fn remove(&mut self, id: StreamId) -> Option<State> {
        let state = self.states.remove(&id)?;
        self.memory -= ENTRY_BYTES;
        if let State::Followed(followed) = &state {
            self.memory -= followed.memory;
        }
        Some(state)
    }
}

/// Counts what a call has brought; returns its exchanges.
fn count(progress: Progress, counts: &mut RequestCounts) -> Vec<Exchange> {
    counts.lost_parse += progress.lost;
    counts.gaps += progress.gaps;
    counts.gap_bytes += progress.gap_bytes;
    progress.exchanges
}

#[cfg(test)]
mod tests;
