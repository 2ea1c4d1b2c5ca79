//! Our `.proto` text against the published descriptors of Tetragon and Cilium: all that we have is theirs, name by name and
//! number by number. `e2e/clients/descriptors` prints theirs; the answer is kept as `$TRILOBITE_CACHE/descriptors.json`.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::SystemTime,
};

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};
use serde::Deserialize;

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Dump {
    messages: BTreeMap<String, Vec<Field>>,
    enums: BTreeMap<String, Vec<Value>>,
    services: BTreeMap<String, Vec<Method>>,
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

impl Dump {
    fn ours() -> Self {
        let set = FileDescriptorSet::decode(&include_bytes!(env!("TRILOBITE_DESCRIPTORS"))[..]).unwrap();
        let mut dump = Self::default();
        for file in &set.file {
            let package = file.package();
            if package.starts_with("google") || package.starts_with("trilobite") {
                continue;
            }
            file.message_type.iter().for_each(|message| dump.message(package, message));
            file.enum_type.iter().for_each(|one| dump.one_enum(package, one));
            for service in &file.service {
                dump.services.insert(format!("{package}.{}", service.name()), methods(service));
            }
        }
        dump
    }

    fn message(&mut self, within: &str, message: &DescriptorProto) {
        let name = format!("{within}.{}", message.name());
        message.nested_type.iter().for_each(|nested| self.message(&name, nested));
        message.enum_type.iter().for_each(|nested| self.one_enum(&name, nested));
        self.messages.insert(name, message.field.iter().map(|field| Field::of(field, message)).collect());
    }

    fn one_enum(&mut self, within: &str, one: &EnumDescriptorProto) {
        let value = |name: &str, number| Value { name: name.to_owned(), number };
        let values = one.value.iter().map(|it| value(it.name(), it.number())).collect();
        self.enums.insert(format!("{within}.{}", one.name()), values);
    }
}

impl Field {
    fn of(field: &FieldDescriptorProto, within: &DescriptorProto) -> Self {
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

static PUBLISHED: LazyLock<Dump> = LazyLock::new(published);

/// Printed by the Go program, unless that was done since it last changed.
fn published() -> Dump {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let printer = root.join("e2e/clients/descriptors");
    let cache = env::var_os("TRILOBITE_CACHE").map_or_else(|| root.join("target/cache"), PathBuf::from);
    let kept = cache.join("descriptors.json");
    let changed = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    if changed(&kept) <= changed(&printer.join("go.mod")).max(changed(&printer.join("main.go"))) {
        eprintln!("printing the published descriptors: go -C {} run . (a minute)", printer.display());
        let run = Command::new("go").args(["run", "."]).current_dir(&printer).output();
        let output = run.unwrap_or_else(|error| panic!("go, which prints the published descriptors: {error}"));
        assert!(
            output.status.success(),
            "go run . in {}: {}",
            printer.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        fs::create_dir_all(&cache).unwrap();
        let fresh = kept.with_extension("fresh");
        fs::write(&fresh, output.stdout).unwrap();
        fs::rename(fresh, &kept).unwrap();
    }
    serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap()
}

/// Every member of `ours` in `theirs`, and in the same order: it is the order of the fields in JSON.
fn differences<T: PartialEq + std::fmt::Debug>(
    ours: &BTreeMap<String, Vec<T>>,
    theirs: &BTreeMap<String, Vec<T>>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (name, members) in ours {
        let Some(published) = theirs.get(name) else {
            found.push(format!("{name} is not theirs"));
            continue;
        };
        let mut rest = published.iter();
        for member in members {
            if !rest.any(|theirs| theirs == member) {
                found.push(format!("{name}: not theirs, or not in this order: {member:?}"));
                rest = published.iter();
            }
        }
    }
    found
}

#[test]
fn all_that_our_protos_say_is_what_is_published() {
    let (ours, theirs) = (Dump::ours(), &*PUBLISHED);
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
fn events_have_every_field_that_is_published() {
    let (ours, theirs) = (Dump::ours(), &*PUBLISHED);
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
    assert_eq!(ours.services["tetragon.FineGuidanceSensors"], theirs.services["tetragon.FineGuidanceSensors"]);
}
