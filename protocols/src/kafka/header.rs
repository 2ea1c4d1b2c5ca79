//! Headers of requests and answers, by which a connection is recognised, and a request found after a gap.

use super::api;

/// The longest request that brokers accept by default.
const REQUEST_MAX: i32 = 100 << 20;
/// Length, key, version, correlation id, length of the client's name.
const REQUEST_BYTES: usize = 14;
/// Length and correlation id.
pub(super) const ANSWER_BYTES: usize = 8;
const CLIENT_NAME_MAX: i16 = 1024;

/// The header of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestHeader<'a> {
    pub(super) key: i16,
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) client: &'a [u8],
    /// Bytes of it, with the length before it.
    pub(super) bytes: usize,
    /// Bytes of the request behind it.
    pub(super) body: u64,
}

/// What the bytes of a request begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header<'a> {
    Request(RequestHeader<'a>),
    /// There are too few bytes.
    More,
    No,
}

fn be16(bytes: &[u8], at: usize) -> Option<i16> {
    bytes.get(at..)?.first_chunk().map(|two| i16::from_be_bytes(*two))
}

fn be32(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().map(|four| i32::from_be_bytes(*four))
}

/// The header of the request that begins here.
pub(super) fn request(bytes: &[u8]) -> Header<'_> {
    if bytes.first().is_some_and(|byte| i32::from(*byte) > REQUEST_MAX >> 24) {
        return Header::No;
    }
    let Some(length) = be32(bytes, 0) else { return Header::More };
    if !(10..=REQUEST_MAX).contains(&length) {
        return Header::No;
    }
    let Some(key) = be16(bytes, 4) else { return Header::More };
    let Some(known) = api::of_key(key) else { return Header::No };
    let Some(version) = be16(bytes, 6) else { return Header::More };
    if !(0..=known.latest).contains(&version) {
        return Header::No;
    }
    let (Some(correlation), Some(name)) = (be32(bytes, 8), be16(bytes, 12)) else { return Header::More };
    // -1 stands for no name.
    if !(-1..=CLIENT_NAME_MAX).contains(&name) || i32::from(name) > length - 10 {
        return Header::No;
    }
    let name = usize::try_from(name).unwrap_or_default();
    let client = bytes.get(REQUEST_BYTES..bytes.len().min(REQUEST_BYTES + name)).unwrap_or_default();
    if client.iter().any(|byte| !(b' '..=b'~').contains(byte)) {
        return Header::No;
    }
    if client.len() < name {
        return Header::More;
    }
    let header = REQUEST_BYTES + name;
    Header::Request(RequestHeader {
        key,
        version,
        correlation,
        client,
        bytes: header,
        body: u64::try_from(length).unwrap_or_default().saturating_sub(header as u64 - 4),
    })
}

/// Correlation id of the answer that begins here, and how many bytes stand behind it.
pub(super) fn answer(bytes: &[u8]) -> Option<(i32, u64)> {
    let body = u64::try_from(be32(bytes, 0)?).ok()?.checked_sub(4)?;
    Some((be32(bytes, 4)?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_a_known_key_and_version() {
        let bytes = b"\0\0\0\x17\0\x12\0\x03\0\0\0\x01\0\x09rdkafka-1\0\0\0\0";
        let Header::Request(header) = request(bytes) else { panic!("a request") };
        assert_eq!((header.key, header.version, header.correlation, header.bytes, header.body), (18, 3, 1, 23, 4));
        for end in 0..23 {
            assert_eq!(request(&bytes[..end]), Header::More, "{end}");
        }
        for bytes in [
            &b"\0\0\0\x17\0\x5d\0\x03\0\0\0\x01\0\x09rdkafka-1"[..],
            b"\0\0\0\x17\0\x12\0\x63\0\0\0\x01\0\x09rdkafka-1",
            b"\0\0\0\x17\0\x12\0\x03\0\0\0\x01\0\x0erdkafka-1",
            b"\0\0\0\x17\0\x12\0\x03\0\0\0\x01\0\x09rdka\0ka-1",
            b"GET / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(request(bytes), Header::No, "{}", bytes.escape_ascii());
        }
    }
}
