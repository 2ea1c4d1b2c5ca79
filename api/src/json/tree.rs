//! Messages as trees with every field of the `.proto` text, set or not: what an expression over a message sees.

use super::{
    JsonMessage, MAX_DEPTH,
    scalar::low_half,
    table::{self, Kind, Scalar, Shape},
    time,
    wire::{self, Fields, Value},
};

/// A value of a message. Unset fields have their default; an unset wrapper is null.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Tree {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    /// Also times and durations, as protojson prints them.
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
    Message(Vec<(&'static str, Tree)>),
}

/// One field of `message` by its name; none if the message has no such field.
pub fn member<M: JsonMessage>(message: &M, name: &str) -> Option<Tree> {
    let field = table::fields(M::MESSAGE).iter().find(|field| field.name.text() == name.as_bytes())?;
    Some(field_tree(field, &message.encode_to_vec(), MAX_DEPTH))
}

fn message_tree(message: u16, encoded: &[u8], depth: u8) -> Tree {
    if depth == 0 {
        return Tree::Null;
    }
    let member = |field: &table::Field| {
        let name = std::str::from_utf8(field.name.text()).unwrap_or_default();
        (name, field_tree(field, encoded, depth - 1))
    };
    Tree::Message(table::fields(message).iter().map(member).collect())
}

fn field_tree(field: &table::Field, encoded: &[u8], depth: u8) -> Tree {
    let mut present = Fields(encoded).filter(|(number, _)| *number == field.number).map(|(_, value)| value);
    match field.shape {
        Shape::Singular => value_tree(field.kind, present.last(), depth),
        Shape::Repeated => Tree::List(present.flat_map(|value| elements(field.kind, value, depth)).collect()),
        Shape::Map(key) => Tree::Map(
            present
                .by_ref()
                .map(|entry| {
                    let member = |number| Fields(entry.bytes()).last_of(number);
                    (scalar_tree(key, member(1)), value_tree(field.kind, member(2), depth))
                })
                .collect(),
        ),
    }
}

/// One, or as many as are packed into it.
fn elements(kind: Kind, value: Value<'_>, depth: u8) -> Vec<Tree> {
    let mut packed = value.bytes();
    let is_number = match kind {
        Kind::Enum(_) => true,
        Kind::Scalar(scalar) => !matches!(scalar, Scalar::String | Scalar::Bytes | Scalar::Double | Scalar::Float),
        _ => false,
    };
    if !is_number || !matches!(value, Value::Bytes(_)) {
        return vec![value_tree(kind, Some(value), depth)];
    }
    let mut numbers = Vec::new();
    while let Some(number) = wire::split_varint(&mut packed) {
        numbers.push(value_tree(kind, Some(Value::Varint(number)), depth));
    }
    numbers
}

fn value_tree(kind: Kind, value: Option<Value<'_>>, depth: u8) -> Tree {
    let bytes = value.map(|value| value.bytes()).unwrap_or_default();
    match kind {
        Kind::Scalar(scalar) => scalar_tree(scalar, value),
        Kind::Wrapper(_) if value.is_none() => Tree::Null,
        Kind::Wrapper(scalar) => scalar_tree(scalar, Fields(bytes).last_of(1)),
        Kind::Enum(_) => Tree::Int(low_half(value.map(|value| value.number()).unwrap_or_default()).into()),
        Kind::Message(message) => message_tree(message, bytes, depth),
        Kind::Timestamp => json_text(bytes, time::append_timestamp),
        Kind::Duration => json_text(bytes, time::append_duration),
        Kind::Any => Tree::Null,
    }
}

fn json_text(bytes: &[u8], append: fn(&[u8], &mut Vec<u8>)) -> Tree {
    let mut text = Vec::new();
    append(bytes, &mut text);
    Tree::Text(String::from_utf8_lossy(&text).trim_matches('"').to_owned())
}

fn scalar_tree(scalar: Scalar, value: Option<Value<'_>>) -> Tree {
    let (number, bytes) = value.map(|value| (value.number(), value.bytes())).unwrap_or_default();
    match scalar {
        Scalar::Bool => Tree::Bool(number != 0),
        Scalar::Int32 => Tree::Int(low_half(number).into()),
        Scalar::Int64 => Tree::Int(number.cast_signed()),
        Scalar::Uint32 => Tree::Uint(number & u64::from(u32::MAX)),
        Scalar::Uint64 => Tree::Uint(number),
        Scalar::Double => Tree::Double(f64::from_bits(number)),
        Scalar::Float => Tree::Double(f32::from_bits(low_half(number).cast_unsigned()).into()),
        Scalar::String => Tree::Text(String::from_utf8_lossy(bytes).into_owned()),
        Scalar::Bytes => Tree::Bytes(bytes.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tetragon as api;

    fn get<'a>(tree: &'a Tree, path: &[&str]) -> &'a Tree {
        path.iter().fold(tree, |tree, name| match tree {
            Tree::Message(members) => &members.iter().find(|(member, _)| member == name).unwrap().1,
            other => panic!("{name} of {other:?}"),
        })
    }

    #[test]
    fn unset_fields_have_their_defaults() {
        let process = api::Process {
            pid: Some(7),
            binary: "/bin/x".into(),
            cap: Some(api::Capabilities { effective: vec![21, 0], ..Default::default() }),
            ..Default::default()
        };
        let exec = api::ProcessExec { process: Some(process), ..Default::default() };
        let event = Some(api::get_events_response::Event::ProcessExec(exec));
        let tree = member(&api::GetEventsResponse { event, ..Default::default() }, "process_exec").unwrap();
        assert_eq!(get(&tree, &["process", "pid"]), &Tree::Uint(7));
        assert_eq!(get(&tree, &["process", "uid"]), &Tree::Null);
        assert_eq!(get(&tree, &["process", "cap", "effective"]), &Tree::List(vec![Tree::Int(21), Tree::Int(0)]));
        assert_eq!(get(&tree, &["process", "pod", "namespace"]), &Tree::Text(String::new()));
        assert_eq!(get(&tree, &["parent", "binary"]), &Tree::Text(String::new()));
        assert_eq!(get(&tree, &["ancestors"]), &Tree::List(Vec::new()));
    }

    #[test]
    fn maps_and_times_are_read() {
        let node_labels = [("zone".to_owned(), "west".to_owned())].into();
        let time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        let event = api::GetEventsResponse { node_labels, time, ..Default::default() };
        let text = |text: &str| Tree::Text(text.into());
        assert_eq!(member(&event, "node_labels"), Some(Tree::Map(vec![(text("zone"), text("west"))])));
        assert_eq!(member(&event, "time"), Some(text("2023-11-14T22:13:20Z")));
        assert_eq!(member(&event, "nothing"), None);
    }
}
