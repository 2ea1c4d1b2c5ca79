//! Event filters of GetEvents. All fields that a filter sets must hold; one member of a list is enough. An event passes
//! if a filter of the allow list holds, or the list is empty, and no filter of the deny list holds. Unsupported fields,
//! events that cannot come and invalid patterns are refused by name.

use regex::bytes::Regex;
use tonic::Status;
use trilobite_api::tetragon::{self as api, EventType};

use super::{encoder, go_pattern, health_check};
use crate::{
    identity::Located,
    layers::security::{SecurityEvent, SecurityEventKind},
};

pub struct EventFilters {
    allow: Vec<Filter>,
    deny: Vec<Filter>,
}

/// Types of events that this agent sends, in the order in which a refusal names them. Losses and gaps come as the last two.
const EVENT_TYPES: [EventType; 5] = [
    EventType::ProcessExec,
    EventType::ProcessExit,
    EventType::ProcessTracepoint,
    EventType::ProcessThrottle,
    EventType::RateLimitInfo,
];

#[derive(Default)]
struct Filter {
    health_check: Option<bool>,
    event_set: Option<Vec<i32>>,
    pids: Option<Vec<u32>>,
    namespaces: Option<Vec<String>>,
    policies: Option<Vec<String>>,
    in_init_tree: Option<bool>,
    patterns: Vec<(PatternField, Vec<Regex>)>,
}

/// The text that a list of patterns is matched with.
#[derive(Clone, Copy)]
enum PatternField {
    Binary,
    Arguments,
    ParentBinary,
    ParentArguments,
    Pod,
    Namespace,
    ContainerName,
    ContainerId,
}

impl EventFilters {
    pub fn new(allow: Vec<api::Filter>, deny: Vec<api::Filter>) -> Result<Self, Box<Status>> {
        for (at, filter) in allow.iter().enumerate() {
            if let Some(fault) = impossible_field(filter) {
                return Err(Box::new(Status::invalid_argument(format!("allow_list[{at}].{fault}"))));
            }
        }
        let list = |filters: Vec<api::Filter>, name: &str| {
            let numbered = filters.into_iter().enumerate();
            numbered.map(|(at, filter)| Filter::new(filter, &format!("{name}[{at}]"))).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { allow: list(allow, "allow_list")?, deny: list(deny, "deny_list")? })
    }

    pub fn pass(&self, event: &SecurityEvent) -> bool {
        (self.allow.is_empty() || self.allow.iter().any(|filter| filter.holds(event)))
            && !self.deny.iter().any(|filter| filter.holds(event))
    }
}

impl Filter {
    fn new(from: api::Filter, path: &str) -> Result<Self, Box<Status>> {
        let api::Filter {
            binary_regex,
            namespace,
            health_check,
            pid,
            pid_set,
            event_set,
            pod_regex,
            arguments_regex,
            labels,
            policy_names,
            capabilities,
            parent_binary_regex,
            cel_expression,
            parent_arguments_regex,
            container_id,
            in_init_tree,
            ancestor_binary_regex,
            container_name_regex,
            namespace_regex,
        } = from;
        let refused = [
            ("pid_set", !pid_set.is_empty()),
            ("labels", !labels.is_empty()),
            ("capabilities", capabilities.is_some()),
            ("cel_expression", !cel_expression.is_empty()),
            ("ancestor_binary_regex", !ancestor_binary_regex.is_empty()),
        ];
        if let Some((field, _)) = refused.iter().find(|(_, set)| *set) {
            return Err(Box::new(Status::invalid_argument(format!("{path}.{field}: this filter is not supported"))));
        }
        let mut patterns = Vec::new();
        for (kind, field, list) in [
            (PatternField::Binary, "binary_regex", binary_regex),
            (PatternField::Arguments, "arguments_regex", arguments_regex),
            (PatternField::ParentBinary, "parent_binary_regex", parent_binary_regex),
            (PatternField::ParentArguments, "parent_arguments_regex", parent_arguments_regex),
            (PatternField::Pod, "pod_regex", pod_regex),
            (PatternField::Namespace, "namespace_regex", namespace_regex),
            (PatternField::ContainerName, "container_name_regex", container_name_regex),
            (PatternField::ContainerId, "container_id", container_id),
        ] {
            if !list.is_empty() {
                patterns.push((kind, compile(&list, &format!("{path}.{field}"))?));
            }
        }
        Ok(Self {
            health_check,
            event_set: unless_empty(event_set),
            pids: unless_empty(pid),
            namespaces: unless_empty(namespace),
            policies: unless_empty(policy_names),
            in_init_tree,
            patterns,
        })
    }

    fn holds(&self, event: &SecurityEvent) -> bool {
        let Self { health_check, event_set, pids, namespaces, policies, in_init_tree, patterns } = self;
        let process = &event.process;
        let namespace = match &process.pod {
            None => Some(""),
            // Of a container whose pod is not known yet: neither the host nor any namespace.
            Some(place) => Some(place.pod.namespace.as_str()).filter(|_| !place.pod.name.is_empty()),
        };
        event_set.as_ref().is_none_or(|set| set.contains(&kind(event).into()))
            && pids.as_ref().is_none_or(|pids| pids.contains(&process.process.key.pid))
            && namespaces.as_ref().is_none_or(|wanted| wanted.iter().any(|one| Some(one.as_str()) == namespace))
            && health_check.is_none_or(|wanted| wanted == health_check::is_health_check(event))
            && policies.as_ref().is_none_or(|wanted| wanted.iter().any(|one| policy(event) == Some(one)))
            // As with Tetragon, unknown counts as false.
            && in_init_tree.is_none_or(|wanted| wanted == process.process.in_init_tree.unwrap_or_default())
            && patterns.iter().all(|(field, list)| {
                let text = field.text(event);
                text.is_some_and(|text| list.iter().any(|pattern| pattern.is_match(text.as_bytes())))
            })
    }
}

impl PatternField {
    /// None where the event has no such field: then no pattern matches, not even the empty one.
    fn text(self, event: &SecurityEvent) -> Option<&str> {
        let Located { process, pod } = &event.process;
        let parent = event.parent.as_ref().map(|parent| &parent.process);
        let named = pod.as_ref().filter(|place| !place.pod.name.is_empty());
        match self {
            Self::Binary => Some(&process.binary),
            Self::Arguments => Some(&process.arguments),
            Self::ParentBinary => parent.map(|parent| parent.binary.as_str()),
            Self::ParentArguments => parent.map(|parent| parent.arguments.as_str()),
            Self::Pod => named.map(|place| place.pod.name.as_str()),
            Self::Namespace => named.map(|place| place.pod.namespace.as_str()),
            Self::ContainerName => pod.as_ref()?.container.as_ref().map(|container| container.name.as_str()),
            Self::ContainerId => Some(pod.as_deref().map_or("", encoder::docker)),
        }
    }
}

pub(super) fn kind(event: &SecurityEvent) -> EventType {
    match event.kind {
        SecurityEventKind::Exec => EventType::ProcessExec,
        SecurityEventKind::Exit { .. } => EventType::ProcessExit,
        SecurityEventKind::Tracepoint { .. } => EventType::ProcessTracepoint,
    }
}

fn policy(event: &SecurityEvent) -> Option<&str> {
    match &event.kind {
        SecurityEventKind::Tracepoint { policy, .. } => Some(policy),
        SecurityEventKind::Exec | SecurityEventKind::Exit { .. } => None,
    }
}

fn unless_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn compile(list: &[String], path: &str) -> Result<Vec<Regex>, Box<Status>> {
    let each = list.iter().enumerate().map(|(at, pattern)| {
        go_pattern::compile(pattern)
            .map_err(|reason| Box::new(Status::invalid_argument(format!("{path}[{at}]: {reason}"))))
    });
    each.collect()
}

/// Why no event can pass an allowed filter, so that an endless wait is not mistaken for "there are none". Lists of which one
/// member can come are accepted: clients send the types that they know.
fn impossible_field(filter: &api::Filter) -> Option<String> {
    let comes = |number: &i32| EVENT_TYPES.iter().any(|kind| i32::from(*kind) == *number);
    let names = |numbers: &[i32]| {
        let name = |number: &i32| {
            EventType::try_from(*number).map_or_else(|_| number.to_string(), |kind| kind.as_str_name().to_owned())
        };
        numbers.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let wanted = &filter.event_set;
    if !wanted.is_empty() && !wanted.iter().any(comes) {
        let sent = names(&EVENT_TYPES.map(i32::from));
        return Some(format!("event_set: {} cannot come from this agent, which sends {sent}", names(wanted)));
    }
    let of_policies = wanted.is_empty() || wanted.contains(&EventType::ProcessTracepoint.into());
    // Losses come whatever the other fields say.
    let only_losses = wanted.iter().all(|kind| {
        [EventType::ProcessThrottle, EventType::RateLimitInfo].map(i32::from).contains(kind) || !comes(kind)
    });
    if !filter.policy_names.is_empty() && !of_policies && !only_losses {
        return Some(format!("policy_names: {} carries no policy, only PROCESS_TRACEPOINT does", names(wanted)));
    }
    None
}

#[cfg(test)]
mod tests {
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
        let (code, text) = refused(of(&[EventType::ProcessKprobe], &[])).unwrap();
        assert_eq!(code, tonic::Code::InvalidArgument);
        assert_eq!(
            text,
            "allow_list[1].event_set: PROCESS_KPROBE cannot come from this agent, which sends PROCESS_EXEC, PROCESS_EXIT, \
             PROCESS_TRACEPOINT, PROCESS_THROTTLE, RATE_LIMIT_INFO"
        );
        assert!(refused(of(&[EventType::ProcessLsm, EventType::ProcessUprobe], &[])).is_some());
        let unknown = api::Filter { event_set: vec![77], ..Default::default() };
        assert!(refused(unknown).unwrap().1.contains("event_set: 77 cannot come"));
        // Tetragon's own list of types, and lists of losses alone.
        for kinds in [
            [EventType::ProcessExec, EventType::ProcessKprobe].as_slice(),
            &[EventType::RateLimitInfo],
            &[EventType::ProcessThrottle],
        ] {
            assert_eq!(refused(of(kinds, &[])), None);
        }
        let (_, text) = refused(of(&[EventType::ProcessExec], &["watch"])).unwrap();
        assert_eq!(text, "allow_list[1].policy_names: PROCESS_EXEC carries no policy, only PROCESS_TRACEPOINT does");
        assert_eq!(refused(of(&[EventType::ProcessTracepoint, EventType::ProcessExec], &["watch"])), None);
        // It excludes nothing.
        assert!(EventFilters::new(Vec::new(), vec![of(&[EventType::ProcessKprobe], &[])]).is_ok());
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
    fn unsupported_filter_is_refused_by_its_path() {
        let cel = api::Filter { cel_expression: list(&["true"]), ..Default::default() };
        assert_eq!(refusal(cel), "deny_list[1].cel_expression: this filter is not supported");
        let labels = api::Filter { labels: list(&["app=x"]), ..Default::default() };
        assert_eq!(refusal(labels), "deny_list[1].labels: this filter is not supported");
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
}
