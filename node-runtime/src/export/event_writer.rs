//! Writes the events of a subscription as lines. The events of a failed write are counted as lost; the next write is
//! tried all the same.

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;
use trilobite_api::tetragon::EventType;

use super::{
    counts::ExportCounts,
    selection::{Admission, RateLimit, SharedSelection},
    shorten::append_short_line,
    sink::{Sink, WriteProblem, write_or_reopen},
};
use crate::{
    layers::security::event_bus::{StreamItem, Subscription},
    loss::{Ledger, LossPoint, gap::Gap},
    serve::tetragon::{EventEncoder, append_json_line},
};

/// Lines are gathered up to this many bytes before they are written, if more are waiting.
const BATCH: usize = 64 * 1024;
/// After the first event of a batch the thread sleeps for this time. Events come in bursts, and waking the thread for
/// each one of a burst costs more than the event itself: the kernel runs it at once, in the middle of the burst.
const GATHERING_TIME: Duration = Duration::from_millis(1);

/// Lost by failed writes; the next write begins with lines that report it.
#[derive(Default)]
struct Unwritten {
    events: u64,
    /// Counted in the ledger already.
    lost: BTreeMap<LossPoint, u64>,
    gap: Option<Arc<Gap>>,
}

pub(super) struct EventWriter {
    /// Name of the destination.
    pub(super) name: Arc<str>,
    pub(super) encoder: EventEncoder,
    pub(super) ledger: Ledger,
    pub(super) problem: WriteProblem,
    /// Its readers cannot read lines of any length.
    pub(super) has_short_lines: bool,
    pub(super) selection: SharedSelection,
    pub(super) counts: ExportCounts,
}

impl EventWriter {
    /// Ends when the subscription has ended and all is written.
    pub(super) fn write_events<S: Sink>(&self, open: impl Fn() -> io::Result<S>, mut events: Subscription) {
        let mut sink = None;
        let mut lines = Vec::new();
        let mut unwritten = Unwritten::default();
        let mut limit = RateLimit::new(Instant::now());
        let mut next = events.blocking_next();
        while next != StreamItem::Closed {
            thread::sleep(GATHERING_TIME);
            lines.clear();
            self.append_unwritten(&unwritten, &mut lines);
            self.append(&next, &mut lines, &mut unwritten, &mut limit);
            while lines.len() < BATCH
                && let Some(next) = events.try_next()
            {
                self.append(&next, &mut lines, &mut unwritten, &mut limit);
            }
            if lines.is_empty() {
                // All of them were suppressed.
                next = events.blocking_next();
                continue;
            }
            match write_or_reopen(&mut sink, &open, &lines) {
                Ok(()) => {
                    self.counts.events.add(unwritten.events);
                    self.counts.bytes.add(lines.len() as u64);
                    self.counts.last.set(Timestamp::now().as_second().unsigned_abs());
                    unwritten = Unwritten::default();
                    self.problem.clear(&self.name);
                }
                Err(error) => {
                    let events = std::mem::take(&mut unwritten.events);
                    self.ledger.record_loss(LossPoint::ExportQueue, "", events);
                    *unwritten.lost.entry(LossPoint::ExportQueue).or_default() += events;
                    self.problem.set(&self.name, &error);
                }
            }
            // Gives the memory of a burst back.
            lines.shrink_to(2 * BATCH);
            next = events.blocking_next();
        }
    }

    /// Appends a line, and counts it as unwritten.
    fn append(&self, next: &StreamItem, lines: &mut Vec<u8>, unwritten: &mut Unwritten, limit: &mut RateLimit) {
        let selection = self.selection.get();
        match next {
            StreamItem::Event(event) => {
                match limit.admit(selection.events_per_minute, Instant::now()) {
                    Admission::Suppressed => return self.counts.suppressed.add(1),
                    Admission::Admitted { suppressed } => self.append_suppressed(suppressed, lines),
                }
                let message = selection.message(event, &self.encoder);
                if self.has_short_lines {
                    append_short_line(message, lines);
                } else {
                    append_json_line(&message, lines);
                }
                unwritten.events += 1;
            }
            StreamItem::Lost(place, count) => {
                self.append_lost(*place, *count, lines);
                *unwritten.lost.entry(*place).or_default() += count;
            }
            StreamItem::Gap(gap) => {
                self.append_gap(gap, lines);
                unwritten.gap = Some(gap.clone());
            }
            StreamItem::Closed => {}
        }
    }

    /// In place of the events that the rate limit suppressed.
    fn append_suppressed(&self, count: u64, lines: &mut Vec<u8>) {
        if count > 0 && self.selection.get().has_type(EventType::RateLimitInfo.into()) {
            append_json_line(&self.encoder.rate_limit_info(count, Timestamp::now()), lines);
        }
    }

    fn append_unwritten(&self, unwritten: &Unwritten, lines: &mut Vec<u8>) {
        unwritten.gap.iter().for_each(|gap| self.append_gap(gap, lines));
        unwritten.lost.iter().filter(|(_, count)| **count > 0).for_each(|(place, count)| {
            self.append_lost(*place, *count, lines);
        });
    }

    fn append_lost(&self, place: LossPoint, count: u64, lines: &mut Vec<u8>) {
        if !self.has_notices() {
            return;
        }
        append_json_line(&self.encoder.loss_notice(place, count, Timestamp::now()), lines);
        add_member("lost_events", &serde_json::json!({ "place": place.as_str(), "count": count }), lines);
    }

    fn append_gap(&self, gap: &Gap, lines: &mut Vec<u8>) {
        if !self.has_notices() {
            return;
        }
        append_json_line(&self.encoder.gap_notice(gap), lines);
        add_member("agent_gap", gap, lines);
    }

    /// Losses and gaps are lines of process_throttle.
    fn has_notices(&self) -> bool {
        self.selection.get().has_type(EventType::ProcessThrottle.into())
    }
}

/// Adds a member to the last line for other programs; Tetragon's clients ignore unknown members.
fn add_member(name: &str, value: &impl Serialize, lines: &mut Vec<u8>) {
    if let Ok(value) = serde_json::to_string(value)
        && lines.ends_with(b"}\n")
    {
        lines.truncate(lines.len() - 2);
        lines.extend_from_slice(format!(",\"{name}\":{value}}}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use trilobite_crds::stack::EventSelection;

    use super::{super::selection::CompiledSelection, *};
    use crate::{layers::security::event_bus::EventBus, serve::tetragon::samples};

    /// A disk that is full for two writes: the number of writes, and the written bytes.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(u32, Vec<u8>)>>);

    impl Sink for Disk {
        fn write(&mut self, lines: &[u8]) -> io::Result<()> {
            let (tries, written) = &mut *self.0.lock();
            *tries += 1;
            if *tries <= 2 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.extend_from_slice(lines);
            Ok(())
        }
    }

    fn everything() -> SharedSelection {
        selected(&EventSelection::default())
    }

    fn selected(selection: &EventSelection) -> SharedSelection {
        SharedSelection::new(CompiledSelection::new(selection, "spec.export.stdout", &samples::encoder()).unwrap())
    }

    #[test]
    fn events_beyond_the_rate_limit_are_told_before_the_next() {
        let disk = Disk::default();
        disk.0.lock().0 = 2;
        let writer = EventWriter {
            name: "file".into(),
            encoder: samples::encoder(),
            ledger: Ledger::default(),
            problem: WriteProblem::default(),
            has_short_lines: false,
            selection: selected(&EventSelection { rate_limit: 2, ..EventSelection::default() }),
            counts: ExportCounts::default(),
        };
        let bus = EventBus::new(Ledger::default());
        let (events, of) = (bus.subscribe(), disk.clone());
        (0..5).for_each(|_| bus.publish(Arc::new(samples::exec())));
        let selection = writer.selection.clone();
        let thread = thread::spawn(move || writer.write_events(|| Ok(of.clone()), events));
        while disk.0.lock().1.is_empty() {
            thread::yield_now();
        }
        let without_limit = EventSelection::default();
        selection.set(CompiledSelection::new(&without_limit, "spec.export.stdout", &samples::encoder()).unwrap());
        bus.publish(Arc::new(samples::exec()));
        bus.close();
        thread.join().unwrap();
        let written = String::from_utf8(disk.0.lock().1.clone()).unwrap();
        let kinds: Vec<bool> = written.lines().map(|line| line.contains("process_exec")).collect();
        assert_eq!(kinds, [true, true, false, true], "{written}");
        assert!(written.contains(r#"{"rate_limit_info":{"number_of_dropped_process_events":"3"}"#), "{written}");
    }

    #[test]
    fn events_lost_by_a_full_disk_are_counted_and_reported() {
        let (ledger, problem, disk) = (Ledger::default(), WriteProblem::default(), Disk::default());
        let writer = EventWriter {
            name: "file".into(),
            encoder: samples::encoder(),
            ledger: ledger.clone(),
            problem: problem.clone(),
            has_short_lines: true,
            selection: everything(),
            counts: ExportCounts::default(),
        };
        let bus = EventBus::new(ledger.clone());
        let (events, of) = (bus.subscribe(), disk.clone());
        let thread = thread::spawn(move || writer.write_events(|| Ok(of.clone()), events));

        for tries in 1..=3 {
            bus.publish(Arc::new(samples::exec()));
            while disk.0.lock().0 < tries {
                thread::yield_now();
            }
            if tries == 2 {
                // The count follows the write.
                while ledger.total_at(LossPoint::ExportQueue) < 2 {
                    thread::yield_now();
                }
                assert!(problem.get().unwrap().message().contains("file: "));
            }
        }
        bus.close();
        thread.join().unwrap();

        assert_eq!(ledger.total_at(LossPoint::ExportQueue), 2);
        assert_eq!(problem.get(), None);
        let written = String::from_utf8(disk.0.lock().1.clone()).unwrap();
        let [missing, event] = written.lines().collect::<Vec<_>>()[..] else { panic!("{written}") };
        assert!(missing.contains(r#""lost_events":{"count":2,"place":"export_queue"}"#), "{missing}");
        assert!(event.starts_with(r#"{"process_exec""#), "{event}");
    }

    #[test]
    fn losses_and_gap_of_a_failed_write_are_reported_by_the_next() {
        let (ledger, disk) = (Ledger::default(), Disk::default());
        let writer = EventWriter {
            name: "file".into(),
            encoder: samples::encoder(),
            ledger: ledger.clone(),
            problem: WriteProblem::default(),
            has_short_lines: false,
            selection: everything(),
            counts: ExportCounts::default(),
        };
        let bus = EventBus::new(ledger.clone());
        let (events, of) = (bus.subscribe(), disk.clone());
        let at = |second| Timestamp::from_second(second).unwrap();
        bus.publish_gap(Gap { from: at(10), to: at(15), reason: "the agent was not running" });
        bus.publish_loss(LossPoint::PolicyRing, 3);
        let thread = thread::spawn(move || writer.write_events(|| Ok(of.clone()), events));
        for tries in 1..=3 {
            while disk.0.lock().0 < tries {
                thread::yield_now();
            }
            bus.publish_loss(LossPoint::PolicyRing, 4);
        }
        bus.close();
        thread.join().unwrap();

        let written = String::from_utf8(disk.0.lock().1.clone()).unwrap();
        let lines: Vec<serde_json::Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["agent_gap"]["to"], "1970-01-01T00:00:15Z");
        let text = "no events from 1970-01-01T00:00:10Z to 1970-01-01T00:00:15Z: the agent was not running";
        assert_eq!(lines[0]["process_throttle"]["cgroup"], text);
        let counts = lines[1..].iter().map(|line| line["lost_events"]["count"].as_u64().unwrap());
        assert_eq!(counts.sum::<u64>(), 3 + 3 * 4);
        assert_eq!(ledger.losses(), []);
    }
}
