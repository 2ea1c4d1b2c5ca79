//! `flows`: what Hubble's GetFlows of each agent sends, selected at the agent as far as its filters can.

use trilobite_api::{
    flow::{Endpoint, Flow, FlowFilter, LostEvent, LostEventSource, TrafficDirection, Verdict},
    json,
    observer::{GetFlowsRequest, GetFlowsResponse, get_flows_response::ResponseTypes},
    read_scope::ReadScope,
};

use super::{
    flow_cells::{cells, is_protocol},
    object::{Metadata, Row},
    stream_item::{Range, StreamItem, nanoseconds, timestamp},
};
use crate::{
    api_error::ApiError,
    query::{FieldSelector, LabelSelector, Parameters},
};

/// Fields of field selectors.
pub const FIELDS: &[&str] = &["pod", "verdict", "protocol", "node", "metadata.name", "metadata.namespace"];

/// Values of the field `protocol`.
const PROTOCOLS: [&str; 10] = ["tcp", "udp", "icmp", "icmpv4", "icmpv6", "sctp", "vrrp", "igmp", "dns", "http"];
/// Sources of labels that are not the pod's own.
const FOREIGN_LABELS: [&str; 2] = ["io.kubernetes.pod.", "io.cilium."];

#[derive(Clone, Debug)]
pub struct FlowQuery {
    namespace: Option<String>,
    labels: LabelSelector,
    pub(super) fields: FieldSelector,
    wants_tables: bool,
}

impl FlowQuery {
    pub fn new(namespace: Option<&str>, parameters: &Parameters, wants_tables: bool) -> Result<Self, ApiError> {
        let mut fields = parameters.fields.clone();
        for requirement in &mut fields.requirements {
            let known = match requirement.field {
                "protocol" => {
                    requirement.value.make_ascii_lowercase();
                    PROTOCOLS.contains(&requirement.value.as_str())
                }
                "verdict" => {
                    requirement.value.make_ascii_uppercase();
                    Verdict::from_str_name(&requirement.value).is_some()
                }
                _ => true,
            };
            if !known {
                let text = format!("fieldSelector: {:?} is not a {}", requirement.value, requirement.field);
                return Err(ApiError::bad_request(text));
            }
        }
        Ok(Self { namespace: namespace.map(str::to_owned), labels: parameters.labels.clone(), fields, wants_tables })
    }

    pub fn request(&self, range: Range) -> GetFlowsRequest {
        let (whitelist, blacklist) = self.filters();
        let request = GetFlowsRequest { whitelist, blacklist, ..GetFlowsRequest::default() };
        match range {
            Range::Past { limit, since } => GetFlowsRequest { number: limit, since: since.map(timestamp), ..request },
            Range::Follow { after } => GetFlowsRequest { follow: true, since: after.map(timestamp), ..request },
        }
    }

    /// What the agent can filter by. A pod is at either end of a flow, so that each end is an alternative.
    fn filters(&self) -> (Vec<FlowFilter>, Vec<FlowFilter>) {
        let mut base = FlowFilter::default();
        let mut blacklist = Vec::new();
        for requirement in &self.fields.requirements {
            let mut excluded = FlowFilter::default();
            let filter = if requirement.is_negated { &mut excluded } else { &mut base };
            let value = &requirement.value;
            match requirement.field {
                "verdict" if filter.verdict.is_empty() => {
                    filter.verdict.extend(Verdict::from_str_name(value).map(i32::from));
                }
                "protocol" if filter.protocol.is_empty() => filter.protocol.push(value.clone()),
                "metadata.name" if filter.uuid.is_empty() && !requirement.is_negated => filter.uuid.push(value.clone()),
                // Pods are matched by prefix there, which is too much to exclude; `item` does it.
                _ => continue,
            }
            if requirement.is_negated {
                blacklist.push(excluded);
            }
        }
        let pod = self.fields.of_field("pod").find(|requirement| !requirement.is_negated);
        let pods: Vec<String> = pod
            .map(|pod| format!("{}/{}", self.namespace.as_deref().unwrap_or_default(), pod.value))
            .into_iter()
            .collect();
        let labels: Vec<String> = (!self.labels.is_empty()).then(|| self.labels.to_string()).into_iter().collect();
        let whitelist = if pods.is_empty() && labels.is_empty() {
            if base == FlowFilter::default() { Vec::new() } else { vec![base] }
        } else {
            let source = FlowFilter { source_pod: pods.clone(), source_label: labels.clone(), ..base.clone() };
            vec![source, FlowFilter { destination_pod: pods, destination_label: labels, ..base }]
        };
        (whitelist, blacklist)
    }

    /// None for a flow that is not selected, or that the scope does not allow.
    pub fn item(&self, response: &GetFlowsResponse, scope: &ReadScope) -> Option<StreamItem> {
        match response.response_types.as_ref()? {
            ResponseTypes::LostEvents(lost) => {
                Some(StreamItem::Lost(lost.num_events_lost, self.row(response, None, "")))
            }
            ResponseTypes::Flow(flow) => {
                let fields = &self.fields;
                let selected = fields.matches("verdict", flow.verdict().as_str_name())
                    && fields.of_field("protocol").all(|one| is_protocol(flow, &one.value) != one.is_negated)
                    && fields.matches("node", &response.node_name);
                // The end that was observed first: its labels are the object's.
                let [observed, other] = ends(flow);
                let excluded = [observed, other].into_iter().flatten().any(|end| {
                    let is_named = |one: &crate::query::FieldRequirement| one.is_negated && one.value == end.pod_name;
                    self.is_in_scope(end, scope) && fields.of_field("pod").any(is_named)
                });
                if !selected || excluded {
                    return None;
                }
                let end = [observed, other].into_iter().flatten().find(|end| self.selects(end, scope));
                // Without a selector of pods an administrator sees flows between ends that are no pods.
                let end = match end {
                    Some(end) => Some(end),
                    None if scope.is_everything() && !self.selects_pods() => None,
                    None => return None,
                };
                let row = self.row(response, end, &flow.uuid);
                let is_named = fields.matches("metadata.name", &row.metadata.name)
                    && fields.matches("metadata.namespace", &row.metadata.namespace);
                is_named.then_some(StreamItem::Row(row))
            }
            ResponseTypes::NodeStatus(_) => None,
        }
    }

    fn selects_pods(&self) -> bool {
        !self.labels.is_empty() || self.namespace.is_some() || self.fields.of_field("pod").any(|one| !one.is_negated)
    }

    /// Whether an end is a pod that the caller may read and asks for.
    fn selects(&self, end: &Endpoint, scope: &ReadScope) -> bool {
        self.is_in_scope(end, scope)
            && self.fields.of_field("pod").all(|one| one.is_negated || one.value == end.pod_name)
            && self.labels.matches(|key| pod_label(end, key))
    }

    fn is_in_scope(&self, end: &Endpoint, scope: &ReadScope) -> bool {
        !end.pod_name.is_empty()
            && scope.allows(&end.namespace)
            && self.namespace.as_ref().is_none_or(|wanted| *wanted == end.namespace)
    }

    fn row(&self, response: &GetFlowsResponse, end: Option<&Endpoint>, uuid: &str) -> Row {
        let time = nanoseconds(response.time.as_ref());
        let node = if response.node_name.is_empty() { "node" } else { &response.node_name };
        let mut object = Vec::with_capacity(1024);
        json::append(response, &mut object);
        Row {
            metadata: Metadata {
                name: if uuid.is_empty() { format!("{node}.{time:x}") } else { uuid.to_owned() },
                namespace: end.map(|end| end.namespace.clone()).unwrap_or_default(),
                time,
                is_position: true,
                labels: end.map(pod_labels).unwrap_or_default(),
            },
            object,
            cells: if self.wants_tables { cells(response, time) } else { Vec::new() },
        }
    }

    pub(super) fn loss_row(&self, node: &str, lost: u64, time: u64) -> Row {
        let time = Some(timestamp(time));
        let lost = LostEvent {
            source: LostEventSource::ObserverEventsQueue.into(),
            num_events_lost: lost,
            last: time,
            ..LostEvent::default()
        };
        let response = GetFlowsResponse {
            node_name: node.to_owned(),
            time,
            response_types: Some(ResponseTypes::LostEvents(lost)),
        };
        self.row(&response, None, "")
    }
}

/// The end at which the flow was observed, then the other.
fn ends(flow: &Flow) -> [Option<&Endpoint>; 2] {
    let (source, destination) = (flow.source.as_ref(), flow.destination.as_ref());
    if flow.traffic_direction() == TrafficDirection::Ingress { [destination, source] } else { [source, destination] }
}

fn pod_label<'a>(end: &'a Endpoint, key: &str) -> Option<&'a str> {
    end.labels.iter().filter_map(|label| split_label(label)).find(|(known, _)| *known == key).map(|(_, value)| value)
}

fn pod_labels(end: &Endpoint) -> Vec<(String, String)> {
    let own = end.labels.iter().filter_map(|label| split_label(label));
    own.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// `k8s:app=cart` -> `app`, `cart`; none for a label that the pod's object does not have.
fn split_label(label: &str) -> Option<(&str, &str)> {
    let (key, value) = label.strip_prefix("k8s:")?.split_once('=').unwrap_or((label.strip_prefix("k8s:")?, ""));
    let is_foreign = FOREIGN_LABELS.iter().any(|prefix| key.starts_with(prefix));
    (!is_foreign).then_some((key, value))
}

#[cfg(test)]
mod tests {
    use trilobite_api::flow::{Layer4, Udp, layer4::Protocol};

    use super::*;

    fn query(namespace: Option<&str>, text: &str) -> FlowQuery {
        FlowQuery::new(namespace, &Parameters::parse(text, FIELDS).unwrap(), true).unwrap()
    }

    fn pod_end(namespace: &str, pod: &str, app: &str) -> Option<Endpoint> {
        let labels = [format!("k8s:app={app}"), "k8s:io.kubernetes.pod.namespace=x".into(), "reserved:world".into()];
        Some(Endpoint {
            namespace: namespace.into(),
            pod_name: pod.into(),
            labels: labels.into(),
            ..Endpoint::default()
        })
    }

    fn flow(source: Option<Endpoint>, destination: Option<Endpoint>) -> GetFlowsResponse {
        let flow = Flow {
            uuid: "01234567-89ab-4def-8123-456789abcdef".into(),
            verdict: Verdict::Forwarded.into(),
            source,
            destination,
            traffic_direction: TrafficDirection::Ingress.into(),
            l4: Some(Layer4 { protocol: Some(Protocol::Udp(Udp::default())) }),
            ..Flow::default()
        };
        GetFlowsResponse {
            response_types: Some(ResponseTypes::Flow(flow)),
            node_name: "alder".into(),
            time: Some(timestamp(1_732_972_345_123_456_789)),
        }
    }

    fn cart_to_till() -> GetFlowsResponse {
        flow(pod_end("shop", "cart-7", "cart"), pod_end("bank", "till-1", "till"))
    }

    fn metadata(namespace: Option<&str>, text: &str, flow: &GetFlowsResponse) -> Option<Metadata> {
        let scope = namespace.map_or(ReadScope::Everything, ReadScope::namespace);
        match query(namespace, text).item(flow, &scope) {
            Some(StreamItem::Row(row)) => Some(row.metadata),
            Some(StreamItem::Lost(..)) => panic!("a loss"),
            None => None,
        }
    }

    #[test]
    fn pod_and_labels_are_asked_for_at_both_ends() {
        let text = "fieldSelector=pod=cart-7,verdict=forwarded,protocol!=UDP&labelSelector=app=cart";
        let request = query(Some("shop"), text).request(Range::Past { limit: 7, since: None });
        assert_eq!(request.whitelist.len(), 2);
        assert_eq!(request.whitelist[0].source_pod, ["shop/cart-7"]);
        assert_eq!(request.whitelist[0].source_label, ["app in (cart)"]);
        assert_eq!(request.whitelist[1].destination_pod, ["shop/cart-7"]);
        assert!(request.whitelist.iter().all(|filter| filter.verdict == [i32::from(Verdict::Forwarded)]));
        assert_eq!(request.blacklist[0].protocol, ["udp"]);
        assert_eq!((request.number, request.follow), (7, false));
    }

    #[test]
    fn without_selectors_nothing_is_filtered() {
        let request = query(Some("shop"), "").request(Range::Follow { after: Some(1_500_000_000) });
        assert_eq!((request.whitelist.len(), request.blacklist.len()), (0, 0));
        assert!(request.follow);
        assert_eq!(request.since, Some(prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }));
        let all = query(None, "fieldSelector=pod=cart-7").request(Range::Follow { after: None });
        assert_eq!(all.whitelist[0].source_pod, ["/cart-7"]);
    }

    #[test]
    fn labels_and_namespace_are_those_of_the_end_that_may_be_read() {
        let of_shop = metadata(Some("shop"), "", &cart_to_till()).unwrap();
        assert_eq!(
            (of_shop.namespace.as_str(), of_shop.labels.as_slice()),
            ("shop", &[("app".into(), "cart".into())][..])
        );
        let of_bank = metadata(Some("bank"), "", &cart_to_till()).unwrap();
        assert_eq!(of_bank.namespace, "bank");
        assert_eq!(metadata(None, "", &cart_to_till()).unwrap().namespace, "bank", "observed at the destination");
        assert_eq!(metadata(Some("mint"), "", &cart_to_till()), None);
    }

    #[test]
    fn flows_are_selected_by_pod_label_and_protocol() {
        for text in [
            "fieldSelector=pod=cart-7",
            "fieldSelector=pod!=cart",
            "fieldSelector=pod!=till-1",
            "fieldSelector=protocol=UDP,verdict!=dropped,node=alder",
            "labelSelector=app=cart",
        ] {
            assert!(metadata(Some("shop"), text, &cart_to_till()).is_some(), "{text}");
        }
        for text in [
            "fieldSelector=pod=cart",
            "fieldSelector=pod!=cart-7",
            "fieldSelector=pod=till-1",
            "fieldSelector=protocol=tcp",
            "fieldSelector=node=birch",
            "labelSelector=app=till",
            "labelSelector=app!=cart",
            "fieldSelector=metadata.name=x",
        ] {
            assert!(metadata(Some("shop"), text, &cart_to_till()).is_none(), "{text}");
        }
    }

    #[test]
    fn flow_without_pods_is_for_administrators() {
        let world = flow(pod_end("", "", "x"), None);
        assert_eq!(metadata(None, "", &world).unwrap().namespace, "");
        assert_eq!(metadata(None, "labelSelector=app=x", &world), None);
        assert_eq!(metadata(Some("shop"), "", &world), None);
    }

    #[test]
    fn unknown_verdicts_and_protocols_are_refused() {
        for text in ["fieldSelector=verdict=lost", "fieldSelector=protocol=kafka"] {
            let parameters = Parameters::parse(text, FIELDS).unwrap();
            assert_eq!(FlowQuery::new(None, &parameters, false).unwrap_err().code, 400, "{text}");
        }
    }

    #[test]
    fn lost_flows_are_reported_in_the_words_of_hubble() {
        let row = query(None, "").loss_row("alder", 7, 1);
        let object = String::from_utf8(row.object).unwrap();
        assert!(object.contains("\"num_events_lost\":\"7\""), "{object}");
        let lost = LostEvent { num_events_lost: 3, ..LostEvent::default() };
        let response =
            GetFlowsResponse { response_types: Some(ResponseTypes::LostEvents(lost)), ..GetFlowsResponse::default() };
        let item = query(Some("shop"), "fieldSelector=pod=x").item(&response, &ReadScope::namespace("shop"));
        assert!(matches!(item, Some(StreamItem::Lost(3, _))));
    }
}
