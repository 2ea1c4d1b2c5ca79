//! The files of `config/pipelines` against lines that the exporter writes: each key, parser and pattern that they name finds
//! something in them, and nothing in lines of a log.

use std::{collections::BTreeSet, fs, path::PathBuf};

use regex::Regex;
use serde_json::Value;
use trilobite_crds::stack::EventSelection;

use super::selection::CompiledSelection;
use crate::serve::tetragon::{append_json_line, samples};

const LINES: usize = 1000;
/// Lines that no pipeline may take for an event.
const LOG: [&str; 3] = [
    "2030-01-02T03:04:05.000000001Z  INFO the agent is ready",
    r#"{"level":"info","msg":"process_exec is enabled"}"#,
    "process_exec process_kprobe process_exit",
];

fn file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config/pipelines").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lines of standard output, with the flat keys, and a notice of a loss.
fn event_lines() -> Vec<String> {
    let selection = EventSelection { flat_pod_keys: true, ..EventSelection::default() };
    let encoder = samples::encoder();
    let selection = CompiledSelection::new(&selection, "spec.export.stdout", &encoder).unwrap();
    let mut lines = Vec::new();
    let events = samples::events();
    for event in events.iter().cycle().take(LINES - 1) {
        append_json_line(&selection.message(event, &encoder), &mut lines);
    }
    let now = jiff::Timestamp::UNIX_EPOCH;
    append_json_line(&encoder.loss_notice(crate::loss::LossPoint::PolicyRing, 3, now), &mut lines);
    String::from_utf8(lines).unwrap().lines().map(str::to_owned).collect()
}

fn events() -> Vec<Value> {
    event_lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn has(events: &[Value], path: &[&str]) -> bool {
    events.iter().any(|event| path.iter().try_fold(event, |value, key| value.get(*key)).is_some())
}

/// The values of a setting of Fluent Bit's format.
fn settings<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(' ').map(str::trim)).collect()
}

/// Record accessors: `$node_name`, `$process_exec['process']['namespace']`.
fn accessors(text: &str) -> Vec<Vec<String>> {
    let accessor = Regex::new(r"\$([a-z_]+)((?:\['[^']+'\])*)").unwrap();
    let key = Regex::new(r"\['([^']+)'\]").unwrap();
    let path = |found: regex::Captures<'_>| {
        let inner = key.captures_iter(found.get(2).map_or("", |keys| keys.as_str())).map(|key| key[1].to_owned());
        [found[1].to_owned()].into_iter().chain(inner).collect()
    };
    accessor.captures_iter(text).map(path).collect()
}

/// Go's and Ruby's named groups in the words of this crate.
fn pattern(text: &str) -> Regex {
    Regex::new(&text.replace("(?<", "(?P<")).unwrap()
}

fn missing<'a>(paths: &'a [Vec<String>], events: &[Value]) -> Vec<&'a Vec<String>> {
    paths.iter().filter(|path| !has(events, &path.iter().map(String::as_str).collect::<Vec<_>>())).collect()
}

#[test]
fn each_key_of_the_loki_labels_is_in_some_event() {
    let text = file("fluent-bit/loki.conf");
    let paths: Vec<Vec<String>> = [settings(&text, "Labels"), settings(&text, "Structured_Metadata")]
        .concat()
        .iter()
        .flat_map(|it| accessors(it))
        .collect();
    assert!(paths.len() >= 10, "{paths:?}");
    assert_eq!(missing(&paths, &events()), Vec::<&Vec<String>>::new());
    // The article's own line, whose dots are part of the key.
    let article = accessors("$process_exec['process.pod_name']");
    assert_eq!(missing(&article, &events()).len(), 1);
}

#[test]
fn filter_of_fluent_bit_takes_events_and_no_log_lines() {
    let text = file("fluent-bit/input.conf");
    let [regex] = settings(&text, "Regex")[..] else { panic!("one grep filter") };
    let (key, regex) = regex.split_once(' ').unwrap();
    let filter = pattern(regex);
    assert_eq!(key, "log");
    let lines = event_lines();
    assert_eq!(lines.len(), LINES);
    let refused: Vec<&String> = lines.iter().filter(|line| !filter.is_match(line)).collect();
    assert_eq!(refused, Vec::<&String>::new());
    assert!(LOG.iter().all(|line| !filter.is_match(line)));
    // The key that the parser filter reads is the one that the input and the CRI parser write.
    assert_eq!(settings(&text, "Key_Name"), ["log"]);
}

#[test]
fn parsers_read_the_lines_that_a_kubelet_keeps() {
    let text = file("fluent-bit/parsers.conf");
    let names: BTreeSet<&str> = settings(&text, "Name").into_iter().collect();
    let used: Vec<&str> = settings(&file("fluent-bit/input.conf"), "Parser")
        .into_iter()
        .map(|name| name.to_owned().leak() as &str)
        .collect();
    assert!(used.iter().all(|name| names.contains(name)), "{used:?} of {names:?}");
    let [cri] = settings(&text, "Regex")[..] else { panic!("one CRI parser") };
    let cri = pattern(cri);
    for line in event_lines() {
        let kept = format!("2030-01-02T03:04:05.678901234Z stdout F {line}");
        let parsed = cri.captures(&kept).unwrap();
        assert_eq!((&parsed["stream"], &parsed["logtag"], &parsed["log"]), ("stdout", "F", line.as_str()));
    }
    // The time of an event has the form that the parser of events names.
    assert_eq!(settings(&text, "Time_Format")[1], "%Y-%m-%dT%H:%M:%S.%LZ");
    let time = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$").unwrap();
    assert!(events().iter().all(|event| time.is_match(event["time"].as_str().unwrap())));
}

#[test]
fn each_path_of_vector_is_in_some_event() {
    let text = file("vector/vector.yaml");
    let path = Regex::new(r"\.((?:process_[a-z]+|time|node_name)(?:\.[a-z_]+)*)").unwrap();
    let paths: BTreeSet<Vec<String>> =
        path.captures_iter(&text).map(|found| found[1].split('.').map(str::to_owned).collect()).collect();
    let paths: Vec<Vec<String>> = paths.into_iter().collect();
    assert!(paths.len() >= 10, "{paths:?}");
    assert_eq!(missing(&paths, &events()), Vec::<&Vec<String>>::new());
    // Templates name keys that the remap has set, or that events have.
    let template = Regex::new(r"\{\{ ([a-z_]+) \}\}").unwrap();
    for found in template.captures_iter(&text) {
        let key = &found[1];
        assert!(text.contains(&format!(".{key} = ")) || has(&events(), &[key]), "{key}");
    }
}

#[test]
fn misspelled_key_would_be_found() {
    let paths = accessors("$process_exec['process']['namespase'], $node_name");
    assert_eq!(missing(&paths, &events()), [&paths[0]]);
}
