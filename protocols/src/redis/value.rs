//! Reads one side's values (RESP2 and RESP3, inline commands) piece by piece. Of each value its type, its size and the
//! beginnings of its first strings are kept, never a whole large string.

use crate::Times;

/// Strings and numbers of a value that are kept, and bytes of each.
const LEAVES_MAX: usize = 64;
const LEAF_BYTES: usize = 256;
/// Bytes kept of all strings of a value.
const VALUE_BYTES: usize = 4096;
/// Bytes kept of a line; errors are the longest.
const LINE_KEPT: usize = 512;
/// A longer line is none of Redis.
const LINE_MAX: u64 = 64 << 10;
/// Redis's own limit is 7.
const DEPTH_MAX: usize = 32;
/// Longest string that Redis can be set to accept, and most elements.
const STRING_MAX: u64 = 4 << 30;
const ELEMENTS_MAX: u64 = 1 << 32;

/// Type of an inline command; all others are the first byte of their line.
pub(super) const INLINE: u8 = b'I';

/// A string, number or the like: its type, its beginning and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) kind: u8,
    pub(super) text: Vec<u8>,
    pub(super) length: u64,
    pub(super) is_null: bool,
}

/// A whole value of the wire: a command or a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// Type of the outermost value.
    pub(super) kind: u8,
    /// Its elements; none: null, or not known before its end.
    pub(super) count: Option<u64>,
    pub(super) is_null: bool,
    /// The first strings and numbers in it, at any depth.
    pub(super) leaves: Vec<Leaf>,
    /// All of them.
    pub(super) leaf_count: u64,
    /// An error is among them.
    pub(super) has_error: bool,
    /// Bytes on the wire.
    pub(super) length: u64,
    pub(super) at: Times,
}

/// What the decoder has taken last.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece {
    Line {
        kind: u8,
        /// Its first byte is there.
        is_first: bool,
        /// Its end is there.
        is_last: bool,
    },
    /// A part of a string: so many bytes of text from an offset on, and of the line end behind it.
    String { kind: u8, from: u64, text: usize },
}

impl Default for Piece {
    fn default() -> Self {
        Self::Line { kind: 0, is_first: false, is_last: false }
    }
}

pub(super) enum Decoded {
    /// So many bytes are a part of a value.
    Part(usize),
    /// So many bytes end a value.
    Value(usize, Value),
    /// This is no value.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Elements(u64),
    /// What describes the value behind it is no element.
    Attribute(u64),
    /// `*?`: elements up to `.`
    StreamedElements,
    /// `$?`: pieces up to `;0`
    StreamedString,
}

#[derive(Debug)]
enum State {
    Line,
    /// Bytes of a string that are left, with its two last.
    String {
        left: u64,
        is_piece: bool,
    },
}

#[derive(Debug)]
pub(super) struct Decoder {
    /// Commands are arrays of strings, or lines.
    commands: bool,
    leaf_bytes: usize,
    state: State,
    line: Vec<u8>,
    line_length: u64,
    open: Vec<Open>,
    value: Option<Value>,
    kept: usize,
    /// Bytes of the string that is read are missing: what follows is not its beginning.
    has_gap: bool,
    /// What `decode` has taken last.
    pub(super) piece: Piece,
}

impl Decoder {
    /// `payload_bytes`: more of each string is kept.
    pub(super) fn new(commands: bool, payload_bytes: usize) -> Self {
        Self {
            commands,
            leaf_bytes: LEAF_BYTES.max(payload_bytes.min(VALUE_BYTES)),
            state: State::Line,
            line: Vec::new(),
            line_length: 0,
            open: Vec::new(),
            value: None,
            kept: 0,
            has_gap: false,
            piece: Piece::default(),
        }
    }

    /// The next byte begins a value.
    pub(super) fn reset(&mut self) {
        self.state = State::Line;
        self.line.clear();
        self.line_length = 0;
        self.open.clear();
        self.value = None;
        self.kept = 0;
    }

    pub(super) fn memory(&self) -> usize {
        let leaves = self.value.as_ref().map_or(0, |value| value.leaves.capacity() * size_of::<Leaf>());
        self.line.capacity() + self.open.capacity() * size_of::<Open>() + self.kept + leaves
    }

    /// The value that is being read.
    pub(super) fn unfinished(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    /// Decodes up to the end of a line or string.
    pub(super) fn decode(&mut self, bytes: &[u8], at: Times) -> Decoded {
        let taken = match self.state {
            State::Line => self.take_line(bytes, at),
            State::String { .. } => self.take_string(bytes, at),
        };
        match taken {
            None => Decoded::Broken,
            Some((taken, false)) => Decoded::Part(taken),
            Some((taken, true)) => match self.value.take() {
                Some(value) => {
                    self.reset();
                    Decoded::Value(taken, value)
                }
                None => Decoded::Part(taken),
            },
        }
    }

    /// So many bytes are missing. Gives the value that ends in the gap; `false`: the next value must be searched for.
    pub(super) fn gap(&mut self, bytes: u64, at: Times) -> (Option<Value>, bool) {
        let State::String { left, is_piece } = &mut self.state else { return (None, false) };
        if bytes > *left {
            return (None, false);
        }
        *left -= bytes;
        if let Some(value) = &mut self.value {
            value.length += bytes;
            value.at.last = at.last;
        }
        self.has_gap = true;
        if *left > 0 {
            return (None, true);
        }
        let is_piece = *is_piece;
        self.state = State::Line;
        if !is_piece && self.end_element() {
            let value = self.value.take();
            self.reset();
            return (value, true);
        }
        (None, true)
    }

    /// The bytes taken, and whether the value has ended; none: broken.
    fn take_line(&mut self, bytes: &[u8], at: Times) -> Option<(usize, bool)> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        let is_first = self.line_length == 0;
        let room = LINE_KEPT.saturating_sub(self.line.len()).min(taken);
        self.line.extend_from_slice(bytes.get(..room)?);
        self.line_length += taken as u64;
        let value = self.value.get_or_insert_with(|| Value {
            kind: 0,
            count: None,
            is_null: false,
            leaves: Vec::new(),
            leaf_count: 0,
            has_error: false,
            length: 0,
            at,
        });
        value.length += taken as u64;
        value.at.last = at.last;
        let kind = self.line.first().copied().unwrap_or_default();
        let is_inline = self.commands && self.open.is_empty() && kind != b'*';
        self.piece = Piece::Line { kind: if is_inline { INLINE } else { kind }, is_first, is_last: end.is_some() };
        if end.is_none() {
            return (self.line_length <= LINE_MAX && self.may_be_line()).then_some((taken, false));
        }
        let mut line = std::mem::take(&mut self.line);
        let length = std::mem::take(&mut self.line_length);
        let ended = self.read_line(&line, length);
        line.clear();
        self.line = line;
        Some((taken, ended?))
    }

    /// Lengths and numbers are short; the first byte is a type.
    fn may_be_line(&self) -> bool {
        match self.line.first() {
            Some(b'+' | b'-' | b',' | b'(') => true,
            Some(b'$' | b'*' | b':' | b'_' | b'#' | b'!' | b'=' | b'%' | b'~' | b'>' | b'|' | b';' | b'.') => {
                self.line_length <= 32
            }
            Some(_) => self.commands && self.open.is_empty(),
            None => true,
        }
    }

    fn read_line(&mut self, line: &[u8], length: u64) -> Option<bool> {
        let is_inline = self.commands && self.open.is_empty() && line.first() != Some(&b'*');
        let text = match line {
            [text @ .., b'\r', b'\n'] => text,
            [text @ .., b'\n'] if is_inline => text,
            // A long line of which the end is not kept.
            text if length > text.len() as u64 => text,
            _ => return None,
        };
        if is_inline {
            return self.read_inline(text);
        }
        let [kind, rest @ ..] = text else { return None };
        if self.open.last() == Some(&Open::StreamedString) && *kind != b';' {
            return None;
        }
        if self.commands && !matches!((self.open.len(), kind), (0, b'*') | (1, b'$')) {
            return None;
        }
        self.begin_value(*kind);
        match kind {
            b'+' | b'-' | b',' | b'(' => self.push_scalar(*kind, rest, length - 3),
            b':' if is_number(rest) => self.push_scalar(*kind, rest, rest.len() as u64),
            b'#' if matches!(rest, b"t" | b"f") => self.push_scalar(*kind, rest, 1),
            b'_' if rest.is_empty() => self.push_null(*kind),
            b'$' | b'=' | b'!' => self.begin_string(*kind, rest),
            b';' if self.open.last() == Some(&Open::StreamedString) => self.begin_piece(rest),
            b'*' | b'~' | b'>' | b'%' | b'|' => self.begin_elements(*kind, rest),
            b'.' if rest.is_empty() && self.open.last() == Some(&Open::StreamedElements) => {
                self.open.pop();
                Some(self.end_element())
            }
            _ => None,
        }
    }

    /// The outermost value's type; an attribute stands before it.
    fn begin_value(&mut self, kind: u8) {
        if let Some(value) = &mut self.value
            && self.open.is_empty()
            && kind != b'|'
        {
            value.kind = kind;
        }
    }

    fn read_inline(&mut self, text: &[u8]) -> Option<bool> {
        // An empty line is no command.
        if text.iter().all(u8::is_ascii_whitespace) {
            self.value = None;
            return Some(false);
        }
        if let Some(value) = &mut self.value {
            value.kind = INLINE;
        }
        for word in text.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty()) {
            self.push_leaf(b'$', word, word.len() as u64, false);
        }
        Some(true)
    }

    fn push_scalar(&mut self, kind: u8, text: &[u8], length: u64) -> Option<bool> {
        self.push_leaf(kind, text, length, false);
        Some(self.end_element())
    }

    fn push_null(&mut self, kind: u8) -> Option<bool> {
        if let Some(value) = &mut self.value {
            value.is_null |= self.open.is_empty();
        }
        self.push_leaf(kind, b"", 0, true);
        Some(self.end_element())
    }

    fn push_leaf(&mut self, kind: u8, text: &[u8], length: u64, is_null: bool) {
        let room = self.leaf_bytes.max(if matches!(kind, b'-' | b'!') { LINE_KEPT } else { 0 });
        let room = room.min(VALUE_BYTES.saturating_sub(self.kept));
        self.has_gap = false;
        let Some(value) = &mut self.value else { return };
        value.leaf_count += 1;
        value.has_error |= matches!(kind, b'-' | b'!');
        if value.leaves.len() < LEAVES_MAX {
            let text = text.get(..text.len().min(room)).unwrap_or_default().to_vec();
            self.kept += text.len();
            value.leaves.push(Leaf { kind, text, length, is_null });
        }
    }

    fn begin_string(&mut self, kind: u8, rest: &[u8]) -> Option<bool> {
        match rest {
            b"-1" if !self.commands => self.push_null(kind),
            b"?" if !self.commands => {
                self.push_leaf(kind, b"", 0, false);
                self.open(Open::StreamedString)
            }
            _ => {
                let length = parse_length(rest, STRING_MAX)?;
                self.push_leaf(kind, b"", length, false);
                self.state = State::String { left: length + 2, is_piece: false };
                Some(false)
            }
        }
    }

    fn begin_piece(&mut self, rest: &[u8]) -> Option<bool> {
        let length = parse_length(rest, STRING_MAX)?;
        if length == 0 {
            self.open.pop();
            return Some(self.end_element());
        }
        if let Some(leaf) = self.last_leaf() {
            leaf.length += length;
        }
        self.state = State::String { left: length + 2, is_piece: true };
        Some(false)
    }

    fn begin_elements(&mut self, kind: u8, rest: &[u8]) -> Option<bool> {
        let is_outermost = self.open.is_empty();
        match rest {
            b"-1" if kind == b'*' && !self.commands => return self.push_null(kind),
            // An empty command is none.
            b"-1" if self.commands => {
                self.value = None;
                return Some(false);
            }
            b"?" if !self.commands && kind != b'|' => return self.open(Open::StreamedElements),
            _ => {}
        }
        let count = parse_length(rest, ELEMENTS_MAX)?;
        if let Some(value) = &mut self.value
            && is_outermost
            && kind != b'|'
        {
            value.count = Some(count);
        }
        match (kind, count) {
            (_, 0) if self.commands => {
                self.value = None;
                Some(false)
            }
            (b'|', 0) => Some(false),
            (_, 0) => Some(self.end_element()),
            (b'|', count) => self.open(Open::Attribute(count * 2)),
            (b'%', count) => self.open(Open::Elements(count * 2)),
            (_, count) => self.open(Open::Elements(count)),
        }
    }

    fn open(&mut self, open: Open) -> Option<bool> {
        if self.open.len() >= DEPTH_MAX {
            return None;
        }
        self.open.push(open);
        Some(false)
    }

    /// An element has ended, and with it what it was the last of. Whether the outermost value has.
    fn end_element(&mut self) -> bool {
        loop {
            match self.open.last_mut() {
                None => return true,
                Some(Open::Elements(left)) => {
                    *left -= 1;
                    if *left > 0 {
                        return false;
                    }
                    self.open.pop();
                }
                Some(Open::Attribute(left)) => {
                    *left -= 1;
                    if *left == 0 {
                        self.open.pop();
                    }
                    return false;
                }
                Some(Open::StreamedElements | Open::StreamedString) => return false,
            }
        }
    }

    fn last_leaf(&mut self) -> Option<&mut Leaf> {
        let value = self.value.as_mut()?;
        // Beyond the bound the last leaf is not kept.
        if value.leaf_count > LEAVES_MAX as u64 { None } else { value.leaves.last_mut() }
    }

    fn take_string(&mut self, bytes: &[u8], at: Times) -> Option<(usize, bool)> {
        let State::String { left, is_piece } = self.state else { return None };
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let text = bytes.get(..taken.min(usize::try_from(left.saturating_sub(2)).unwrap_or(usize::MAX)))?;
        let before = self.value.as_ref().and_then(|value| value.leaves.last());
        self.piece = Piece::String {
            kind: before.map_or(b'$', |leaf| leaf.kind),
            from: before.map_or(0, |leaf| (leaf.length + 2).saturating_sub(left)),
            text: text.len(),
        };
        let room = VALUE_BYTES.saturating_sub(self.kept);
        let (leaf_bytes, has_gap) = (self.leaf_bytes, self.has_gap);
        let kept = match self.last_leaf() {
            Some(leaf) if !has_gap => {
                let room = room.min(leaf_bytes.saturating_sub(leaf.text.len())).min(text.len());
                leaf.text.extend_from_slice(text.get(..room).unwrap_or_default());
                room
            }
            _ => 0,
        };
        self.kept += kept;
        if let Some(value) = &mut self.value {
            value.length += taken as u64;
            value.at.last = at.last;
        }
        let left = left - taken as u64;
        if left == 1 && bytes.get(taken - 1) != Some(&b'\r') {
            return None;
        }
        if left > 0 {
            self.state = State::String { left, is_piece };
            return Some((taken, false));
        }
        self.state = State::Line;
        if !bytes.get(..taken)?.ends_with(if taken == 1 { b"\n" } else { b"\r\n" }) {
            return None;
        }
        Some((taken, !is_piece && self.end_element()))
    }
}

fn is_number(digits: &[u8]) -> bool {
    let digits = match digits {
        [b'-' | b'+', digits @ ..] => digits,
        digits => digits,
    };
    (1..=20).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
}

fn parse_length(digits: &[u8], max: u64) -> Option<u64> {
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|length| *length <= max)
}

#[cfg(test)]
mod tests;
