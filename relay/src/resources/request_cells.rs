//! Cells of requests in a table.

use trilobite_api::{
    lines::request::{self, RequestCells},
    requests::{GetRequestsResponse, get_requests_response::Response},
};

use super::{event_cells::cell, object::milliseconds};

/// In the order of `Kind::columns`.
pub(super) fn cells(response: &GetRequestsResponse, time: u64) -> Vec<String> {
    let cells = match &response.response {
        Some(Response::Request(request)) => request::cells(request),
        Some(Response::Lost(lost)) => RequestCells {
            time: milliseconds(time),
            protocol: "lost".to_owned(),
            target: request::loss(lost),
            node: response.node_name.clone(),
            ..RequestCells::default()
        },
        Some(Response::Retained(_)) | None => RequestCells::default(),
    };
    cells.in_order().iter().map(|text| cell(text)).collect()
}
