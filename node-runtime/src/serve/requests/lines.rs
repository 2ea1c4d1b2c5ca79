//! Rows as JSON lines, for an agent without a cluster.

use trilobite_api::{json, read_scope::ReadScope, requests::GetRequestsRequest};

use super::{RequestNames, request_stream::RequestStream, selection::RowSelection};
use crate::{layers::application::requests::rows::RequestRows, loss::Ledger, serve::read_rows::ReadRows};

/// Writes every row from now on, also those of sessions that come later. Returns when the agent ends.
pub async fn write_lines(rows: RequestRows, names: RequestNames, ledger: Ledger, write: impl Fn(&[u8])) {
    let request = GetRequestsRequest { follow: true, ..GetRequestsRequest::default() };
    let selection = match RowSelection::new(request, ReadScope::Everything, names.boot_time()) {
        Ok(selection) => selection,
        Err(status) => return tracing::error!(%status, "requests are not printed"),
    };
    // No client reads these rows: they are not among the rows that were read.
    let mut stream = RequestStream::new(rows, names, ledger, ReadRows::default(), selection);
    while let Some(response) = stream.next().await {
        let mut line = Vec::new();
        json::append(&response, &mut line);
        line.push(b'\n');
        write(&line);
    }
}
