//! Flow filters of GetFlows. All fields that a filter sets must hold; one member of a list is enough. A flow passes if
//! a filter of the whitelist holds, or the whitelist is empty, and no filter of the blacklist holds. An unsupported
//! field is refused by name. So is, in the whitelist, a field or value that no flow of this agent has: an empty answer
//! would read as "there are none". In the blacklist it excludes nothing.

mod absent;
mod address;
mod event;
mod http;
mod lookup;
mod name;
mod packet;
mod predicate;
mod selector;

use tonic::Status;
use trilobite_api::flow::FlowFilter;

use self::predicate::{BuildResult, Predicate, constant, destination, source};
use crate::layers::network::flow::{EventKind, Flow};

pub struct FlowFilters {
    whitelist: Vec<Vec<Predicate>>,
    blacklist: Vec<Vec<Predicate>>,
}

impl FlowFilters {
    /// Builds both lists; `node` is this node's name.
    pub fn new(whitelist: &[FlowFilter], blacklist: &[FlowFilter], node: &str) -> Result<Self, Box<Status>> {
        let build = |filters: &[FlowFilter], list: &str, refuse: bool| {
            let numbered = filters.iter().enumerate();
            numbered
                .map(|(at, filter)| {
                    predicates(filter, node, refuse)
                        .map_err(|what| Box::new(Status::invalid_argument(format!("{list}[{at}].{what}"))))
                })
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { whitelist: build(whitelist, "whitelist", true)?, blacklist: build(blacklist, "blacklist", false)? })
    }

    pub fn pass(&self, flow: &Flow) -> bool {
        let holds = |filter: &Vec<Predicate>| filter.iter().all(|predicate| predicate(flow));
        (self.whitelist.is_empty() || self.whitelist.iter().any(holds)) && !self.blacklist.iter().any(holds)
    }
}

/// Collects the predicates of the fields that are set.
struct Predicates(Vec<Predicate>);

impl Predicates {
    fn add<T>(&mut self, field: &str, wanted: &[T], build: impl FnOnce(Vec<T>) -> BuildResult) -> Result<(), String>
    where
        T: Clone,
    {
        if !wanted.is_empty() {
            self.0.push(build(wanted.to_vec()).map_err(|what| format!("{field}: {what}"))?);
        }
        Ok(())
    }
}

fn predicates(filter: &FlowFilter, node: &str, refuse: bool) -> Result<Vec<Predicate>, String> {
    let mut predicates = Predicates(Vec::new());
    predicates.add("uuid", &filter.uuid, packet::uuid)?;
    predicates.add("source_ip", &filter.source_ip, |wanted| address::ip(&wanted, |flow| flow.source.ip()))?;
    predicates
        .add("destination_ip", &filter.destination_ip, |wanted| address::ip(&wanted, |flow| flow.destination.ip()))?;
    predicates.add("source_port", &filter.source_port, |wanted| address::port(&wanted, Flow::source_port))?;
    predicates
        .add("destination_port", &filter.destination_port, |wanted| address::port(&wanted, Flow::destination_port))?;
    predicates.add("ip_version", &filter.ip_version, packet::ip_version)?;
    predicates.add("protocol", &filter.protocol, |wanted| packet::protocol(&wanted))?;
    predicates.add("tcp_flags", &filter.tcp_flags, packet::tcp_flags)?;
    predicates.add("interface", &filter.interface, packet::interface)?;
    predicates.add("verdict", &filter.verdict, event::verdict)?;
    predicates.add("drop_reason_desc", &filter.drop_reason_desc, event::drop_reason)?;
    predicates.add("event_type", &filter.event_type, event::event_type)?;
    predicates.add("reply", &filter.reply, event::reply)?;
    predicates.add("http_status_code", &filter.http_status_code, |wanted| http::status_code(&wanted))?;
    predicates.add("http_method", &filter.http_method, http::method)?;
    predicates.add("http_path", &filter.http_path, |wanted| http::path(&wanted))?;
    predicates.add("http_url", &filter.http_url, |wanted| http::url(&wanted))?;
    predicates.add("http_header", &filter.http_header, http::header)?;
    predicates.add("trace_id", &filter.trace_id, http::trace_id)?;
    predicates.add("source_fqdn", &filter.source_fqdn, |wanted| lookup::fqdn(&wanted, |flow| &flow.source_names))?;
    predicates.add("destination_fqdn", &filter.destination_fqdn, |wanted| {
        lookup::fqdn(&wanted, |flow| &flow.destination_names)
    })?;
    predicates.add("dns_query", &filter.dns_query, |wanted| lookup::dns_query(&wanted))?;
    predicates.add("traffic_direction", &filter.traffic_direction, event::traffic_direction)?;
    predicates.add("source_pod", &filter.source_pod, |wanted| name::pod(&wanted, source))?;
    predicates.add("destination_pod", &filter.destination_pod, |wanted| name::pod(&wanted, destination))?;
    predicates.add("source_service", &filter.source_service, |wanted| {
        name::service(&wanted, |flow| flow.source_service.as_deref())
    })?;
    predicates.add("destination_service", &filter.destination_service, |wanted| {
        name::service(&wanted, |flow| flow.destination_service.as_deref())
    })?;
    predicates.add("source_workload", &filter.source_workload, |wanted| name::workload(wanted, source))?;
    predicates
        .add("destination_workload", &filter.destination_workload, |wanted| name::workload(wanted, destination))?;
    predicates.add("source_identity", &filter.source_identity, |wanted| name::identity(wanted, source))?;
    predicates
        .add("destination_identity", &filter.destination_identity, |wanted| name::identity(wanted, destination))?;
    predicates.add("source_label", &filter.source_label, |wanted| selector::labels(&wanted, source))?;
    predicates.add("destination_label", &filter.destination_label, |wanted| selector::labels(&wanted, destination))?;
    predicates.add("source_cluster_name", &filter.source_cluster_name, |wanted| name::cluster(wanted, source))?;
    predicates.add("destination_cluster_name", &filter.destination_cluster_name, |wanted| {
        name::cluster(wanted, destination)
    })?;
    predicates.add("node_name", &filter.node_name, |wanted| name::node(&wanted, node))?;
    // No flow of this agent is encrypted.
    predicates.add("encrypted", &filter.encrypted, |wanted| Ok(constant(wanted.contains(&false))))?;
    if let Some(what) = absent::impossible_field(filter).filter(|_| refuse) {
        return Err(what);
    }
    if let Some(field) = http_fields(filter).into_iter().next().filter(|_| excludes_requests(filter)) {
        return Err(format!("{field}: event_type excludes the events that have it, of type l7"));
    }
    if let Some(field) = unsupported(filter).into_iter().next() {
        return Err(format!("{field}: this filter is not supported"));
    }
    for field in never_matches(filter) {
        if refuse {
            return Err(format!("{field}: flows of this agent do not have this field, so no flow would match"));
        }
        predicates.0.push(constant(false));
    }
    Ok(predicates.0)
}

/// Fields of unsupported filters that flows of this agent could match.
fn unsupported(filter: &FlowFilter) -> Vec<&'static str> {
    set([
        ("node_labels", filter.node_labels.is_empty()),
        ("experimental.cel_expression", filter.experimental.as_ref().is_none_or(|of| of.cel_expression.is_empty())),
    ])
}

/// As Hubble, which refuses such a filter.
fn excludes_requests(filter: &FlowFilter) -> bool {
    !filter.event_type.is_empty() && filter.event_type.iter().all(|wanted| wanted.r#type != EventKind::L7)
}

fn http_fields(filter: &FlowFilter) -> Vec<&'static str> {
    set([
        ("http_status_code", filter.http_status_code.is_empty()),
        ("http_method", filter.http_method.is_empty()),
        ("http_path", filter.http_path.is_empty()),
        ("http_url", filter.http_url.is_empty()),
        ("http_header", filter.http_header.is_empty()),
    ])
}

/// Fields that no flow of this agent has.
fn never_matches(filter: &FlowFilter) -> Vec<&'static str> {
    set([("source_ip_xlated", filter.source_ip_xlated.is_empty()), ("ip_trace_id", filter.ip_trace_id.is_empty())])
}

fn set<const N: usize>(fields: [(&'static str, bool); N]) -> Vec<&'static str> {
    fields.into_iter().filter(|(_, empty)| !empty).map(|(field, _)| field).collect()
}

#[cfg(test)]
mod tests {
    use trilobite_api::flow::{EventTypeFilter, flow_filter::Experimental};

    use super::*;
    use crate::layers::network::{
        endpoint::{Endpoint, Reserved},
        flow::samples::syn,
    };

    fn passes(whitelist: &[FlowFilter], blacklist: &[FlowFilter]) -> bool {
        FlowFilters::new(whitelist, blacklist, "n1").unwrap().pass(&syn())
    }

    fn from_pod(name: &str) -> FlowFilter {
        FlowFilter { source_pod: vec![name.into()], ..FlowFilter::default() }
    }

    #[test]
    fn one_whitelist_filter_is_enough_and_all_its_fields_hold() {
        assert!(passes(&[], &[]));
        assert!(passes(&[from_pod("shop/no-such-pod"), from_pod("shop/front")], &[]));
        let with_port = FlowFilter { destination_port: vec!["443".into()], ..from_pod("shop/front") };
        assert!(!passes(&[with_port], &[]));
    }

    #[test]
    fn blacklist_wins() {
        assert!(!passes(&[from_pod("shop/front")], &[from_pod("shop/")]));
    }

    #[test]
    fn filter_by_a_missing_field_is_refused_or_excludes_nothing() {
        let by_trace = FlowFilter { ip_trace_id: vec![7], ..FlowFilter::default() };
        let refusal = FlowFilters::new(&[FlowFilter::default(), by_trace.clone()], &[], "n1").err().unwrap();
        assert!(refusal.message().starts_with("whitelist[1].ip_trace_id: "), "{}", refusal.message());
        assert!(passes(&[], &[by_trace]));
    }

    #[test]
    fn unsupported_filters_are_refused_in_both_lists() {
        let by_node = FlowFilter { node_labels: vec!["zone=a".into()], ..FlowFilter::default() };
        let experimental = Some(Experimental { cel_expression: vec!["true".into()] });
        let by_expression = FlowFilter { experimental, ..FlowFilter::default() };
        for (filter, field) in [(by_node, "node_labels"), (by_expression, "experimental.cel_expression")] {
            for (white, black, list) in
                [(vec![filter.clone()], vec![], "whitelist"), (vec![], vec![filter.clone()], "blacklist")]
            {
                let refusal = FlowFilters::new(&white, &black, "n1").err().unwrap();
                assert!(refusal.message().starts_with(&format!("{list}[0].{field}: ")), "{}", refusal.message());
            }
        }
    }

    #[test]
    fn http_filter_for_other_events_is_refused_in_both_lists() {
        let of_type = |kind| FlowFilter {
            http_method: vec!["GET".into()],
            event_type: vec![EventTypeFilter { r#type: kind, ..EventTypeFilter::default() }],
            ..FlowFilter::default()
        };
        let refusal = FlowFilters::new(&[], &[of_type(4)], "n1").err().unwrap();
        assert!(refusal.message().starts_with("blacklist[0].http_method: event_type"), "{}", refusal.message());
        assert!(passes(&[], &[of_type(EventKind::L7)]));
    }

    #[test]
    fn cluster_is_the_pods_and_not_the_worlds() {
        let from = |names: &[&str]| FlowFilter {
            source_cluster_name: names.iter().map(|name| (*name).to_owned()).collect(),
            ..FlowFilter::default()
        };
        assert!(passes(&[from(&["east", "default"])], &[]) && !passes(&[from(&["east"])], &[]));
        let mut outside = syn();
        outside.source_endpoint = Endpoint::reserved(Reserved::World).into();
        assert!(!FlowFilters::new(&[from(&["default"])], &[], "n1").unwrap().pass(&outside));
        assert!(FlowFilters::new(&[from(&["", "default"])], &[], "n1").is_err());
    }

    #[test]
    fn every_flow_is_unencrypted() {
        let by = |encrypted| FlowFilter { encrypted: vec![encrypted], ..FlowFilter::default() };
        assert!(passes(&[by(false)], &[]));
        assert!(passes(&[], &[by(true)]) && !passes(&[], &[by(false)]));
    }

    #[test]
    fn invalid_value_is_refused_with_its_field() {
        let bad = FlowFilter { source_port: vec!["70000".into()], ..FlowFilter::default() };
        let refusal = FlowFilters::new(&[], &[bad], "n1").err().unwrap();
        assert_eq!(refusal.message(), "blacklist[0].source_port: 70000 is not a port");
    }
}
