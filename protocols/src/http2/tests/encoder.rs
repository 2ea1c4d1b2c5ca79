//! An HPACK encoder and frames, for scripts of tests.

use super::super::frames::{PREFACE, frame};
use super::super::huffman;
use super::super::static_table::STATIC_TABLE;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// One direction's encoder.
#[derive(Clone, Default)]
pub(super) struct Encoder {
    /// The newest first.
    dynamic: Vec<(String, String)>,
    huffman: bool,
}

impl Encoder {
    pub(super) fn new(huffman: bool) -> Self {
        Self { huffman, ..Self::default() }
    }

    pub(super) fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        fields.iter().flat_map(|(name, value)| self.field(name, value)).collect()
    }

    fn field(&mut self, name: &str, value: &str) -> Vec<u8> {
        let known = || {
            let fixed = STATIC_TABLE.iter().map(|(name, value)| (*name, *value));
            fixed.chain(self.dynamic.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        };
        if let Some(index) = known().position(|field| field == (name, value)) {
            return integer(0x80, 7, index + 1);
        }
        let mut bytes = match known().position(|field| field.0 == name) {
            Some(index) => integer(0x40, 6, index + 1),
            None => [vec![0x40], self.text(name)].concat(),
        };
        bytes.extend(self.text(value));
        self.dynamic.insert(0, (name.to_owned(), value.to_owned()));
        let size = |entries: &[(String, String)]| entries.iter().map(|(a, b)| a.len() + b.len() + 32).sum::<usize>();
        while size(&self.dynamic) > 4096 {
            self.dynamic.pop();
        }
        bytes
    }

    pub(super) fn text(&self, text: &str) -> Vec<u8> {
        let (bits, bytes) =
            if self.huffman { (0x80, huffman::encoded(text.as_bytes())) } else { (0, text.as_bytes().to_vec()) };
        [integer(bits, 7, bytes.len()), bytes].concat()
    }

    pub(super) fn headers(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) -> Vec<u8> {
        let block = self.block(fields);
        frame(HEADERS, END_HEADERS | (u8::from(ends) * END_STREAM), stream, &block)
    }
}

pub(super) fn integer(bits: u8, prefix: u32, number: usize) -> Vec<u8> {
    let most = (1usize << prefix) - 1;
    if number < most {
        return vec![bits | number as u8];
    }
    let mut bytes = vec![bits | most as u8];
    let mut rest = number - most;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    bytes.push(rest as u8);
    bytes
}

pub(super) fn data(stream: u32, content: &[u8], ends: bool) -> Vec<u8> {
    frame(DATA, u8::from(ends) * END_STREAM, stream, content)
}

/// The first bytes of a client.
pub(super) fn greeting() -> Vec<u8> {
    [PREFACE, &frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]), &frame(8, 0, 0, &[0, 0xff, 0, 0])].concat()
}

/// The first bytes of a server.
pub(super) fn settings() -> Vec<u8> {
    [frame(4, 0, 0, &[0, 3, 0, 0, 0, 128, 0, 4, 0, 1, 0, 0]), frame(4, 1, 0, b"")].concat()
}

/// A message of gRPC.
pub(super) fn message(content: &[u8]) -> Vec<u8> {
    [&[0][..], &(content.len() as u32).to_be_bytes(), content].concat()
}
