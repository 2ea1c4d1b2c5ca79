//! What the kernel program is to copy of connections: decisions that wait to be sent.

use trilobite_node_ebpf::{DATA_BYTES_MAX, DATA_CALL_MAX};
use trilobite_protocols::Role;
use trilobite_worker_wire::{Message, StreamVerdict, VerdictKind, requests::VERDICTS_MAX};

/// Bytes of a call that has one request: enough for the head of one with many cookies, and a long statement.
const REQUEST_BYTES: u32 = 16 << 10;
/// Bytes of a call that has one answer: its head.
const ANSWER_BYTES: u32 = DATA_BYTES_MAX;

/// A datagram is one record.
pub(super) const DATAGRAM_VERDICT: VerdictKind = VerdictKind::Parse { sent: DATA_BYTES_MAX, received: DATA_BYTES_MAX };

/// Decisions in the order in which they were made.
#[derive(Default)]
pub(super) struct Verdicts(Vec<StreamVerdict>);

impl Verdicts {
    pub(super) fn push(&mut self, stream: u64, kind: VerdictKind) {
        self.0.push(StreamVerdict { stream, kind });
    }

    /// The messages of all decisions.
    pub(super) fn drain(&mut self) -> Vec<Message> {
        let all = std::mem::take(&mut self.0);
        all.chunks(VERDICTS_MAX).map(|verdicts| Message::Verdicts(verdicts.to_vec())).collect()
    }
}

/// What is copied of a connection that is parsed. Where a call can have several messages, all of it is needed; else the first one's
/// head, and as much behind it as rows keep of a body.
pub(super) fn parse_verdict(role: Role, has_many_in_a_call: bool, body_bytes: usize) -> VerdictKind {
    let most = |head: u32| {
        let with_body = head.saturating_add(u32::try_from(body_bytes).unwrap_or(u32::MAX));
        if has_many_in_a_call { DATA_CALL_MAX } else { with_body.min(DATA_CALL_MAX) }
    };
    let (requests, answers) = (most(REQUEST_BYTES), most(ANSWER_BYTES));
    match role {
        Role::Client => VerdictKind::Parse { sent: requests, received: answers },
        Role::Server => VerdictKind::Parse { sent: answers, received: requests },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_verdicts_are_several_messages_that_fit() {
        let mut verdicts = Verdicts::default();
        let longest = VerdictKind::Parse { sent: u32::MAX, received: u32::MAX };
        (0..2 * VERDICTS_MAX as u64 + 1).for_each(|stream| verdicts.push(u64::MAX - stream, longest));
        let messages = verdicts.drain();
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|message| message.encode().is_ok()));
        assert!(verdicts.drain().is_empty());
    }

    #[test]
    fn single_messages_need_their_heads_and_pipelines_everything() {
        let all = VerdictKind::Parse { sent: DATA_CALL_MAX, received: DATA_CALL_MAX };
        assert_eq!(parse_verdict(Role::Server, true, 0), all);
        assert_eq!(parse_verdict(Role::Client, false, 0), VerdictKind::Parse { sent: 16 << 10, received: 4 << 10 });
        assert_eq!(parse_verdict(Role::Server, false, 0), VerdictKind::Parse { sent: 4 << 10, received: 16 << 10 });
        // Bodies that rows keep a part of.
        assert_eq!(parse_verdict(Role::Client, false, 512), VerdictKind::Parse { sent: 16_896, received: 4_608 });
        assert_eq!(parse_verdict(Role::Client, false, usize::MAX), all);
    }
}
