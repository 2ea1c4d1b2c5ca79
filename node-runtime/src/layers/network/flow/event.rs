//! What happened to a packet or a connection. Verdict, type and summary of a flow are decided here alone.

use std::fmt::{self, Write};

use trilobite_api::flow::{DropReason, Verdict};

use super::{
    dropped::Dropped,
    forwarded::Forwarded,
    l4::L4,
    l7::L7,
    policy_verdict::{PolicyAction, PolicyVerdict},
};
use crate::layers::network::tcp_flags::TcpFlags;

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Forwarded(Forwarded),
    Dropped(Box<Dropped>),
    PolicyVerdict(Box<PolicyVerdict>),
    L7(Box<L7>),
}

/// Hubble's `event_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventKind {
    pub kind: i32,
    pub sub_type: i32,
}

impl EventKind {
    pub const DROP: i32 = 1;
    pub const TRACE: i32 = 4;
    pub const POLICY_VERDICT: i32 = 5;
    pub const L7: i32 = 129;
}

impl Event {
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Forwarded(_) | Self::L7(_) => Verdict::Forwarded,
            Self::Dropped(_) => Verdict::Dropped,
            Self::PolicyVerdict(verdict) => match verdict.action {
                PolicyAction::Allowed => Verdict::Forwarded,
                PolicyAction::Denied => Verdict::Dropped,
                PolicyAction::Audit => Verdict::Audit,
            },
        }
    }

    pub fn kind(&self) -> EventKind {
        let (kind, sub_type) = match self {
            Self::Forwarded(forwarded) => (EventKind::TRACE, forwarded.observation_point.sub_type()),
            Self::Dropped(dropped) => (EventKind::DROP, dropped.sub_type),
            Self::PolicyVerdict(_) => (EventKind::POLICY_VERDICT, 0),
            Self::L7(_) => (EventKind::L7, 0),
        };
        EventKind { kind, sub_type }
    }

    /// Why it was dropped or denied; unknown if it was not, or if Hubble has no reason that is true.
    pub fn drop_reason(&self) -> DropReason {
        match self {
            Self::Forwarded(_) | Self::L7(_) => DropReason::Unknown,
            Self::Dropped(dropped) => dropped.reason,
            Self::PolicyVerdict(verdict) => verdict.reason,
        }
    }

    /// TCP flags of the packet; none if the event has no packet, or one of another protocol.
    pub fn tcp_flags(&self) -> TcpFlags {
        match self {
            Self::Forwarded(forwarded) => forwarded.flags,
            Self::Dropped(dropped) => dropped.flags,
            Self::PolicyVerdict(verdict) => verdict.flags,
            Self::L7(_) => TcpFlags::default(),
        }
    }

    /// Memory beside the flow itself.
    pub(super) fn boxed_bytes(&self) -> usize {
        match self {
            Self::Forwarded(_) => 0,
            Self::Dropped(dropped) => size_of::<Dropped>() + dropped.policies.bytes(),
            Self::PolicyVerdict(verdict) => size_of::<PolicyVerdict>() + verdict.policies.bytes(),
            Self::L7(l7) => l7.bytes(),
        }
    }

    /// One line for people: Hubble's words, then what only this agent knows.
    pub fn write_summary(&self, l4: L4, out: &mut impl Write) -> fmt::Result {
        match self {
            Self::Forwarded(forwarded) => forwarded.write_summary(l4, out),
            Self::Dropped(dropped) => dropped.write_summary(l4, out),
            Self::PolicyVerdict(verdict) => l4.write_packet(verdict.flags, out),
            Self::L7(l7) => l7.write_summary(out),
        }
    }
}
