//! Which fields of a flow a reader of GetFlows wants. A path that no flow has is refused by name.

use prost::Message;
use tonic::Status;

use crate::serve::{
    proto::{
        flow::Flow,
        observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
    },
    protojson::{
        Printed,
        mask::{Mask, filtered, resolve},
        schema,
    },
};

/// What the command line client asks for by default, but for what its versions differ in.
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
/// May come with `DEFAULT`.
const NEWER: [&str; 2] = ["ip_trace_id", "extensions"];
/// What the client prints and, up to 1.19.4, forgets to ask for: it then shows an unknown direction and no policy names.
const FORGOTTEN: [&str; 6] = [
    "traffic_direction",
    "policy_match_type",
    "egress_allowed_by",
    "ingress_allowed_by",
    "egress_denied_by",
    "ingress_denied_by",
];

/// The fields that are wanted; all where the request names none.
pub(super) struct FieldMask(Option<Mask>);

impl FieldMask {
    pub(super) fn new(mask: Option<prost_types::FieldMask>) -> Result<Self, Box<Status>> {
        let paths = mask.unwrap_or_default().paths;
        if paths.is_empty() {
            return Ok(Self(None));
        }
        let flow = schema::field(GetFlowsResponse::INDEX, "flow").and_then(|(_, message)| message);
        let mut mask = Mask::default();
        let forgotten = if is_default(&paths) { &FORGOTTEN[..] } else { &[] };
        for path in paths.iter().map(String::as_str).chain(forgotten.iter().copied()) {
            match flow.and_then(|flow| resolve(flow, path)) {
                Some(steps) => mask.add(&steps),
                None => {
                    return Err(Box::new(Status::invalid_argument(format!("field_mask: no flow has a field {path}"))));
                }
            }
        }
        Ok(Self(Some(mask)))
    }

    /// The flow with the fields that are wanted.
    pub(super) fn apply(&self, response: GetFlowsResponse) -> GetFlowsResponse {
        let Some(mask) = &self.0 else { return response };
        let GetFlowsResponse { node_name, time, response_types } = response;
        let response_types = response_types.map(|of| match of {
            // What was cut out of an encoded flow is one.
            ResponseTypes::Flow(flow) => {
                ResponseTypes::Flow(Flow::decode(&*filtered(&flow.encode_to_vec(), mask, false)).unwrap_or_default())
            }
            other => other,
        });
        GetFlowsResponse { node_name, time, response_types }
    }
}

/// The client was given no mask by its user.
fn is_default(paths: &[String]) -> bool {
    let has = |path: &str| paths.iter().any(|one| one == path);
    let known = |path: &String| DEFAULT.iter().chain(&NEWER).any(|one| one == path);
    DEFAULT.iter().all(|path| has(path)) && paths.iter().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{layers::network::flow::tests::syn, serve::hubble::response};

    fn mask(paths: &[&str]) -> Result<FieldMask, Box<Status>> {
        FieldMask::new(Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }))
    }

    #[test]
    fn only_what_is_named_is_sent() {
        let masked = mask(&["source.identity", "Summary", "l4"]).unwrap().apply(response(&syn(), "n1"));
        let Some(ResponseTypes::Flow(flow)) = masked.response_types else { panic!("no flow") };
        let source = flow.source.unwrap();
        assert_eq!((source.identity, source.pod_name.as_str(), source.labels.len()), (1001, "", 0));
        assert!(flow.l4.is_some() && flow.destination.is_none() && flow.time.is_none());
        assert_eq!(masked.node_name, "n1");
    }

    #[test]
    fn a_field_that_no_flow_has_is_refused_by_name() {
        assert_eq!(mask(&["time", "colour"]).err().unwrap().message(), "field_mask: no flow has a field colour");
        assert!(mask(&["source.colour"]).is_err());
    }

    #[test]
    fn who_asks_for_the_clients_default_gets_what_the_client_prints() {
        let direction = |paths: &[&str]| {
            let Some(ResponseTypes::Flow(flow)) = mask(paths).unwrap().apply(response(&syn(), "n1")).response_types
            else {
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
