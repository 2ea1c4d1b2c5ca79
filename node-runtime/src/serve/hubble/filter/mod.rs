//! Which flows a reader of GetFlows wants. Of one filter every field that is set must hold, one member of a list is
//! enough; a flow passes when some filter of the whitelist holds, or it is empty, and none of the blacklist does. What
//! is not carried out is refused by name. So is what no flow here has, a field or all that is asked of one, in a whitelist,
//! where it would let nothing pass and read as "there is none"; in a blacklist it holds for none and excludes nothing.

mod absent;
mod address;
mod name;
mod packet;
mod selector;

use tonic::Status;

use super::convert;
use crate::{
    layers::network::{end::End, flow::Flow},
    serve::proto::flow::FlowFilter,
};

/// Whether one field of a filter holds.
type Test = Box<dyn Fn(&Flow) -> bool + Send + Sync>;
/// A test, or what is wrong with the field's value.
type Built = Result<Test, String>;

/// Both lists of a request.
pub struct Filters {
    whitelist: Vec<Vec<Test>>,
    blacklist: Vec<Vec<Test>>,
}

impl Filters {
    /// Builds both lists; `node` is this node's name.
    pub fn new(whitelist: &[FlowFilter], blacklist: &[FlowFilter], node: &str) -> Result<Self, Box<Status>> {
        let build = |filters: &[FlowFilter], list: &str, refuse: bool| {
            let numbered = filters.iter().enumerate();
            numbered
                .map(|(at, filter)| {
                    tests(filter, node, refuse)
                        .map_err(|what| Box::new(Status::invalid_argument(format!("{list}[{at}].{what}"))))
                })
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { whitelist: build(whitelist, "whitelist", true)?, blacklist: build(blacklist, "blacklist", false)? })
    }

    /// The flow is wanted.
    pub fn pass(&self, flow: &Flow) -> bool {
        let holds = |filter: &Vec<Test>| filter.iter().all(|test| test(flow));
        (self.whitelist.is_empty() || self.whitelist.iter().any(holds)) && !self.blacklist.iter().any(holds)
    }
}

fn source(flow: &Flow) -> &End {
    &flow.source_end
}

fn destination(flow: &Flow) -> &End {
    &flow.destination_end
}

/// Collects the tests of the fields that are set.
struct Tests(Vec<Test>);

impl Tests {
    fn add<T>(&mut self, field: &str, wanted: &[T], build: impl FnOnce(Vec<T>) -> Built) -> Result<(), String>
    where
        T: Clone,
    {
        if !wanted.is_empty() {
            self.0.push(build(wanted.to_vec()).map_err(|what| format!("{field}: {what}"))?);
        }
        Ok(())
    }
}

fn tests(filter: &FlowFilter, node: &str, refuse: bool) -> Result<Vec<Test>, String> {
    let mut tests = Tests(Vec::new());
    tests.add("uuid", &filter.uuid, packet::uuid)?;
    tests.add("source_ip", &filter.source_ip, |wanted| address::ip(&wanted, |flow| flow.source.ip()))?;
    tests.add("destination_ip", &filter.destination_ip, |wanted| address::ip(&wanted, |flow| flow.destination.ip()))?;
    tests.add("source_port", &filter.source_port, |wanted| address::port(&wanted, |flow| flow.source.port()))?;
    tests.add("destination_port", &filter.destination_port, |wanted| {
        address::port(&wanted, |flow| flow.destination.port())
    })?;
    tests.add("ip_version", &filter.ip_version, packet::ip_version)?;
    tests.add("protocol", &filter.protocol, |wanted| packet::protocol(&wanted))?;
    tests.add("tcp_flags", &filter.tcp_flags, packet::tcp_flags)?;
    tests.add("interface", &filter.interface, packet::interface)?;
    tests.add("verdict", &filter.verdict, |wanted| Ok(constant(wanted.contains(&convert::VERDICT.into()))))?;
    // A reason counts only with a drop, and none of these flows was dropped.
    tests.add("drop_reason_desc", &filter.drop_reason_desc, |_| Ok(constant(false)))?;
    tests.add("event_type", &filter.event_type, packet::event_type)?;
    tests.add("reply", &filter.reply, |wanted| Ok(Box::new(move |flow| wanted.contains(&flow.is_reply))))?;
    tests.add("traffic_direction", &filter.traffic_direction, |wanted| {
        Ok(Box::new(move |flow| wanted.contains(&convert::direction(flow.began).into())))
    })?;
    tests.add("source_pod", &filter.source_pod, |wanted| name::pod(&wanted, source))?;
    tests.add("destination_pod", &filter.destination_pod, |wanted| name::pod(&wanted, destination))?;
    tests.add("source_service", &filter.source_service, |wanted| {
        name::service(&wanted, |flow| flow.source_service.as_deref())
    })?;
    tests.add("destination_service", &filter.destination_service, |wanted| {
        name::service(&wanted, |flow| flow.destination_service.as_deref())
    })?;
    tests.add("source_workload", &filter.source_workload, |wanted| name::workload(wanted, source))?;
    tests.add("destination_workload", &filter.destination_workload, |wanted| name::workload(wanted, destination))?;
    tests.add("source_identity", &filter.source_identity, |wanted| name::identity(wanted, source))?;
    tests.add("destination_identity", &filter.destination_identity, |wanted| name::identity(wanted, destination))?;
    tests.add("source_label", &filter.source_label, |wanted| selector::labels(&wanted, source))?;
    tests.add("destination_label", &filter.destination_label, |wanted| selector::labels(&wanted, destination))?;
    tests.add("node_name", &filter.node_name, |wanted| name::node(&wanted, node))?;
    // None of these flows was seen encrypted.
    tests.add("encrypted", &filter.encrypted, |wanted| Ok(constant(wanted.contains(&false))))?;
    if let Some(what) = absent::all_that_is_asked_of_a_field(filter).filter(|_| refuse) {
        return Err(what);
    }
    if let Some(field) = not_carried_out(filter).into_iter().next() {
        return Err(format!("{field}: this agent carries out no filter by it"));
    }
    for field in never_matches(filter) {
        if refuse {
            return Err(format!("{field}: this agent's flows do not have it, so that no filter by it is carried out"));
        }
        tests.0.push(constant(false));
    }
    Ok(tests.0)
}

fn constant(answer: bool) -> Test {
    Box::new(move |_| answer)
}

/// Fields that are set and that a flow of ours could match, if they were carried out.
fn not_carried_out(filter: &FlowFilter) -> Vec<&'static str> {
    set([
        ("node_labels", filter.node_labels.is_empty()),
        ("experimental.cel_expression", filter.experimental.as_ref().is_none_or(|of| of.cel_expression.is_empty())),
    ])
}

/// Fields that are set and that no flow of ours has, so that none matches.
fn never_matches(filter: &FlowFilter) -> Vec<&'static str> {
    set([
        ("source_ip_xlated", filter.source_ip_xlated.is_empty()),
        ("source_fqdn", filter.source_fqdn.is_empty()),
        ("destination_fqdn", filter.destination_fqdn.is_empty()),
        ("source_cluster_name", filter.source_cluster_name.is_empty()),
        ("destination_cluster_name", filter.destination_cluster_name.is_empty()),
        ("http_status_code", filter.http_status_code.is_empty()),
        ("http_method", filter.http_method.is_empty()),
        ("http_path", filter.http_path.is_empty()),
        ("http_url", filter.http_url.is_empty()),
        ("http_header", filter.http_header.is_empty()),
        ("dns_query", filter.dns_query.is_empty()),
        ("trace_id", filter.trace_id.is_empty()),
        ("ip_trace_id", filter.ip_trace_id.is_empty()),
    ])
}

fn set<const N: usize>(fields: [(&'static str, bool); N]) -> Vec<&'static str> {
    fields.into_iter().filter(|(_, empty)| !empty).map(|(field, _)| field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{layers::network::flow::tests::syn, serve::proto::flow::flow_filter::Experimental};

    fn passes(whitelist: &[FlowFilter], blacklist: &[FlowFilter]) -> bool {
        Filters::new(whitelist, blacklist, "n1").unwrap().pass(&syn())
    }

    fn from_pod(name: &str) -> FlowFilter {
        FlowFilter { source_pod: vec![name.into()], ..FlowFilter::default() }
    }

    #[test]
    fn one_filter_of_the_whitelist_is_enough_and_all_its_fields_must_hold() {
        assert!(passes(&[], &[]));
        assert!(passes(&[from_pod("shop/nobody"), from_pod("shop/front")], &[]));
        let with_port = FlowFilter { destination_port: vec!["443".into()], ..from_pod("shop/front") };
        assert!(!passes(&[with_port], &[]));
    }

    #[test]
    fn the_blacklist_wins() {
        assert!(!passes(&[from_pod("shop/front")], &[from_pod("shop/")]));
    }

    #[test]
    fn a_filter_that_is_not_there_is_refused_by_its_name_and_excludes_nothing() {
        let by_name = FlowFilter { destination_fqdn: vec!["*.example.com".into()], ..FlowFilter::default() };
        let refusal = Filters::new(&[FlowFilter::default(), by_name.clone()], &[], "n1").err().unwrap();
        assert!(refusal.message().starts_with("whitelist[1].destination_fqdn: "), "{}", refusal.message());
        assert!(passes(&[], &[by_name]));
    }

    #[test]
    fn what_flows_could_match_and_is_not_carried_out_is_refused_in_both_lists() {
        let by_node = FlowFilter { node_labels: vec!["zone=a".into()], ..FlowFilter::default() };
        let experimental = Some(Experimental { cel_expression: vec!["true".into()] });
        let by_expression = FlowFilter { experimental, ..FlowFilter::default() };
        for (filter, field) in [(by_node, "node_labels"), (by_expression, "experimental.cel_expression")] {
            for (white, black, list) in
                [(vec![filter.clone()], vec![], "whitelist"), (vec![], vec![filter.clone()], "blacklist")]
            {
                let refusal = Filters::new(&white, &black, "n1").err().unwrap();
                assert!(refusal.message().starts_with(&format!("{list}[0].{field}: ")), "{}", refusal.message());
            }
        }
    }

    #[test]
    fn every_flow_is_unencrypted_in_both_lists() {
        let by = |encrypted| FlowFilter { encrypted: vec![encrypted], ..FlowFilter::default() };
        assert!(passes(&[by(false)], &[]));
        assert!(passes(&[], &[by(true)]) && !passes(&[], &[by(false)]));
    }

    #[test]
    fn a_value_that_cannot_be_is_refused_with_its_field() {
        let bad = FlowFilter { source_port: vec!["70000".into()], ..FlowFilter::default() };
        let refusal = Filters::new(&[], &[bad], "n1").err().unwrap();
        assert_eq!(refusal.message(), "blacklist[0].source_port: 70000 is no port");
    }
}
