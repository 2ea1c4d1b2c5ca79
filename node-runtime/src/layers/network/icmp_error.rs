//! ICMP messages that answer a packet of a flow: RFC 792, 1812 and 4443.

/// Type and code as in the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IcmpError {
    pub is_v6: bool,
    pub kind: u8,
    pub code: u8,
}

impl IcmpError {
    /// The destination, or a firewall before it, does not want the packet.
    pub fn is_refusal(self) -> bool {
        match (self.is_v6, self.kind) {
            (false, 3) => matches!(self.code, 2 | 3 | 9 | 10 | 13),
            (true, 1) => matches!(self.code, 1 | 4 | 5 | 6),
            _ => false,
        }
    }

    /// In the words of the RFCs.
    pub fn text(self) -> String {
        let known = match (self.is_v6, self.kind, self.code) {
            (false, 3, 0 | 6) | (true, 1, 0) => "network unreachable",
            (false, 3, 1 | 7) | (true, 1, 3) => "host unreachable",
            (false, 3, 2) => "protocol unreachable",
            (false, 3, 3) | (true, 1, 4) => "port unreachable",
            (false, 3, 4) | (true, 2, _) => "packet too big",
            (false, 3, 9 | 10 | 13) | (true, 1, 1) => "administratively prohibited",
            (true, 1, 5) => "source address refused by policy",
            (true, 1, 6) => "route refused by policy",
            (false, 11, 0) | (true, 3, 0) => "time to live exceeded",
            (false, 11, 1) | (true, 3, 1) => "fragment reassembly time exceeded",
            (false, 12, _) | (true, 4, _) => "parameter problem",
            _ => "",
        };
        if known.is_empty() { format!("ICMP type {} code {}", self.kind, self.code) } else { known.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_port_is_a_refusal_and_a_missing_route_is_none() {
        for (is_v6, kind, code, text, is_refusal) in [
            (false, 3, 3, "port unreachable", true),
            (true, 1, 4, "port unreachable", true),
            (false, 3, 13, "administratively prohibited", true),
            (false, 3, 1, "host unreachable", false),
            (true, 2, 0, "packet too big", false),
            (false, 3, 99, "ICMP type 3 code 99", false),
        ] {
            let error = IcmpError { is_v6, kind, code };
            assert_eq!((error.text().as_str(), error.is_refusal()), (text, is_refusal));
        }
    }
}
