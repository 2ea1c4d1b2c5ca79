//! What the kernel program is to copy of connections: decisions that wait to be sent.

use trilobite_worker_wire::{ConnectionVerdict, Message, VerdictKind, requests::VERDICTS_MAX};

/// Bytes that are copied of a call on a connection that is parsed.
const PARSED_BYTES: u16 = 4096;

/// Decisions in the order in which they were made.
#[derive(Default)]
pub(super) struct Verdicts(Vec<ConnectionVerdict>);

impl Verdicts {
    pub(super) fn push(&mut self, connection: u64, kind: VerdictKind) {
        let bytes = if kind == VerdictKind::Parse { PARSED_BYTES } else { 0 };
        self.0.push(ConnectionVerdict { connection, kind, bytes });
    }

    /// The messages of all decisions.
    pub(super) fn drain(&mut self) -> Vec<Message> {
        let all = std::mem::take(&mut self.0);
        all.chunks(VERDICTS_MAX).map(|verdicts| Message::Verdicts(verdicts.to_vec())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_verdicts_are_several_messages_that_fit() {
        let mut verdicts = Verdicts::default();
        (0..2 * VERDICTS_MAX as u64 + 1).for_each(|key| verdicts.push(u64::MAX - key, VerdictKind::Lengths));
        let messages = verdicts.drain();
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|message| message.encode().is_ok()));
        assert!(verdicts.drain().is_empty());
    }
}
