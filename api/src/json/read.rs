//! Reads the JSON that `append` writes, and what Go's `protojson` writes, back into a message. Unknown members and names of
//! enum values are ignored: they are of a newer version of the interface.

use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use serde_json::{Map, Value as Json};

use super::{
    JsonMessage, MAX_DEPTH,
    table::{self, Kind, Scalar, Shape},
    wire::{Value, append_field},
};

/// A member has a value that its field cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{member}: not {expected}")]
pub struct ReadError {
    member: String,
    expected: &'static str,
}

/// The message of a JSON object.
pub fn read<M: JsonMessage + Default>(json: &Json) -> Result<M, ReadError> {
    let mut encoded = Vec::new();
    object(M::MESSAGE, json, &mut encoded, MAX_DEPTH)?;
    M::decode(encoded.as_slice()).map_err(|_| refused("a message of this type"))
}

fn refused(expected: &'static str) -> ReadError {
    ReadError { member: String::new(), expected }
}

fn object(message: u16, json: &Json, out: &mut Vec<u8>, depth: u8) -> Result<(), ReadError> {
    let members = json.as_object().ok_or_else(|| refused("an object"))?;
    if depth == 0 {
        return Err(refused("so deep"));
    }
    for (name, value) in members {
        let Some(field) = table::fields(message).iter().find(|field| field.name.text() == name.as_bytes()) else {
            continue;
        };
        member(field, value, out, depth).map_err(|error| ReadError {
            member: if error.member.is_empty() { name.clone() } else { format!("{name}.{}", error.member) },
            ..error
        })?;
    }
    Ok(())
}

fn member(field: &table::Field, json: &Json, out: &mut Vec<u8>, depth: u8) -> Result<(), ReadError> {
    if json.is_null() {
        return Ok(());
    }
    match field.shape {
        Shape::Singular => value(field.number, field.kind, json, out, depth),
        Shape::Repeated => {
            let elements = json.as_array().ok_or_else(|| refused("an array"))?;
            elements.iter().try_for_each(|element| value(field.number, field.kind, element, out, depth))
        }
        Shape::Map(key) => {
            for (name, inner) in json.as_object().ok_or_else(|| refused("an object"))? {
                let mut entry = Vec::new();
                scalar(1, key, &map_key(key, name)?, &mut entry)?;
                value(2, field.kind, inner, &mut entry, depth)?;
                append_field(field.number, Value::Bytes(&entry), out);
            }
            Ok(())
        }
    }
}

/// Keys are texts in JSON, whatever they are in the message.
fn map_key(key: Scalar, name: &str) -> Result<Json, ReadError> {
    match key {
        Scalar::Bool => name.parse().map(Json::Bool).map_err(|_| refused("true or false")),
        _ => Ok(Json::String(name.to_owned())),
    }
}

fn value(number: u32, kind: Kind, json: &Json, out: &mut Vec<u8>, depth: u8) -> Result<(), ReadError> {
    let mut inner = Vec::new();
    match kind {
        Kind::Scalar(of) => return scalar(number, of, json, out),
        Kind::Enum(index) => {
            if let Some(value) = enum_number(index, json)? {
                append_field(number, Value::Varint(i64::from(value).cast_unsigned()), out);
            }
            return Ok(());
        }
        Kind::Wrapper(of) => scalar(1, of, json, &mut inner)?,
        Kind::Message(message) => object(message, json, &mut inner, depth - 1)?,
        Kind::Timestamp => inner = time::<prost_types::Timestamp>(json, "a time, e.g. 2026-01-31T12:00:00Z")?,
        Kind::Duration => inner = time::<prost_types::Duration>(json, "a duration, e.g. 1.5s")?,
        Kind::Any => inner = any(json)?,
    }
    append_field(number, Value::Bytes(&inner), out);
    Ok(())
}

fn time<T: Message + std::str::FromStr>(json: &Json, expected: &'static str) -> Result<Vec<u8>, ReadError> {
    let parsed = json.as_str().and_then(|text| text.parse::<T>().ok());
    parsed.map(|time| time.encode_to_vec()).ok_or_else(|| refused(expected))
}

fn enum_number(index: u16, json: &Json) -> Result<Option<i32>, ReadError> {
    match json {
        Json::String(name) => Ok(table::enum_number(index, name)),
        Json::Number(number) => {
            number.as_i64().and_then(|number| i32::try_from(number).ok()).map(Some).ok_or_else(|| refused("a value"))
        }
        _ => Err(refused("the name of a value")),
    }
}

fn scalar(number: u32, of: Scalar, json: &Json, out: &mut Vec<u8>) -> Result<(), ReadError> {
    let bytes;
    let value = match of {
        Scalar::Bool => Value::Varint(json.as_bool().ok_or_else(|| refused("true or false"))?.into()),
        Scalar::Int32 | Scalar::Int64 => Value::Varint(integer::<i64>(json, json.as_i64())?.cast_unsigned()),
        Scalar::Uint32 | Scalar::Uint64 => Value::Varint(integer(json, json.as_u64())?),
        Scalar::Double => Value::Fixed64(float(json)?.to_bits()),
        #[allow(clippy::cast_possible_truncation, reason = "the field is that short")]
        Scalar::Float => Value::Fixed32((float(json)? as f32).to_bits()),
        Scalar::String => Value::Bytes(json.as_str().ok_or_else(|| refused("a text"))?.as_bytes()),
        Scalar::Bytes => {
            let decoded = json.as_str().and_then(|text| STANDARD.decode(text).ok());
            bytes = decoded.ok_or_else(|| refused("bytes in base64"))?;
            Value::Bytes(&bytes)
        }
    };
    append_field(number, value, out);
    Ok(())
}

/// A number, or a text as which JSON has numbers of 64 bits.
fn integer<T: std::str::FromStr>(json: &Json, number: Option<T>) -> Result<T, ReadError> {
    let parsed = number.or_else(|| json.as_str()?.parse().ok());
    parsed.ok_or_else(|| refused("an integer"))
}

fn float(json: &Json) -> Result<f64, ReadError> {
    match json.as_str() {
        Some("NaN") => Ok(f64::NAN),
        Some("Infinity") => Ok(f64::INFINITY),
        Some("-Infinity") => Ok(f64::NEG_INFINITY),
        _ => json.as_f64().ok_or_else(|| refused("a number")),
    }
}

/// A Struct inside of an Any; of other types the name alone.
fn any(json: &Json) -> Result<Vec<u8>, ReadError> {
    let type_url = json.get("@type").and_then(Json::as_str).ok_or_else(|| refused("an object with @type"))?;
    let value = json.get("value").and_then(Json::as_object).map(|members| structure(members).encode_to_vec());
    Ok(prost_types::Any { type_url: type_url.to_owned(), value: value.unwrap_or_default() }.encode_to_vec())
}

fn structure(members: &Map<String, Json>) -> prost_types::Struct {
    prost_types::Struct { fields: members.iter().map(|(name, value)| (name.clone(), struct_value(value))).collect() }
}

fn struct_value(json: &Json) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.iter().map(struct_value).collect() })
        }
        Json::Object(members) => Kind::StructValue(structure(members)),
    };
    prost_types::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        flow::{self, Flow, Verdict},
        json::to_string,
        observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
        tetragon::{self, GetEventsResponse, get_events_response::Event},
    };

    fn read_back<M: JsonMessage + Default>(message: &M) -> M {
        read(&serde_json::from_str(&to_string(message)).unwrap()).unwrap()
    }

    fn event(pid: u32, binary: String, status: u32, seconds: i64, nanos: i32) -> GetEventsResponse {
        let process = tetragon::Process {
            exec_id: "cmVlZjox".into(),
            pid: Some(pid),
            binary,
            start_time: Some(prost_types::Timestamp { seconds, nanos }),
            cap: Some(tetragon::Capabilities { effective: vec![21, 0], ..Default::default() }),
            pod: Some(tetragon::Pod {
                namespace: "shop".into(),
                pod_labels: [("app".to_owned(), "till".to_owned())].into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let exit = tetragon::ProcessExit { process: Some(process), status, ..Default::default() };
        GetEventsResponse {
            event: Some(Event::ProcessExit(exit)),
            node_name: "alder".into(),
            time: Some(prost_types::Timestamp { seconds, nanos }),
            ..Default::default()
        }
    }

    proptest! {
        #[test]
        fn printed_message_is_read_back(
            pid: u32, binary in "\\PC{0,12}", status: u32, seconds in 0i64..253_402_300_799, nanos in 0i32..1_000_000_000
        ) {
            let event = event(pid, binary, status, seconds, nanos);
            prop_assert_eq!(read_back(&event), event);
        }

        #[test]
        fn no_json_makes_the_reader_panic(text in "\\PC{0,64}", number: f64, name in "(time|process_exec|node_name|aggregation_info)") {
            for value in [Json::from(text.clone()), Json::from(number), Json::Null, serde_json::json!([{&name: text}])] {
                let _ = read::<GetEventsResponse>(&serde_json::json!({ name.as_str(): value }));
            }
        }
    }

    #[test]
    fn flow_with_its_counters_is_read_back() {
        let fields =
            [("bytes".to_owned(), struct_value(&Json::from(74))), ("on".to_owned(), struct_value(&Json::from(true)))];
        let structure = prost_types::Struct { fields: fields.into() };
        let flow = Flow {
            verdict: Verdict::Dropped.into(),
            is_reply: Some(false),
            source: Some(flow::Endpoint { identity: 1001, labels: vec!["k8s:app=till".into()], ..Default::default() }),
            l4: Some(flow::Layer4 {
                protocol: Some(flow::layer4::Protocol::Tcp(flow::Tcp { source_port: 40_000, ..Default::default() })),
            }),
            extensions: Some(prost_types::Any {
                type_url: "type.googleapis.com/google.protobuf.Struct".into(),
                value: structure.encode_to_vec(),
            }),
            ..Default::default()
        };
        let response = GetFlowsResponse {
            response_types: Some(ResponseTypes::Flow(flow)),
            node_name: "alder".into(),
            ..Default::default()
        };
        assert_eq!(read_back(&response), response);
    }

    #[test]
    fn what_a_newer_version_adds_is_ignored() {
        let json = serde_json::json!({"node_name": "alder", "of_the_future": {"x": 1}, "flow": {"verdict": "BEAMED"}});
        let response: GetFlowsResponse = read(&json).unwrap();
        assert_eq!(response.node_name, "alder");
        let Some(ResponseTypes::Flow(flow)) = response.response_types else { panic!("no flow") };
        assert_eq!(flow.verdict, 0);
    }

    #[test]
    fn wrong_value_is_named_by_its_path() {
        let wrong = serde_json::json!({"process_exit": {"process": {"pid": "many"}}});
        let error = read::<GetEventsResponse>(&wrong).unwrap_err();
        assert_eq!(error.to_string(), "process_exit.process.pid: not an integer");
    }
}
