//! What of a connection's bytes may be kept on a disk: frames, and blocks of fields without the values that are redacted; of content
//! what rows keep, and the prefixes of gRPC's messages.

use std::ops::Range;

use super::block::joined;
use super::hpack::Literal;
use super::huffman;
use super::redaction::Redaction;
use crate::mask::fill;

/// What the parser has understood last.
#[derive(Debug, Default)]
pub(super) enum Taken {
    /// Nothing of it is shown.
    #[default]
    Nothing,
    /// So many bytes that frame what follows.
    Frame(usize),
    /// A part of a content, of which the first bytes are shown.
    Content {
        shown: usize,
        prefixes: Vec<Range<usize>>,
    },
    Block(BlockMask),
}

/// A block in its frames.
#[derive(Debug)]
pub(super) struct BlockMask {
    /// Where its parts are.
    pub(super) fragments: Vec<Range<usize>>,
    pub(super) literals: Vec<Literal>,
    pub(super) is_grpc: bool,
}

/// Overwrites what rows do not show.
pub(super) fn mask(taken: &Taken, bytes: &mut [u8], redaction: &Redaction) {
    match taken {
        Taken::Nothing => fill(bytes),
        Taken::Frame(length) => fill(bytes.get_mut(*length..).unwrap_or_default()),
        Taken::Content { shown, prefixes } => {
            let mut from = *shown;
            for prefix in prefixes.iter().filter(|prefix| prefix.end > *shown) {
                fill(bytes.get_mut(from..prefix.start.max(from)).unwrap_or_default());
                from = prefix.end;
            }
            fill(bytes.get_mut(from..).unwrap_or_default());
        }
        Taken::Block(block) => block.mask(bytes, redaction),
    }
}

impl BlockMask {
    fn mask(&self, frames: &mut [u8], redaction: &Redaction) {
        let mut block = joined(frames, &self.fragments);
        for literal in &self.literals {
            let Some(value) = block.get_mut(literal.bytes.clone()) else { continue };
            let hidden = |text: &[u8]| redaction.hidden(literal.name.as_deref(), text, self.is_grpc);
            if literal.is_huffman {
                let mut text = Vec::new();
                let _ = huffman::decode(value, |symbol| text.push(symbol));
                huffman::mask(value, &hidden(&text));
            } else {
                hidden(value).into_iter().for_each(|hidden| fill(value.get_mut(hidden).unwrap_or_default()));
            }
        }
        // Priorities and paddings stand between the parts: a padding may have anything in it.
        let mut rest = block.as_slice();
        for (number, fragment) in self.fragments.iter().enumerate() {
            let Some(place) = frames.get_mut(fragment.clone()) else { return };
            let (part, behind) = rest.split_at(place.len().min(rest.len()));
            place.copy_from_slice(part);
            rest = behind;
            // A CONTINUATION frame has no padding: only the first frame's is overwritten.
            let end = self
                .fragments
                .get(1)
                .map_or(frames.len(), |next| next.start.saturating_sub(super::frames::HEADER_BYTES));
            if number == 0 {
                fill(frames.get_mut(fragment.end..end).unwrap_or_default());
            }
        }
    }
}
