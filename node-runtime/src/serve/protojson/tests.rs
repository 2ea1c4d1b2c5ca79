//! That whatever bytes a message is made of, what is printed is JSON; and how single values look.

use proptest::prelude::*;
use prost::Message;

use super::{append, append_encoded};
use crate::serve::{
    proto::tetragon::{self as api, get_events_response::Event},
    tetragon::samples,
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
fn a_message_with_nothing_in_it_is_an_empty_object() {
    assert_eq!(printed(&api::GetEventsResponse::default()), "{}");
}

#[test]
fn a_time_has_as_many_digits_as_it_needs_in_threes() {
    assert_eq!(at(0, 0), r#"{"time":"1970-01-01T00:00:00Z"}"#);
    assert_eq!(at(1, 20_000_000), r#"{"time":"1970-01-01T00:00:01.020Z"}"#);
    assert_eq!(at(1, 20_300), r#"{"time":"1970-01-01T00:00:01.000020300Z"}"#);
    assert_eq!(at(1, 20_000), r#"{"time":"1970-01-01T00:00:01.000020Z"}"#);
    assert_eq!(at(-1, 500_000_000), r#"{"time":"1969-12-31T23:59:59.500Z"}"#);
}

#[test]
fn large_numbers_are_strings_and_what_was_set_to_zero_is_there() {
    let process = api::Process { pid: Some(0), refcnt: 0, auid: Some(u32::MAX), ..Default::default() };
    let exec = api::ProcessExec { process: Some(process), ..Default::default() };
    let event = api::GetEventsResponse { event: Some(Event::ProcessExec(exec)), ..Default::default() };
    assert_eq!(printed(&event), r#"{"process_exec":{"process":{"pid":0,"auid":4294967295}}}"#);
    let lost = api::RateLimitInfo { number_of_dropped_process_events: u64::MAX };
    let event = api::GetEventsResponse { event: Some(Event::RateLimitInfo(lost)), ..Default::default() };
    assert_eq!(printed(&event), r#"{"rate_limit_info":{"number_of_dropped_process_events":"18446744073709551615"}}"#);
}

#[test]
fn a_chain_without_end_is_cut() {
    let mut encoded = Vec::new();
    for _ in 0..100_000 {
        // Any nesting of length-delimited fields 1 that the length allows.
        encoded.extend_from_slice(&[0x0a, 0x7f]);
    }
    let mut out = Vec::new();
    append_encoded::<api::GetEventsResponse>(&encoded, &mut out);
    assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
}

proptest! {
    #[test]
    fn whatever_the_bytes_what_is_printed_is_json(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut out = Vec::new();
        append_encoded::<api::GetEventsResponse>(&bytes, &mut out);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok(), "{}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn a_message_with_some_bytes_changed_is_still_json(
        which in 0usize..30,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = samples::messages()[which].encode_to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut out = Vec::new();
        append_encoded::<api::GetEventsResponse>(&bytes, &mut out);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok(), "{}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn any_text_comes_back_as_it_was(text in any::<String>()) {
        let event = api::GetEventsResponse { node_name: text.clone(), ..Default::default() };
        let read: serde_json::Value = serde_json::from_str(&printed(&event)).unwrap();
        prop_assert_eq!(read["node_name"].as_str().unwrap_or_default(), text);
    }
}
