//! What people and programs read, as files: `golden/events.jsonl` and `golden/events.txt`, which the real `tetra` prints
//! likewise (`with_tetra`). `UPDATE_GOLDEN=1` rewrites them.

use std::{env, fs, path::PathBuf};

use super::{
    append_json_line,
    compact::{self, Paint},
    samples,
};
use crate::serve::proto::tetragon::GetEventsResponse;

pub(super) fn messages() -> Vec<GetEventsResponse> {
    let events = samples::events();
    events.iter().map(|event| samples::scene().message(event)).chain(samples::messages()).collect()
}

pub(super) fn json(messages: &[GetEventsResponse]) -> String {
    let mut lines = Vec::new();
    messages.iter().for_each(|message| append_json_line(message, &mut lines));
    String::from_utf8(lines).unwrap()
}

#[track_caller]
fn assert_is(name: &str, text: &str) {
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
fn every_kind_of_event_is_printed_as_the_golden_json() {
    assert_is("events.jsonl", &json(&messages()));
}

#[test]
fn every_kind_of_event_is_printed_as_the_golden_lines() {
    let lines = |message| compact::text(message, Paint::Plain, true);
    assert_is("events.txt", &messages().iter().filter_map(lines).collect::<String>());
}
