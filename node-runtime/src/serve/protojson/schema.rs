//! The table of messages, fields and enums that the build wrote from the `.proto` files: what to call each field, and how
//! to print it.

/// A message that can be printed.
pub trait Printed: prost::Message {
    /// Its place in the table.
    const INDEX: u16;
}

/// A piece of the one string that holds all names: start and length.
#[derive(Clone, Copy)]
pub(super) struct Name(u16, u16);

/// How often a field can be there.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    One,
    Many,
    Map(Scalar),
}

/// Types that are not messages.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "which of them occur is up to the .proto files")]
pub(super) enum Scalar {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Double,
    Float,
    String,
    Bytes,
}

/// What a field holds; messages and enums by their place in the table.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "which of them occur is up to the .proto files")]
pub(super) enum Kind {
    Scalar(Scalar),
    Wrapper(Scalar),
    Enum(u16),
    Message(u16),
    Timestamp,
    Duration,
}

/// One field.
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: Name,
    pub(super) shape: Shape,
    pub(super) kind: Kind,
}

include!(concat!(env!("OUT_DIR"), "/schema.rs"));

impl Name {
    pub(super) fn text(self) -> &'static str {
        &NAMES[usize::from(self.0)..usize::from(self.0 + self.1)]
    }
}

/// The fields of a message, in the order of the `.proto` text.
pub(super) fn fields(message: u16) -> &'static [Field] {
    let (start, count) = MESSAGES[usize::from(message)];
    &FIELDS[usize::from(start)..usize::from(start + count)]
}

/// The name of an enum's value; none where this version of the interface has no such value.
pub(super) fn value_name(of: u16, number: i32) -> Option<&'static str> {
    let (start, count) = ENUMS[usize::from(of)];
    let values = &VALUES[usize::from(start)..usize::from(start + count)];
    values.iter().find(|(known, _)| *known == number).map(|(_, name)| name.text())
}
