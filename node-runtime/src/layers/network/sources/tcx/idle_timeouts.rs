//! How long flows may be silent.

/// How long a flow may be silent before it ends; the decision is `idle_timeout` in `idle_flows.h`. In nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleTimeouts {
    /// After FIN of both ends, or RST; the shortest of the five. Both directions of a connection end together.
    pub closed: u64,
    /// After a SYN that nothing followed.
    pub syn: u64,
    /// Open TCP connections.
    pub tcp: u64,
    /// UDP and ICMP.
    pub udp: u64,
    /// UDP and ICMP with one or two requests and as many answers.
    pub answered: u64,
}

const SECOND: u64 = 1_000_000_000;

impl IdleTimeouts {
    /// Ends every flow.
    pub const ZERO: Self = Self { closed: 0, syn: 0, tcp: 0, udp: 0, answered: 0 };

    pub const NORMAL: Self =
        Self { closed: SECOND * 2, syn: SECOND * 10, tcp: SECOND * 300, udp: SECOND * 30, answered: SECOND * 3 };

    /// While more than half of the flow map is in use: many short connections make room for each other.
    pub const CROWDED: Self = Self { closed: SECOND / 4, answered: SECOND, ..Self::NORMAL };
}
