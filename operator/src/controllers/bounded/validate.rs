//! Whether a bounded resource can be carried out, and when it began. Pure; the time comes in.

use jiff::Timestamp;
use trilobite_crds::{Reason, Refusal, node::Session};

use super::{Bounded, dereference::Found};
use crate::{context::StackNow, status::words};

#[derive(Debug, PartialEq)]
pub(super) enum Valid {
    Refused(Refusal),
    Suspended,
    /// Its start is not written down yet. It is written first, so that a restart of the operator gives it no second start.
    Starting(Session, Timestamp),
    Running(Session, Timestamp),
    /// Its end has come: no node is given it any more, and the last words of those that have it are awaited.
    Ending(Session, Timestamp),
    /// Its end was written down; it stays as it is.
    Over,
    /// The stack cannot be read, so nobody knows whether it may go on: nothing is given and nothing is taken.
    Unknowable,
}

pub(super) fn run<K: Bounded>(object: &K, found: &Found, now: Timestamp) -> Valid {
    if found.over {
        return Valid::Over;
    }
    let source = object.source();
    let stack = match &found.stack {
        StackNow::There(stack) => stack,
        StackNow::Unreadable => return Valid::Unknowable,
        StackNow::Absent => return Valid::Refused(Refusal::new(&source, Reason::NoStack, "", words::no_stack())),
    };
    let written = object.written().started_at;
    // A status holds whole seconds; a start that is cut later would move the end.
    let started_at = written.unwrap_or_else(|| Timestamp::from_second(now.as_second()).unwrap_or(now));
    match (object.session(stack, started_at), written) {
        (Err(refusal), _) if refusal.reason == Reason::Suspended => Valid::Suspended,
        (Err(refusal), _) => Valid::Refused(refusal),
        (Ok(session), None) => Valid::Starting(session, started_at),
        (Ok(session), Some(_)) if session.expires_at <= now => Valid::Ending(session, started_at),
        (Ok(session), Some(_)) => Valid::Running(session, started_at),
    }
}
