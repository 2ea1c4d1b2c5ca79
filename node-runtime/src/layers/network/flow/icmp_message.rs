//! Names of ICMP messages, as Hubble's summaries and metrics have them.

/// `EchoRequest`, `DestinationUnreachable(Port)`; the numbers of a message without a name.
pub fn icmp_message(v6: bool, kind: u8, code: u8) -> String {
    let (name, codes) = if v6 { message_v6(kind) } else { message_v4(kind) };
    match (name, codes.get(usize::from(code))) {
        ("", _) => format!("{kind}({code})"),
        (name, Some(code)) => format!("{name}({code})"),
        (name, None) if codes.is_empty() && code == 0 => name.to_owned(),
        (name, None) => format!("{name}(Code: {code})"),
    }
}

/// The message and its codes from 0 on: RFC 792, 950, 1122, 1256, 1812.
fn message_v4(kind: u8) -> (&'static str, &'static [&'static str]) {
    match kind {
        0 => ("EchoReply", &[]),
        3 => (
            "DestinationUnreachable",
            &[
                "Net",
                "Host",
                "Protocol",
                "Port",
                "FragmentationNeeded",
                "SourceRoutingFailed",
                "NetUnknown",
                "HostUnknown",
                "SourceIsolated",
                "NetAdminProhibited",
                "HostAdminProhibited",
                "NetTOS",
                "HostTOS",
                "CommAdminProhibited",
                "HostPrecedence",
                "PrecedenceCutoff",
            ],
        ),
        4 => ("SourceQuench", &[]),
        5 => ("Redirect", &["Net", "Host", "TOS+Net", "TOS+Host"]),
        8 => ("EchoRequest", &[]),
        9 => ("RouterAdvertisement", &[]),
        10 => ("RouterSolicitation", &[]),
        11 => ("TimeExceeded", &["TTLExceeded", "FragmentReassemblyTimeExceeded"]),
        12 => ("ParameterProblem", &["PointerIndicatesError", "MissingOption", "BadLength"]),
        13 => ("TimestampRequest", &[]),
        14 => ("TimestampReply", &[]),
        15 => ("InfoRequest", &[]),
        16 => ("InfoReply", &[]),
        17 => ("AddressMaskRequest", &[]),
        18 => ("AddressMaskReply", &[]),
        _ => ("", &[]),
    }
}

/// As `message_v4`: RFC 4443, 4861.
fn message_v6(kind: u8) -> (&'static str, &'static [&'static str]) {
    match kind {
        1 => (
            "DestinationUnreachable",
            &[
                "NoRouteToDst",
                "AdminProhibited",
                "BeyondScopeOfSrc",
                "AddressUnreachable",
                "PortUnreachable",
                "SrcAddressFailedPolicy",
                "RejectRouteToDst",
            ],
        ),
        2 => ("PacketTooBig", &[]),
        3 => ("TimeExceeded", &["HopLimitExceeded", "FragmentReassemblyTimeExceeded"]),
        4 => ("ParameterProblem", &["ErroneousHeaderField", "UnrecognizedNextHeader", "UnrecognizedIPv6Option"]),
        128 => ("EchoRequest", &[]),
        129 => ("EchoReply", &[]),
        133 => ("RouterSolicitation", &[]),
        134 => ("RouterAdvertisement", &[]),
        135 => ("NeighborSolicitation", &[]),
        136 => ("NeighborAdvertisement", &[]),
        137 => ("Redirect", &[]),
        _ => ("", &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_has_its_name_and_code() {
        for (v6, kind, code, expected) in [
            (false, 8, 0, "EchoRequest"),
            (false, 8, 7, "EchoRequest(Code: 7)"),
            (false, 3, 3, "DestinationUnreachable(Port)"),
            (false, 3, 99, "DestinationUnreachable(Code: 99)"),
            (true, 1, 4, "DestinationUnreachable(PortUnreachable)"),
            (true, 128, 0, "EchoRequest"),
            (false, 128, 2, "128(2)"),
            (true, 8, 0, "8(0)"),
        ] {
            assert_eq!(icmp_message(v6, kind, code), expected);
        }
    }
}
