//! The field mask of GetFlows.

use prost::Message;

use super::mask::{FieldMask, InvalidMask, resolve};
use crate::{
    flow::Flow,
    json::{JsonMessage, table},
    observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
};

/// The paths that every version of `hubble observe` asks for by default.
const DEFAULT: [&str; 19] = [
    "time",
    "verdict",
    "ethernet",
    "IP",
    "l4",
    "source.identity",
    "source.namespace",
    "source.pod_name",
    "destination.identity",
    "destination.namespace",
    "destination.pod_name",
    "Type",
    "node_name",
    "l7",
    "event_type",
    "source_service",
    "destination_service",
    "is_reply",
    "Summary",
];
/// Paths that newer versions add to `DEFAULT`.
const NEWER: [&str; 2] = ["ip_trace_id", "extensions"];
/// Fields that `hubble observe` prints and, up to 1.19.4, does not ask for: it then shows an unknown direction and no
/// policy names.
const FORGOTTEN: [&str; 6] = [
    "traffic_direction",
    "policy_match_type",
    "egress_allowed_by",
    "ingress_allowed_by",
    "egress_denied_by",
    "ingress_denied_by",
];

/// The fields that a client asked for; all where the request names none.
pub struct FlowFieldMask(Option<FieldMask>);

impl FlowFieldMask {
    /// Refuses a path that no flow has.
    pub fn new(mask: Option<prost_types::FieldMask>) -> Result<Self, InvalidMask> {
        let paths = mask.unwrap_or_default().paths;
        if paths.is_empty() {
            return Ok(Self(None));
        }
        let flow = table::field(GetFlowsResponse::MESSAGE, "flow").and_then(|(_, message)| message);
        let mut mask = FieldMask::default();
        let forgotten = if is_default(&paths) { &FORGOTTEN[..] } else { &[] };
        for path in paths.iter().map(String::as_str).chain(forgotten.iter().copied()) {
            match flow.and_then(|flow| resolve(flow, path)) {
                Some(numbers) => mask.add(&numbers),
                None => return Err(InvalidMask(format!("field_mask: no flow has a field {path}"))),
            }
        }
        Ok(Self(Some(mask)))
    }

    /// The response with the fields of its flow that the client asked for.
    pub fn apply(&self, response: GetFlowsResponse) -> GetFlowsResponse {
        let Some(mask) = &self.0 else { return response };
        let GetFlowsResponse { node_name, time, response_types } = response;
        let response_types = response_types.map(|kind| match kind {
            // Part of an encoded flow always decodes.
            ResponseTypes::Flow(flow) => {
                ResponseTypes::Flow(Flow::decode(&*mask.apply(&flow.encode_to_vec(), false)).unwrap_or_default())
            }
            other => other,
        });
        GetFlowsResponse { node_name, time, response_types }
    }
}

/// Whether these are the client's own default paths, without a mask from its user.
fn is_default(paths: &[String]) -> bool {
    let has = |path: &str| paths.iter().any(|one| one == path);
    let is_known = |path: &String| DEFAULT.iter().chain(&NEWER).any(|one| one == path);
    DEFAULT.iter().all(|path| has(path)) && paths.iter().all(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Endpoint, Layer4};

    fn response() -> GetFlowsResponse {
        let end = |identity, pod: &str| {
            let labels = vec!["k8s:app=front".to_owned()];
            Some(Endpoint { identity, pod_name: pod.to_owned(), labels, ..Endpoint::default() })
        };
        let flow = Flow {
            time: Some(prost_types::Timestamp { seconds: 7, nanos: 0 }),
            l4: Some(Layer4::default()),
            source: end(1001, "front-1"),
            destination: end(1002, "cart-1"),
            traffic_direction: 2,
            ..Flow::default()
        };
        let response_types = Some(ResponseTypes::Flow(flow));
        GetFlowsResponse { node_name: "n1".to_owned(), response_types, ..GetFlowsResponse::default() }
    }

    fn mask(paths: &[&str]) -> Result<FlowFieldMask, InvalidMask> {
        FlowFieldMask::new(Some(prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }))
    }

    #[test]
    fn only_named_fields_are_kept() {
        let masked = mask(&["source.identity", "Summary", "l4"]).unwrap().apply(response());
        let Some(ResponseTypes::Flow(flow)) = masked.response_types else { panic!("no flow") };
        let source = flow.source.unwrap();
        assert_eq!((source.identity, source.pod_name.as_str(), source.labels.len()), (1001, "", 0));
        assert!(flow.l4.is_some() && flow.destination.is_none() && flow.time.is_none());
        assert_eq!(masked.node_name, "n1");
    }

    #[test]
    fn unknown_field_is_refused_by_name() {
        assert_eq!(mask(&["time", "colour"]).err().unwrap().to_string(), "field_mask: no flow has a field colour");
        assert!(mask(&["source.colour"]).is_err());
    }

    #[test]
    fn default_mask_of_the_client_includes_all_that_it_prints() {
        let direction = |paths: &[&str]| {
            let Some(ResponseTypes::Flow(flow)) = mask(paths).unwrap().apply(response()).response_types else {
                panic!("no flow")
            };
            flow.traffic_direction
        };
        let with = |more: &[&'static str]| [&DEFAULT[..], more].concat();
        for whole in [with(&[]), with(&["extensions"]), with(&NEWER)] {
            assert_eq!(direction(&whole), 2, "{whole:?}");
        }
        for other in [DEFAULT[1..].to_vec(), with(&["uuid"]), vec!["time"]] {
            assert_eq!(direction(&other), 0, "{other:?}");
        }
    }
}
