//! Each field of a message has a value in some sample, or stands in the documented list of what this agent never sets.

use std::collections::{BTreeMap, BTreeSet};

use prost::{
    Message,
    bytes::Buf,
    encoding::{WireType, decode_key, decode_varint},
};
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};

const DOCS: &str = include_str!("../../../docs/which-fields-are-never-set.md");
/// Left out of names.
const PACKAGES: [&str; 2] = [".tetragon.", ".flow."];

/// All messages of the agent's APIs, by their full name.
struct Messages(BTreeMap<String, DescriptorProto>);

impl Messages {
    fn new() -> Self {
        fn add(within: &str, message: &DescriptorProto, to: &mut BTreeMap<String, DescriptorProto>) {
            let name = format!("{within}.{}", message.name());
            message.nested_type.iter().for_each(|nested| add(&name, nested, to));
            to.insert(name, message.clone());
        }
        let set = FileDescriptorSet::decode(trilobite_api::DESCRIPTORS).unwrap();
        let mut messages = BTreeMap::new();
        for file in &set.file {
            file.message_type.iter().for_each(|message| add(&format!(".{}", file.package()), message, &mut messages));
        }
        Self(messages)
    }

    /// `Message.field` of every field that can be reached from a message, and has no message of ours below it.
    fn reachable(&self, name: &str, fields: &mut BTreeSet<String>, seen: &mut BTreeSet<String>) {
        if !seen.insert(name.to_owned()) {
            return;
        }
        // Our own extensions are not Tetragon's.
        for field in self.0[name].field.iter().filter(|field| field.number() < 500_000) {
            match field.r#type() {
                Type::Message if self.0.contains_key(field.type_name()) && !self.is_map(field.type_name()) => {
                    self.reachable(field.type_name(), fields, seen);
                }
                _ => drop(fields.insert(label(name, field.name()))),
            }
        }
    }

    fn is_map(&self, name: &str) -> bool {
        self.0[name].options.as_ref().is_some_and(|options| options.map_entry())
    }

    /// The same of the fields that are set in an encoded message.
    fn set(&self, name: &str, mut bytes: &[u8], fields: &mut BTreeSet<String>) {
        while bytes.has_remaining() {
            let (number, kind) = decode_key(&mut bytes).unwrap();
            let length = match kind {
                WireType::Varint => {
                    decode_varint(&mut bytes).unwrap();
                    0
                }
                WireType::SixtyFourBit => 8,
                WireType::ThirtyTwoBit => 4,
                WireType::LengthDelimited => decode_varint(&mut bytes).unwrap() as usize,
                other => panic!("{other:?}"),
            };
            let value;
            (value, bytes) = bytes.split_at(length);
            let field = self.0[name].field.iter().find(|field| field.number() == number as i32).unwrap();
            match field.r#type() {
                Type::Message if self.0.contains_key(field.type_name()) && !self.is_map(field.type_name()) => {
                    self.set(field.type_name(), value, fields);
                }
                _ => drop(fields.insert(label(name, field.name()))),
            }
        }
    }
}

fn label(message: &str, field: &str) -> String {
    let message = PACKAGES.iter().find_map(|package| message.strip_prefix(package)).unwrap_or(message);
    format!("{message}.{field}")
}

/// `samples` are encoded messages by the name of their type; `title` is that of the documented list.
pub(super) fn assert_set_or_documented(title: &str, samples: &[(&str, Vec<Vec<u8>>)]) {
    let messages = Messages::new();
    let (mut reachable, mut set) = (BTreeSet::new(), BTreeSet::new());
    let mut seen = BTreeSet::new();
    for (name, samples) in samples {
        messages.reachable(name, &mut reachable, &mut seen);
        samples.iter().for_each(|bytes| messages.set(name, bytes, &mut set));
    }
    let list = DOCS.lines().skip_while(|line| *line != title).skip(1).take_while(|line| !line.starts_with('#'));
    let documented: BTreeSet<String> =
        list.filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(field, _)| field.to_owned()).collect();
    let unset: BTreeSet<String> = reachable.difference(&set).cloned().collect();
    assert_eq!(unset.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "not in the docs");
    assert_eq!(documented.difference(&unset).collect::<Vec<_>>(), Vec::<&String>::new(), "set after all, or unknown");
}
