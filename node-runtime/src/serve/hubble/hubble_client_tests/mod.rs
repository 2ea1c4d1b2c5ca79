//! Compares with the real `hubble`: its own filters on our JSON must pass the same flows as ours, and what it prints of our
//! flows is in golden files. It is found in `target/cache/bin`; where it is not, the tests say so and do nothing.

mod filters;
pub(super) mod flows;
mod output;
mod requests;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use prost::Message;
use trilobite_api::flow::FlowFilter;

use self::{
    filters::{many_filters, random_filter},
    flows::{many_flows, random_flow},
};
use super::{FlowFilters, append_json_line, response};
use crate::{
    layers::network::flow::{Flow, samples::syn},
    random::Random,
};

/// None where it was not built, unless it is required.
fn hubble() -> Option<PathBuf> {
    let found = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/cache/bin/hubble");
    if found.exists() {
        return Some(found);
    }
    assert!(std::env::var_os("TRILOBITE_REQUIRE_CLIENTS").is_none(), "{} is not there", found.display());
    eprintln!("not compared: {} is not there; `make cache` builds it", found.display());
    None
}

fn json(flows: &[Flow]) -> Vec<u8> {
    let mut lines = Vec::new();
    for flow in flows {
        append_json_line(flow, "n1", &mut lines);
    }
    lines
}

/// Another seed by TRILOBITE_TEST_SEED, printed so that a failure can be repeated.
fn seeded(seed: u64) -> Random {
    let asked = std::env::var("TRILOBITE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = asked.unwrap_or(seed);
    eprintln!("TRILOBITE_TEST_SEED={seed}");
    Random::new(seed)
}

/// The output of `hubble observe` for `lines`.
fn observe(hubble: &Path, lines: &[u8], arguments: &[String]) -> String {
    let mut child = Command::new(hubble)
        .args(["observe", "--input-file", "-", "--last", "1000"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "hubble observe {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn our_filters_pass_the_same_flows_as_the_clients() {
    let Some(hubble) = hubble() else { return };
    let flows = many_flows();
    let lines = json(&flows);
    let filters = many_filters();
    let (mut passed, mut refused) = (0, 0);
    for (at, filter) in filters.iter().enumerate() {
        // Alone, with another filter, and against another, which covers both kinds of list.
        let other = &filters[(at * 7 + 3) % filters.len()];
        let combinations: [(Vec<&FlowFilter>, Vec<&FlowFilter>); 3] =
            [(vec![filter], vec![]), (vec![filter, other], vec![]), (vec![other], vec![filter])];
        for (white, black) in combinations.into_iter().take(if at % 6 == 0 { 3 } else { 1 }) {
            let owned = |list: Vec<&FlowFilter>| list.into_iter().cloned().collect::<Vec<_>>();
            let (white, black) = (owned(white), owned(black));
            let arguments = raw_filters(&white, &black);
            let printed = uuids(&observe(&hubble, &lines, &arguments));
            let ours = match FlowFilters::new(&white, &black, "n1") {
                Ok(ours) => ours,
                Err(refusal) => {
                    // A refused filter matches nothing: alone it passes no flow.
                    assert!(white.len() > 1 || printed.is_empty(), "{refusal}");
                    refused += 1;
                    continue;
                }
            };
            assert_eq!(printed, passing(&ours, &flows), "{arguments:?}");
            passed += printed.len();
        }
    }
    assert!(passed > 1000, "the filters passed only {passed} flows in all");
    assert!((3..40).contains(&refused), "{refused} were refused");
}

/// The JSON output of flows that the lists pass.
fn raw_filters(whitelist: &[FlowFilter], blacklist: &[FlowFilter]) -> Vec<String> {
    let mut arguments = vec!["-o".to_owned(), "json".to_owned()];
    for (flag, list) in [("--allowlist", whitelist), ("--denylist", blacklist)] {
        for filter in list {
            arguments.extend([flag.to_owned(), trilobite_api::json::to_string(filter)]);
        }
    }
    arguments
}

/// The uuids of the flows that our filters pass.
fn passing(filters: &FlowFilters, flows: &[Flow]) -> Vec<String> {
    flows.iter().filter(|flow| filters.pass(flow)).map(|flow| super::flow_message::uuid(flow.uuid)).collect()
}

/// What may be refused in a whitelist: fields without a source, and values that no flow has.
const REFUSED: [&str; 6] = [
    ": event_type excludes the events that have it",
    "ip_trace_id: ",
    "source_ip_xlated: ",
    "node_labels: ",
    "experimental.cel_expression: ",
    " is not there: ",
];

#[test]
fn ten_thousand_random_flows_and_filters_agree_with_the_client() {
    const FILTERS: usize = 100;
    const FLOWS: u64 = 100;
    let Some(hubble) = hubble() else { return };
    let mut random = seeded(12);
    let flows: Vec<Flow> = (0..FLOWS).map(|number| random_flow(&mut random, number)).collect();
    let lines = json(&flows);
    let (mut compared, mut passed, mut refused) = (0, 0, 0);
    while compared < FILTERS {
        // What is refused is refused in a whitelist, so that half of the filters stand in a blacklist.
        let filter = vec![random_filter(&mut random)];
        let (white, black) = if random.one_in(2) { (filter, vec![]) } else { (vec![], filter) };
        let ours = match FlowFilters::new(&white, &black, "n1") {
            Ok(ours) => ours,
            Err(refusal) => {
                let message = refusal.message();
                assert!(REFUSED.iter().any(|known| message.contains(known)), "{message}");
                refused += 1;
                continue;
            }
        };
        let arguments = raw_filters(&white, &black);
        let printed = uuids(&observe(&hubble, &lines, &arguments));
        assert_eq!(printed, passing(&ours, &flows), "{arguments:?}");
        (compared, passed) = (compared + 1, passed + printed.len());
    }
    assert!((1_000..9_000).contains(&passed), "{passed} of 10,000 passed");
    assert!(refused < FILTERS, "{refused} refused for {FILTERS} that were compared");
}

#[test]
fn client_reads_any_of_our_events_and_writes_the_same() {
    let Some(hubble) = hubble() else { return };
    let mut random = seeded(13);
    let flows: Vec<Flow> = (0..300).map(|number| random_flow(&mut random, number)).collect();
    assert_same_json(&hubble, &flows);
}

fn uuids(lines: &str) -> Vec<String> {
    let one = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["flow"]["uuid"].as_str().unwrap().to_owned()
    };
    lines.lines().map(one).collect()
}

#[test]
fn client_reads_our_json_and_writes_the_same() {
    let Some(hubble) = hubble() else { return };
    assert_same_json(&hubble, &many_flows());
}

fn assert_same_json(hubble: &Path, flows: &[Flow]) {
    let lines = json(flows);
    let printed = observe(hubble, &lines, &["-o".to_owned(), "json".to_owned()]);
    let parse = |text: &str| {
        text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let ours = parse(&String::from_utf8(lines).unwrap());
    assert_eq!(ours.len(), flows.len());
    assert_eq!(parse(&printed), ours);
}

#[test]
fn flow_is_below_a_kilobyte() {
    assert!(response(&syn(), "n1").encoded_len() < 1024);
}
