//! Any bytes are printed as valid JSON; and how single values look.

use proptest::prelude::*;

use super::{append, append_encoded, read, to_string};
use crate::{
    flow::Flow,
    observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
    requests,
    tetragon::{self as api, get_events_response::Event},
};

fn printed(message: &api::GetEventsResponse) -> String {
    let mut out = Vec::new();
    append(message, &mut out);
    String::from_utf8(out).unwrap()
}

fn at(seconds: i64, nanos: i32) -> String {
    let time = Some(prost_types::Timestamp { seconds, nanos });
    printed(&api::GetEventsResponse { time, ..Default::default() })
}

#[test]
fn empty_message_is_an_empty_object() {
    assert_eq!(printed(&api::GetEventsResponse::default()), "{}");
}

#[test]
fn time_has_as_many_digits_as_it_needs_in_threes() {
    assert_eq!(at(0, 0), r#"{"time":"1970-01-01T00:00:00Z"}"#);
    assert_eq!(at(1, 20_000_000), r#"{"time":"1970-01-01T00:00:01.020Z"}"#);
    assert_eq!(at(1, 20_300), r#"{"time":"1970-01-01T00:00:01.000020300Z"}"#);
    assert_eq!(at(1, 20_000), r#"{"time":"1970-01-01T00:00:01.000020Z"}"#);
    assert_eq!(at(-1, 500_000_000), r#"{"time":"1969-12-31T23:59:59.500Z"}"#);
    assert_eq!(at(1_795_351_583, 0), r#"{"time":"2026-11-22T12:46:23Z"}"#);
}

#[test]
fn large_numbers_are_strings_and_an_explicit_zero_is_printed() {
    let process = api::Process { pid: Some(0), refcnt: 0, auid: Some(u32::MAX), ..Default::default() };
    let exec = api::ProcessExec { process: Some(process), ..Default::default() };
    let event = api::GetEventsResponse { event: Some(Event::ProcessExec(exec)), ..Default::default() };
    assert_eq!(printed(&event), r#"{"process_exec":{"process":{"pid":0,"auid":4294967295}}}"#);
    let lost = api::RateLimitInfo { number_of_dropped_process_events: u64::MAX };
    let event = api::GetEventsResponse { event: Some(Event::RateLimitInfo(lost)), ..Default::default() };
    assert_eq!(printed(&event), r#"{"rate_limit_info":{"number_of_dropped_process_events":"18446744073709551615"}}"#);
}

#[test]
fn exit_is_one_line_with_the_names_that_scripts_know() {
    let process = api::Process {
        exec_id: "Zm9zc2ls".into(),
        pid: Some(7),
        start_time: Some(prost_types::Timestamp { seconds: 1_696_629_837, nanos: 700_000_000 }),
        ..api::Process::default()
    };
    let exit = api::ProcessExit { process: Some(process), signal: "SIGKILL".into(), ..api::ProcessExit::default() };
    let event = api::GetEventsResponse {
        event: Some(Event::ProcessExit(exit)),
        node_name: "alder".into(),
        ..api::GetEventsResponse::default()
    };
    assert_eq!(
        printed(&event),
        r#"{"process_exit":{"process":{"exec_id":"Zm9zc2ls","pid":7,"start_time":"2023-10-06T22:03:57.700Z"},"signal":"SIGKILL"},"node_name":"alder"}"#
    );
}

#[test]
fn own_messages_have_the_names_of_proto3s_json() {
    let request = requests::Request {
        is_error: true,
        request_bytes: 83,
        latency: Some(prost_types::Duration { seconds: 0, nanos: 12_000_000 }),
        process: Some(requests::Process { pid: 7, exec_id: "cmVlZg==".into(), ..Default::default() }),
        columns: [("resp_status".to_owned(), "404".to_owned())].into(),
        ..requests::Request::default()
    };
    let text = to_string(&request);
    let expected = r#"{"process":{"pid":7,"execId":"cmVlZg=="},"latency":"0.012s","isError":true,"requestBytes":"83","columns":{"resp_status":"404"}}"#;
    assert_eq!(text, expected);
    assert_eq!(read::<requests::Request>(&serde_json::from_str(&text).unwrap()), Ok(request));
}

#[test]
fn fields_come_in_the_order_of_the_proto_text() {
    let extra = prost_types::Struct {
        fields: [("bytes".to_owned(), prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(42.0)) })]
            .into(),
    };
    let extensions = prost_types::Any {
        type_url: "type.googleapis.com/google.protobuf.Struct".into(),
        value: prost::Message::encode_to_vec(&extra),
    };
    // `uuid` is number 34, `verdict` number 2.
    let flow =
        Flow { uuid: "u".into(), verdict: 1, socket_cookie: u64::MAX, extensions: Some(extensions), ..Flow::default() };
    let response = GetFlowsResponse { response_types: Some(ResponseTypes::Flow(flow)), ..GetFlowsResponse::default() };
    let mut out = Vec::new();
    append(&response, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"flow":{"uuid":"u","verdict":"FORWARDED","socket_cookie":"18446744073709551615","extensions":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"bytes":42}}}}"#
    );
}

#[test]
fn endless_chain_is_cut() {
    let mut encoded = Vec::new();
    for _ in 0..100_000 {
        // Any nesting of length-delimited fields 1 that the length allows.
        encoded.extend_from_slice(&[0x0a, 0x7f]);
    }
    let mut out = Vec::new();
    append_encoded::<api::GetEventsResponse>(&encoded, &mut out);
    assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
}

#[test]
fn text_of_json_cannot_reorder_a_terminals_line() {
    let named = |name: &str| printed(&api::GetEventsResponse { node_name: name.into(), ..Default::default() });
    let escaped = [
        ("txt.\u{202e}exe", r#"{"node_name":"txt.\u202eexe"}"#),
        ("a\u{200b}\u{2028}b", r#"{"node_name":"a\u200b\u2028b"}"#),
        ("twelve bytes\u{e0041}\u{9b}\u{7f}", r#"{"node_name":"twelve bytes\udb40\udc41\u009b\u007f"}"#),
        ("naïve 例", r#"{"node_name":"naïve 例"}"#),
    ];
    for (name, json) in escaped {
        assert_eq!(named(name), json);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_printed_as_json(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut out = Vec::new();
        append_encoded::<api::GetEventsResponse>(&bytes, &mut out);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok(), "{}", String::from_utf8_lossy(&out));
        out.clear();
        append_encoded::<GetFlowsResponse>(&bytes, &mut out);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok(), "{}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn any_text_is_read_back_unchanged(text in any::<String>()) {
        let event = api::GetEventsResponse { node_name: text.clone(), ..Default::default() };
        let read: serde_json::Value = serde_json::from_str(&printed(&event)).unwrap();
        prop_assert_eq!(read["node_name"].as_str().unwrap_or_default(), text);
        prop_assert!(!printed(&event).chars().any(trilobite_untrusted_text::is_unprintable));
    }

    #[test]
    fn any_escapes_are_read_back_unchanged(text in "[\"\\\\\\x00-\\x22a-zé]{0,40}") {
        let event = api::GetEventsResponse { node_name: text.clone(), ..Default::default() };
        let read: serde_json::Value = serde_json::from_str(&printed(&event)).unwrap();
        prop_assert_eq!(read["node_name"].as_str().unwrap_or_default(), text);
    }
}
