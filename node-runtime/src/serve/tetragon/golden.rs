//! Golden files of JSON and compact lines, which the real `tetra` prints alike (`tetra_client_tests`).
//! `UPDATE_GOLDEN=1` rewrites them.

use std::{env, fs, path::PathBuf};

use proptest::prelude::*;
use prost::Message;
use trilobite_api::tetragon::GetEventsResponse;

use super::{
    append_json_line,
    compact::{self, Paint},
    samples,
};

pub(super) fn messages() -> Vec<GetEventsResponse> {
    let events = samples::events();
    events.iter().map(|event| samples::encoder().message(event)).chain(samples::messages()).collect()
}

pub(super) fn json(messages: &[GetEventsResponse]) -> String {
    let mut lines = Vec::new();
    messages.iter().for_each(|message| append_json_line(message, &mut lines));
    String::from_utf8(lines).unwrap()
}

#[track_caller]
fn assert_golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/serve/tetragon/golden").join(name);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    for (golden, ours) in golden.lines().zip(text.lines()) {
        assert_eq!(golden, ours, "{}", path.display());
    }
    assert_eq!(golden.len(), text.len(), "{}", path.display());
}

#[test]
fn json_lines_equal_the_golden_file() {
    assert_golden("events.jsonl", &json(&messages()));
}

#[test]
fn compact_lines_equal_the_golden_file() {
    let lines = |message| compact::text(message, Paint::Plain, true);
    assert_golden("events.txt", &messages().iter().filter_map(lines).collect::<String>());
}

proptest! {
    #[test]
    fn message_with_some_bytes_changed_is_printed_as_json(
        which in 0usize..30,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = samples::messages()[which].encode_to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut out = Vec::new();
        trilobite_api::json::append_encoded::<GetEventsResponse>(&bytes, &mut out);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok(), "{}", String::from_utf8_lossy(&out));
    }
}
