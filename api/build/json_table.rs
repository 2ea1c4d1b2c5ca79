//! Writes the table by which `json` prints: every message that can be reached from those that are printed, its fields
//! in the order of the `.proto` text. The table holds no pointer, so that it needs no relocation and stays in read-only
//! pages.

use std::{collections::BTreeMap, error::Error, fmt::Write, path::Path};

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Google's messages that have a JSON form of their own.
const WELL_KNOWN: &[(&str, &str)] = &[
    ("google.protobuf.Timestamp", "Timestamp"),
    ("google.protobuf.Duration", "Duration"),
    ("google.protobuf.Any", "Any"),
    ("google.protobuf.BoolValue", "Wrapper(Scalar::Bool)"),
    ("google.protobuf.Int32Value", "Wrapper(Scalar::Int32)"),
    ("google.protobuf.Int64Value", "Wrapper(Scalar::Int64)"),
    ("google.protobuf.UInt32Value", "Wrapper(Scalar::Uint32)"),
    ("google.protobuf.UInt64Value", "Wrapper(Scalar::Uint64)"),
    ("google.protobuf.StringValue", "Wrapper(Scalar::String)"),
    ("google.protobuf.BytesValue", "Wrapper(Scalar::Bytes)"),
];

/// Our own messages have the names of proto3's JSON; those of Tetragon and Hubble the names of the `.proto` text, as their
/// clients print them.
const OWN_PACKAGES: &str = "trilobite.";

#[derive(Default)]
struct Table {
    known: BTreeMap<String, DescriptorProto>,
    known_enums: BTreeMap<String, EnumDescriptorProto>,
    messages: Vec<String>,
    enums: Vec<String>,
    names: String,
}

/// Writes the table for `printed` (full name, Rust type) from an encoded descriptor set to `to`.
pub(crate) fn write(set: &[u8], printed: &[(&str, &str)], to: &Path) -> Result<()> {
    let mut table = Table::default();
    for file in FileDescriptorSet::decode(set)?.file {
        for message in &file.message_type {
            table.add(file.package(), message);
        }
        for one in &file.enum_type {
            table.known_enums.insert(format!("{}.{}", file.package(), one.name()), one.clone());
        }
    }

    let mut text = String::new();
    for (name, rust) in printed {
        let index = table.message(name)?;
        writeln!(text, "impl JsonMessage for crate::{rust} {{ const MESSAGE: u16 = {index}; }}")?;
    }
    let mut fields = String::new();
    let mut messages = String::new();
    let (mut at, mut done) = (0usize, 0usize);
    while let Some(name) = table.messages.get(done).cloned() {
        let message = table.known.get(&name).ok_or(format!("no message {name}"))?.clone();
        let mut count = 0;
        for field in &message.field {
            writeln!(fields, "    {},", table.field(&name, field)?)?;
            count += 1;
        }
        writeln!(messages, "    ({at}, {count}), // {name}")?;
        (at, done) = (at + count, done + 1);
    }
    let mut values = String::new();
    let mut enums = String::new();
    let mut at = 0usize;
    for name in table.enums.clone() {
        let descriptor = table.known_enums.get(&name).ok_or(format!("no enum {name}"))?.clone();
        for value in &descriptor.value {
            writeln!(values, "    ({}, {}),", value.number(), table.name(value.name()))?;
        }
        writeln!(enums, "    ({at}, {}), // {name}", descriptor.value.len())?;
        at += descriptor.value.len();
    }
    u16::try_from(table.names.len())?;
    writeln!(text, "static MESSAGES: &[(u16, u16)] = &[\n{messages}];")?;
    writeln!(text, "static FIELDS: &[Field] = &[\n{fields}];")?;
    writeln!(text, "static ENUMS: &[(u16, u16)] = &[\n{enums}];")?;
    writeln!(text, "static VALUES: &[(i32, Name)] = &[\n{values}];")?;
    writeln!(text, "static NAMES: &[u8] = b{:?};", table.names)?;
    Ok(std::fs::write(to, text)?)
}

impl Table {
    fn add(&mut self, within: &str, message: &DescriptorProto) {
        let name = format!("{within}.{}", message.name());
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        for one in &message.enum_type {
            self.known_enums.insert(format!("{name}.{}", one.name()), one.clone());
        }
        self.known.insert(name, message.clone());
    }

    fn message(&mut self, name: &str) -> Result<usize> {
        if name.starts_with("google.") {
            return Err(format!("{name} has a JSON form of its own, which build/json_table.rs does not know").into());
        }
        Ok(position(&mut self.messages, name))
    }

    /// A name in quotes, with a comma before and a colon behind: all that JSON puts around the key of a member.
    fn name(&mut self, name: &str) -> String {
        let text = format!(",\"{name}\":");
        let at = self.names.find(&text).unwrap_or_else(|| {
            self.names.push_str(&text);
            self.names.len() - text.len()
        });
        format!("Name({at}, {})", text.len())
    }

    fn field(&mut self, message: &str, field: &FieldDescriptorProto) -> Result<String> {
        let entry = self.known.get(field.type_name().trim_start_matches('.')).cloned();
        let map = entry.filter(|entry| entry.options.as_ref().is_some_and(|options| options.map_entry()));
        let (shape, kind) = match map {
            Some(entry) => match &entry.field[..] {
                [key, value] => (format!("Map(Scalar::{})", scalar(key)?), self.kind(value)?),
                _ => return Err(format!("{} is not a map entry", entry.name()).into()),
            },
            None if field.label() == Label::Repeated => ("Repeated".to_owned(), self.kind(field)?),
            None => ("Singular".to_owned(), self.kind(field)?),
        };
        let is_own = message.starts_with(OWN_PACKAGES);
        let name = self.name(if is_own { field.json_name() } else { field.name() });
        Ok(format!("Field {{ number: {}, name: {name}, shape: Shape::{shape}, kind: Kind::{kind} }}", field.number()))
    }

    fn kind(&mut self, field: &FieldDescriptorProto) -> Result<String> {
        let name = field.type_name().trim_start_matches('.');
        Ok(match field.r#type() {
            Type::Message => match WELL_KNOWN.iter().find(|(known, _)| *known == name) {
                Some((_, kind)) => (*kind).to_owned(),
                None => format!("Message({})", self.message(name)?),
            },
            Type::Enum => format!("Enum({})", position(&mut self.enums, name)),
            _ => format!("Scalar(Scalar::{})", scalar(field)?),
        })
    }
}

fn position(list: &mut Vec<String>, name: &str) -> usize {
    list.iter().position(|known| known == name).unwrap_or_else(|| {
        list.push(name.to_owned());
        list.len() - 1
    })
}

fn scalar(field: &FieldDescriptorProto) -> Result<&'static str> {
    Ok(match field.r#type() {
        Type::Bool => "Bool",
        Type::Int32 => "Int32",
        Type::Int64 => "Int64",
        Type::Uint32 => "Uint32",
        Type::Uint64 => "Uint64",
        Type::Double => "Double",
        Type::Float => "Float",
        Type::String => "String",
        Type::Bytes => "Bytes",
        other => return Err(format!("{}: fields of type {other:?} are not supported", field.name()).into()),
    })
}
