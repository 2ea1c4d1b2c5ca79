//! Protobuf messages as JSON lines in the form of `protojson` with the names of the `.proto` text: 64-bit numbers as
//! strings, enums by name, what is unset left out.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Serializer;

use crate::proto::DESCRIPTORS;

static POOL: LazyLock<Result<DescriptorPool, DescriptorError>> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS));

/// A message that cannot be printed.
#[derive(Debug, thiserror::Error)]
#[error("cannot print a {message} as JSON: {detail}; agent and command line may be of different versions")]
pub(crate) struct JsonError {
    message: &'static str,
    detail: String,
}

/// `value`, a message whose full name is `message`, on one line without its end.
pub(crate) fn line<M: Message>(message: &'static str, value: &M) -> Result<String, JsonError> {
    let fail = |detail: String| JsonError { message, detail };
    let pool = POOL.as_ref().map_err(|error| fail(error.to_string()))?;
    let descriptor = pool.get_message_by_name(message).ok_or_else(|| fail("there is no such message".into()))?;
    let dynamic = DynamicMessage::decode(descriptor, value.encode_to_vec().as_slice())
        .map_err(|error| fail(error.to_string()))?;
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(true);
    let mut bytes = Vec::new();
    dynamic
        .serialize_with_options(&mut Serializer::new(&mut bytes), &options)
        .map_err(|error| fail(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| fail(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tetragon::{GetEventsResponse, Process, ProcessExit, get_events_response::Event};

    #[test]
    fn an_event_is_one_line_with_the_names_that_scripts_know() {
        let process = Process {
            exec_id: "Zm9zc2ls".into(),
            pid: Some(7),
            start_time: Some(prost_types::Timestamp { seconds: 1_696_629_837, nanos: 700_000_000 }),
            ..Process::default()
        };
        let exit = ProcessExit { process: Some(process), signal: "SIGKILL".into(), ..ProcessExit::default() };
        let event = GetEventsResponse {
            event: Some(Event::ProcessExit(exit)),
            node_name: "alder".into(),
            ..GetEventsResponse::default()
        };
        assert_eq!(
            line("tetragon.GetEventsResponse", &event).unwrap(),
            r#"{"process_exit":{"process":{"exec_id":"Zm9zc2ls","pid":7,"start_time":"2023-10-06T22:03:57.700Z"},"signal":"SIGKILL"},"node_name":"alder"}"#
        );
    }

    #[test]
    fn an_extension_of_a_flow_is_printed_as_what_it_is() {
        use crate::proto::{
            flow::Flow,
            observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
        };
        use prost_types::{Any, Struct, Value, value::Kind};
        let bytes = Value { kind: Some(Kind::NumberValue(42.0)) };
        let extra = Struct { fields: [("bytes".to_owned(), bytes)].into() };
        let extensions =
            Any { type_url: "type.googleapis.com/google.protobuf.Struct".into(), value: extra.encode_to_vec() };
        let flow = Flow { socket_cookie: u64::MAX, extensions: Some(extensions), ..Flow::default() };
        let response =
            GetFlowsResponse { response_types: Some(ResponseTypes::Flow(flow)), ..GetFlowsResponse::default() };
        let text = line("observer.GetFlowsResponse", &response).unwrap();
        assert!(text.contains(r#""socket_cookie":"18446744073709551615""#), "{text}");
        assert!(text.contains(r#""value":{"bytes":42"#), "{text}");
    }
}
