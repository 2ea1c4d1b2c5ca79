//! A query of events, flows or requests, as it is put to each agent.

use futures::{StreamExt, stream::BoxStream};
use tonic::{Request, Status, Streaming, transport::Channel};
use trilobite_api::{
    observer::observer_client::ObserverClient,
    read_scope::{COMPLETE_SINCE, READ_NAMESPACES, ReadScope},
    requests::requests_client::RequestsClient,
    tetragon::fine_guidance_sensors_client::FineGuidanceSensorsClient,
};

use super::{
    events::EventQuery,
    flows::FlowQuery,
    object::{Kind, Row},
    requests::RequestQuery,
    stream_item::{Range, StreamItem},
};

#[derive(Clone, Debug)]
pub enum StreamQuery {
    Events(EventQuery),
    Flows(FlowQuery),
    Requests(RequestQuery),
}

/// An open stream of one agent.
pub struct AgentStream {
    pub items: BoxStream<'static, Result<StreamItem, Status>>,
    /// Since when the agent has kept every row; none if it does not say so.
    pub complete_since: Option<u64>,
}

impl StreamQuery {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Events(_) => Kind::RuntimeEvent,
            Self::Flows(_) => Kind::Flow,
            Self::Requests(_) => Kind::Request,
        }
    }

    /// The resource, as paths and metrics name it.
    pub fn resource(&self) -> &'static str {
        match self {
            Self::Events(_) => "events",
            Self::Flows(_) => "flows",
            Self::Requests(_) => "requests",
        }
    }

    pub fn wants_node(&self, node: &str) -> bool {
        match self {
            Self::Events(query) => query.fields.matches("node", node),
            Self::Flows(query) => query.fields.matches("node", node),
            Self::Requests(query) => query.fields.matches("node", node),
        }
    }

    /// Whether a watch may start at a position: agents keep flows and requests for minutes, and no events.
    pub fn has_positions(&self) -> bool {
        match self {
            Self::Events(_) => false,
            Self::Flows(_) | Self::Requests(_) => true,
        }
    }

    /// Whether agents keep the rows of a stream that is not read: a long past is larger than a client's queue.
    pub fn can_wait(&self) -> bool {
        matches!(self, Self::Requests(_))
    }

    /// A row of our own that reports a loss.
    pub fn loss_row(&self, node: &str, lost: u64, time: u64) -> Row {
        match self {
            Self::Events(query) => query.loss_row(node, lost, time),
            Self::Flows(query) => query.loss_row(node, lost, time),
            Self::Requests(query) => query.loss_row(node, lost, time),
        }
    }

    /// Opens the stream of one agent. Rows that the selectors do not match are left out.
    pub async fn open(&self, channel: Channel, scope: &ReadScope, range: Range) -> Result<AgentStream, Status> {
        match self {
            Self::Events(query) => {
                let request = scoped(query.request(), scope)?;
                let response = FineGuidanceSensorsClient::new(channel).get_events(request).await?;
                let (query, scope) = (query.clone(), scope.clone());
                let items = items(response.into_inner(), move |event| query.item(event, &scope));
                Ok(AgentStream { items, complete_since: None })
            }
            Self::Flows(query) => {
                let request = scoped(query.request(range), scope)?;
                let response = ObserverClient::new(channel).get_flows(request).await?;
                let complete_since =
                    response.metadata().get(COMPLETE_SINCE).and_then(|value| value.to_str().ok()?.parse().ok());
                let (query, scope) = (query.clone(), scope.clone());
                let items = items(response.into_inner(), move |flow| query.item(flow, &scope));
                Ok(AgentStream { items, complete_since })
            }
            Self::Requests(query) => {
                let request = scoped(query.request(range), scope)?;
                let response = RequestsClient::new(channel).get_requests(request).await?;
                let (query, scope) = (query.clone(), scope.clone());
                let items = items(response.into_inner(), move |request| query.item(request, &scope, range));
                Ok(AgentStream { items, complete_since: None })
            }
        }
    }
}

/// What `item` makes of each message, until the stream breaks.
fn items<T: Send + 'static>(
    messages: Streaming<T>,
    item: impl Fn(&T) -> Option<StreamItem> + Send + 'static,
) -> BoxStream<'static, Result<StreamItem, Status>> {
    let selected = move |message: Result<T, Status>| message.map(|message| item(&message)).transpose();
    messages.filter_map(move |message| std::future::ready(selected(message))).boxed()
}

/// A request with the scope that the agent applies before anything else.
pub fn scoped<T>(message: T, scope: &ReadScope) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    let value = scope.to_string().parse().map_err(|_| Status::internal("the scope is not a header's value"))?;
    request.metadata_mut().insert(READ_NAMESPACES, value);
    Ok(request)
}
