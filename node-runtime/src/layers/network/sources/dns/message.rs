//! A query or an answer as a flow.

use trilobite_node_ebpf::FlowDirection;
use trilobite_worker_wire::{DnsEvent, DnsSeen};

use crate::layers::network::{
    enrich::{Enricher, Packet},
    flow::{Dns, Event, Flow, L4, L7, L7FlowType, L7Record},
};

/// TTL of an answer without records, as Hubble has it.
const NO_TTL: u32 = u32::MAX;

/// A flow, and what becomes of it.
pub struct DnsFlow {
    pub flow: Flow,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is for the subscribers of both ends.
    Seen,
    /// It is seen at the client too: only for those subscribers of the server who do not have it.
    SeenAtClient,
    /// No event, but the end of one: no answer came to this query.
    Unanswered,
}

/// The flow of a message. An answer also gives its addresses the name that was asked for; `booted` is the wall clock at boot, in
/// nanoseconds.
pub fn dns_flow(seen: &DnsSeen, enricher: &mut Enricher, booted: i128) -> DnsFlow {
    let is_answer = matches!(seen.event, DnsEvent::Answer(_));
    let packet = Packet {
        time: seen.time_ns,
        l4: if seen.tcp { L4::Tcp } else { L4::Udp },
        source: seen.source,
        destination: seen.destination,
        interface: seen.interface,
        connection: seen.connection,
    };
    let direction = if seen.received { FlowDirection::In } else { FlowDirection::Out };
    let flow = enricher.message_flow(&packet, direction, is_answer, Event::L7(Box::new(event(seen))), booted);
    let outcome = match &seen.event {
        DnsEvent::GivenUp => Outcome::Unanswered,
        DnsEvent::Query | DnsEvent::Answer(_) if seen.passing => Outcome::SeenAtClient,
        DnsEvent::Query => Outcome::Seen,
        DnsEvent::Answer(answer) => {
            // At the client's side of the connection.
            if enricher.is_watched_end(seen.interface, direction, seen.destination) {
                let ttl = answer.ttl.unwrap_or_default();
                enricher.learn_names(seen.interface, &seen.query, &answer.addresses, ttl, seen.time_ns);
            }
            Outcome::Seen
        }
    };
    DnsFlow { flow, outcome }
}

fn event(seen: &DnsSeen) -> L7 {
    let question = Dns { query: seen.query.clone(), qtypes: some(&seen.qtype).into_iter().collect(), ..Dns::default() };
    match &seen.event {
        DnsEvent::Query | DnsEvent::GivenUp => {
            L7 { flow_type: L7FlowType::Request, latency_ns: 0, record: L7Record::Dns(question) }
        }
        DnsEvent::Answer(answer) => L7 {
            flow_type: L7FlowType::Response,
            latency_ns: answer.latency_ns.unwrap_or_default(),
            record: L7Record::Dns(Dns {
                ips: answer.addresses.clone(),
                ttl: answer.ttl.unwrap_or(NO_TTL),
                cnames: answer.aliases.clone(),
                rcode: answer.rcode.into(),
                rrtypes: answer.rrtypes.clone(),
                ..question
            }),
        },
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trilobite_worker_wire::DnsAnswered;

    use super::*;
    use crate::{
        identity::Pod,
        layers::network::{
            enrich::WatchTarget,
            flow::{Interface, TrafficDirection},
        },
    };

    /// Watches the pod `front` with 10.1.0.7 behind interface 12.
    fn enricher() -> Enricher {
        let mut enricher = Enricher::new(1);
        let pod = Pod {
            uid: "front".into(),
            name: "front".into(),
            namespace: "shop".into(),
            ips: vec![[10, 1, 0, 7].into()],
            ..Pod::default()
        };
        let interface = Interface { index: 12, name: "veth0".into() };
        enricher.watch(&WatchTarget { interface, pod: Some(Arc::new(pod)), behind: true });
        enricher
    }

    fn query() -> DnsSeen {
        DnsSeen {
            time_ns: 5,
            interface: 12,
            received: true,
            tcp: false,
            source: "10.1.0.7:40000".parse().unwrap(),
            destination: "192.0.2.53:53".parse().unwrap(),
            connection: 7,
            passing: false,
            query: "shop.example.".into(),
            qtype: "A".into(),
            event: DnsEvent::Query,
        }
    }

    fn answer() -> DnsSeen {
        let answered = DnsAnswered {
            latency_ns: Some(900),
            ttl: Some(30),
            addresses: vec![[192, 0, 2, 7].into()],
            rrtypes: vec!["A".into()],
            ..DnsAnswered::default()
        };
        let DnsSeen { source, destination, .. } = query();
        DnsSeen {
            received: false,
            source: destination,
            destination: source,
            event: DnsEvent::Answer(answered),
            ..query()
        }
    }

    #[test]
    fn lookup_of_a_pod_is_egress_both_ways() {
        let mut enricher = enricher();
        let [asked, answered] = [query(), answer()].map(|seen| dns_flow(&seen, &mut enricher, 0));
        for (of, is_reply) in [(&asked, false), (&answered, true)] {
            assert_eq!((of.outcome, of.flow.direction), (Outcome::Seen, TrafficDirection::Egress));
            assert_eq!((of.flow.is_reply, of.flow.is_direction_a_guess), (Some(is_reply), false));
        }
        assert_eq!((asked.flow.source_endpoint.pod.as_str(), asked.flow.interface.index), ("front", 12));
        assert_eq!(asked.flow.summary(), "DNS Query shop.example. A");
        assert_eq!(answered.flow.summary(), "DNS Answer \"192.0.2.7\" TTL: 30 (Query shop.example. A)");
        assert_eq!(answered.flow.l7().unwrap().latency_ns, 900);
    }

    #[test]
    fn answer_without_records_has_hubbles_ttl() {
        let answered = DnsAnswered { rcode: 3, ..DnsAnswered::default() };
        let seen =
            DnsSeen { event: DnsEvent::Answer(answered), query: String::new(), qtype: String::new(), ..answer() };
        let flow = dns_flow(&seen, &mut enricher(), 0).flow;
        assert_eq!(flow.summary(), "DNS Answer RCode: Non-Existent Domain TTL: 4294967295 (Query  )");
        assert!(flow.l7().unwrap().dns().unwrap().qtypes.is_empty());
    }

    #[test]
    fn queries_at_a_server_are_ingress_and_name_nothing() {
        let mut enricher = enricher();
        let DnsSeen { source, destination, .. } = query();
        let [mut asked, mut answered] = [query(), answer()];
        // The pod is the server.
        (asked.source, asked.destination, asked.received) = (destination, source, false);
        (answered.source, answered.destination, answered.received) = (source, destination, true);
        let [asked, answered] = [asked, answered].map(|seen| dns_flow(&seen, &mut enricher, 0));
        assert_eq!((asked.flow.direction, asked.flow.is_reply), (TrafficDirection::Ingress, Some(false)));
        assert_eq!((answered.flow.direction, answered.flow.is_reply), (TrafficDirection::Ingress, Some(true)));
        assert_eq!(enricher.names().len(), 0);
    }

    #[test]
    fn query_that_is_given_up_is_no_event() {
        let seen = DnsSeen { event: DnsEvent::GivenUp, ..query() };
        assert_eq!(dns_flow(&seen, &mut enricher(), 0).outcome, Outcome::Unanswered);
        let passing = DnsSeen { passing: true, ..answer() };
        assert_eq!(dns_flow(&passing, &mut enricher(), 0).outcome, Outcome::SeenAtClient);
    }
}
