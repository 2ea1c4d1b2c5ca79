//! The service: one stream for each call.

use std::pin::Pin;

use futures::{Stream, stream};
use tonic::{Request, Response, Status};
use trilobite_api::requests::{
    GetRequestsRequest, GetRequestsResponse,
    requests_server::{Requests as Api, RequestsServer},
};

use super::{RequestNames, request_stream::RequestStream, selection::RowSelection};
use crate::{
    layers::application::requests::rows::RequestRows,
    loss::Ledger,
    serve::{read_rows::ReadRows, scope::read_scope},
};

pub fn service(rows: RequestRows, names: RequestNames, ledger: Ledger, counts: ReadRows) -> RequestsServer<impl Api> {
    RequestsServer::new(RequestsService { rows, names, ledger, counts })
}

pub(super) struct RequestsService {
    pub(super) rows: RequestRows,
    pub(super) names: RequestNames,
    pub(super) ledger: Ledger,
    pub(super) counts: ReadRows,
}

type Responses = Pin<Box<dyn Stream<Item = Result<GetRequestsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Api for RequestsService {
    type GetRequestsStream = Responses;

    async fn get_requests(&self, request: Request<GetRequestsRequest>) -> Result<Response<Responses>, Status> {
        let scope = read_scope(&request)?;
        let boot = self.names.boot_time();
        let selection = RowSelection::new(request.into_inner(), scope, boot).map_err(|status| *status)?;
        let stream = RequestStream::new(
            self.rows.clone(),
            self.names.clone(),
            self.ledger.clone(),
            self.counts.clone(),
            selection,
        );
        let responses = stream::unfold(stream, async |mut stream| Some((Ok(stream.next().await?), stream)));
        Ok(Response::new(Box::pin(responses)))
    }
}
