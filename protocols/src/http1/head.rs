//! Start lines and header fields of HTTP/1 (RFC 9112, 2 to 5), and what they say of the body.

use std::sync::Arc;

use crate::limits::TEXT_MAX;
use crate::redact;

/// Header fields of a message that are kept.
const FIELDS_MAX: usize = 128;

/// Longest method that is believed to be one.
const METHOD_MAX: usize = 24;

/// Methods of RFC 9110, PATCH (RFC 5789) and those of WebDAV and caches: a message that begins with one is HTTP.
pub(super) const METHODS: [&str; 20] = [
    "GET",
    "POST",
    "PUT",
    "HEAD",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "CONNECT",
    "TRACE",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "PURGE",
    "QUERY",
];

#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a [u8],
    pub(super) minor: u8,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatusLine<'a> {
    pub(super) status: u16,
    pub(super) reason: &'a [u8],
}

/// A line without its end.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Finds the end of a line that comes in pieces, without searching a byte twice.
#[derive(Default)]
pub(super) struct LineSearch {
    /// Bytes of the line that were searched.
    scanned: usize,
}

impl LineSearch {
    /// The line that `bytes` begin with, with its end; none: its end has not come.
    pub(super) fn find<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let from = self.scanned.min(bytes.len());
        let found = bytes.get(from..)?.iter().position(|byte| *byte == b'\n');
        self.scanned = if found.is_some() { 0 } else { bytes.len() };
        bytes.get(..from + found? + 1)
    }

    /// The bytes that were searched are consumed without a line's end.
    pub(super) fn reset(&mut self) {
        self.scanned = 0;
    }
}

pub(super) fn request_line(line: &[u8]) -> Option<RequestLine<'_>> {
    let (rest, version) = line.split_at_checked(line.len().checked_sub(9)?)?;
    let minor = match version {
        [b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => minor - b'0',
        _ => return None,
    };
    let space = rest.iter().position(|byte| *byte == b' ')?;
    let (method, target) = (rest.get(..space)?, rest.get(space + 1..)?);
    let is_target = !target.is_empty() && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    let is_method = (1..=METHOD_MAX).contains(&method.len()) && method.iter().copied().all(is_token);
    let method = std::str::from_utf8(method).ok()?;
    (is_method && is_target).then_some(RequestLine { method, target, minor })
}

pub(super) fn status_line(line: &[u8]) -> Option<StatusLine<'_>> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let ([minor, b' ', status @ ..], reason) = (rest.first_chunk::<5>()?, rest.get(5..)?) else { return None };
    let reason = match reason {
        [] => reason,
        [b' ', reason @ ..] => reason,
        _ => return None,
    };
    let number = status
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0')))?;
    (minor.is_ascii_digit() && number >= 100).then_some(StatusLine { status: number, reason })
}

/// Whether bytes without the end of their line may become a request line: a method that is known or in capitals, and a
/// target.
pub(super) fn may_be_request(bytes: &[u8]) -> bool {
    let length = bytes.iter().take_while(|byte| is_token(**byte)).count();
    let method = bytes.get(..length).unwrap_or_default();
    if length > METHOD_MAX || method.iter().any(u8::is_ascii_lowercase) {
        return false;
    }
    match bytes.get(length..).unwrap_or_default() {
        [] | [b' '] => true,
        [b' ', target, ..] => {
            let known = METHODS.iter().any(|known| known.as_bytes() == method);
            matches!(target, b'/' | b'*') || known && *target > b' '
        }
        _ => false,
    }
}

/// Whether bytes begin with a method that is known, or are the beginning of one.
pub(super) fn begins_with_method(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| {
        let length = bytes.len().min(method.len());
        bytes.get(..length) == method.as_bytes().get(..length) && bytes.get(length).is_none_or(|byte| *byte == b' ')
    })
}

/// Whether bytes without the end of their line may become a status line.
pub(super) fn may_be_status(bytes: &[u8]) -> bool {
    let version = b"HTTP/1.";
    let length = bytes.len().min(version.len());
    bytes.get(..length) == version.get(..length)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What frames the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
    /// An answer without length or chunks.
    UntilEnd,
    /// The fields contradict each other: where the message ends is not known.
    Contradicting,
}

/// Header fields of a message: redacted, bounded, and what they mean for its body.
pub(super) struct Headers {
    pub(super) list: Vec<(String, String)>,
    redact: Arc<[String]>,
    kept: usize,
    /// The last field is in `list`, so that a folded line can be added.
    last_is_kept: bool,
    length: Option<u64>,
    contradicting: bool,
    chunked: bool,
    /// Transfer-Encoding is there; without `chunked` as its last the body lasts until the end.
    encoded: bool,
    /// Upgrade names HTTP/2 without encryption.
    to_http2: bool,
    pub(super) content_type: String,
    pub(super) content_encoding: String,
}

impl Headers {
    pub(super) fn new(redact: &Arc<[String]>) -> Self {
        Self {
            list: Vec::new(),
            redact: redact.clone(),
            kept: 0,
            last_is_kept: false,
            length: None,
            contradicting: false,
            chunked: false,
            encoded: false,
            to_http2: false,
            content_type: String::new(),
            content_encoding: String::new(),
        }
    }

    /// A line of the header block, without its end.
    pub(super) fn add_line(&mut self, line: &[u8]) {
        if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            self.add_folded(line);
            return;
        }
        self.last_is_kept = false;
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = line.split_at(colon);
        let name = String::from_utf8_lossy(name.trim_ascii()).into_owned();
        let value = String::from_utf8_lossy(value.get(1..).unwrap_or_default().trim_ascii()).into_owned();
        self.interpret(&name, &value);
        let value = redact::header_value(&name, &value, &self.redact).into_owned();
        let size = name.len() + value.len();
        if self.list.len() < FIELDS_MAX && self.kept + size <= TEXT_MAX {
            self.kept += size;
            self.last_is_kept = true;
            self.list.push((name, value));
        }
    }

    /// A value that goes on in the next line (obsolete; RFC 9112, 5.2).
    fn add_folded(&mut self, line: &[u8]) {
        let more = String::from_utf8_lossy(line.trim_ascii()).into_owned();
        if !self.last_is_kept || self.kept + more.len() + 1 > TEXT_MAX {
            return;
        }
        let Some((name, value)) = self.list.last_mut() else { return };
        if value.contains(redact::REDACTED) {
            // The line may go on with the value that was taken out.
            return;
        }
        let before = value.len();
        let whole = format!("{value} {more}");
        *value = redact::header_value(name, &whole, &self.redact).into_owned();
        self.kept = (self.kept + value.len()).saturating_sub(before);
    }

    fn interpret(&mut self, name: &str, value: &str) {
        if name.eq_ignore_ascii_case("content-length") {
            for value in value.split(',') {
                let value = value.trim();
                let length = value.parse::<u64>().ok().filter(|_| value.bytes().all(|digit| digit.is_ascii_digit()));
                self.contradicting |= length.is_none() || self.length.is_some_and(|known| Some(known) != length);
                self.length = length;
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            self.encoded = true;
            let last = value.rsplit(',').next().unwrap_or_default().trim();
            self.chunked = last.eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("upgrade") {
            self.to_http2 = value.trim().eq_ignore_ascii_case("h2c");
        } else if name.eq_ignore_ascii_case("content-type") {
            self.content_type = value.chars().take(64).collect::<String>().to_ascii_lowercase();
        } else if name.eq_ignore_ascii_case("content-encoding") {
            self.content_encoding = value.chars().take(32).collect::<String>().to_ascii_lowercase();
        }
    }

    pub(super) fn upgrades_to_http2(&self) -> bool {
        self.to_http2
    }

    pub(super) fn request_framing(&self) -> Framing {
        if self.chunked {
            Framing::Chunked
        } else if self.encoded || self.contradicting {
            Framing::Contradicting
        } else {
            self.length.map_or(Framing::None, Framing::Length)
        }
    }

    /// Of an answer that has a body.
    pub(super) fn answer_framing(&self) -> Framing {
        if self.chunked {
            Framing::Chunked
        } else if self.encoded {
            Framing::UntilEnd
        } else if self.contradicting {
            Framing::Contradicting
        } else {
            self.length.map_or(Framing::UntilEnd, Framing::Length)
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.kept + self.list.capacity() * size_of::<(String, String)>() + self.content_type.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines_with_any_token_fit() {
        let line = request_line(b"M-SEARCH * HTTP/1.1").unwrap();
        assert_eq!((line.method, line.target, line.minor), ("M-SEARCH", &b"*"[..], 1));
        assert_eq!(request_line(b"GET http://a/b?c HTTP/1.0").unwrap().target, b"http://a/b?c");
        for not in [
            &b"GET / HTTP/2.0"[..],
            b"GET  HTTP/1.1",
            b" / HTTP/1.1",
            b"GE(T / HTTP/1.1",
            b"GET /a b HTTP/1.1",
            b"GET /",
            b"",
            b"HTTP/1.1 200 OK",
        ] {
            assert_eq!(request_line(not), None, "{}", not.escape_ascii());
        }
    }

    #[test]
    fn status_lines_may_lack_a_reason() {
        assert_eq!(status_line(b"HTTP/1.1 404 Not Found"), Some(StatusLine { status: 404, reason: b"Not Found" }));
        assert_eq!(status_line(b"HTTP/1.0 200"), Some(StatusLine { status: 200, reason: b"" }));
        assert_eq!(status_line(b"HTTP/1.1 200 "), Some(StatusLine { status: 200, reason: b"" }));
        for not in [&b"HTTP/1.1 20"[..], b"HTTP/1.1 2000 OK", b"HTTP/2 200", b"HTTP/1.1 0x1", b"HTTP/1.1 099 a"] {
            assert_eq!(status_line(not), None, "{}", not.escape_ascii());
        }
    }

    #[test]
    fn fields_say_where_the_body_ends() {
        let framing = |lines: &[&str]| {
            let mut headers = Headers::new(&Arc::default());
            lines.iter().for_each(|line| headers.add_line(line.as_bytes()));
            (headers.request_framing(), headers.answer_framing())
        };
        assert_eq!(framing(&[]), (Framing::None, Framing::UntilEnd));
        assert_eq!(framing(&["content-LENGTH: 5"]), (Framing::Length(5), Framing::Length(5)));
        assert_eq!(framing(&["Content-Length: 5, 5"]), (Framing::Length(5), Framing::Length(5)));
        let both = framing(&["Content-Length: 5", "Content-Length: 6"]);
        assert_eq!(both, (Framing::Contradicting, Framing::Contradicting));
        assert_eq!(framing(&["Content-Length: +5"]), (Framing::Contradicting, Framing::Contradicting));
        let chunked = framing(&["Transfer-Encoding: gzip, chunked", "Content-Length: 7"]);
        assert_eq!(chunked, (Framing::Chunked, Framing::Chunked));
        assert_eq!(framing(&["Transfer-Encoding: gzip"]), (Framing::Contradicting, Framing::UntilEnd));
    }

    #[test]
    fn header_block_is_bounded_and_still_interpreted() {
        let mut headers = Headers::new(&Arc::default());
        for number in 0..10_000 {
            headers.add_line(format!("X-{number}: {}", "a".repeat(100)).as_bytes());
            headers.add_line(b"  folded");
        }
        headers.add_line(b"Content-Length: 12");
        assert!(headers.memory() < 3 * TEXT_MAX, "{}", headers.memory());
        assert_eq!(headers.request_framing(), Framing::Length(12));
    }
}
