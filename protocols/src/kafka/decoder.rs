//! `Decoder`: reads a body as its bytes come, by its schema. Records and whatever else is not shown are passed by their
//! length, so that a message of 100 MB costs nothing.

use std::ops::Range;

use super::body::Body;
use super::schema::{Field, Kind, Schema, What};

/// Bytes of a text that are kept: names of topics have at most 249.
const TEXT_MAX: u64 = 256;
/// A varint has at most five bytes.
const VARINT_BYTES: usize = 5;

/// A struct that is being read: the message, or an element of an array.
#[derive(Clone, Copy, Debug)]
struct Frame {
    fields: &'static [Field],
    next: usize,
    /// Elements that follow this one.
    more: u64,
}

/// A length that is being read, and whose it is.
#[derive(Clone, Copy, Debug)]
enum LengthOf {
    Text(What),
    Bytes(What),
    Ints,
    Array(&'static [Field]),
    /// How many tagged fields follow.
    Tags,
    /// The number of a tagged field, of so many that are left.
    Tag(u64),
    TagSize(u64),
}

#[derive(Debug)]
enum State {
    /// A field begins, or its struct ends.
    Next,
    Number {
        kind: Kind,
        what: What,
    },
    /// A length of two or four bytes.
    Length(LengthOf),
    Varint(LengthOf),
    Text {
        what: What,
        left: u64,
        kept: Vec<u8>,
    },
    /// Bytes of no interest; tagged fields that follow them.
    Pass {
        left: u64,
        tags: u64,
    },
    /// All fields were read.
    Ended,
    /// The bytes are no such message, or some are missing: the rest is of no interest.
    Broken,
}

#[derive(Debug)]
pub(super) struct Decoder {
    version: i16,
    is_flexible: bool,
    is_open: bool,
    stack: Vec<Frame>,
    state: State,
    /// Bytes of a number that has not come whole.
    pending: [u8; 16],
    pending_length: usize,
    pub(super) body: Body,
    /// Parts of the bytes that were read last which are not shown, if that is asked for.
    hidden: Option<Vec<Range<usize>>>,
}

impl Decoder {
    /// Reads a body that stands behind a header. `has_tags`: the header ends with tagged fields if the version is flexible.
    pub(super) fn new(schema: &'static Schema, version: i16, has_tags: bool, masks: bool) -> Self {
        let is_flexible = version >= schema.flexible;
        Self {
            version,
            is_flexible,
            is_open: schema.is_open,
            stack: vec![Frame { fields: schema.fields, next: 0, more: 0 }],
            state: if is_flexible && has_tags { State::Varint(LengthOf::Tags) } else { State::Next },
            pending: [0; 16],
            pending_length: 0,
            body: Body::default(),
            hidden: masks.then(Vec::new),
        }
    }

    /// Reads more of the body.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        if let Some(hidden) = &mut self.hidden {
            hidden.clear();
        }
        let mut at = 0;
        while at < bytes.len() || matches!(self.state, State::Next) {
            let rest = bytes.get(at..).unwrap_or_default();
            match &mut self.state {
                State::Next => self.begin_next(),
                State::Text { left, kept, .. } => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    kept.extend_from_slice(rest.get(..taken).unwrap_or_default());
                    at += taken;
                    self.end_text();
                }
                State::Pass { left, .. } => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    self.hide(at..at + taken);
                    at += taken;
                    self.end_pass();
                }
                State::Number { .. } | State::Length(_) | State::Varint(_) => {
                    at += 1;
                    self.take_byte(rest.first().copied().unwrap_or_default());
                }
                State::Ended | State::Broken => {
                    self.hide(at..bytes.len());
                    if matches!(self.state, State::Ended) && !self.is_open {
                        self.state = State::Broken;
                    }
                    return;
                }
            }
        }
    }

    /// So many bytes are missing. Inside what is passed that does not matter.
    pub(super) fn gap(&mut self, bytes: u64) {
        match &mut self.state {
            State::Pass { left, .. } if bytes <= *left => {
                *left -= bytes;
                self.end_pass();
                // What follows without a byte of its own is read now.
                self.read(&[]);
            }
            State::Ended => {}
            _ => {
                self.state = State::Broken;
                self.body.is_cut = true;
            }
        }
    }

    /// The message has ended: whether all its fields were read. Those of a message with a gap need not be.
    pub(super) fn fits(&self) -> bool {
        matches!(self.state, State::Ended) || self.is_open || self.body.is_cut
    }

    /// Overwrites in the bytes that were read last what is not shown.
    pub(super) fn hidden(&self) -> &[Range<usize>] {
        self.hidden.as_deref().unwrap_or_default()
    }

    pub(super) fn memory(&self) -> usize {
        let text = if let State::Text { kept, .. } = &self.state { kept.capacity() } else { 0 };
        let hidden = self.hidden.as_ref().map_or(0, |hidden| hidden.capacity() * size_of::<Range<usize>>());
        size_of::<Self>() + self.stack.capacity() * size_of::<Frame>() + self.body.size() + text + hidden
    }

    fn hide(&mut self, range: Range<usize>) {
        let Some(hidden) = &mut self.hidden else { return };
        match hidden.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => hidden.push(range),
        }
    }

    fn begin_next(&mut self) {
        let Some(frame) = self.stack.last_mut() else {
            self.state = State::Ended;
            return;
        };
        let field = frame.fields.get(frame.next);
        frame.next += 1;
        let Some(field) = field else {
            if self.is_flexible {
                self.state = State::Varint(LengthOf::Tags);
            } else {
                self.end_struct();
            }
            return;
        };
        if !field.is_in(self.version) {
            return;
        }
        let length = match field.kind {
            Kind::Text => LengthOf::Text(field.what),
            Kind::Bytes => LengthOf::Bytes(field.what),
            Kind::Ints => LengthOf::Ints,
            Kind::Array(fields) => LengthOf::Array(fields),
            kind => {
                self.state = State::Number { kind, what: field.what };
                return;
            }
        };
        self.state = if self.is_flexible { State::Varint(length) } else { State::Length(length) };
    }

    /// The tagged fields of a header or a struct were read, or there are none.
    fn end_struct(&mut self) {
        self.state = State::Next;
        let Some(frame) = self.stack.last_mut() else { return };
        // Behind the header nothing was read of the message.
        if frame.next == 0 {
            return;
        }
        if frame.more > 0 {
            frame.more -= 1;
            frame.next = 0;
            let depth = self.stack.len() - 1;
            self.body.begin_element(depth);
            return self.begin_next();
        }
        self.stack.pop();
    }

    fn take_byte(&mut self, byte: u8) {
        let Some(place) = self.pending.get_mut(self.pending_length) else { return };
        *place = byte;
        self.pending_length += 1;
        match self.state {
            State::Number { kind, what } => {
                let width = match kind {
                    Kind::Int8 => 1,
                    Kind::Int16 => 2,
                    Kind::Int32 => 4,
                    Kind::Int64 => 8,
                    _ => 16,
                };
                if self.pending_length == width {
                    self.end_number(kind, what, width);
                }
            }
            State::Length(of) => {
                let width = if matches!(of, LengthOf::Text(_)) { 2 } else { 4 };
                if self.pending_length == width {
                    let number = self.signed(width);
                    self.pending_length = 0;
                    self.end_length(of, number);
                }
            }
            State::Varint(of) if byte & 0x80 == 0 => {
                let bytes = self.pending.get(..self.pending_length).unwrap_or_default();
                let number = bytes.iter().rev().fold(0_i64, |number, byte| number << 7 | i64::from(byte & 0x7f));
                self.pending_length = 0;
                let is_count = matches!(of, LengthOf::Tags | LengthOf::Tag(_) | LengthOf::TagSize(_));
                // Lengths are written as one more than they are, and 0 is none.
                self.end_length(of, if is_count { number } else { number - 1 });
            }
            State::Varint(_) if self.pending_length >= VARINT_BYTES => self.state = State::Broken,
            _ => {}
        }
    }

    fn signed(&self, width: usize) -> i64 {
        let bytes = self.pending.get(..width).unwrap_or_default();
        let first = bytes.first().copied().unwrap_or_default().cast_signed();
        bytes.iter().skip(1).fold(i64::from(first), |number, byte| number << 8 | i64::from(*byte))
    }

    fn end_number(&mut self, kind: Kind, what: What, width: usize) {
        if let Kind::Uuid = kind {
            if what == What::TopicId {
                self.body.topic_id(self.pending);
            }
        } else {
            self.body.number(what, self.stack.len() - 1, self.signed(width));
        }
        self.pending_length = 0;
        self.state = State::Next;
    }

    fn end_length(&mut self, of: LengthOf, number: i64) {
        let length = u64::try_from(number).ok();
        self.state = match (of, length) {
            (LengthOf::Text(what), None) => {
                self.body.text(what, None);
                State::Next
            }
            (LengthOf::Text(what), Some(left)) if what != What::Other && left <= TEXT_MAX => {
                State::Text { what, left, kept: Vec::new() }
            }
            (LengthOf::Bytes(What::Records), Some(left)) => {
                self.body.records(left);
                State::Pass { left, tags: 0 }
            }
            (LengthOf::Ints, Some(count)) => State::Pass { left: 4 * count, tags: 0 },
            (LengthOf::Text(_) | LengthOf::Bytes(_), Some(left)) => State::Pass { left, tags: 0 },
            (LengthOf::Array(fields), Some(count @ 1..)) => {
                self.stack.push(Frame { fields, next: 0, more: count - 1 });
                self.body.begin_element(self.stack.len() - 1);
                State::Next
            }
            (LengthOf::Bytes(_) | LengthOf::Ints | LengthOf::Array(_), _) => State::Next,
            (LengthOf::Tags, Some(0)) => return self.end_struct(),
            (LengthOf::Tags, Some(count)) => State::Varint(LengthOf::Tag(count)),
            (LengthOf::Tag(left), Some(_)) => State::Varint(LengthOf::TagSize(left)),
            (LengthOf::TagSize(tags), Some(left)) => State::Pass { left, tags },
            (LengthOf::Tags | LengthOf::Tag(_) | LengthOf::TagSize(_), None) => State::Broken,
        };
        match self.state {
            State::Text { left: 0, .. } => self.end_text(),
            State::Pass { left: 0, .. } => self.end_pass(),
            _ => {}
        }
    }

    fn end_text(&mut self) {
        let State::Text { what, left: 0, kept } = &mut self.state else { return };
        let (what, text) = (*what, String::from_utf8_lossy(kept).into_owned());
        self.body.text(what, Some(text));
        self.state = State::Next;
    }

    fn end_pass(&mut self) {
        let State::Pass { left: 0, tags } = self.state else { return };
        match tags {
            0 => self.state = State::Next,
            1 => self.end_struct(),
            more => self.state = State::Varint(LengthOf::Tag(more - 1)),
        }
    }
}
