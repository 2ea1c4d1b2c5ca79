//! Messages to the agent that wait for room in the socket, so that a slow agent does not delay the drain of the ring.

use std::{collections::VecDeque, io, os::fd::BorrowedFd};

use trilobite_worker_wire::{Message, channel::send};

/// Messages beside rows that may wait; above it the agent is stuck.
const WAITING_MAX: usize = 4096;

/// Encoded messages. Rows are sent when nothing else waits.
#[derive(Default)]
pub(crate) struct Outbox {
    control: VecDeque<Vec<u8>>,
    rows: VecDeque<Vec<u8>>,
}

impl Outbox {
    pub(crate) fn push(&mut self, message: &Message) -> io::Result<()> {
        if self.control.len() >= WAITING_MAX {
            return Err(io::Error::other("the agent does not read its messages"));
        }
        self.control.push_back(message.encode().map_err(io::Error::other)?);
        Ok(())
    }

    /// Adds a message that comes after all rows that were added before.
    pub(crate) fn push_rows(&mut self, message: &Message) -> io::Result<()> {
        self.rows.push_back(message.encode().map_err(io::Error::other)?);
        Ok(())
    }

    /// Messages beside rows that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.control.len()
    }

    /// Rows wait.
    pub(crate) fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.rows.is_empty()
    }

    /// Sends what the socket has room for.
    pub(crate) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        for queue in [&mut self.control, &mut self.rows] {
            while let Some(bytes) = queue.front() {
                match send(socket, bytes, &[], false) {
                    Ok(()) => drop(queue.pop_front()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use trilobite_worker_wire::channel::{pair, receive};

    use super::*;

    fn progress(samples: u64) -> Message {
        Message::RowsComplete { id: 1, newest_sequence: samples, evicted: 0 }
    }

    #[test]
    fn full_socket_blocks_nothing_and_loses_nothing() {
        let (ours, agent) = pair().unwrap();
        let mut outbox = Outbox::default();
        (0..2_000).for_each(|number| outbox.push_rows(&progress(number)).unwrap());
        outbox.flush(ours.as_fd()).unwrap();
        assert!(outbox.has_rows());
        outbox.push(&Message::Ready).unwrap();
        let mut received = Vec::new();
        let mut buffer = Vec::new();
        while received.len() < 2_001 {
            let packet = receive(&agent, &mut buffer, true).unwrap();
            received.push(Message::decode(&packet.bytes).unwrap());
            outbox.flush(ours.as_fd()).unwrap();
        }
        let ready = received.iter().position(|message| *message == Message::Ready).unwrap();
        assert!(ready < 2_000, "rows that wait do not delay other messages");
        received.remove(ready);
        assert_eq!(received, (0..2_000).map(progress).collect::<Vec<_>>());
        assert!(outbox.is_empty());
    }

    #[test]
    fn agent_that_never_reads_ends_the_worker() {
        let mut outbox = Outbox::default();
        (0..WAITING_MAX).for_each(|_| outbox.push(&Message::Ready).unwrap());
        assert!(outbox.push(&Message::Ready).is_err());
    }
}
