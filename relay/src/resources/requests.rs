//! `requests`: what GetRequests of each agent sends, selected at the agent as far as it can.

use std::time::Duration;

use trilobite_api::{
    json,
    read_scope::ReadScope,
    requests::{GetRequestsRequest, GetRequestsResponse, LostRequests, Request, get_requests_response::Response},
};
use trilobite_crds::RequestProtocol;

use super::{
    object::{Metadata, Row},
    request_cells::cells,
    stream_item::{Range, StreamItem, nanoseconds, timestamp},
};
use crate::{
    api_error::ApiError,
    query::{FieldSelector, LabelSelector, MAX_LIMIT, Parameters},
};

/// Fields of field selectors.
pub const FIELDS: &[&str] =
    &["pod", "protocol", "role", "status", "isError", "profile", "node", "metadata.name", "metadata.namespace"];

const ROLES: [&str; 2] = ["client", "server"];
const BOOLEANS: [&str; 2] = ["true", "false"];
/// Agents select by the beginning of a request, a position is the end of its response: a watch from a position asks for so much
/// more of the past.
const LONGEST_REQUEST: u64 = 60_000_000_000;

#[derive(Clone, Debug)]
pub struct RequestQuery {
    namespace: Option<String>,
    labels: LabelSelector,
    pub(super) fields: FieldSelector,
    slower_than: Duration,
    wants_tables: bool,
}

impl RequestQuery {
    pub fn new(namespace: Option<&str>, parameters: &Parameters, wants_tables: bool) -> Result<Self, ApiError> {
        let protocols = RequestProtocol::SUPPORTED.map(RequestProtocol::as_str);
        let mut fields = parameters.fields.clone();
        for requirement in &mut fields.requirements {
            let known: &[&str] = match requirement.field {
                "protocol" => &protocols,
                "role" => &ROLES,
                "isError" => &BOOLEANS,
                _ => continue,
            };
            requirement.value.make_ascii_lowercase();
            if !known.contains(&requirement.value.as_str()) {
                let (field, value, known) = (requirement.field, &requirement.value, known.join(", "));
                return Err(ApiError::bad_request(format!("fieldSelector: {field}: {value:?} is none of {known}")));
            }
        }
        let (labels, slower_than) = (parameters.labels.clone(), parameters.slower_than);
        Ok(Self { namespace: namespace.map(str::to_owned), labels, fields, slower_than, wants_tables })
    }

    pub fn request(&self, range: Range) -> GetRequestsRequest {
        let wanted = |field: &str| {
            let requirement = self.fields.of_field(field).find(|one| !one.is_negated);
            requirement.map(|one| one.value.clone()).unwrap_or_default()
        };
        let request = GetRequestsRequest {
            namespaces: self.namespace.iter().cloned().collect(),
            // The beginning of its name: `item` compares the whole.
            pod: wanted("pod"),
            protocol: wanted("protocol"),
            slower_than: self.slower_than.try_into().ok().filter(|_| !self.slower_than.is_zero()),
            errors: wanted("isError") == "true",
            ..GetRequestsRequest::default()
        };
        match range {
            Range::Past { limit, since } => {
                let limit = if self.selects_more_than_agents() { MAX_LIMIT as u64 } else { limit };
                let limit = u32::try_from(limit).unwrap_or(u32::MAX);
                GetRequestsRequest { limit, since: since.map(timestamp), ..request }
            }
            Range::Follow { after } => {
                let since = after.map(|after| timestamp(after.saturating_sub(LONGEST_REQUEST)));
                GetRequestsRequest { follow: true, since, ..request }
            }
        }
    }

    /// Whether rows that agents send may be left out here.
    fn selects_more_than_agents(&self) -> bool {
        let by_agents = ["protocol", "node"];
        !self.labels.is_empty()
            || self.fields.requirements.iter().any(|one| one.is_negated || !by_agents.contains(&one.field))
    }

    /// None for a request that is not selected, that the scope does not allow, or whose response ended before the range begins.
    pub fn item(&self, response: &GetRequestsResponse, scope: &ReadScope, range: Range) -> Option<StreamItem> {
        match response.response.as_ref()? {
            Response::Request(request) => {
                let is_in_range = match range {
                    Range::Follow { after: Some(after) } => nanoseconds(response.time.as_ref()) >= after,
                    Range::Follow { after: None } | Range::Past { .. } => true,
                };
                let is_wanted =
                    is_in_range && self.selects(request, scope) && self.fields.matches("node", &response.node_name);
                is_wanted.then(|| StreamItem::Row(self.row(response, request)))
            }
            Response::Lost(lost) => Some(StreamItem::Lost(lost.count, self.lost_row(response))),
            Response::Retained(_) => None,
        }
    }

    fn selects(&self, request: &Request, scope: &ReadScope) -> bool {
        scope.allows(&request.namespace)
            && self.namespace.as_ref().is_none_or(|wanted| *wanted == request.namespace)
            && self.fields.matches("pod", &request.pod)
            && self.fields.matches("protocol", &request.protocol)
            && self.fields.matches("role", &request.role)
            && self.fields.matches("status", &request.status)
            && self.fields.matches("isError", if request.is_error { "true" } else { "false" })
            && self.fields.matches("profile", &request.profile)
            && self.fields.matches("metadata.name", &request.id)
            && self.fields.matches("metadata.namespace", &request.namespace)
            && self.labels.matches(|key| request.pod_labels.get(key).map(String::as_str))
    }

    fn row(&self, response: &GetRequestsResponse, request: &Request) -> Row {
        let time = nanoseconds(response.time.as_ref());
        let mut object = Vec::with_capacity(1024);
        json::append(request, &mut object);
        Row {
            metadata: Metadata {
                name: request.id.clone(),
                namespace: request.namespace.clone(),
                time,
                is_position: true,
                labels: request.pod_labels.clone().into_iter().collect(),
            },
            object,
            cells: if self.wants_tables { cells(response, time) } else { Vec::new() },
        }
    }

    /// `{"lost":{…},"nodeName":…}` in place of a request.
    fn lost_row(&self, response: &GetRequestsResponse) -> Row {
        let time = nanoseconds(response.time.as_ref());
        let node = if response.node_name.is_empty() { "node" } else { &response.node_name };
        let mut object = Vec::new();
        json::append(response, &mut object);
        let name = format!("{node}.{time:x}");
        Row {
            metadata: Metadata { name, time, is_position: true, ..Metadata::default() },
            object,
            cells: if self.wants_tables { cells(response, time) } else { Vec::new() },
        }
    }

    pub(super) fn loss_row(&self, node: &str, lost: u64, time: u64) -> Row {
        let lost = LostRequests { place: "reader".to_owned(), count: lost, ..LostRequests::default() };
        self.lost_row(&GetRequestsResponse {
            response: Some(Response::Lost(lost)),
            node_name: node.to_owned(),
            time: Some(timestamp(time)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(namespace: Option<&str>, text: &str) -> RequestQuery {
        RequestQuery::new(namespace, &Parameters::parse(text, FIELDS).unwrap(), true).unwrap()
    }

    fn response() -> GetRequestsResponse {
        let request = Request {
            time: Some(timestamp(5_000_000_000)),
            namespace: "shop".into(),
            pod: "cart-7".into(),
            protocol: "http".into(),
            role: "server".into(),
            status: "503".into(),
            operation: "GET".into(),
            target: "/\u{1b}[2Jcart".into(),
            is_error: true,
            profile: "shop/slow".into(),
            id: "c0ffee-1-2-3".into(),
            pod_labels: [("app".to_owned(), "cart".to_owned())].into(),
            ..Request::default()
        };
        GetRequestsResponse {
            response: Some(Response::Request(request)),
            node_name: "alder".into(),
            time: Some(timestamp(7_000_000_000)),
        }
    }

    fn row(namespace: Option<&str>, text: &str, range: Range) -> Option<Row> {
        let scope = namespace.map_or(ReadScope::Everything, ReadScope::namespace);
        match query(namespace, text).item(&response(), &scope, range) {
            Some(StreamItem::Row(row)) => Some(row),
            Some(StreamItem::Lost(..)) => panic!("a loss"),
            None => None,
        }
    }

    const PAST: Range = Range::Past { limit: 7, since: None };

    #[test]
    fn agents_select_by_what_they_know() {
        let text = "fieldSelector=protocol=HTTP,node=alder&slowerThan=100ms";
        let request = query(Some("shop"), text).request(PAST);
        assert_eq!((request.namespaces.as_slice(), request.protocol.as_str()), (&["shop".to_owned()][..], "http"));
        assert_eq!(request.slower_than.unwrap().nanos, 100_000_000);
        assert_eq!((request.limit, request.follow, request.errors), (7, false, false));
        let more = query(None, "fieldSelector=pod=cart-7,isError=true").request(PAST);
        assert_eq!(
            (more.pod.as_str(), more.errors, more.limit),
            ("cart-7", true, 5_000),
            "more than is wanted is read"
        );
        for text in ["labelSelector=app=cart", "fieldSelector=status=503", "fieldSelector=protocol!=dns"] {
            assert_eq!(query(None, text).request(PAST).limit, 5_000, "{text}");
        }
    }

    #[test]
    fn watch_from_a_position_asks_for_requests_that_began_before() {
        let request = query(None, "").request(Range::Follow { after: Some(70_000_000_000) });
        assert_eq!((request.since.unwrap().seconds, request.limit, request.follow), (10, 0, true));
        assert_eq!(query(None, "").request(Range::Follow { after: None }).since, None);
        let ended = |after| row(None, "", Range::Follow { after: Some(after) });
        assert!(ended(7_000_000_000).is_some() && ended(7_000_000_001).is_none());
    }

    #[test]
    fn requests_are_selected_by_pod_label_and_outcome() {
        for text in [
            "fieldSelector=pod=cart-7,role=server,status=503,isError=true",
            "fieldSelector=pod!=till-1,protocol=http,profile=shop/slow",
            "labelSelector=app=cart&fieldSelector=metadata.name=c0ffee-1-2-3",
        ] {
            assert!(row(Some("shop"), text, PAST).is_some(), "{text}");
        }
        for text in [
            "fieldSelector=pod=cart",
            "fieldSelector=role=client",
            "fieldSelector=isError=false",
            "fieldSelector=status!=503",
            "fieldSelector=node=birch",
            "labelSelector=app=till",
        ] {
            assert!(row(Some("shop"), text, PAST).is_none(), "{text}");
        }
        assert!(row(Some("bank"), "", PAST).is_none(), "another namespace than the agent was asked for");
    }

    #[test]
    fn unknown_values_are_refused_with_those_that_there_are() {
        for (text, message) in [
            (
                "protocol=mqtt",
                "fieldSelector: protocol: \"mqtt\" is none of http, pgsql, redis, dns, http2, grpc, mysql, kafka",
            ),
            ("role=proxy", "fieldSelector: role: \"proxy\" is none of client, server"),
            ("isError=1", "fieldSelector: isError: \"1\" is none of true, false"),
        ] {
            let parameters = Parameters::parse(&format!("fieldSelector={text}"), FIELDS).unwrap();
            assert_eq!(RequestQuery::new(None, &parameters, false).unwrap_err().message, message);
        }
    }

    #[test]
    fn row_is_our_own_json_and_its_cells_are_escaped() {
        let row = row(Some("shop"), "", PAST).unwrap();
        let object: serde_json::Value = serde_json::from_slice(&row.object).unwrap();
        assert_eq!((&object["isError"], &object["podLabels"]["app"]), (&true.into(), &"cart".into()));
        assert_eq!((row.metadata.name.as_str(), row.metadata.time), ("c0ffee-1-2-3", 7_000_000_000));
        assert_eq!(row.cells.len(), super::super::object::Kind::Request.columns().len());
        assert_eq!((row.cells[0].as_str(), row.cells[1].as_str()), ("1970-01-01T00:00:05.000Z", "cart-7"));
        assert_eq!(row.cells[6], "/\\x1b[2Jcart");
    }

    #[test]
    fn losses_are_rows_of_no_namespace() {
        let lost = LostRequests { profile: "shop/slow".into(), place: "budget".into(), count: 7 };
        let response = GetRequestsResponse { response: Some(Response::Lost(lost)), ..GetRequestsResponse::default() };
        let item = query(Some("shop"), "fieldSelector=pod=x").item(&response, &ReadScope::namespace("shop"), PAST);
        let Some(StreamItem::Lost(7, row)) = item else { panic!("{item:?}") };
        let object: serde_json::Value = serde_json::from_slice(&row.object).unwrap();
        assert_eq!(object["lost"]["count"], "7");
        assert_eq!(row.cells[6], "7 requests of shop/slow are missing: they left the memory before they were read");
    }
}
