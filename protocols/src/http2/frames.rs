//! Frames (RFC 9113, 4 and 6): their headers, and whether bytes are a chain of them.

/// Bytes of a frame's header.
pub(super) const HEADER_BYTES: usize = 9;

/// What a client sends first (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest frame that is believed where nothing says that one begins.
const SEARCHED_MAX: usize = 4 << 20;

/// Bytes that are waited for until a chain of frames has shown itself.
const CHAIN_BYTES_MAX: usize = 64 << 10;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    ResetStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// Of an extension, e.g. ALTSVC, PRIORITY_UPDATE.
    Other,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    flags: u8,
    pub(super) stream: u32,
    /// Bytes behind the header.
    pub(super) length: usize,
}

impl Frame {
    /// The header that `bytes` begin with.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let [high, middle, low, kind, flags, stream @ ..] = *bytes.first_chunk::<HEADER_BYTES>()?;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::ResetStream,
            4 => Kind::Settings,
            5 => Kind::PushPromise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            _ => Kind::Other,
        };
        let length = u32::from_be_bytes([0, high, middle, low]);
        Some(Self {
            kind,
            flags,
            // The highest bit is reserved and ignored.
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
            length: usize::try_from(length).unwrap_or(usize::MAX),
        })
    }

    /// Bytes of the frame.
    pub(super) fn total(self) -> usize {
        HEADER_BYTES + self.length
    }

    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.flags & END_STREAM != 0
    }

    pub(super) fn ends_headers(self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// Its first byte says how many bytes of padding it ends with.
    pub(super) fn is_padded(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers | Kind::PushPromise) && self.flags & PADDED != 0
    }

    /// Bytes in front of the block of fields, without the one of the padding.
    pub(super) fn before_block(self) -> usize {
        match self.kind {
            Kind::Headers if self.flags & PRIORITY != 0 => 5,
            Kind::PushPromise => 4,
            _ => 0,
        }
    }

    /// Whether length and stream are those that the kind has.
    pub(super) fn is_plausible(self) -> bool {
        let least = usize::from(self.is_padded()) + self.before_block();
        let (on_stream, length_fits) = match self.kind {
            Kind::Data | Kind::Headers | Kind::PushPromise => (true, self.length >= least),
            Kind::Continuation => (true, true),
            Kind::Priority => (true, self.length == 5),
            Kind::ResetStream => (true, self.length == 4),
            Kind::Settings => (false, self.length.is_multiple_of(6) && (self.flags & 1 == 0 || self.length == 0)),
            Kind::Ping => (false, self.length == 8),
            Kind::GoAway => (false, self.length >= 8),
            Kind::WindowUpdate => return self.length == 4,
            Kind::Other => return true,
        };
        length_fits && on_stream == (self.stream != 0)
    }

    /// The same where nothing says that a frame begins: only kinds and flags that are defined.
    pub(super) fn is_convincing(self) -> bool {
        let defined = match self.kind {
            Kind::Data => END_STREAM | PADDED,
            Kind::Headers => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            Kind::PushPromise => END_HEADERS | PADDED,
            Kind::Settings | Kind::Ping => 1,
            Kind::Priority | Kind::ResetStream | Kind::GoAway | Kind::WindowUpdate => 0,
            // A connection cannot be joined in the middle of a block.
            Kind::Continuation | Kind::Other => return false,
        };
        self.is_plausible() && self.flags & !defined == 0 && self.length <= SEARCHED_MAX
    }
}

/// Whether bytes at which nothing says that a frame begins are frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// Whole frames up to the end, or more than one header.
    Frames,
    /// They may be the beginning of one.
    NeedMore,
    None,
}

/// Judges the bytes that a call begins with.
pub(super) fn chain(bytes: &[u8]) -> Chain {
    let (mut at, mut headers) = (0, 0);
    while headers < 3 {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(frame) = Frame::read(rest) else { break };
        // Blocks in several frames are rare: what follows the first one is not a frame that a chain can go on with.
        let is_last = !frame.ends_headers() && matches!(frame.kind, Kind::Headers | Kind::PushPromise);
        if !frame.is_convincing() || is_last {
            return Chain::None;
        }
        headers += 1;
        at += frame.total();
    }
    match headers {
        1 if at == bytes.len() => Chain::Frames,
        2.. => Chain::Frames,
        _ if bytes.len() >= CHAIN_BYTES_MAX => Chain::None,
        1 => Chain::NeedMore,
        // No message begins with more zeros than a frame of 64 KiB.
        _ if bytes.first().is_none_or(|high| *high == 0) => Chain::NeedMore,
        _ => Chain::None,
    }
}

#[cfg(test)]
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_whose_stream_or_length_is_wrong_are_not_plausible() {
        let plausible = |bytes: &[u8]| Frame::read(bytes).unwrap().is_plausible();
        assert!(plausible(&frame(0, 0, 1, b"")) && !plausible(&frame(0, 0, 0, b"")));
        assert!(plausible(&frame(6, 0, 0, &[0; 8])) && !plausible(&frame(6, 0, 0, &[0; 7])));
        assert!(plausible(&frame(4, 0, 0, &[0; 12])) && !plausible(&frame(4, 1, 0, &[0; 6])));
        assert!(plausible(&frame(1, 0x28, 3, &[0; 6])) && !plausible(&frame(1, 0x28, 3, &[0; 5])));
        assert!(plausible(&frame(8, 0, 0, &[0; 4])) && plausible(&frame(8, 0, 9, &[0; 4])));
        assert!(plausible(&frame(0x10, 0, 0, b"extension")));
    }

    #[test]
    fn chains_need_a_whole_frame_or_two_headers() {
        let ping = frame(6, 0, 0, &[0; 8]);
        let data = frame(0, 1, 3, &[7; 100]);
        assert_eq!(chain(&ping), Chain::Frames);
        assert_eq!(chain(&data[..50]), Chain::NeedMore);
        assert_eq!(chain(&[&ping[..], &data[..50]].concat()), Chain::Frames);
        assert_eq!(chain(&[&data[..], b"text"].concat()), Chain::NeedMore);
        assert_eq!(chain(&[&data[..], b"text that is no frame"].concat()), Chain::None);
        assert_eq!(chain(b"GET / HTTP/1.1\r\n\r\n"), Chain::None);
        assert_eq!(chain(&[0; 64]), Chain::None);
        assert_eq!(chain(&frame(0x10, 0, 1, b"extension")), Chain::None);
    }
}
