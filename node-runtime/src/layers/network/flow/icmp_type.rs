//! Which ICMP messages are the answer to a request of the same connection. The kernel's side has the same (`icmp.h`).

/// An answer to a request: echo, and of version 4 time stamp, information and address mask.
pub fn is_icmp_answer(v6: bool, kind: u8) -> bool {
    if v6 { kind == 129 } else { matches!(kind, 0 | 14 | 16 | 18) }
}

/// An error about another packet.
pub fn is_icmp_error(v6: bool, kind: u8) -> bool {
    if v6 { (1..=4).contains(&kind) } else { matches!(kind, 3 | 11 | 12) }
}
