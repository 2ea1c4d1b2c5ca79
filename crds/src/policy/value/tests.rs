//! Texts of values, in every spelling.

use super::*;

#[test]
fn numbers_have_prefixes_and_signs() {
    for (text, expected) in [
        ("0", Some(0)),
        ("8", Some(8)),
        ("-1", Some(-1)),
        ("+7", Some(7)),
        ("0x1F", Some(31)),
        ("0X1f", Some(31)),
        ("-0x10", Some(-16)),
        ("010", Some(8)),
        ("0o17", Some(15)),
        ("0b101", Some(5)),
        (" 42 ", Some(42)),
        ("18446744073709551615", Some(i128::from(u64::MAX))),
        ("-9223372036854775808", Some(i128::from(i64::MIN))),
        ("18446744073709551616", None),
        ("-9223372036854775809", None),
        ("", None),
        ("-", None),
        ("0x", None),
        ("09", None),
        ("1e3", None),
        ("--1", None),
        ("+-1", None),
        ("é", None),
        ("é:1", None),
    ] {
        assert_eq!(number(text), expected, "{text}");
    }
}

#[test]
fn ranges_have_both_ends_in_any_order() {
    assert_eq!(range("1:8"), Some(NumberRange { min: 1, max: 8 }));
    assert_eq!(range("8:1"), range("1:8"));
    assert_eq!(range("-5:5"), Some(NumberRange { min: -5, max: 5 }));
    assert_eq!(range("7"), Some(NumberRange::one(7)));
    assert_eq!([":", "1:", ":1", "1:2:3", "a:b"].map(range), [None; 5]);
}

#[test]
fn names_of_the_network_have_prefixes_or_not() {
    let one = |number| Some(NumberRange::one(number));
    assert_eq!(["IPPROTO_TCP", "tcp", "6", "6:6"].map(protocol), [one(6); 4]);
    assert_eq!(["AF_INET6", "inet6", "10"].map(family), [one(10); 3]);
    assert_eq!(["TCP_SYN_RECV", "syn_recv", "3"].map(tcp_state), [one(3); 3]);
    assert_eq!([protocol("TCPX"), family("AF_"), tcp_state(""), protocol("70000"), protocol("é")], [None; 5]);
    assert_eq!(["0", "65535"].map(port_range), [0, 65535].map(one));
    assert_eq!(["65536", "-1", "http"].map(port_range), [None; 3]);
}

#[test]
fn networks_contain_addresses_of_their_family() {
    let contains = |network: &str, address: &str| Cidr::parse(network).unwrap().contains(&address.parse().unwrap());
    assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
    assert!(contains("10.1.2.3/8", "10.9.9.9"), "the other bits do not matter");
    assert!(contains("0.0.0.0/0", "255.0.0.1") && !contains("0.0.0.0/0", "::1"));
    assert!(contains("127.0.0.1", "127.0.0.1") && !contains("127.0.0.1", "127.0.0.2"));
    assert!(contains("::/0", "fd00::1") && contains("fd00::/8", "fd12::1") && !contains("fd00::/8", "fe80::1"));
    for bad in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "::/129", "localhost", "1.2.3.4/8/8"] {
        assert_eq!(Cidr::parse(bad), None, "{bad}");
    }
}

#[test]
fn capabilities_have_the_numbers_of_the_kernel() {
    assert_eq!(CAPABILITY_NAMES.len(), 41);
    for (name, number) in [("CAP_CHOWN", 0), ("cap_net_admin", 12), (" CAP_SYS_ADMIN ", 21), ("CAP_BPF", 39)] {
        assert_eq!(capability(name), Some(number), "{name}");
    }
    assert_eq!(capability_mask("CAP_CHOWN, CAP_SYS_ADMIN"), Some(1 | 1 << 21));
    assert_eq!(capability_mask("0x1ffffffffff"), Some((1 << 41) - 1));
    assert_eq!(["", "CAP_", "-1", "CAP_CHOWN,"].map(capability_mask), [None; 4]);
}

#[test]
fn file_types_have_two_names() {
    for pair in
        [("sock", "socket"), ("lnk", "link"), ("reg", "regular"), ("blk", "block"), ("chr", "char"), ("fifo", "pipe")]
    {
        assert!(file_type(pair.0).is_some() && file_type(pair.0) == file_type(pair.1), "{pair:?}");
        assert_eq!(file_type(pair.0).map(|bits| bits & !FILE_TYPE_BITS), Some(0));
    }
    assert_eq!((file_type("dir"), file_type("file")), (Some(0o040_000), None));
}
