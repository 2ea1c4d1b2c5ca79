//! The table of messages, fields and enums that the build wrote from the `.proto` files: what to call each field, and how
//! to print it.

/// A message that can be printed.
pub trait Printed: prost::Message {
    /// Its place in the table.
    const INDEX: u16;
}

/// A piece of the one string that holds all names: start and length.
#[derive(Clone, Copy)]
pub(in crate::serve) struct Name(u16, u16);

/// How often a field can be there.
#[derive(Clone, Copy)]
pub(in crate::serve) enum Shape {
    One,
    Many,
    Map(Scalar),
}

/// Types that are not messages.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "which of them occur is up to the .proto files")]
pub(in crate::serve) enum Scalar {
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
pub(in crate::serve) enum Kind {
    Scalar(Scalar),
    Wrapper(Scalar),
    Enum(u16),
    Message(u16),
    Timestamp,
    Duration,
    Any,
}

/// One field.
pub(in crate::serve) struct Field {
    pub(in crate::serve) number: u32,
    pub(in crate::serve) name: Name,
    pub(in crate::serve) shape: Shape,
    pub(in crate::serve) kind: Kind,
}

include!(concat!(env!("OUT_DIR"), "/schema.rs"));

impl Name {
    pub(in crate::serve) fn text(self) -> &'static str {
        &NAMES[usize::from(self.0)..usize::from(self.0 + self.1)]
    }
}

/// The fields of a message, in the order of the `.proto` text.
pub(in crate::serve) fn fields(message: u16) -> &'static [Field] {
    let (start, count) = MESSAGES[usize::from(message)];
    &FIELDS[usize::from(start)..usize::from(start + count)]
}

/// The name of an enum's value; none where this version of the interface has no such value.
pub(in crate::serve) fn value_name(of: u16, number: i32) -> Option<&'static str> {
    let (start, count) = ENUMS[usize::from(of)];
    let values = &VALUES[usize::from(start)..usize::from(start + count)];
    values.iter().find(|(known, _)| *known == number).map(|(_, name)| name.text())
}

/// The number and, for a message, its place in the table, of the field that a path's segment names: as in the `.proto`
/// text or in camel case.
pub(in crate::serve) fn field(message: u16, segment: &str) -> Option<(u32, Option<u16>)> {
    let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let found = fields(message).iter().find(|field| plain(field.name.text()) == plain(segment))?;
    let inner = match (found.shape, found.kind) {
        (Shape::One | Shape::Many, Kind::Message(inner)) => Some(inner),
        _ => None,
    };
    Some((found.number, inner))
}
