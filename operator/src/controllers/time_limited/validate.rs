//! Whether a time-limited resource is accepted, and whether it starts, runs or ends. Pure; time is an argument.

use jiff::Timestamp;
use trilobite_crds::{ObservabilityStack, Reason, Refusal, node::Session};

use super::{dereference::DereferencedResource, resource::TimeLimited};
use crate::{context::StackState, status::messages};

#[derive(Debug, PartialEq)]
pub(super) enum ValidatedResource {
    Refused(Refusal),
    Suspended,
    /// The start is not in the status yet. It is written before nodes get the session, so that a restart of the
    /// operator cannot start it a second time.
    Starting(Session, Timestamp),
    Running(Session, Timestamp),
    /// The duration is over: no node gets the session any more, and final reports are awaited.
    Ending(Session, Timestamp),
    /// The status says Completed; it does not change any more. Nodes keep this session while rows of its requests can be
    /// read.
    Completed(Option<Session>),
    /// The stack cannot be read, so it is unknown whether the session may run: it is neither added nor removed.
    StackUnreadable,
}

pub(super) fn validate<K: TimeLimited>(
    object: &K,
    dereferenced: &DereferencedResource,
    now: Timestamp,
) -> ValidatedResource {
    if dereferenced.completed {
        return match &dereferenced.stack {
            StackState::Present(stack) => ValidatedResource::Completed(retained(object, stack, dereferenced, now)),
            StackState::Absent => ValidatedResource::Completed(None),
            StackState::Unreadable => ValidatedResource::StackUnreadable,
        };
    }
    let stack = match &dereferenced.stack {
        StackState::Present(stack) => stack,
        StackState::Unreadable => return ValidatedResource::StackUnreadable,
        StackState::Absent => {
            let refusal = Refusal::new(&object.source(), Reason::NoStack, "", messages::no_stack());
            return ValidatedResource::Refused(refusal);
        }
    };
    let written_start = object.user_status().started_at;
    // A status has whole seconds: a start that is truncated only when it is written would move the end.
    let started_at = dereferenced.known_start.or(written_start);
    let started_at = started_at.unwrap_or_else(|| Timestamp::from_second(now.as_second()).unwrap_or(now));
    match (object.session(stack, &dereferenced.namespace_labels, started_at), written_start, &dereferenced.above_budget)
    {
        (Err(refusal), ..) if refusal.reason == Reason::Suspended => ValidatedResource::Suspended,
        (Err(refusal), ..) => ValidatedResource::Refused(refusal),
        (Ok(session), Some(_), _) if session.expires_at <= now => ValidatedResource::Ending(session, started_at),
        (Ok(_), _, Some(refusal)) => ValidatedResource::Refused(refusal.clone()),
        (Ok(session), None, None) => ValidatedResource::Starting(session, started_at),
        (Ok(session), Some(_), None) => ValidatedResource::Running(session, started_at),
    }
}

/// The session of a completed resource whose rows can still be read.
fn retained<K: TimeLimited>(
    object: &K,
    stack: &ObservabilityStack,
    dereferenced: &DereferencedResource,
    now: Timestamp,
) -> Option<Session> {
    let started_at = object.user_status().started_at?;
    let session = object.session(stack, &dereferenced.namespace_labels, started_at).ok()?;
    let until = session.retained_until();
    (until > session.expires_at && now < until).then_some(session)
}
