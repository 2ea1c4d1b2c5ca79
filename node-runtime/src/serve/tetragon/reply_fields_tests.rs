//! Each field of a reply has a value in some sample, or stands in the documented list of what this agent never sets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost::{
    Message,
    bytes::Buf,
    encoding::{WireType, decode_key, decode_varint},
};
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};
use tokio::sync::watch;
use trilobite_api::{read_scope::ReadScope, tetragon as api};

use super::{policies, samples};
use crate::layers::security::SecurityEventKind;

const DOCS: &str = include_str!("../../../../docs/which-fields-are-never-set.md");

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

    /// `Message.field` of every field that can be reached from a message, and has no message of Tetragon's below it.
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
    format!("{}.{field}", message.trim_start_matches(".tetragon."))
}

/// Replies with all that they can have.
fn replies() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let encoder = samples::encoder();
    let info = samples::agent_info("v1", watch::channel(Some("a problem".to_owned())).1);
    let request = api::ListTracingPoliciesRequest::default();
    let debug = |flag| info.debug(&api::GetDebugRequest { flag, arg: None }, &encoder).unwrap();
    let process = api::ProcessInternal {
        process: Some(encoder.process_message(&samples::exec().process)),
        ..api::ProcessInternal::default()
    };
    let dump = api::get_debug_response::Arg::Processes(api::DumpProcessCacheResArgs { processes: vec![process] });
    let mut events: Vec<_> = samples::events();
    for event in &mut events {
        let process = Arc::make_mut(&mut event.process.process);
        process.credentials.inheritable = 1;
        if let Some(place) = &mut event.process.pod {
            Arc::make_mut(place).container.as_mut().unwrap().privileged = true;
        }
        event.ancestors = vec![event.process.clone()];
        if let SecurityEventKind::Hook(hook) = &mut event.kind {
            hook.suppressed = 1;
        }
    }
    let now = jiff::Timestamp::UNIX_EPOCH;
    let mut messages: Vec<_> = events.iter().map(|event| encoder.message_with(event, true)).collect();
    messages.push(encoder.rate_limit_info(3, now));
    messages.push(encoder.loss_notice(crate::loss::LossPoint::PolicyRing, 3, now));
    let encoded = |message: &dyn Fn() -> Vec<u8>| vec![message()];
    vec![
        (".tetragon.GetVersionResponse", encoded(&|| info.version().encode_to_vec())),
        (".tetragon.GetInfoResponse", encoded(&|| info.info(&encoder).encode_to_vec())),
        (".tetragon.GetHealthStatusResponse", encoded(&|| info.health(true).encode_to_vec())),
        (
            ".tetragon.GetDebugResponse",
            vec![debug(0).encode_to_vec(), api::GetDebugResponse { flag: 1, arg: Some(dump) }.encode_to_vec()],
        ),
        (
            ".tetragon.ListTracingPoliciesResponse",
            encoded(&|| {
                policies::list_policies(&policies::tests::reports(), &request, &ReadScope::Everything).encode_to_vec()
            }),
        ),
        (".tetragon.GetEventsResponse", messages.iter().map(Message::encode_to_vec).collect()),
    ]
}

#[test]
fn each_field_of_a_reply_is_set_or_documented() {
    let messages = Messages::new();
    let (mut reachable, mut set) = (BTreeSet::new(), BTreeSet::new());
    let mut seen = BTreeSet::new();
    for (name, samples) in replies() {
        messages.reachable(name, &mut reachable, &mut seen);
        samples.iter().for_each(|bytes| messages.set(name, bytes, &mut set));
    }
    let documented: BTreeSet<String> = DOCS
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(field, _)| field.to_owned())
        .collect();
    let unset: BTreeSet<String> = reachable.difference(&set).cloned().collect();
    assert_eq!(unset.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "not in the docs");
    assert_eq!(documented.difference(&unset).collect::<Vec<_>>(), Vec::<&String>::new(), "set after all, or unknown");
}
