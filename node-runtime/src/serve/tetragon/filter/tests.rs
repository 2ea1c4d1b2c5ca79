//! Filters over the sample events.

use trilobite_api::tetragon::EventType;

use super::*;
use crate::serve::tetragon::samples::{events, exec, exec_on_the_host, exit, tracepoint};

fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn allows(filter: api::Filter, event: &SecurityEvent) -> bool {
    EventFilters::new(vec![filter], Vec::new()).unwrap().pass(event)
}

fn refusal(filter: api::Filter) -> String {
    EventFilters::new(Vec::new(), vec![api::Filter::default(), filter]).err().unwrap().message().to_owned()
}

#[test]
fn empty_lists_pass_all_and_an_empty_filter_holds_for_all() {
    let empty = api::Filter::default;
    assert!(events().iter().all(|event| EventFilters::new(vec![], vec![]).unwrap().pass(event)));
    assert!(events().iter().all(|event| allows(empty(), event)));
    assert!(!events().iter().any(|event| EventFilters::new(vec![], vec![empty()]).unwrap().pass(event)));
}

#[test]
fn empty_namespace_is_the_host() {
    let host = || api::Filter { namespace: list(&["", "other"]), ..Default::default() };
    assert!(allows(host(), &exec_on_the_host()));
    assert!(!allows(host(), &exec()));
    assert!(allows(api::Filter { namespace: list(&["payments"]), ..Default::default() }, &exec()));
}

#[test]
fn unknown_init_tree_counts_as_false() {
    let filter = |in_init_tree| api::Filter { in_init_tree: Some(in_init_tree), ..Default::default() };
    let mut event = exec();
    for (known, holds) in [(Some(true), true), (Some(false), false), (None, false)] {
        std::sync::Arc::make_mut(&mut event.process.process).in_init_tree = known;
        assert_eq!((allows(filter(true), &event), allows(filter(false), &event)), (holds, !holds));
    }
}

#[test]
fn no_pattern_matches_the_pod_of_a_host_process() {
    for filter in [
        api::Filter { pod_regex: list(&[""]), ..Default::default() },
        api::Filter { namespace_regex: list(&[""]), ..Default::default() },
        api::Filter { container_name_regex: list(&[""]), ..Default::default() },
        api::Filter { parent_binary_regex: list(&[""]), ..Default::default() },
    ] {
        assert!(!allows(filter.clone(), &exec_on_the_host()));
        assert!(allows(filter, &exec()));
    }
}

#[test]
fn all_fields_of_a_filter_must_hold() {
    let filter = |binary: &str| api::Filter {
        binary_regex: list(&["nothing", binary]),
        arguments_regex: list(&["till/$"]),
        parent_arguments_regex: list(&["^-c"]),
        container_id: list(&["^0123456789"]),
        pid: vec![1, 4111],
        event_set: vec![EventType::ProcessExit.into()],
        ..Default::default()
    };
    assert!(allows(filter("^/usr/bin/c.rl$"), &exit(0, 9)));
    assert!(!allows(filter("^/usr/bin/c.rl$"), &exec()));
    assert!(!allows(filter("^curl"), &exit(0, 9)));
}

#[test]
fn deny_list_wins() {
    let allow = api::Filter { namespace: list(&["payments"]), ..Default::default() };
    let deny = api::Filter { policy_names: list(&["watch-openat"]), ..Default::default() };
    let filters = EventFilters::new(vec![allow], vec![deny]).unwrap();
    assert!(filters.pass(&exec()));
    assert!(!filters.pass(&tracepoint()));
}

#[test]
fn type_that_cannot_come_is_refused_by_name() {
    let refused = |filter: api::Filter| {
        let filters = EventFilters::new(vec![api::Filter::default(), filter], Vec::new());
        filters.err().map(|status| (status.code(), status.message().to_owned()))
    };
    let of = |kinds: &[EventType], policies: &[&str]| api::Filter {
        event_set: kinds.iter().map(|kind| i32::from(*kind)).collect(),
        policy_names: list(policies),
        ..Default::default()
    };
    let (code, text) = refused(of(&[EventType::ProcessLoader], &[])).unwrap();
    assert_eq!(code, tonic::Code::InvalidArgument);
    assert_eq!(
        text,
        "allow_list[1].event_set: PROCESS_LOADER cannot come from this agent, which sends PROCESS_EXEC, PROCESS_EXIT, \
         PROCESS_KPROBE, PROCESS_TRACEPOINT, PROCESS_THROTTLE, RATE_LIMIT_INFO"
    );
    assert!(refused(of(&[EventType::ProcessLsm, EventType::ProcessUprobe], &[])).is_some());
    let unknown = api::Filter { event_set: vec![77], ..Default::default() };
    assert!(refused(unknown).unwrap().1.contains("event_set: 77 cannot come"));
    // Tetragon's own list of types, and lists of losses alone.
    for kinds in [
        [EventType::ProcessExec, EventType::ProcessLsm].as_slice(),
        &[EventType::RateLimitInfo],
        &[EventType::ProcessThrottle],
    ] {
        assert_eq!(refused(of(kinds, &[])), None);
    }
    let (_, text) = refused(of(&[EventType::ProcessExec], &["watch"])).unwrap();
    assert_eq!(
        text,
        "allow_list[1].policy_names: PROCESS_EXEC carries no policy, only PROCESS_KPROBE and PROCESS_TRACEPOINT do"
    );
    assert_eq!(refused(of(&[EventType::ProcessTracepoint, EventType::ProcessExec], &["watch"])), None);
    // It excludes nothing.
    assert!(EventFilters::new(Vec::new(), vec![of(&[EventType::ProcessLsm], &[])]).is_ok());
}

#[test]
fn health_checks_are_chosen_or_left_out() {
    let filter = |wanted| api::Filter { health_check: Some(wanted), ..Default::default() };
    // The sample's container has this command as a probe.
    assert!(allows(filter(true), &exec()) && !allows(filter(false), &exec()));
    assert!(!allows(filter(true), &exec_on_the_host()) && allows(filter(false), &exec_on_the_host()));
}

#[test]
fn container_without_a_known_pod_is_not_the_host() {
    let mut event = exec();
    if let Some(place) = &mut event.process.pod {
        let place = std::sync::Arc::make_mut(place);
        place.pod = std::sync::Arc::default();
    }
    for filter in [
        api::Filter { namespace: list(&[""]), ..Default::default() },
        api::Filter { pod_regex: list(&[""]), ..Default::default() },
        api::Filter { namespace_regex: list(&[""]), ..Default::default() },
    ] {
        assert!(!allows(filter, &event));
    }
}

#[test]
fn pattern_matches_characters_as_in_go() {
    let mut event = exec();
    std::sync::Arc::make_mut(&mut event.process.process).binary = "/bin/café".into();
    let matches = |pattern| allows(api::Filter { binary_regex: list(&[pattern]), ..Default::default() }, &event);
    assert!(matches("caf.$") && !matches("caf..$"));
    assert!(matches(r"(?i)CAFÉ$") && matches(r"\pL$") && !matches(r"\w$") && !matches(r"caf\w"));
}

#[test]
fn faulty_filter_is_refused_by_its_path() {
    let cel = api::Filter { cel_expression: list(&["process_exec.process.pid > 0u", "true"]), ..Default::default() };
    assert!(refusal(cel).starts_with("deny_list[1].cel_expression[1]: it names no event"));
    let labels = api::Filter { labels: list(&["app in x"]), ..Default::default() };
    assert_eq!(refusal(labels), "deny_list[1].labels[0]: \"app in x\" is not a label selector");
    let sets = api::CapFilter { effective: Some(api::CapFilterSet::default()), ..Default::default() };
    let capabilities = api::Filter { capabilities: Some(sets), ..Default::default() };
    assert!(refusal(capabilities).starts_with("deny_list[1].capabilities: effective: "));
}

/// An exec whose ancestors are a runtime and the host's first process.
fn exec_with_ancestors() -> SecurityEvent {
    let mut event = exec();
    let ancestor = |pid, binary: &str| {
        let mut located = exec_on_the_host().process;
        let process = std::sync::Arc::make_mut(&mut located.process);
        (process.key.pid, process.binary) = (pid, binary.into());
        located
    };
    event.ancestors = vec![ancestor(77, "/usr/bin/runc"), ancestor(1, "/sbin/init")];
    event
}

#[test]
fn pid_set_holds_for_descendants() {
    let filter = |pid_set: &[u32]| api::Filter { pid_set: pid_set.to_vec(), ..Default::default() };
    let event = exec_with_ancestors();
    let own = event.process.process.key.pid;
    for pid in [own, 4100, 77, 1] {
        assert!(allows(filter(&[9, pid]), &event), "{pid}");
    }
    assert!(!allows(filter(&[9]), &event));
    assert!(EventFilters::new(vec![filter(&[9])], vec![]).unwrap().want_ancestors());
    assert!(!EventFilters::new(vec![api::Filter::default()], vec![]).unwrap().want_ancestors());
}

#[test]
fn ancestor_patterns_are_about_those_beyond_the_parent() {
    let filter = |pattern: &str| api::Filter { ancestor_binary_regex: list(&[pattern]), ..Default::default() };
    let event = exec_with_ancestors();
    assert!(allows(filter("runc$"), &event) && allows(filter("^/sbin/init$"), &event));
    // The parent is /bin/sh.
    assert!(!allows(filter("/sh$"), &event) && !allows(filter(""), &exec()));
}

#[test]
fn labels_and_capabilities_choose_pods_and_processes() {
    let labels = |selector: &str| api::Filter { labels: list(&["x=y", selector]), ..Default::default() };
    assert!(allows(labels("app=cashier,tier in (back)"), &exec()));
    assert!(!allows(labels("app=other"), &exec()) && !allows(labels(""), &exec_on_the_host()));
    let admin = api::CapFilterSet { any: vec![21], ..Default::default() };
    let capabilities = api::CapFilter { effective: Some(admin), ..Default::default() };
    let filter = || api::Filter { capabilities: Some(capabilities.clone()), ..Default::default() };
    assert!(allows(filter(), &exec_on_the_host()) && !allows(filter(), &exec()));
}

#[test]
fn invalid_pattern_is_refused_by_its_path() {
    let said = refusal(api::Filter { pod_regex: list(&["fine", "not(fine"]), ..Default::default() });
    assert!(said.starts_with("deny_list[1].pod_regex[1]: ") && said.contains("group"), "{said}");
    let said = refusal(api::Filter { binary_regex: list(&["(?=x)"]), ..Default::default() });
    assert!(said.starts_with("deny_list[1].binary_regex[0]: "), "{said}");
    let large = "(((a{100}){100}){100}){100}";
    assert!(refusal(api::Filter { pod_regex: list(&[large]), ..Default::default() }).contains("size"), "{said}");
}
