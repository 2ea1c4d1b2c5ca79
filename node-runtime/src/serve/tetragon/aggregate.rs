//! Aggregation of GetEvents: events that are equal but for their times come once in a window, with their number.

use std::{collections::HashMap, time::Duration};

use prost::Message;
use tokio::time::Instant;
use trilobite_api::tetragon::{self as api, GetEventsResponse, get_events_response::Event};

/// The longest time that an event waits for equal ones.
const MAX_WINDOW: Duration = Duration::from_secs(600);
/// Events that wait at a time, where the request does not say.
const EVENTS: usize = 1024;
/// The most that a request can ask for.
const EVENTS_MAX: usize = 65_536;

pub(super) struct Aggregator {
    window: Duration,
    capacity: usize,
    /// In the order of their first ones.
    waiting: Vec<GetEventsResponse>,
    /// By the encoded event without its times: the index in `waiting`.
    known: HashMap<Vec<u8>, usize>,
    window_end: Option<Instant>,
}

impl Aggregator {
    pub(super) fn new(options: &api::AggregationOptions) -> Result<Self, String> {
        let window = options.window_size.ok_or("aggregation_options.window_size: it is missing")?;
        let window = Duration::try_from(window).ok().filter(|window| !window.is_zero() && *window <= MAX_WINDOW);
        let window = window.ok_or("aggregation_options.window_size: more than 0 s and at most 600 s are supported")?;
        let capacity = match usize::try_from(options.channel_buffer_size) {
            Ok(0) => EVENTS,
            Ok(count) if count <= EVENTS_MAX => count,
            _ => return Err(format!("aggregation_options.channel_buffer_size: at most {EVENTS_MAX} are supported")),
        };
        Ok(Self { window, capacity, waiting: Vec::new(), known: HashMap::new(), window_end: None })
    }

    /// None while nothing waits.
    pub(super) fn window_end(&self) -> Option<Instant> {
        self.window_end
    }

    /// Returns what waited before, if there is no room or the window has ended.
    pub(super) fn add(&mut self, message: GetEventsResponse, now: Instant) -> Vec<GetEventsResponse> {
        let is_over = self.window_end.is_some_and(|end| end <= now);
        let flushed = if is_over || self.waiting.len() >= self.capacity { self.flush() } else { Vec::new() };
        self.window_end.get_or_insert(now + self.window);
        let count = message.aggregation_info.map_or(1, |info| info.count);
        let known = self.known.entry(key(&message)).or_insert(self.waiting.len());
        match self.waiting.get_mut(*known) {
            Some(first) => {
                first.aggregation_info.get_or_insert(api::AggregationInfo { count: 1 }).count += count;
            }
            None => self.waiting.push(message),
        }
        flushed
    }

    pub(super) fn flush(&mut self) -> Vec<GetEventsResponse> {
        self.window_end = None;
        self.known.clear();
        std::mem::take(&mut self.waiting)
    }
}

/// Of an event that others may equal.
fn key(message: &GetEventsResponse) -> Vec<u8> {
    let mut message = GetEventsResponse { time: None, aggregation_info: None, ..message.clone() };
    if let Some(Event::ProcessExit(exit)) = &mut message.event {
        exit.time = None;
    }
    message.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::tetragon::samples;

    fn aggregator(seconds: i64, capacity: u64) -> Result<Aggregator, String> {
        let window_size = Some(prost_types::Duration { seconds, nanos: 0 });
        Aggregator::new(&api::AggregationOptions { window_size, channel_buffer_size: capacity })
    }

    fn counts(messages: &[GetEventsResponse]) -> Vec<Option<u64>> {
        messages.iter().map(|message| message.aggregation_info.map(|info| info.count)).collect()
    }

    #[test]
    fn equal_events_come_once_with_their_number() {
        let mut aggregator = aggregator(5, 0).unwrap();
        let (start, encoder) = (Instant::now(), samples::encoder());
        // The first of these says itself that a rate limit has suppressed four.
        for (at, event) in [samples::exec(), samples::connect(), samples::exec(), samples::exec(), samples::connect()]
            .iter()
            .enumerate()
        {
            let time = Some(prost_types::Timestamp { seconds: at as i64, nanos: 0 });
            let message = GetEventsResponse { time, ..encoder.message(event) };
            assert_eq!(aggregator.add(message, start), []);
        }
        let flushed = aggregator.add(encoder.message(&samples::exit(0, 0)), start + Duration::from_secs(5));
        assert_eq!(counts(&flushed), [Some(3), Some(10)]);
        assert_eq!(counts(&aggregator.flush()), [None]);
        assert_eq!(aggregator.window_end(), None);
    }

    #[test]
    fn full_aggregator_sends_what_waits() {
        let mut aggregator = aggregator(5, 1).unwrap();
        let (now, encoder) = (Instant::now(), samples::encoder());
        assert_eq!(aggregator.add(encoder.message(&samples::exec()), now), []);
        let flushed = aggregator.add(encoder.message(&samples::tracepoint()), now);
        assert_eq!(counts(&flushed), [None]);
    }

    #[test]
    fn windows_and_sizes_have_bounds() {
        for (seconds, capacity) in [(0, 0), (-1, 0), (601, 0), (5, 1 << 40)] {
            let refusal = aggregator(seconds, capacity).err().unwrap();
            assert!(refusal.starts_with("aggregation_options."), "{refusal}");
        }
        assert!(Aggregator::new(&api::AggregationOptions::default()).is_err());
    }
}
