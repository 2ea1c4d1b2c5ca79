//! `events`: what Tetragon's GetEvents of each agent sends, selected at the agent as far as its filters can.

use trilobite_api::{
    json,
    read_scope::ReadScope,
    tetragon::{
        EventType, Filter, GetEventsRequest, GetEventsResponse, Pod, Process, RateLimitInfo, ThrottleType,
        get_events_response::Event,
    },
};

use super::{
    event_cells::{cells, event_name, process},
    object::{Metadata, Row},
    stream_item::{StreamItem, nanoseconds, timestamp},
};
use crate::{
    api_error::ApiError,
    query::{FieldSelector, LabelSelector, Parameters},
};

/// Fields of field selectors.
pub const FIELDS: &[&str] = &["pod", "binary", "event", "node", "metadata.name", "metadata.namespace"];

/// Values of the field `event`.
const EVENTS: [(&str, EventType); 9] = [
    ("exec", EventType::ProcessExec),
    ("exit", EventType::ProcessExit),
    ("kprobe", EventType::ProcessKprobe),
    ("tracepoint", EventType::ProcessTracepoint),
    ("loader", EventType::ProcessLoader),
    ("uprobe", EventType::ProcessUprobe),
    ("throttle", EventType::ProcessThrottle),
    ("lsm", EventType::ProcessLsm),
    ("usdt", EventType::ProcessUsdt),
];

#[derive(Clone, Debug)]
pub struct EventQuery {
    pub(super) namespace: Option<String>,
    pub(super) labels: LabelSelector,
    pub(super) fields: FieldSelector,
    /// Whether rows carry cells.
    pub(super) wants_tables: bool,
}

impl EventQuery {
    pub fn new(namespace: Option<&str>, parameters: &Parameters, wants_tables: bool) -> Result<Self, ApiError> {
        for requirement in parameters.fields.of_field("event") {
            if event_type(&requirement.value).is_none() {
                let known = EVENTS.map(|(name, _)| name).join(", ");
                let text = format!("fieldSelector: event {:?} is none of {known}", requirement.value);
                return Err(ApiError::bad_request(text));
            }
        }
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            labels: parameters.labels.clone(),
            fields: parameters.fields.clone(),
            wants_tables,
        })
    }

    /// What the agent can filter by: everything but names of objects.
    pub fn request(&self) -> GetEventsRequest {
        let mut wanted = Filter {
            namespace: self.namespace.clone().into_iter().collect(),
            labels: (!self.labels.is_empty()).then(|| self.labels.to_string()).into_iter().collect(),
            ..Filter::default()
        };
        let mut deny_list = Vec::new();
        for requirement in &self.fields.requirements {
            let mut excluded = Filter::default();
            let filter = if requirement.is_negated { &mut excluded } else { &mut wanted };
            let value = &requirement.value;
            // A list matches by any of its members: of two requirements of one field the agent checks the first, and
            // `matches` both.
            match requirement.field {
                "pod" if filter.pod_regex.is_empty() => filter.pod_regex.push(exactly(value)),
                "binary" if filter.binary_regex.is_empty() => filter.binary_regex.push(exactly(value)),
                "event" if filter.event_set.is_empty() => {
                    filter.event_set.extend(event_type(value).map(i32::from));
                }
                "metadata.namespace" if filter.namespace.is_empty() => filter.namespace.push(value.clone()),
                _ => continue,
            }
            if requirement.is_negated {
                deny_list.push(excluded);
            }
        }
        // Filters are alternatives, and an empty one passes all. Agents report losses to clients that ask for them.
        let losses = Filter { event_set: vec![EventType::RateLimitInfo.into()], ..Filter::default() };
        GetEventsRequest { allow_list: vec![wanted, losses], deny_list, ..GetEventsRequest::default() }
    }

    /// None for an event that is not selected, or that the scope does not allow.
    pub fn item(&self, response: &GetEventsResponse, scope: &ReadScope) -> Option<StreamItem> {
        let event = response.event.as_ref()?;
        if let Some(lost) = loss(event) {
            return Some(StreamItem::Lost(lost, self.row(response, event)));
        }
        let process = process(event);
        let pod = process.and_then(|process| process.pod.as_ref());
        let namespace = pod.map_or("", |pod| pod.namespace.as_str());
        let is_allowed = scope.allows(namespace) && self.namespace.as_deref().is_none_or(|wanted| wanted == namespace);
        if !is_allowed || !self.matches(response, event, process, pod) {
            return None;
        }
        let row = self.row(response, event);
        self.fields.matches("metadata.name", &row.metadata.name).then_some(StreamItem::Row(row))
    }

    fn matches(
        &self,
        response: &GetEventsResponse,
        event: &Event,
        process: Option<&Process>,
        pod: Option<&Pod>,
    ) -> bool {
        let fields = &self.fields;
        fields.matches("pod", pod.map_or("", |pod| &pod.name))
            && fields.matches("binary", process.map_or("", |process| &process.binary))
            && fields.matches("node", &response.node_name)
            && fields.matches("metadata.namespace", pod.map_or("", |pod| &pod.namespace))
            && fields.of_field("event").all(|requirement| {
                let is_kind = event_type(&requirement.value).is_some_and(|wanted| event_name(event) == name_of(wanted));
                is_kind != requirement.is_negated
            })
            && (self.labels.is_empty()
                || pod.is_some_and(|pod| self.labels.matches(|key| pod.pod_labels.get(key).map(String::as_str))))
    }

    fn row(&self, response: &GetEventsResponse, event: &Event) -> Row {
        let time = nanoseconds(response.time.as_ref());
        let process = process(event);
        let pod = process.and_then(|process| process.pod.as_ref());
        let pid = process.and_then(|process| process.pid).unwrap_or_default();
        let mut object = Vec::with_capacity(1024);
        json::append(response, &mut object);
        Row {
            metadata: Metadata {
                name: format!("{}.{time:x}.{}.{pid}", node_part(&response.node_name), event_name(event)),
                namespace: pod.map(|pod| pod.namespace.clone()).unwrap_or_default(),
                time,
                is_position: false,
                labels: pod.map(|pod| pod.pod_labels.clone().into_iter().collect()).unwrap_or_default(),
            },
            object,
            cells: if self.wants_tables { cells(response, event, time) } else { Vec::new() },
        }
    }

    pub(super) fn loss_row(&self, node: &str, lost: u64, time: u64) -> Row {
        let event = Event::RateLimitInfo(RateLimitInfo { number_of_dropped_process_events: lost });
        let response = GetEventsResponse {
            event: Some(event.clone()),
            node_name: node.to_owned(),
            time: Some(timestamp(time)),
            ..GetEventsResponse::default()
        };
        self.row(&response, &event)
    }
}

/// Number of events that the event reports as lost; 0 if it does not say how many.
fn loss(event: &Event) -> Option<u64> {
    match event {
        Event::RateLimitInfo(info) => Some(info.number_of_dropped_process_events),
        Event::ProcessThrottle(throttle) if throttle.r#type() == ThrottleType::ThrottleUnknown => Some(0),
        _ => None,
    }
}

fn event_type(name: &str) -> Option<EventType> {
    let short = name.strip_prefix("process_").unwrap_or(name);
    EVENTS.iter().find(|(known, _)| *known == short).map(|(_, kind)| *kind)
}

fn name_of(wanted: EventType) -> &'static str {
    EVENTS.iter().find(|(_, kind)| *kind == wanted).map_or("", |(name, _)| name)
}

/// A regular expression of Go's that matches this text alone.
fn exactly(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 4);
    pattern.push('^');
    for letter in text.chars() {
        if letter.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('$');
    pattern
}

/// Names of objects are DNS subdomains.
fn node_part(node: &str) -> &str {
    if node.is_empty() { "node" } else { node }
}

#[cfg(test)]
mod tests {
    use trilobite_api::tetragon::{ProcessExec, ProcessThrottle};

    use super::*;

    fn query(namespace: Option<&str>, text: &str) -> Result<EventQuery, ApiError> {
        EventQuery::new(namespace, &Parameters::parse(text, FIELDS).unwrap(), true)
    }

    fn exec(namespace: &str, pod: &str, binary: &str) -> GetEventsResponse {
        let pod = (!pod.is_empty()).then(|| Pod {
            namespace: namespace.into(),
            name: pod.into(),
            pod_labels: [("app".to_owned(), "cart".to_owned())].into(),
            ..Pod::default()
        });
        let process =
            Process { binary: binary.into(), arguments: "-s\u{1b}x".into(), pid: Some(41), pod, ..Process::default() };
        GetEventsResponse {
            event: Some(Event::ProcessExec(ProcessExec { process: Some(process), ..ProcessExec::default() })),
            node_name: "alder".into(),
            time: Some(timestamp(0x17e9_c1a2_b3c4_d5e6)),
            ..GetEventsResponse::default()
        }
    }

    fn selects(namespace: Option<&str>, text: &str) -> bool {
        let scope = namespace.map_or(ReadScope::Everything, ReadScope::namespace);
        let item = query(namespace, text).unwrap().item(&exec("shop", "cart-7", "/usr/bin/curl"), &scope);
        matches!(item, Some(StreamItem::Row(_)))
    }

    #[test]
    fn selectors_become_filters_of_the_agent() {
        let request = query(
            Some("shop"),
            "fieldSelector=pod=cart-7,binary!=/bin/sh,event=exec,event!=process_exit,node=alder&labelSelector=app=cart",
        )
        .unwrap()
        .request();
        assert_eq!(request.allow_list.len(), 2);
        let wanted = &request.allow_list[0];
        assert_eq!(
            (wanted.namespace.as_slice(), wanted.pod_regex.as_slice()),
            (&["shop".into()][..], &["^cart\\-7$".into()][..])
        );
        assert_eq!(wanted.event_set, [i32::from(EventType::ProcessExec)]);
        assert_eq!(wanted.labels, ["app in (cart)"]);
        assert_eq!(request.allow_list[1].event_set, [i32::from(EventType::RateLimitInfo)]);
        assert_eq!(request.deny_list.len(), 2);
        assert_eq!(request.deny_list[0].binary_regex, ["^\\/bin\\/sh$"]);
        assert_eq!(request.deny_list[1].event_set, [i32::from(EventType::ProcessExit)]);
    }

    #[test]
    fn events_are_selected_by_field_and_label() {
        for text in [
            "",
            "fieldSelector=pod=cart-7",
            "fieldSelector=pod!=cart",
            "fieldSelector=event=exec,node=alder,binary=/usr/bin/curl",
            "labelSelector=app=cart",
            "labelSelector=!canary",
        ] {
            assert!(selects(Some("shop"), text), "{text}");
        }
        for text in [
            "fieldSelector=pod=cart",
            "fieldSelector=pod=cart-7,pod=cart-8",
            "fieldSelector=event=exit",
            "fieldSelector=event!=exec",
            "fieldSelector=node!=alder",
            "fieldSelector=metadata.namespace=till",
            "labelSelector=app!=cart",
            "labelSelector=canary",
        ] {
            assert!(!selects(Some("shop"), text), "{text}");
        }
    }

    #[test]
    fn row_of_another_namespace_is_dropped_even_if_an_agent_sends_it() {
        assert!(!selects(Some("till"), "") && selects(None, ""));
        let query = query(Some("shop"), "").unwrap();
        let scope = ReadScope::namespace("shop");
        assert_eq!(query.item(&exec("shop", "", "/bin/host"), &scope), None, "a process of the host");
        assert_eq!(query.item(&exec("shop2", "x", "/bin/host"), &scope), None);
    }

    #[test]
    fn unknown_event_is_refused_and_the_known_ones_are_named() {
        let error = query(None, "fieldSelector=event=open").unwrap_err();
        assert!(error.message.starts_with("fieldSelector: event \"open\" is none of exec, exit, kprobe"), "{error}");
    }

    #[test]
    fn row_has_name_labels_and_the_line_of_tetragon() {
        let response = exec("shop", "cart-7", "/usr/bin/curl");
        let Some(StreamItem::Row(row)) = query(None, "").unwrap().item(&response, &ReadScope::Everything) else {
            panic!("no row");
        };
        assert_eq!(row.metadata.name, "alder.17e9c1a2b3c4d5e6.exec.41");
        assert_eq!(row.metadata.labels, [("app".to_owned(), "cart".to_owned())]);
        assert_eq!(String::from_utf8(row.object).unwrap(), json::to_string(&response));
        assert_eq!(row.cells[2..], ["exec", "cart-7", "/usr/bin/curl", "-s\\x1bx"]);
    }

    #[test]
    fn losses_come_whatever_the_selectors() {
        let query = query(Some("shop"), "fieldSelector=event=exit,pod=x").unwrap();
        let event = |event| GetEventsResponse { event: Some(event), ..GetEventsResponse::default() };
        let scope = ReadScope::namespace("shop");
        let lost = event(Event::RateLimitInfo(RateLimitInfo { number_of_dropped_process_events: 9 }));
        assert!(matches!(query.item(&lost, &scope), Some(StreamItem::Lost(9, _))));
        let notice = event(Event::ProcessThrottle(ProcessThrottle {
            cgroup: "9 events lost".into(),
            ..ProcessThrottle::default()
        }));
        assert!(matches!(query.item(&notice, &scope), Some(StreamItem::Lost(0, _))));
        let row = query.loss_row("alder", 7, 1);
        assert!(String::from_utf8(row.object).unwrap().contains("\"number_of_dropped_process_events\":\"7\""));
    }
}
