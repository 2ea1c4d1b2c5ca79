//! The table of messages, fields and enums that the build writes from the `.proto` files: the name of each field and
//! its JSON form.

/// A message that has a JSON form here.
pub trait JsonMessage: prost::Message {
    /// Index of the message in the table.
    const MESSAGE: u16;
}

/// A range of the one text that holds all names, each as `,"name":`: start and length.
#[derive(Clone, Copy)]
pub(crate) struct Name(u16, u16);

/// Cardinality of a field.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Singular,
    Repeated,
    /// By the type of the key.
    Map(Scalar),
}

/// Types that are not messages.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "the .proto files decide which of them occur")]
pub(crate) enum Scalar {
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

/// Type of a field; messages and enums by their index in the table.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "the .proto files decide which of them occur")]
pub(crate) enum Kind {
    Scalar(Scalar),
    Wrapper(Scalar),
    Enum(u16),
    Message(u16),
    Timestamp,
    Duration,
    Any,
}

pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) name: Name,
    pub(crate) shape: Shape,
    pub(crate) kind: Kind,
}

include!(concat!(env!("OUT_DIR"), "/json_table.rs"));

impl Name {
    /// As the key of a member: `,"name":`.
    pub(crate) fn key(self) -> &'static [u8] {
        &NAMES[usize::from(self.0)..usize::from(self.0 + self.1)]
    }

    /// As a value: `"name"`.
    pub(crate) fn value(self) -> &'static [u8] {
        &NAMES[usize::from(self.0 + 1)..usize::from(self.0 + self.1 - 1)]
    }

    pub(crate) fn text(self) -> &'static [u8] {
        &NAMES[usize::from(self.0 + 2)..usize::from(self.0 + self.1 - 2)]
    }
}

/// The fields of a message, in the order of the `.proto` text.
pub(crate) fn fields(message: u16) -> &'static [Field] {
    let (start, count) = MESSAGES[usize::from(message)];
    &FIELDS[usize::from(start)..usize::from(start + count)]
}

/// The name of an enum's value; none where this version of the interface has no such value.
pub(crate) fn enum_value(index: u16, number: i32) -> Option<Name> {
    let (start, count) = ENUMS[usize::from(index)];
    let values = &VALUES[usize::from(start)..usize::from(start + count)];
    // Most enums count from zero.
    let at_number = usize::try_from(number).ok().and_then(|at| values.get(at)).filter(|(known, _)| *known == number);
    at_number.or_else(|| values.iter().find(|(known, _)| *known == number)).map(|(_, name)| *name)
}

/// The number of an enum's value; none where this version of the interface has no value of this name.
pub(crate) fn enum_number(index: u16, name: &str) -> Option<i32> {
    let (start, count) = ENUMS[usize::from(index)];
    let values = &VALUES[usize::from(start)..usize::from(start + count)];
    values.iter().find(|(_, known)| known.text() == name.as_bytes()).map(|(number, _)| *number)
}

/// The number of the field that a path's segment names, as in the `.proto` text or in camel case, and the index of its
/// message if it is one.
pub(crate) fn field(message: u16, segment: &str) -> Option<(u32, Option<u16>)> {
    let normalized =
        |name: &[u8]| -> Vec<u8> { name.iter().filter(|byte| **byte != b'_').map(u8::to_ascii_lowercase).collect() };
    let wanted = normalized(segment.as_bytes());
    let found = fields(message).iter().find(|field| normalized(field.name.text()) == wanted)?;
    let inner = match (found.shape, found.kind) {
        (Shape::Singular | Shape::Repeated, Kind::Message(inner)) => Some(inner),
        _ => None,
    };
    Some((found.number, inner))
}
