//! The writer's own thread: from events to lines, from lines to wherever they go. A write that fails costs the events in
//! it, which are counted; the next write is tried all the same.

use std::{
    fmt::Display,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;

use crate::{
    layers::security::bus::{Next, Subscription},
    report::{Ledger, Place, Problem},
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
        let mut next = events.blocking_next();
        while next != Next::Closed {
            lines.clear();
            let mut count = self.append(&next, &mut lines);
            while lines.len() < BATCH
                && let Some(next) = events.try_next()
            {
                count += self.append(&next, &mut lines);
            }
            match write(&mut sink, &open, &lines) {
                Ok(()) => self.trouble.clear(&self.name),
                Err(error) => {
                    self.ledger.lost(Place::ExportQueue, "", count);
                    self.trouble.set(&self.name, &error);
                }
            }
            // One long line does not keep its memory.
            lines.shrink_to(2 * BATCH);
            next = events.blocking_next();
        }
    }

    /// How many events that is: the number of missing ones is in the ledger already.
    fn append(&self, next: &Next, lines: &mut Vec<u8>) -> u64 {
        let (message, count) = match next {
            Next::Event(event) => (self.scene.message(event), 1),
            Next::Lost(count) => (self.scene.missing(*count, Timestamp::now()), 0),
            Next::Gap(gap) => {
                lines.extend_from_slice(gap.line(&self.scene.node_name).as_bytes());
                lines.push(b'\n');
                return 0;
            }
            Next::Closed => return 0,
        };
        append_json_line(&message, lines);
        count
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
        assert_eq!(disk.0.lock().unwrap().1.iter().filter(|byte| **byte == b'\n').count(), 1);
    }
}
