//! The flags of a TCP header, in the order in which people read them.

use std::fmt;

/// Flags as they stand in the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    /// No more from this side.
    pub const FIN: Self = Self(0x01);
    /// The first packet of this side.
    pub const SYN: Self = Self(0x02);
    /// No more at all.
    pub const RST: Self = Self(0x04);
    /// Hand it on at once.
    pub const PSH: Self = Self(0x08);
    /// The acknowledged number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// Congestion was met.
    pub const ECE: Self = Self(0x40);
    /// Congestion was answered.
    pub const CWR: Self = Self(0x80);

    /// All of `flags` are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// In Hubble's order.
const NAMES: [(TcpFlags, &str); 8] = [
    (TcpFlags::SYN, "SYN"),
    (TcpFlags::ACK, "ACK"),
    (TcpFlags::RST, "RST"),
    (TcpFlags::FIN, "FIN"),
    (TcpFlags::PSH, "PSH"),
    (TcpFlags::URG, "URG"),
    (TcpFlags::ECE, "ECE"),
    (TcpFlags::CWR, "CWR"),
];

impl fmt::Display for TcpFlags {
    /// `SYN, ACK`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (flag, name) in NAMES {
            if self.has(flag) {
                write!(f, "{separator}{name}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_syn_reads_syn_ack() {
        assert_eq!(TcpFlags(0x12).to_string(), "SYN, ACK");
        assert_eq!(TcpFlags(0x19).to_string(), "ACK, FIN, PSH");
    }
}
