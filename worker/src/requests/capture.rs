//! What a profile has captured: records in, rows, verdicts and questions to the agent out, all within the budget. No I/O but the
//! memory that the budget reads.

use trilobite_tables::RowRing;
use trilobite_worker_wire::{Message, RecordingSettings, RequestCounts, RequestSettings};

use super::{budget::Budget, connections::Connections, record::DataCall, recording::Recorder, verdicts::Verdicts};
use crate::pending::{Membership, PendingRecords};

/// Bytes of a waiting record beside its own.
const PENDING_OVERHEAD: usize = 64;

pub(super) struct Capture {
    budget: Budget,
    connections: Connections,
    /// Whole records whose cgroup the kernel program did not know.
    pending: PendingRecords<Box<[u8]>>,
    rows: RowRing,
    counts: RequestCounts,
    verdicts: Verdicts,
    /// Cgroups that the agent is to be asked about.
    questions: Vec<u64>,
}

impl Capture {
    pub(super) fn new(settings: &RequestSettings, recording: Option<RecordingSettings>, budget: Budget) -> Self {
        let recorder = recording.map(|recording| Recorder::new(recording, settings));
        Self {
            connections: Connections::new(settings, recorder),
            pending: PendingRecords::new(budget.pending_max()),
            rows: RowRing::new(settings.retain_ns),
            counts: RequestCounts::default(),
            verdicts: Verdicts::default(),
            questions: Vec::new(),
            budget,
        }
    }

    /// Applies a record of the ring.
    pub(super) fn record(&mut self, bytes: &[u8]) {
        let Some(call) = DataCall::parse(bytes) else {
            self.counts.malformed += 1;
            return;
        };
        if !call.undecided {
            if self.pending.waits_for(call.cgroup) {
                // The kernel program knows the cgroup now. Its older records come first.
                self.apply_membership(call.cgroup, Some(true));
            }
            return self.apply(&call);
        }
        match self.pending.membership(call.cgroup, bytes.into(), bytes.len() + PENDING_OVERHEAD) {
            Membership::Selected(_) => self.apply(&call),
            Membership::NotSelected => self.counts.others += 1,
            Membership::Overflow => self.counts.undecided += 1,
            Membership::Pending { ask_agent: true } => self.questions.push(call.cgroup),
            Membership::Pending { ask_agent: false } => {}
        }
    }

    /// The agent's answer about a cgroup; none if its pod did not become known.
    pub(super) fn apply_membership(&mut self, cgroup: u64, selected: Option<bool>) {
        let records = self.pending.answer(cgroup, selected);
        match selected {
            Some(true) => {
                for record in records {
                    if let Some(call) = DataCall::parse(&record) {
                        self.apply(&call);
                    }
                }
            }
            Some(false) => self.counts.others += records.len() as u64,
            None => self.counts.undecided += records.len() as u64,
        }
    }

    /// Removes what has become too old. `now`: boot clock.
    pub(super) fn review(&mut self, now: u64) {
        self.rows.expire(now);
        self.connections.review(now, &mut self.counts);
    }

    /// Adapts what may be taken to the memory in use.
    pub(super) fn adapt(&mut self) {
        self.budget.adapt();
        self.keep_within_budget();
    }

    /// No more records come: rows stay.
    pub(super) fn stop(&mut self) {
        self.counts.undecided += self.pending.give_up();
        self.connections.clear();
        self.verdicts.drain();
        self.questions.clear();
    }

    /// What is to be sent to the agent: questions and verdicts.
    pub(super) fn take_messages(&mut self) -> Vec<Message> {
        let questions = self.questions.drain(..).map(|cgroup| Message::MembershipWanted { cgroup });
        questions.chain(self.verdicts.drain()).collect()
    }

    pub(super) fn is_recorded(&self) -> bool {
        self.connections.is_recorded()
    }

    /// The next bytes of the recording, at most so many.
    pub(super) fn take_recorded(&mut self, bytes: usize) -> Option<Vec<u8>> {
        self.connections.take_recorded(bytes)
    }

    pub(super) fn rows(&self) -> &RowRing {
        &self.rows
    }

    pub(super) fn counts(&mut self) -> RequestCounts {
        let estimate = self.connections.memory() + self.pending.used() + self.rows.memory();
        RequestCounts {
            memory_bytes: self.budget.used(estimate),
            oldest_row_ns: self.rows.oldest().unwrap_or_default(),
            evicted: self.rows.evicted(),
            ..self.counts.clone()
        }
    }

    fn apply(&mut self, call: &DataCall<'_>) {
        let rows = self.connections.apply(call, &mut self.counts, &mut self.verdicts);
        rows.into_iter().for_each(|row| self.rows.push(row));
        self.keep_within_budget();
    }

    fn keep_within_budget(&mut self) {
        self.connections.evict_to(self.budget.connections_max(), &mut self.counts);
        self.rows.evict_to(self.budget.rows_max(self.connections.memory() + self.pending.used()));
    }
}

#[cfg(test)]
mod tests {
    use trilobite_node_ebpf::{DataRecord, data_flag};

    use super::{
        super::record_fixtures::{header, record},
        *,
    };

    const REQUEST: &[u8] = b"GET /cart HTTP/1.1\r\nHost: shop\r\n\r\n";
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    fn capture(memory_bytes: u64) -> Capture {
        let settings = RequestSettings { server: true, retain_ns: u64::MAX, ..RequestSettings::default() };
        Capture::new(&settings, None, Budget::measure(memory_bytes))
    }

    /// The n-th exchange of a connection, at a server.
    fn exchange(connection: u64, number: u64, flags: u32) -> [Vec<u8>; 2] {
        let part = |bytes: &[u8], flags: u32| {
            let position = number * bytes.len() as u64;
            record(&DataRecord { flags: flags as u8, ..header(connection, position, bytes) }, bytes)
        };
        [part(REQUEST, flags | data_flag::SERVER), part(ANSWER, flags | data_flag::SERVER | data_flag::SENT)]
    }

    #[test]
    fn records_of_an_unknown_cgroup_wait_for_the_agent() {
        for (answer, rows, others, undecided) in [(Some(true), 1, 0, 0), (Some(false), 0, 2, 0), (None, 0, 0, 2)] {
            let mut capture = capture(64 << 20);
            exchange(9, 0, data_flag::UNDECIDED).iter().for_each(|record| capture.record(record));
            assert_eq!(capture.take_messages(), [Message::MembershipWanted { cgroup: 77 }]);
            assert_eq!(capture.rows().newest_sequence(), 0);
            capture.apply_membership(77, answer);
            let counts = capture.counts();
            assert_eq!((capture.rows().newest_sequence(), counts.others, counts.undecided), (rows, others, undecided));
        }
    }

    #[test]
    fn waiting_records_come_before_those_that_the_kernel_has_decided() {
        let mut capture = capture(64 << 20);
        let [asked, answered] = exchange(9, 0, 0);
        let [undecided, _] = exchange(9, 0, data_flag::UNDECIDED);
        capture.record(&undecided);
        capture.record(&answered);
        assert_eq!(capture.rows().newest_sequence(), 1);
        // The agent's answer comes later, and has nothing left to decide.
        capture.apply_membership(77, Some(true));
        capture.record(&asked);
        assert_eq!(capture.counts().connections, 1);
    }

    #[test]
    fn malformed_record_is_counted_and_changes_nothing() {
        let mut capture = capture(64 << 20);
        let [asked, _] = exchange(9, 0, 0);
        capture.record(&asked[..asked.len() - 1]);
        capture.record(b"");
        let counts = capture.counts();
        assert_eq!((counts.malformed, counts.connections), (2, 0));
    }

    #[test]
    fn sum_of_connections_and_rows_stays_within_the_budget() {
        let mut capture = capture(0);
        let (budget, connections) = (capture.budget.rows_max(0), capture.budget.connections_max());
        for number in 0..20 {
            for connection in 1..200 {
                exchange(connection, number, 0).iter().for_each(|record| capture.record(record));
                assert!(capture.connections.memory() <= connections);
                assert!(capture.connections.memory() + capture.rows.memory() <= budget);
            }
        }
        let counts = capture.counts();
        let rows = capture.rows().newest_sequence();
        assert!(counts.evicted > 0 && counts.evicted < rows, "{} of {rows} rows", counts.evicted);
        assert_eq!(counts.rows["http"], rows);
    }

    #[test]
    fn rows_stay_when_the_capture_stops() {
        let mut capture = capture(64 << 20);
        exchange(9, 0, 0).iter().for_each(|record| capture.record(record));
        exchange(8, 0, data_flag::UNDECIDED).iter().for_each(|record| capture.record(record));
        capture.stop();
        assert_eq!(
            (capture.rows().newest_sequence(), capture.connections.memory(), capture.counts().undecided),
            (1, 0, 2)
        );
        assert!(capture.take_messages().is_empty());
    }
}
