//! `hubble_dns_*`: queries, answers, and the types of their records. Hubble counts a query when it is asked, without its outcome;
//! here a query is counted at its client when it is answered or given up, unless the option `hubbleRcode` is set.

use trilobite_crds::hubble_metrics::{HubbleMetric, MetricOption};

use super::{
    counter::{Family, FlowCounter},
    label_values::LabelValues,
    series::Label,
};
use crate::layers::network::flow::{Dns, Flow, L7, TrafficDirection};

/// The same text for all three, as with Hubble.
const HELP: &str = "Number of DNS queries observed";
pub(super) const QUERIES: Family = Family { name: "hubble_dns_queries", help: HELP };
pub(super) const RESPONSES: Family = Family { name: "hubble_dns_responses", help: HELP };
pub(super) const RESPONSE_TYPES: Family = Family { name: "hubble_dns_response_types", help: HELP };

/// The response code of a query that no answer came to.
const UNANSWERED: &str = "Unanswered";

/// Names of response codes in these metrics; some differ from those of summaries.
const RCODES: [&str; 12] = [
    "No Error",
    "Format Error",
    "Server Failure",
    "Non-Existent Domain",
    "Not Implemented",
    "Query Refused",
    "Name Exists when it should not",
    "RR Set Exists when it should not",
    "RR Set that should exist does not",
    "Not Authorized",
    "Name not contained in zone",
    "DSO-TYPE Not Implemented",
];
const FIRST_EXTENDED: u32 = 16;
const EXTENDED_RCODES: [&str; 8] = [
    "Bad OPT Version",
    "Key not recognized",
    "Signature out of time window",
    "Bad TKEY Mode",
    "Duplicate key name",
    "Algorithm not supported",
    "Bad Truncation",
    "Bad/missing Server Cookie",
];

/// Of queries and responses. The client chooses the types and the name.
pub(super) fn labels(metric: &HubbleMetric) -> Vec<Label> {
    let mut labels = vec![Label::bounded("rcode"), Label::unbounded("qtypes"), Label::unbounded("ips_returned")];
    labels.extend(metric.has(MetricOption::Query).then(|| Label::unbounded("query")));
    labels
}

pub(super) fn type_labels(metric: &HubbleMetric) -> Vec<Label> {
    let mut labels = vec![Label::unbounded("type"), Label::unbounded("qtypes")];
    labels.extend(metric.has(MetricOption::Query).then(|| Label::unbounded("query")));
    labels
}

/// `counters` are those of queries, responses and types.
pub(super) fn record(metric: &HubbleMetric, counters: &mut [FlowCounter], flow: &Flow) {
    let Some(dns) = dns(metric, flow) else { return };
    let [queries, responses, types] = counters else { return };
    let is_answer = flow.is_reply == Some(true);
    // Hubble leaves the others without a name.
    let or_else = if metric.has(MetricOption::HubbleRcode) { "" } else { "Unknown" };
    let rcode = rcode_name(dns.rcode).unwrap_or(or_else);
    if metric.has(MetricOption::HubbleRcode) {
        if !is_answer {
            return count(queries, flow, "", dns);
        }
    } else {
        if !is_answer || is_counted_elsewhere(flow) {
            return;
        }
        count(queries, &with_ends_of_query(flow), rcode, dns);
    }
    count(responses, flow, rcode, dns);
    for kind in &dns.rrtypes {
        types.count_by(flow, |values| {
            values.push(kind);
            push_types(dns, values);
            if metric.has(MetricOption::Query) {
                values.push(&dns.query);
            }
        });
    }
}

/// A query that no answer came to. Hubble has no event of that.
pub(super) fn record_unanswered(metric: &HubbleMetric, counters: &mut [FlowCounter], query: &Flow) {
    if metric.has(MetricOption::HubbleRcode) || is_counted_elsewhere(query) {
        return;
    }
    if let ([queries, ..], Some(dns)) = (counters, dns(metric, query)) {
        count(queries, query, UNANSWERED, dns);
    }
}

fn rcode_name(rcode: u32) -> Option<&'static str> {
    let in_table = |table: &[&'static str], number: u32| table.get(usize::try_from(number).ok()?).copied();
    in_table(&RCODES, rcode).or_else(|| in_table(&EXTENDED_RCODES, rcode.checked_sub(FIRST_EXTENDED)?))
}

fn dns<'a>(metric: &HubbleMetric, flow: &'a Flow) -> Option<&'a Dns> {
    let dns = flow.l7().and_then(L7::dns)?;
    (!metric.has(MetricOption::IgnoreAaaa) || dns.qtypes != ["AAAA"]).then_some(dns)
}

/// Seen at a server, of a client that is a pod: the agent of its node counts it.
pub(super) fn is_counted_elsewhere(flow: &Flow) -> bool {
    let client = if flow.is_reply == Some(true) { &flow.destination_endpoint } else { &flow.source_endpoint };
    flow.direction == TrafficDirection::Ingress && !client.pod.is_empty()
}

/// The answer, from the client to the server.
fn with_ends_of_query(answer: &Flow) -> Flow {
    let mut query = answer.clone();
    std::mem::swap(&mut query.source, &mut query.destination);
    std::mem::swap(&mut query.source_endpoint, &mut query.destination_endpoint);
    std::mem::swap(&mut query.source_names, &mut query.destination_names);
    query
}

fn count(counter: &mut FlowCounter, flow: &Flow, rcode: &str, dns: &Dns) {
    let has_query = counter.metric.has(MetricOption::Query);
    counter.count_by(flow, |values| {
        values.push(rcode);
        push_types(dns, values);
        values.push_display(dns.ips.len());
        if has_query {
            values.push(&dns.query);
        }
    });
}

fn push_types(dns: &Dns, values: &mut LabelValues) {
    for (position, kind) in dns.qtypes.iter().enumerate() {
        values.write(if position == 0 { "" } else { "," });
        values.write(kind);
    }
    values.end_value();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::{
        flow::{L7FlowType, samples::dns as lookup},
        hubble_metrics::tests::{counted, counting, lines},
    };

    /// A query of `shop/front-1` and its answer with this code.
    fn asked_and_answered(rcode: u32) -> [Flow; 2] {
        [lookup(L7FlowType::Request, 0), lookup(L7FlowType::Response, rcode)]
    }

    #[test]
    fn query_is_counted_with_its_answer_and_the_clients_labels() {
        let words = ["dns:sourceContext=workload-name;destinationContext=workload-name"];
        assert_eq!(
            counted(&words, "hubble_dns", &asked_and_answered(3)),
            [
                r#"hubble_dns_queries_total{rcode="Non-Existent Domain",qtypes="A",ips_returned="0",source="front",destination="cart"} 1"#,
                r#"hubble_dns_responses_total{rcode="Non-Existent Domain",qtypes="A",ips_returned="0",source="cart",destination="front"} 1"#,
            ]
        );
    }

    #[test]
    fn hubbles_query_is_counted_when_it_is_asked() {
        assert_eq!(
            counted(&["dns:hubbleRcode;query"], "hubble_dns", &asked_and_answered(0)),
            [
                r#"hubble_dns_queries_total{rcode="",qtypes="A",ips_returned="0",query="shop.example.com."} 1"#,
                r#"hubble_dns_response_types_total{type="A",qtypes="A",query="shop.example.com."} 2"#,
                r#"hubble_dns_response_types_total{type="CNAME",qtypes="A",query="shop.example.com."} 1"#,
                r#"hubble_dns_responses_total{rcode="No Error",qtypes="A",ips_returned="2",query="shop.example.com."} 1"#,
            ]
        );
    }

    #[test]
    fn unanswered_query_is_counted_once_it_is_given_up() {
        let metrics = counting(&["dns:labelsContext=source_namespace"]);
        let [query, _] = asked_and_answered(0);
        metrics.record(&query);
        assert!(lines(&metrics, "hubble_dns").is_empty());
        metrics.record_unanswered(&query);
        assert_eq!(
            lines(&metrics, "hubble_dns"),
            [r#"hubble_dns_queries_total{rcode="Unanswered",qtypes="A",ips_returned="0",source_namespace="shop"} 1"#]
        );
        assert_eq!(
            lines(&metrics, "trilobite_network_dns_unanswered"),
            [r#"trilobite_network_dns_unanswered_total{source="shop/front",destination="store/cart"} 1"#]
        );
        let as_hubble = counting(&["dns:hubbleRcode"]);
        as_hubble.record_unanswered(&query);
        assert!(lines(&as_hubble, "hubble_dns").is_empty());
    }

    #[test]
    fn lookups_for_aaaa_alone_can_be_ignored() {
        let [mut query, mut answer] = asked_and_answered(0);
        for flow in [&mut query, &mut answer] {
            let crate::layers::network::flow::Event::L7(l7) = &mut flow.event else { panic!() };
            let crate::layers::network::flow::L7Record::Dns(dns) = &mut l7.record else { panic!() };
            dns.qtypes = vec!["AAAA".into()];
        }
        assert!(counted(&["dns:ignoreAAAA"], "hubble_dns", &[query.clone(), answer.clone()]).is_empty());
        assert!(!counted(&["dns"], "hubble_dns", &[query, answer]).is_empty());
    }

    #[test]
    fn lookup_at_the_server_of_a_pod_is_counted_by_the_clients_agent() {
        let at_server = asked_and_answered(0).map(|flow| Flow { direction: TrafficDirection::Ingress, ..flow });
        assert!(counted(&["dns"], "hubble_dns", &at_server).is_empty());
        assert!(!counted(&["dns:hubbleRcode"], "hubble_dns", &at_server).is_empty());
        let from_world = at_server.map(|mut flow| {
            let is_answer = flow.is_reply == Some(true);
            let client = if is_answer { &mut flow.destination_endpoint } else { &mut flow.source_endpoint };
            *client = Default::default();
            flow
        });
        assert!(!counted(&["dns"], "hubble_dns", &from_world).is_empty());
    }

    #[test]
    fn latency_is_that_of_the_answer_by_both_ends() {
        let page = counted(&["tcp"], "trilobite_network_dns_latency_seconds", &asked_and_answered(0));
        let ends = r#"source="shop/front",destination="store/cart""#;
        for line in [
            format!("trilobite_network_dns_latency_seconds_count{{{ends}}} 1"),
            format!("trilobite_network_dns_latency_seconds_sum{{{ends}}} 0.002"),
        ] {
            assert!(page.contains(&line), "{line} in {page:#?}");
        }
        assert!(page.iter().any(|line| line.contains(r#"le="0.001""#) && line.ends_with(" 0")), "{page:#?}");
        assert!(page.iter().any(|line| line.contains(r#"le="0.0025""#) && line.ends_with(" 1")), "{page:#?}");
    }

    #[test]
    fn codes_have_hubbles_names_or_none() {
        for (rcode, name) in [
            (2, Some("Server Failure")),
            (9, Some("Not Authorized")),
            (12, None),
            (23, Some("Bad/missing Server Cookie")),
            (24, None),
        ] {
            assert_eq!(rcode_name(rcode), name, "{rcode}");
        }
    }
}
