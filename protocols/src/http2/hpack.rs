//! HPACK (RFC 7541): header blocks decoded, also where the table is not known because its beginning was not seen.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::huffman;
use super::redaction::Redaction;
use super::static_table::STATIC_TABLE;
use crate::limits::{IDLE_CAPACITY, TEXT_MAX};

/// Size of a table until its encoder says otherwise (RFC 9113, 6.5.2).
const DEFAULT_SIZE: usize = 4096;

/// What is kept of a table, whatever size its encoder chooses.
const SIZE_MAX: usize = 64 << 10;

/// What an entry counts beside its texts (RFC 7541, 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// A field of a header block. None: earlier bytes of the connection say it, which were not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Option<Arc<str>>,
    /// Redacted.
    pub(super) value: Option<Arc<str>>,
}

impl Field {
    const UNKNOWN: Self = Self { name: None, value: None };
}

/// A value in a block, for masks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) name: Option<Arc<str>>,
    /// Where its bytes are in the block.
    pub(super) bytes: Range<usize>,
    pub(super) is_huffman: bool,
}

/// The block is none: both ends close such a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

struct Entry {
    field: Field,
    size: usize,
}

/// The dynamic table of a direction: its newest entries, as far as they were seen. Indexes count from the newest one, and what a
/// correct encoder refers to it has not dropped. So an index either leads to an entry that was seen, or to one that was not.
pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    /// None: not known.
    size_max: Option<usize>,
    redaction: Redaction,
}

impl Table {
    pub(super) fn new(mid_stream: bool, redaction: Redaction) -> Self {
        let size_max = (!mid_stream).then_some(DEFAULT_SIZE);
        Self { entries: VecDeque::new(), size: 0, size_max, redaction }
    }

    /// Blocks were missed.
    pub(super) fn forget(&mut self) {
        self.entries = VecDeque::new();
        self.size = 0;
        self.size_max = None;
    }

    pub(super) fn memory(&self) -> usize {
        self.size + self.entries.capacity() * size_of::<Entry>()
    }

    /// Decodes a block; its fields go to `field`, and where its literal values stand to `literals`.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        mut literals: Option<&mut Vec<Literal>>,
        mut field: impl FnMut(Field),
    ) -> Result<(), Broken> {
        let mut block = Block { bytes: block, at: 0 };
        while let Some(first) = block.peek() {
            if first & 0x80 != 0 {
                field(self.indexed(block.integer(7)?)?);
            } else if first & 0xe0 == 0x20 {
                self.resize(block.integer(5)?);
            } else {
                let (prefix, is_added) = if first & 0x40 != 0 { (6, true) } else { (4, false) };
                let (decoded, size) = self.literal(&mut block, prefix, &mut literals)?;
                if is_added {
                    self.add(decoded.clone(), size);
                }
                field(decoded);
            }
        }
        Ok(())
    }

    fn indexed(&self, index: usize) -> Result<Field, Broken> {
        let position = index.checked_sub(1).ok_or(Broken)?;
        if let Some((name, value)) = STATIC_TABLE.get(position) {
            return Ok(Field { name: Some((*name).into()), value: Some((*value).into()) });
        }
        let entry = self.entries.get(position - STATIC_TABLE.len());
        Ok(entry.map_or(Field::UNKNOWN, |entry| entry.field.clone()))
    }

    /// A literal field, and its size in a table.
    fn literal(
        &self,
        block: &mut Block<'_>,
        prefix: u32,
        literals: &mut Option<&mut Vec<Literal>>,
    ) -> Result<(Field, usize), Broken> {
        let (name, name_length) = match block.integer(prefix)? {
            0 => {
                let text = block.text()?;
                (Some(Arc::<str>::from(text.lossy())), text.length)
            }
            index => {
                let name = self.indexed(index)?.name;
                let length = name.as_ref().map_or(0, |name| name.len());
                (name, length)
            }
        };
        let value = block.text()?;
        let shown = self.redaction.shown(name.as_deref(), &value.lossy(), value.length > TEXT_MAX);
        if let Some(literals) = literals {
            literals.push(Literal { name: name.clone(), bytes: value.bytes.clone(), is_huffman: value.is_huffman });
        }
        Ok((Field { name, value: Some(shown.into()) }, name_length + value.length + ENTRY_OVERHEAD))
    }

    /// What is too large for the table empties it (RFC 7541, 4.4). Where the size is not known, what may be too large does: it is
    /// unknown then, whether it was added or not.
    fn add(&mut self, field: Field, size: usize) {
        if size > self.size_max.unwrap_or(DEFAULT_SIZE) {
            self.evict_above(0);
            return;
        }
        self.evict_above(self.size_max.unwrap_or(SIZE_MAX).saturating_sub(size));
        self.size += size;
        self.entries.push_front(Entry { field, size });
    }

    /// The encoder chooses a size below the one that the other end's SETTINGS allow, and says so here: SETTINGS need not be read.
    fn resize(&mut self, size: usize) {
        let size = size.min(SIZE_MAX);
        self.size_max = Some(size);
        self.evict_above(size);
    }

    /// Drops the oldest entries until so much is left.
    fn evict_above(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size -= oldest.size;
        }
        if self.entries.is_empty() {
            self.entries.shrink_to(IDLE_CAPACITY);
        }
    }
}

/// A block that is being read.
struct Block<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A string of a block.
struct Text {
    kept: Vec<u8>,
    length: usize,
    bytes: Range<usize>,
    is_huffman: bool,
}

impl Text {
    fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

impl Block<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, Broken> {
        let byte = self.peek().ok_or(Broken)?;
        self.at += 1;
        Ok(byte)
    }

    /// A number of at most 28 bits (RFC 7541, 5.1).
    fn integer(&mut self, prefix: u32) -> Result<usize, Broken> {
        let most = (1usize << prefix) - 1;
        let mut number = usize::from(self.next()?) & most;
        if number < most {
            return Ok(number);
        }
        for shift in (0..28).step_by(7) {
            let byte = self.next()?;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Broken)
    }

    fn text(&mut self) -> Result<Text, Broken> {
        let is_huffman = self.peek().ok_or(Broken)? & 0x80 != 0;
        let length = self.integer(7)?;
        let bytes = self.at..self.at.saturating_add(length);
        let raw = self.bytes.get(bytes.clone()).ok_or(Broken)?;
        self.at = bytes.end;
        let (mut kept, mut length) = (Vec::new(), raw.len());
        if is_huffman {
            length = 0;
            huffman::decode(raw, |symbol| {
                length += 1;
                if kept.len() < TEXT_MAX {
                    kept.push(symbol);
                }
            })
            .map_err(|huffman::Invalid| Broken)?;
        } else {
            kept.extend_from_slice(raw.get(..TEXT_MAX).unwrap_or(raw));
        }
        Ok(Text { kept, length, bytes, is_huffman })
    }
}
