//! Our `.proto` text against the published descriptors of Tetragon and Cilium: every name and number that we have is
//! theirs. `e2e/programs/descriptors` prints theirs; its output is cached as `target/cache/descriptors.json`.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, env, fs, path::Path, process::Command, sync::LazyLock, time::SystemTime};

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};
use serde::Deserialize;

/// Fields with this number and above are our own extensions of their messages, in which nothing of theirs comes near.
const OWN_FIELDS: i32 = 500_000;

/// Messages, enums, and their members that no published Go module has yet. They are those of Tetragon's main branch, 1.8, in
/// https://github.com/cilium/tetragon/blob/4fbfe2d74ecb84acf79ed09a416f01b54185e8a6/api/v1/tetragon/sensors.proto.
const BEYOND_PUBLISHED: &[&str] = &[
    "tetragon.AddTracingPolicyRequest.domain",
    "tetragon.ConfigureTracingPolicyRequest.domain",
    "tetragon.DeleteTracingPolicyRequest.domain",
    "tetragon.DisableTracingPolicyRequest.domain",
    "tetragon.EnableTracingPolicyRequest.domain",
    "tetragon.FineGuidanceSensors.ListDomains",
    "tetragon.HookState",
    "tetragon.HookStatus",
    "tetragon.ListDomainsRequest",
    "tetragon.ListDomainsResponse",
    "tetragon.ListTracingPoliciesRequest.domain",
    "tetragon.TracingPolicyActionCounters.nopost",
    "tetragon.TracingPolicySelectorActionCounters",
    "tetragon.TracingPolicyState.TP_STATE_PARTIALLY_ENABLED",
    "tetragon.TracingPolicyState.TP_STATE_SKIPPED",
    "tetragon.TracingPolicyStats.selector_action_counters",
    "tetragon.TracingPolicyStatus.domain",
    "tetragon.TracingPolicyStatus.hook_statuses",
];

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Descriptors {
    messages: BTreeMap<String, Vec<Field>>,
    enums: BTreeMap<String, Vec<Value>>,
    services: BTreeMap<String, Vec<Method>>,
}

/// A member of a message, of an enum or of a service.
trait Member: PartialEq + std::fmt::Debug {
    fn name(&self) -> &str;
}

impl Member for Field {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Member for Value {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Member for Method {
    fn name(&self) -> &str {
        &self.name
    }
}

#[derive(Debug, PartialEq, Deserialize)]
struct Field {
    name: String,
    number: i32,
    r#type: String,
    cardinality: String,
    oneof: String,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Value {
    name: String,
    number: i32,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Method {
    name: String,
    input: String,
    output: String,
    client_streaming: bool,
    server_streaming: bool,
}

impl Descriptors {
    fn ours() -> Self {
        let set = FileDescriptorSet::decode(trilobite_api::DESCRIPTORS).unwrap();
        let mut descriptors = Self::default();
        for file in &set.file {
            let package = file.package();
            if package.starts_with("google") || package.starts_with("trilobite") {
                continue;
            }
            file.message_type.iter().for_each(|message| descriptors.add_message(package, message));
            file.enum_type.iter().for_each(|one| descriptors.add_enum(package, one));
            for service in &file.service {
                descriptors.services.insert(format!("{package}.{}", service.name()), methods(service));
            }
        }
        descriptors
    }

    fn add_message(&mut self, within: &str, message: &DescriptorProto) {
        let name = format!("{within}.{}", message.name());
        message.nested_type.iter().for_each(|nested| self.add_message(&name, nested));
        message.enum_type.iter().for_each(|nested| self.add_enum(&name, nested));
        let fields = message.field.iter().filter(|field| field.number() < OWN_FIELDS);
        self.messages.insert(name, fields.map(|field| Field::new(field, message)).collect());
    }

    fn add_enum(&mut self, within: &str, one: &EnumDescriptorProto) {
        let value = |name: &str, number| Value { name: name.to_owned(), number };
        let values = one.value.iter().map(|it| value(it.name(), it.number())).collect();
        self.enums.insert(format!("{within}.{}", one.name()), values);
    }
}

impl Field {
    fn new(field: &FieldDescriptorProto, within: &DescriptorProto) -> Self {
        let r#type = match field.r#type() {
            Type::Message | Type::Enum => plain(field.type_name()),
            scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
        };
        let cardinality = match field.label() {
            Label::Repeated => "repeated",
            _ if field.proto3_optional() => "explicit",
            _ => "optional",
        };
        let oneof = field.oneof_index.filter(|_| !field.proto3_optional());
        let oneof = oneof.map(|at| within.oneof_decl[usize::try_from(at).unwrap()].name().to_owned());
        Self {
            name: field.name().to_owned(),
            number: field.number(),
            r#type,
            cardinality: cardinality.to_owned(),
            oneof: oneof.unwrap_or_default(),
        }
    }
}

fn methods(service: &ServiceDescriptorProto) -> Vec<Method> {
    let method = |method: &prost_types::MethodDescriptorProto| Method {
        name: method.name().to_owned(),
        input: plain(method.input_type()),
        output: plain(method.output_type()),
        client_streaming: method.client_streaming(),
        server_streaming: method.server_streaming(),
    };
    service.method.iter().map(method).collect()
}

fn plain(name: &str) -> String {
    name.trim_start_matches('.').to_owned()
}

static PUBLISHED: LazyLock<Descriptors> = LazyLock::new(published);

/// The Go program is run unless its cached output is newer than the program.
fn published() -> Descriptors {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let printer = root.join("e2e/programs/descriptors");
    let cache = root.join("target/cache");
    let cached = cache.join("descriptors.json");
    // The cached file may be a link to an older file of the shared cache, which was made of the same sources.
    let modified =
        |path: &Path| fs::symlink_metadata(path).and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    if modified(&cached) <= modified(&printer.join("../go.mod")).max(modified(&printer.join("main.go"))) {
        eprintln!("printing the published descriptors: go -C {} run . (a minute)", printer.display());
        let output = Command::new("go").args(["run", "."]).current_dir(&printer).output();
        let output = output.unwrap_or_else(|error| panic!("go, which prints the published descriptors: {error}"));
        assert!(
            output.status.success(),
            "go run . in {}: {}",
            printer.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        fs::create_dir_all(&cache).unwrap();
        let fresh = cached.with_extension("fresh");
        fs::write(&fresh, output.stdout).unwrap();
        fs::rename(fresh, &cached).unwrap();
    }
    serde_json::from_slice(&fs::read(&cached).unwrap()).unwrap()
}

/// Every member of `ours` must be in `theirs`, and in the same order, which is the order of the fields in JSON.
fn differences<T: Member>(ours: &BTreeMap<String, Vec<T>>, theirs: &BTreeMap<String, Vec<T>>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, members) in ours {
        let Some(published) = theirs.get(name) else {
            if !BEYOND_PUBLISHED.contains(&name.as_str()) {
                found.push(format!("{name} is not published"));
            }
            continue;
        };
        let mut rest = published.iter();
        for member in published_members(name, members) {
            if !rest.any(|theirs| theirs == member) {
                found.push(format!("{name}: not published, or not in this order: {member:?}"));
                rest = published.iter();
            }
        }
    }
    found
}

/// Those that the list of what is beyond the published module does not name.
fn published_members<'a, T: Member>(of: &str, members: &'a [T]) -> Vec<&'a T> {
    let is_published = |member: &&T| !BEYOND_PUBLISHED.contains(&format!("{of}.{}", member.name()).as_str());
    members.iter().filter(is_published).collect()
}

#[test]
fn list_of_what_is_not_published_names_our_own_members_only() {
    fn names<T: Member>(of: &BTreeMap<String, Vec<T>>) -> Vec<String> {
        let members = of.iter().flat_map(|(name, list)| list.iter().map(move |it| format!("{name}.{}", it.name())));
        members.chain(of.keys().cloned()).collect()
    }
    let all = |of: &Descriptors| [names(&of.messages), names(&of.enums), names(&of.services)].concat();
    let (ours, theirs) = (all(&Descriptors::ours()), all(&PUBLISHED));
    for name in BEYOND_PUBLISHED {
        assert!(ours.iter().any(|one| one == name), "we have no {name}");
        assert!(!theirs.iter().any(|one| one == name), "{name} is published by now: take it out of the list");
    }
}

#[test]
fn our_protos_agree_with_the_published_ones() {
    let (ours, theirs) = (Descriptors::ours(), &*PUBLISHED);
    let numbers = theirs.messages.values().flatten().map(|field| field.number);
    assert!(numbers.max() < Some(OWN_FIELDS), "their fields reach our own range");
    let found = [
        differences(&ours.messages, &theirs.messages),
        differences(&ours.enums, &theirs.enums),
        differences(&ours.services, &theirs.services),
    ]
    .concat();
    assert!(found.is_empty(), "{}", found.join("\n"));
    let packages: std::collections::BTreeSet<_> =
        ours.messages.keys().filter_map(|name| name.split('.').next()).collect();
    assert!(["flow", "observer", "peer", "relay", "tetragon"].iter().all(|one| packages.contains(one)), "{packages:?}");
}

#[test]
fn events_have_every_published_field() {
    let (ours, theirs) = (Descriptors::ours(), &*PUBLISHED);
    let mut wanted = vec!["tetragon.GetEventsResponse".to_owned(), "tetragon.GetEventsRequest".to_owned()];
    let mut done = 0;
    while let Some(name) = wanted.get(done).cloned() {
        assert_eq!(ours.messages.get(&name), theirs.messages.get(&name), "{name}");
        for field in &theirs.messages[&name] {
            if theirs.messages.contains_key(&field.r#type) && !wanted.contains(&field.r#type) {
                wanted.push(field.r#type.clone());
            }
            if let Some(values) = theirs.enums.get(&field.r#type) {
                assert_eq!(ours.enums.get(&field.r#type), Some(values));
            }
        }
        done += 1;
    }
    let name = "tetragon.FineGuidanceSensors";
    let published: Vec<&Method> = theirs.services[name].iter().collect();
    assert_eq!(published_members(name, &ours.services[name]), published);
}
