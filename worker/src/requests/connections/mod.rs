//! The connections of a profile: calls in, rows and verdicts out. Bounded: connections without a call for the longest time leave
//! first.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
};

use trilobite_protocols::{Exchange, Name, Role, Settings, Transport, Verdict, infer};
use trilobite_tables::Row;
use trilobite_worker_wire::{CallCount, RequestCounts, RequestSettings, VerdictKind};

use super::{
    counts::count_name,
    exchange_filter::ExchangeFilter,
    followed::{Followed, Progress},
    record::DataCall,
    recording::Recorder,
    verdicts::{DATAGRAM_VERDICT, Verdicts, parse_verdict},
};

/// Bytes of an entry of the maps, beside what its `Followed` takes.
const ENTRY_BYTES: usize = 2 * (size_of::<(u64, State)>() + size_of::<(SocketName, u64)>());
/// No record says that a datagram socket has ended: after so long without a call it is given up, in nanoseconds.
const DATAGRAM_IDLE_NS: u64 = 15_000_000_000;
/// The same of a unix socket, and of an object of a TLS library, whose process may end without freeing it.
const UNENDED_IDLE_NS: u64 = 15 * 60 * 1_000_000_000;
/// An eviction makes room for the next connections: one part in so many of what all may take.
const EVICTED_PART: usize = 8;

/// Key of a connection, and the process's end of it.
type SocketName = (u64, SocketAddr);

enum State {
    Followed(Box<Followed>),
    /// Its bytes are of no interest. The entry stays while the ring may have more of them.
    Ignored {
        /// It speaks TLS, and its plain text has not been seen.
        encrypted: bool,
        mid_stream: bool,
        /// Boot clock, from which on it is given up after some time; none where a record says that it has ended.
        idle_since: Option<u64>,
    },
}

pub(super) struct Connections {
    /// By stream: a socket, or an object of a TLS library. Two sockets of one node may be the ends of one connection.
    states: HashMap<u64, State>,
    /// Sockets that may carry ciphertext: no protocol is known of them yet, or it is TLS.
    ciphertexts: HashMap<SocketName, u64>,
    /// Bytes that all connections take.
    memory: usize,
    asked: Vec<Name>,
    settings: Settings,
    filter: ExchangeFilter,
    recorder: Option<Recorder>,
}

impl Connections {
    pub(super) fn new(settings: &RequestSettings, recorder: Option<Recorder>) -> Self {
        // A word that this worker does not know is a newer agent's: its connections are named as another protocol.
        let asked = settings.protocols.iter().filter_map(|word| word.parse().ok());
        let all = settings.protocols.is_empty();
        Self {
            states: HashMap::new(),
            ciphertexts: HashMap::new(),
            memory: 0,
            asked: if all { Name::ALL.to_vec() } else { asked.collect() },
            settings: Settings {
                payload_bytes: settings.payload_bytes as usize,
                keep_literals: settings.keep_literals,
                redact_headers: settings.redact_headers.clone().into(),
                masks: recorder.is_some(),
            },
            filter: ExchangeFilter::new(settings),
            recorder,
        }
    }

    /// Bytes that all connections take.
    pub(super) fn memory(&self) -> usize {
        self.memory + self.recorder.as_ref().map_or(0, Recorder::memory)
    }

    /// Applies a call. Returns the rows that it completes.
    pub(super) fn apply(
        &mut self,
        call: &DataCall<'_>,
        counts: &mut RequestCounts,
        verdicts: &mut Verdicts,
    ) -> Vec<Row> {
        if call.ended {
            self.forget_name(call);
            let Some((followed, exchanges)) = self.end(call.stream, call.time, Some(call), counts) else {
                return Vec::new();
            };
            return self.filter.rows(exchanges, followed.facts(call), counts);
        }
        if call.is_tls {
            self.forget_ciphertext(call, counts, verdicts);
        }
        counts.bytes += call.length;
        let state = match self.states.entry(call.stream) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                // Also without MID_STREAM: its first records were lost, or it was evicted for the budget.
                let is_late = call.transport == Transport::Stream && call.position > 0;
                let mid_stream = call.mid_stream || is_late;
                counts.connections += 1;
                counts.mid_stream += u64::from(mid_stream);
                self.memory += ENTRY_BYTES;
                if let Some(name) = ciphertext_name(call) {
                    self.ciphertexts.insert(name, call.stream);
                }
                let followed = Followed::new(call, mid_stream, idle_max(call), &self.asked, &self.settings);
                entry.insert(State::Followed(Box::new(followed)))
            }
        };
        let State::Followed(followed) = state else {
            if let Some(recorder) = &mut self.recorder {
                recorder.leave_out("of ignored connections", CallCount { calls: 1, bytes: call.length });
            }
            return Vec::new();
        };
        let before = followed.memory;
        let progress = followed.push(call);
        self.memory = self.memory + followed.memory - before;
        let Ok(progress) = progress else {
            counts.lost_parse += 1;
            if let Some(recorder) = &mut self.recorder {
                followed.leave_out_for("their parser failed", recorder);
            }
            self.ignore(call, false, verdicts);
            return Vec::new();
        };
        let (verdict, facts) = (followed.take_new_verdict(), followed.facts(call));
        let rows = self.filter.rows(count(progress, counts), facts, counts);
        if let Some((verdict, has_many_in_a_call)) = verdict {
            self.decide(call, verdict, facts.role, has_many_in_a_call, counts, verdicts);
        }
        self.record_decided(call.stream);
        rows
    }

    /// Records what is decided of a stream that is still followed.
    fn record_decided(&mut self, stream: u64) {
        if let Some(recorder) = &mut self.recorder
            && let Some(State::Followed(followed)) = self.states.get_mut(&stream)
        {
            followed.record_decided(recorder);
        }
    }

    pub(super) fn is_recorded(&self) -> bool {
        self.recorder.is_some()
    }

    /// The next bytes of the recording, at most so many.
    pub(super) fn take_recorded(&mut self, bytes: usize) -> Option<Vec<u8>> {
        self.recorder.as_mut()?.take_chunk(bytes)
    }

    /// Gives up the connections without a call for the longest time until the rest takes at most so many bytes. What was in
    /// flight on them is missing, and counted.
    pub(super) fn evict_to(&mut self, bytes: usize, counts: &mut RequestCounts) {
        if self.memory <= bytes {
            return;
        }
        let mut by_age: Vec<(u64, u64)> = self
            .states
            .iter()
            .map(|(stream, state)| match state {
                State::Followed(followed) => (followed.last_call, *stream),
                State::Ignored { .. } => (0, *stream),
            })
            .collect();
        by_age.sort_unstable_by_key(|(last_call, _)| *last_call);
        // More than it has to, so that the next call does not sort again.
        let rest = bytes - bytes / EVICTED_PART;
        for (_, stream) in by_age {
            if self.memory <= rest {
                break;
            }
            if let Some(State::Followed(mut followed)) = self.remove(stream) {
                counts.lost_budget += u64::from(followed.is_in_flight());
                if let Some(recorder) = &mut self.recorder {
                    followed.record_rest(None, recorder);
                }
            }
        }
        self.forget_names_without_socket();
    }

    /// Gives up streams without calls whose end no record says.
    pub(super) fn review(&mut self, now: u64, counts: &mut RequestCounts) {
        let idle: Vec<u64> = self
            .states
            .iter()
            .filter(|(_, state)| match state {
                State::Followed(followed) => {
                    followed.idle_max.is_some_and(|most| now.saturating_sub(followed.last_call) > most)
                }
                State::Ignored { idle_since, .. } => {
                    idle_since.is_some_and(|since| now.saturating_sub(since) > DATAGRAM_IDLE_NS)
                }
            })
            .map(|(stream, _)| *stream)
            .collect();
        for stream in &idle {
            self.end(*stream, now, None, counts);
        }
        if !idle.is_empty() {
            self.forget_names_without_socket();
        }
    }

    /// No more calls come.
    pub(super) fn clear(&mut self) {
        let states = std::mem::take(&mut self.states);
        if let Some(recorder) = &mut self.recorder {
            for state in states.into_values() {
                let State::Followed(mut followed) = state else { continue };
                followed.record_rest(None, recorder);
            }
            recorder.finish();
        }
        self.ciphertexts = HashMap::new();
        self.memory = 0;
    }

    /// Removes a connection, and counts what its end brings. Returns it with the exchanges that its end completes; none if it
    /// was ignored, or its parser panicked.
    fn end(
        &mut self,
        stream: u64,
        time: u64,
        record: Option<&DataCall<'_>>,
        counts: &mut RequestCounts,
    ) -> Option<(Box<Followed>, Vec<Exchange>)> {
        let State::Followed(mut followed) = self.remove(stream)? else { return None };
        let ended = followed.end(time);
        if let Some(recorder) = &mut self.recorder {
            match ended {
                Ok(_) => followed.record_rest(record, recorder),
                Err(_) => followed.leave_out_for("their parser failed", recorder),
            }
        }
        let Ok(progress) = ended else {
            counts.lost_parse += 1;
            return None;
        };
        Some((followed, count(progress, counts)))
    }

    /// Plain text of a connection has come: its ciphertext does not count as a connection any more. The entry stays: the ring may
    /// have more of the ciphertext.
    fn forget_ciphertext(&mut self, text: &DataCall<'_>, counts: &mut RequestCounts, verdicts: &mut Verdicts) {
        let name = text.local.map(|local| (text.connection, local));
        let Some(socket) = name.and_then(|name| self.ciphertexts.remove(&name)) else { return };
        let mid_stream = match self.states.get_mut(&socket) {
            Some(State::Ignored { encrypted, mid_stream, .. }) if *encrypted => {
                *encrypted = false;
                counts.encrypted -= 1;
                *mid_stream
            }
            Some(State::Followed(followed)) => {
                let mid_stream = followed.mid_stream;
                verdicts.push(socket, VerdictKind::Ignore);
                self.forget(socket, false);
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
        call: &DataCall<'_>,
        verdict: Verdict,
        role: Role,
        has_many_in_a_call: bool,
        counts: &mut RequestCounts,
        verdicts: &mut Verdicts,
    ) {
        let kind = match verdict {
            Verdict::Undecided => return,
            Verdict::Parse(_) if !self.filter.wants(role) => {
                counts.other_role += 1;
                return self.ignore(call, false, verdicts);
            }
            Verdict::Parse(_) if call.transport == Transport::Datagram => DATAGRAM_VERDICT,
            Verdict::Parse(_) => parse_verdict(role, has_many_in_a_call, self.settings.payload_bytes),
            Verdict::Lengths => VerdictKind::Lengths,
            Verdict::Ignore(Some(infer::TLS)) => {
                counts.encrypted += 1;
                return self.ignore(call, true, verdicts);
            }
            Verdict::Ignore(protocol) => {
                count_name(&mut counts.other_protocols, protocol.unwrap_or("unknown"));
                return self.ignore(call, false, verdicts);
            }
        };
        self.forget_name(call);
        verdicts.push(call.stream, kind);
    }

    fn ignore(&mut self, call: &DataCall<'_>, encrypted: bool, verdicts: &mut Verdicts) {
        if !encrypted {
            self.forget_name(call);
        }
        verdicts.push(call.stream, VerdictKind::Ignore);
        self.forget(call.stream, encrypted);
    }

    /// The socket of a call carries no ciphertext.
    fn forget_name(&mut self, call: &DataCall<'_>) {
        let Some(name) = ciphertext_name(call) else { return };
        if self.ciphertexts.get(&name) == Some(&call.stream) {
            self.ciphertexts.remove(&name);
        }
    }

    fn forget_names_without_socket(&mut self) {
        let Self { states, ciphertexts, .. } = self;
        ciphertexts.retain(|_, stream| states.contains_key(stream));
    }

    /// The bytes of a stream are of no interest any more.
    fn forget(&mut self, stream: u64, encrypted: bool) {
        let Some(state) = self.states.get_mut(&stream) else { return };
        if let State::Followed(followed) = state {
            self.memory -= followed.memory;
            if let Some(recorder) = &mut self.recorder {
                followed.leave_out(recorder);
            }
            let idle_since = followed.idle_max.map(|_| followed.last_call);
            *state = State::Ignored { encrypted, mid_stream: followed.mid_stream, idle_since };
        }
    }

    fn remove(&mut self, stream: u64) -> Option<State> {
        let state = self.states.remove(&stream)?;
        self.memory -= ENTRY_BYTES;
        if let State::Followed(followed) = &state {
            self.memory -= followed.memory;
        }
        Some(state)
    }
}

/// The name of a socket that may carry ciphertext; none of plain text, datagrams and unix sockets.
fn ciphertext_name(call: &DataCall<'_>) -> Option<SocketName> {
    let is_possible = !call.is_tls && call.transport == Transport::Stream;
    call.local.filter(|_| is_possible).map(|local| (call.connection, local))
}

/// After how long without a call a stream is given up, in nanoseconds; none where a record says that it has ended.
fn idle_max(call: &DataCall<'_>) -> Option<u64> {
    match call.transport {
        Transport::Datagram => Some(DATAGRAM_IDLE_NS),
        Transport::Stream if call.is_tls || call.local.is_none() => Some(UNENDED_IDLE_NS),
        Transport::Stream => None,
    }
}

/// Counts what a call has brought; returns its exchanges.
fn count(progress: Progress, counts: &mut RequestCounts) -> Vec<Exchange> {
    counts.lost_parse += progress.lost;
    counts.gaps += progress.gaps;
    counts.gap_bytes = counts.gap_bytes.saturating_add(progress.gap_bytes);
    progress.exchanges
}

#[cfg(test)]
mod tests;
