//! Signs of protocols that have no parser here, so that status can name them.

/// The word for connections that speak TLS.
pub const TLS: &str = "tls";

/// The word for connections of MySQL whose packets are compressed.
pub const COMPRESSED_MYSQL: &str = "compressed mysql";

/// Signs that are believed in the middle of a connection: no part of a body looks like them.
pub(crate) fn is_certain(protocol: &str) -> bool {
    matches!(protocol, TLS | COMPRESSED_MYSQL)
}

/// The protocol that the first bytes of a side, whichever, look like, where it is none of those with a parser. Best effort.
pub fn foreign(first: &[u8]) -> Option<&'static str> {
    SIGNS.iter().find(|(_, is_sign)| is_sign(first)).map(|(name, _)| *name)
}

type Sign = fn(&[u8]) -> bool;

/// The most certain first.
const SIGNS: [(&str, Sign); 10] = [
    (TLS, is_tls_record),
    (COMPRESSED_MYSQL, is_compressed_mysql),
    ("ssh", |first| first.starts_with(b"SSH-")),
    ("amqp", |first| first.starts_with(b"AMQP")),
    ("proxy protocol", |first| first.starts_with(b"PROXY ") || first.starts_with(b"\r\n\r\n\0\r\nQUIT\n")),
    ("nats", |first| first.starts_with(b"INFO {") || first.starts_with(b"CONNECT {")),
    ("mqtt", is_mqtt_connect),
    ("mongodb", is_mongodb),
    ("cql", is_cql),
    ("tds", is_tds_prelogin),
];

fn number<const N: usize>(first: &[u8], at: usize) -> Option<[u8; N]> {
    first.get(at..)?.first_chunk().copied()
}

/// Record type, version 3.x, length (RFC 8446, 5.1).
fn is_tls_record(first: &[u8]) -> bool {
    let [kind, major, minor, high, low] = match number::<5>(first, 0) {
        Some(header) => header,
        None => return false,
    };
    let length = u16::from_be_bytes([high, low]);
    (20..=23).contains(&kind) && major == 3 && minor <= 4 && (1..=16_640).contains(&length)
}

/// CONNECT with the name of its protocol.
fn is_mqtt_connect(first: &[u8]) -> bool {
    first.first() == Some(&0x10)
        && first.get(2..9).is_some_and(|bytes| bytes.windows(6).any(|name| name == b"\0\x04MQTT"))
}

/// A header of seven bytes: length, number, length before compression. Behind it stand zlib's or Zstandard's first bytes, or one
/// command that is too short for them.
fn is_compressed_mysql(first: &[u8]) -> bool {
    let length = |at| number::<3>(first, at).map(|[low, middle, high]| u32::from_le_bytes([low, middle, high, 0]));
    let (Some(compressed), Some(0), Some(whole)) = (length(0), first.get(3), length(4)) else { return false };
    let content = first.get(7..).unwrap_or_default();
    match whole {
        0 => {
            let is_command =
                content.get(4).is_some_and(|command| matches!(command, 0x01..=0x03 | 0x0e | 0x16 | 0x17 | 0x19));
            length(7).is_some_and(|inner| inner + 4 == compressed) && content.get(3) == Some(&0) && is_command
        }
        50.. => content.starts_with(b"\x28\xb5\x2f\xfd") || matches!(content, [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..]),
        _ => false,
    }
}

/// A message's header: length, two ids, and an operation that exists.
fn is_mongodb(first: &[u8]) -> bool {
    let (Some(length), Some(operation)) = (number::<4>(first, 0), number::<4>(first, 12)) else { return false };
    (21..48_000_000).contains(&i32::from_le_bytes(length))
        && matches!(i32::from_le_bytes(operation), 1 | 2004 | 2010 | 2011 | 2012 | 2013)
}

/// STARTUP or OPTIONS of a client, or a server's answer to them.
fn is_cql(first: &[u8]) -> bool {
    let Some([version, _, _, _, operation]) = number::<5>(first, 0) else { return false };
    let Some(length) = number::<4>(first, 5).map(u32::from_be_bytes) else { return false };
    match version {
        3..=5 => matches!((operation, length), (1, 8..=1024) | (5, 0)),
        0x83..=0x85 => matches!((operation, length), (2, 0) | (3 | 6, 4..=65_536)),
        _ => false,
    }
}

/// Pre-login packet of SQL Server's protocol.
fn is_tds_prelogin(first: &[u8]) -> bool {
    let Some([kind, status, high, low, 0, 0, _, 0, 0]) = number::<9>(first, 0) else { return false };
    kind == 0x12 && status == 1 && (16..512).contains(&u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_foreign_protocol_is_named() {
        let mongodb = b"\x3a\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0";
        for (first, name) in [
            (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], "tls"),
            (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "ssh"),
            (b"\x0d\0\0\0\0\0\0\x09\0\0\0\x03SELECT 1", "compressed mysql"),
            (b"\x40\0\0\0\x90\0\0\x78\x9c\x33\x34", "compressed mysql"),
            (b"AMQP\0\0\x09\x01", "amqp"),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 40000 80\r\n", "proxy protocol"),
            (b"INFO {\"server_id\":\"N\"}\r\n", "nats"),
            (b"\x10\x1a\0\x04MQTT\x04\x02\0\x3c\0\x0e", "mqtt"),
            (mongodb, "mongodb"),
            (b"\x04\0\0\0\x05\0\0\0\0", "cql"),
            (b"\x85\0\0\0\x06\0\0\0\x40\0\x02", "cql"),
            (b"\x12\x01\0\x2f\0\0\x01\0\0\0\x1a\0\x06", "tds"),
        ] {
            assert_eq!(foreign(first), Some(name), "{}", first.escape_ascii());
        }
    }

    #[test]
    fn supported_protocols_and_noise_have_no_foreign_name() {
        for first in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\0\0\0\x54\0\x03\0\0user\0postgres\0database\0shop\0\0",
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01",
            b"",
            b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0",
            b"\0\0\0\x17\0\x12\0\x03\0\0\0\x01\0\x09rdkafka-1\0",
            b"\0",
            b"hello, world, this is no protocol",
        ] {
            assert_eq!(foreign(first), None, "{}", first.escape_ascii());
        }
    }
}
