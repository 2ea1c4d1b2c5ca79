//! The writer's own thread: from events to lines, from lines to wherever they go. A write that fails costs the events in
//! it, which are counted; the next write is tried all the same.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    layers::security::bus::{Next, Subscription},
    report::{Ledger, Place, Problem, gap::Gap},
    serve::tetragon::{Scene, append_json_line},
};

/// Lines are gathered up to this before they are written, if more are waiting.
const BATCH: usize = 64 * 1024;

/// Where whole lines go.
pub(super) trait Sink: 'static {
    /// Writes all of `lines`, or fails and leaves no torn line behind.
    fn write(&mut self, lines: &[u8]) -> io::Result<()>;
}

/// What is wrong at the moment.
#[derive(Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<Problem>>>);

/// What a write that fails costs; the next one that does not fail begins with it.
#[derive(Default)]
struct Cost {
    events: u64,
    /// In the ledger already.
    lost: BTreeMap<Place, u64>,
    gap: Option<Arc<Gap>>,
}

pub(super) struct Writer {
    /// Where to, in words.
    pub(super) name: Arc<str>,
    pub(super) scene: Scene,
    pub(super) ledger: Ledger,
    pub(super) trouble: Trouble,
}

impl Trouble {
    pub(super) fn get(&self) -> Option<Problem> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Said once, not for every line.
    pub(super) fn set(&self, name: &str, error: &dyn Display) {
        let problem = Problem::ExportFailed { detail: format!("{name}: {error}") };
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.replace(problem).is_none() {
            tracing::warn!(%error, "events cannot be written to {name}; those that are lost are counted");
        }
    }

    fn clear(&self, name: &str) {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("events are written to {name} again");
        }
    }
}

impl Writer {
    /// Ends when the bus has ended the subscription and all is written.
    pub(super) fn run<S: Sink>(&self, open: impl Fn() -> io::Result<S>, mut events: Subscription) {
        let mut sink = None;
        let mut lines = Vec::new();
        let mut cost = Cost::default();
        let mut next = events.blocking_next();
        while next != Next::Closed {
            lines.clear();
            self.append_cost(&cost, &mut lines);
            self.append(&next, &mut lines, &mut cost);
            while lines.len() < BATCH
                && let Some(next) = events.try_next()
            {
                self.append(&next, &mut lines, &mut cost);
            }
            match write(&mut sink, &open, &lines) {
                Ok(()) => {
                    cost = Cost::default();
                    self.trouble.clear(&self.name);
                }
                Err(error) => {
                    let events = std::mem::take(&mut cost.events);
                    self.ledger.lost(Place::ExportQueue, "", events);
                    *cost.lost.entry(Place::ExportQueue).or_default() += events;
                    self.trouble.set(&self.name, &error);
                }
            }
            // One long line does not keep its memory.
            lines.shrink_to(2 * BATCH);
            next = events.blocking_next();
        }
    }

    /// A line, and what it costs when it is not written.
    fn append(&self, next: &Next, lines: &mut Vec<u8>, cost: &mut Cost) {
        match next {
            Next::Event(event) => {
                append_json_line(&self.scene.message(event), lines);
                cost.events += 1;
            }
            Next::Lost(place, count) => {
                self.append_lost(*place, *count, lines);
                *cost.lost.entry(*place).or_default() += count;
            }
            Next::Gap(gap) => {
                self.append_gap(gap, lines);
                cost.gap = Some(gap.clone());
            }
            Next::Closed => {}
        }
    }

    fn append_cost(&self, cost: &Cost, lines: &mut Vec<u8>) {
        cost.gap.iter().for_each(|gap| self.append_gap(gap, lines));
        cost.lost.iter().filter(|(_, count)| **count > 0).for_each(|(place, count)| {
            self.append_lost(*place, *count, lines);
        });
    }

    fn append_lost(&self, place: Place, count: u64, lines: &mut Vec<u8>) {
        append_json_line(&self.scene.lost(place, count, Timestamp::now()), lines);
        add_member("lost_events", &serde_json::json!({ "place": place.as_str(), "count": count }), lines);
    }

    fn append_gap(&self, gap: &Gap, lines: &mut Vec<u8>) {
        append_json_line(&self.scene.unwatched(gap), lines);
        add_member("agent_gap", gap, lines);
    }
}

/// Adds a member to the last line, for programs: Tetragon's clients read past what they do not know.
fn add_member(name: &str, value: &impl Serialize, lines: &mut Vec<u8>) {
    if let Ok(value) = serde_json::to_string(value)
        && lines.ends_with(b"}\n")
    {
        lines.truncate(lines.len() - 2);
        lines.extend_from_slice(format!(",\"{name}\":{value}}}\n").as_bytes());
    }
}

/// What cannot be opened, or written to, is opened anew for the next lines.
pub(super) fn write<S: Sink>(sink: &mut Option<S>, open: impl Fn() -> io::Result<S>, lines: &[u8]) -> io::Result<()> {
    let mut now = match sink.take() {
        Some(sink) => sink,
        None => open()?,
    };
    now.write(lines)?;
    *sink = Some(now);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{layers::security::bus::EventBus, serve::tetragon::samples};

    /// A disk that is full for two writes; says how many were tried, and what is on it.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(u32, Vec<u8>)>>);

    impl Sink for Disk {
        fn write(&mut self, lines: &[u8]) -> io::Result<()> {
            let (tries, written) = &mut *self.0.lock().unwrap();
            *tries += 1;
            if *tries <= 2 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.extend_from_slice(lines);
            Ok(())
        }
    }

    #[test]
    fn events_that_a_full_disk_costs_are_counted_and_the_next_are_written() {
        let (ledger, trouble, disk) = (Ledger::default(), Trouble::default(), Disk::default());
        let writer =
            Writer { name: "file".into(), scene: samples::scene(), ledger: ledger.clone(), trouble: trouble.clone() };
        let bus = EventBus::new(ledger.clone());
        let (events, of) = (bus.subscribe(), disk.clone());
        let thread = thread::spawn(move || writer.run(|| Ok(of.clone()), events));

        for tries in 1..=3 {
            bus.publish(Arc::new(samples::exec()));
            while disk.0.lock().unwrap().0 < tries {
                thread::yield_now();
            }
            if tries == 2 {
                // The count follows the write.
                while ledger.total(Place::ExportQueue) < 2 {
                    thread::yield_now();
                }
                assert!(trouble.get().unwrap().message().contains("file: "));
            }
        }
        bus.close();
        thread.join().unwrap();

        assert_eq!(ledger.total(Place::ExportQueue), 2);
        assert_eq!(trouble.get(), None);
        let written = String::from_utf8(disk.0.lock().unwrap().1.clone()).unwrap();
        let [missing, event] = written.lines().collect::<Vec<_>>()[..] else { panic!("{written}") };
        assert!(missing.contains(r#""lost_events":{"count":2,"place":"export_queue"}"#), "{missing}");
        assert!(event.starts_with(r#"{"process_exec""#), "{event}");
    }

    #[test]
    fn what_a_failed_write_had_to_say_of_losses_and_of_a_gap_is_said_in_the_next() {
        let (ledger, disk) = (Ledger::default(), Disk::default());
        let writer = Writer {
            name: "file".into(),
            scene: samples::scene(),
            ledger: ledger.clone(),
            trouble: Trouble::default(),
        };
        let bus = EventBus::new(ledger.clone());
        let (events, of) = (bus.subscribe(), disk.clone());
        let at = |second| Timestamp::from_second(second).unwrap();
        bus.tell_gap(Gap { from: at(10), to: at(15), reason: "the agent was not running" });
        bus.tell_lost(Place::PolicyRing, 3);
        let thread = thread::spawn(move || writer.run(|| Ok(of.clone()), events));
        for tries in 1..=3 {
            while disk.0.lock().unwrap().0 < tries {
                thread::yield_now();
            }
            bus.tell_lost(Place::PolicyRing, 4);
        }
        bus.close();
        thread.join().unwrap();

        let written = String::from_utf8(disk.0.lock().unwrap().1.clone()).unwrap();
        let lines: Vec<serde_json::Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["agent_gap"]["to"], "1970-01-01T00:00:15Z");
        let text = "nobody watched from 1970-01-01T00:00:10Z to 1970-01-01T00:00:15Z: the agent was not running";
        assert_eq!(lines[0]["process_throttle"]["cgroup"], text);
        let counts = lines[1..].iter().map(|line| line["lost_events"]["count"].as_u64().unwrap());
        assert_eq!(counts.sum::<u64>(), 3 + 3 * 4);
        assert_eq!(ledger.losses(), []);
    }
}
