//! What server and client agree about before the first command.

use super::signs::LOGIN_BYTES;
use super::wire::{le16, le32, text_of};

const COMPRESS: u32 = 1 << 5;
const SSL: u32 = 1 << 11;
const DEPRECATE_EOF: u32 = 1 << 24;
const ZSTD_COMPRESSION: u32 = 1 << 26;

/// Bytes of a greeting behind the version: thread, a part of the salt, a zero, flags, character set, status, more flags.
const THREAD_AND_SALT: usize = 4 + 8 + 1;

/// The server's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    capabilities: u32,
    /// Flags of the session.
    pub(super) status: u16,
}

impl Greeting {
    /// From a payload that begins with the protocol's number.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let version = text_of(body.get(1..)?).len();
        let flags = body.get(1 + version + 1 + THREAD_AND_SALT..)?;
        let (low, high) = (le16(flags, 0)?, le16(flags, 5).unwrap_or(0));
        Some(Self { capabilities: u32::from(high) << 16 | u32::from(low), status: le16(flags, 3).unwrap_or(0) })
    }

    /// Bytes of the payload with the salt, which is a part of what passwords are checked by.
    pub(super) fn salt(body: &[u8]) -> [std::ops::Range<usize>; 2] {
        let version = text_of(body.get(1..).unwrap_or_default()).len();
        let behind = 1 + version + 1;
        let end = behind + THREAD_AND_SALT + 18;
        [behind..behind + THREAD_AND_SALT - 1, end.min(body.len())..body.len()]
    }
}

/// What a client's first packet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Login {
    capabilities: u32,
    /// The packet ends behind its flags: TLS follows.
    pub(super) asks_for_tls: bool,
}

impl Login {
    pub(super) fn parse(body: &[u8], length: u64) -> Option<Self> {
        let capabilities = le32(body, 0)?;
        let asks_for_tls = length == LOGIN_BYTES as u64 && capabilities & SSL != 0;
        Some(Self { capabilities, asks_for_tls })
    }

    /// Both want the packets compressed. Behind a request for TLS the greeting is not seen: the client has read it.
    pub(super) fn is_compressed(&self, greeting: Option<Greeting>) -> bool {
        let both = |flag| self.capabilities & greeting.map_or(u32::MAX, |greeting| greeting.capabilities) & flag != 0;
        both(COMPRESS) || both(ZSTD_COMPRESSION)
    }

    /// Whether descriptions of columns end without a packet of their own; none: not known.
    pub(super) fn ends_without_eof(&self, greeting: Option<Greeting>) -> Option<bool> {
        let server = greeting?.capabilities;
        Some(self.capabilities & server & DEPRECATE_EOF != 0)
    }
}
