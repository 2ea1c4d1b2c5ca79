//! One request: who asks, whether they may, and the answer.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use hyper::body::Incoming;
use serde_json::Value;
use trilobite_api::read_scope::ReadScope;

use super::{
    connections::ClientConnection,
    discovery, openapi,
    path::{Endpoint, Resource, ResourcePath},
    readiness::{Readiness, metrics_response},
    server_tls::is_trusted,
    slots::Slots,
};
use crate::{
    access::{Attributes, Authenticator, Authorizer, Peer, Target, User},
    api_error::ApiError,
    query::{FieldRequirement, InvalidQuery, Parameters},
    resources::{
        byte_budget::Reservation,
        claim::Claim,
        coverage::CoverageTracker,
        events::{self, EventQuery},
        flows::{self, FlowQuery},
        list::{list_future, list_past, past_row},
        nodes::{self, node_answers},
        object::Row,
        permission::Recheck,
        profile_result::{ResultFormat, profile_result},
        profile_watch::watch_profiles,
        profiles::{self, ProfileQuery},
        requests::{self, RequestQuery},
        stream_query::StreamQuery,
        table::{Format, append_single, list},
        watch::{JSON, Reader, WatchRequest, watch},
    },
};

/// What every request needs.
pub struct App {
    pub reader: Arc<Reader>,
    pub authenticator: Authenticator,
    pub authorizer: Arc<Authorizer>,
    pub readiness: Readiness,
    pub watches: Slots,
    pub lists: Slots,
}

/// A request of a resource that its user may make.
struct Granted<'a> {
    app: &'a App,
    connection: &'a ClientConnection,
    path: ResourcePath,
    user: User,
    attributes: Attributes,
    parameters: Parameters,
    format: Format,
}

/// Memory of a list of profiles or nodes, reserved before agents are asked.
const SHORT_LIST_BYTES: usize = 256 << 10;

impl App {
    /// Whether the peer is the API server's proxy.
    pub(super) fn is_proxy(&self, peer: &Peer) -> bool {
        let headers = self.readiness.headers.borrow();
        peer.common_name.as_ref().zip(headers.as_ref()).is_some_and(|(name, headers)| headers.allows(name))
    }

    fn trusts(&self, connection: &ClientConnection) -> bool {
        let headers = self.readiness.headers.borrow().clone();
        connection.peer.common_name.is_none()
            || headers.is_some_and(|headers| is_trusted(&connection.certificates, &headers.client_ca))
    }
}

pub async fn handle(app: &App, connection: &ClientConnection, request: Request<Incoming>) -> Response {
    if !app.trusts(connection) {
        tracing::info!("a connection is closed: its certificate is not that of the API server any more");
        return closing(ApiError::unauthorized().into_response());
    }
    let response = answer_request(app, connection, request).await;
    if connection.is_stranger() { closing(response) } else { response }
}

/// The last answer of a connection.
fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn answer_request(app: &App, connection: &ClientConnection, request: Request<Incoming>) -> Response {
    let (parts, _) = request.into_parts();
    let answered = match Endpoint::parse(parts.uri.path()) {
        // Whether a path exists is not told to strangers.
        None => known_user(app, connection, &parts).await.and(Err(ApiError::no_such_path())),
        Some(Endpoint::Alive) => Ok((StatusCode::OK, "ok\n").into_response()),
        Some(Endpoint::Ready) => Ok(app.readiness.response()),
        Some(Endpoint::Resource(path)) => return count_answer(app, connection, path, &parts).await,
        Some(endpoint) => answer_path(app, connection, &endpoint, &parts).await,
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

/// Answers a request of a resource, and counts it.
async fn count_answer(app: &App, connection: &ClientConnection, path: ResourcePath, parts: &Parts) -> Response {
    let parameters = Parameters::parse(parts.uri.query().unwrap_or_default(), fields(path.resource));
    let is_watch = parameters.as_ref().is_ok_and(|parameters| parameters.watch);
    let (resource, verb) = (path.resource.plural(), verb(&path, is_watch));
    let answered = answer(app, connection, path, parameters, parts).await;
    let response = answered.unwrap_or_else(IntoResponse::into_response);
    app.reader.metrics.count_request(resource, verb, response.status().as_u16());
    response
}

async fn answer(
    app: &App,
    connection: &ClientConnection,
    path: ResourcePath,
    parameters: Result<Parameters, InvalidQuery>,
    parts: &Parts,
) -> Result<Response, ApiError> {
    let user = reading_user(app, connection, parts).await?;
    let parameters = parameters?;
    let attributes = attributes(&path, parameters.watch);
    app.authorizer.check(&user, &attributes).await?;
    let format = match (Format::of_accept(accept(parts), parameters.include_object), path.subresource) {
        (Some(format), _) => format,
        // A picture is no JSON, and clients say so.
        (None, Some(_)) => Format::Objects,
        (None, None) => return Err(ApiError::not_acceptable()),
    };
    Granted { app, connection, path, user, attributes, parameters, format }.answer().await
}

/// Answers a path that is no resource.
async fn answer_path(
    app: &App,
    connection: &ClientConnection,
    endpoint: &Endpoint,
    parts: &Parts,
) -> Result<Response, ApiError> {
    let user = reading_user(app, connection, parts).await?;
    match endpoint {
        Endpoint::Metrics => {
            let attributes = Attributes { verb: "get", target: Target::Path("/metrics".into()) };
            app.authorizer.check(&user, &attributes).await?;
            Ok(metrics_response(&app.reader.metrics, &app.reader.budget))
        }
        Endpoint::Groups => Ok(match discovery::aggregated(accept(parts)) {
            Some((media_type, document)) => json(media_type, &document),
            None => json("application/json", &discovery::groups()),
        }),
        Endpoint::Group => Ok(json("application/json", &discovery::group())),
        Endpoint::Version => Ok(json("application/json", &discovery::version())),
        Endpoint::OpenApiV2 => Ok(json("application/json", &openapi::v2())),
        Endpoint::OpenApiV3Paths => Ok(json("application/json", &openapi::v3_paths())),
        Endpoint::OpenApiV3Group => Ok(json("application/json", &openapi::v3_group())),
        Endpoint::Alive | Endpoint::Ready | Endpoint::Resource(_) => Err(ApiError::no_such_path()),
    }
}

/// The user of a request, which may only read.
async fn reading_user(app: &App, connection: &ClientConnection, parts: &Parts) -> Result<User, ApiError> {
    let user = known_user(app, connection, parts).await?;
    if parts.method == Method::GET { Ok(user) } else { Err(ApiError::method_not_allowed()) }
}

async fn known_user(app: &App, connection: &ClientConnection, parts: &Parts) -> Result<User, ApiError> {
    let user = app.authenticator.user(&connection.peer, &parts.headers).await?;
    connection.admit_tenant(&user.tenant())?;
    Ok(user)
}

fn accept(parts: &Parts) -> &str {
    parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn json(media_type: &'static str, document: &Value) -> Response {
    let mut response = Response::new(Body::from(document.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn fields(resource: Resource) -> &'static [&'static str] {
    match resource {
        Resource::Events => events::FIELDS,
        Resource::Flows => flows::FIELDS,
        Resource::Profiles => profiles::FIELDS,
        Resource::Requests => requests::FIELDS,
        Resource::Nodes => nodes::FIELDS,
    }
}

fn verb(path: &ResourcePath, watch: bool) -> &'static str {
    match (&path.name, watch) {
        (Some(_), _) => "get",
        (None, true) => "watch",
        (None, false) => "list",
    }
}

fn attributes(path: &ResourcePath, watch: bool) -> Attributes {
    let target = Target::Resource {
        resource: path.resource.plural(),
        subresource: path.subresource.unwrap_or_default(),
        namespace: path.namespace.clone(),
        name: path.name.clone().unwrap_or_default(),
    };
    Attributes { verb: verb(path, watch), target }
}

impl Granted<'_> {
    async fn answer(self) -> Result<Response, ApiError> {
        match (self.path.resource, self.path.name.clone()) {
            (Resource::Events | Resource::Flows | Resource::Requests, None) => self.rows().await,
            (Resource::Flows | Resource::Requests, Some(name)) => self.one_past_row(&name).await,
            (Resource::Events, Some(name)) => {
                Err(ApiError::not_found("events", &name, "events are not kept: list or watch them"))
            }
            (Resource::Profiles, None) if self.parameters.watch => self.watch_profiles(),
            (Resource::Profiles, name) => self.profiles(name).await,
            (Resource::Nodes, None) if self.parameters.watch => Err(ApiError::method_not_allowed()),
            (Resource::Nodes, name) => self.nodes(name).await,
        }
    }

    /// What agents may send for this request: nothing outside of the namespace that was checked.
    fn scope(&self) -> ReadScope {
        self.path.namespace.as_deref().map_or(ReadScope::Everything, ReadScope::namespace)
    }

    /// What an answer takes: a place among those of its kind, and memory.
    fn claim(&self, slots: &Slots) -> Result<Claim, ApiError> {
        let tenant = self.user.tenant();
        let slot = Box::new(slots.acquire(&tenant)?);
        let share = self.app.reader.budget.share(tenant);
        Ok(Claim { share, slot, cut: self.connection.cut.clone() })
    }

    fn list_claim(&self) -> Result<Claim, ApiError> {
        self.claim(&self.app.lists)
    }

    fn stream_query(&self) -> Result<StreamQuery, ApiError> {
        let namespace = self.path.namespace.as_deref();
        let wants_tables = matches!(self.format, Format::Table(_));
        match self.path.resource {
            Resource::Events => EventQuery::new(namespace, &self.parameters, wants_tables).map(StreamQuery::Events),
            Resource::Requests => {
                RequestQuery::new(namespace, &self.parameters, wants_tables).map(StreamQuery::Requests)
            }
            _ => FlowQuery::new(namespace, &self.parameters, wants_tables).map(StreamQuery::Flows),
        }
    }

    async fn rows(self) -> Result<Response, ApiError> {
        let (query, scope, reader) = (self.stream_query()?, self.scope(), &self.app.reader);
        if self.parameters.watch {
            let claim = self.claim(&self.app.watches)?;
            let (recheck, format, parameters) = (self.recheck(), self.format, self.parameters);
            return watch(reader, WatchRequest { query, scope, parameters, format, recheck, claim }).await;
        }
        let claim = self.list_claim()?;
        if query.has_positions() {
            list_past(reader, claim, query, scope, &self.parameters, self.format).await
        } else {
            list_future(reader, claim, query, scope, &self.parameters, self.format).await
        }
    }

    async fn one_past_row(mut self, name: &str) -> Result<Response, ApiError> {
        let claim = self.list_claim()?;
        let by_name = FieldRequirement { field: "metadata.name", value: name.to_owned(), is_negated: false };
        self.parameters.fields.requirements.push(by_name);
        match past_row(&self.app.reader, &claim, &self.stream_query()?, &self.scope(), &self.parameters).await? {
            Ok(row) => {
                let nothing = claim.share.empty_reservation();
                claim.answer(nothing, JSON, self.single(&row))
            }
            Err(coverage) => Err(ApiError::not_found(self.path.resource.plural(), name, &coverage.shortfall())),
        }
    }

    fn watch_profiles(self) -> Result<Response, ApiError> {
        let query = ProfileQuery::new(self.path.namespace.as_deref(), &self.parameters)?;
        let claim = self.claim(&self.app.watches)?;
        let reader = &self.app.reader;
        Ok(watch_profiles(reader, query, self.scope(), &self.parameters, self.format, self.recheck(), claim))
    }

    async fn profiles(self, name: Option<String>) -> Result<Response, ApiError> {
        let (claim, scope) = (self.list_claim()?, self.scope());
        if let (Some(name), Some(namespace), Some(subresource)) = (&name, &self.path.namespace, self.path.subresource) {
            let format = ResultFormat::from_subresource(subresource).ok_or_else(ApiError::no_such_path)?;
            let wait_for = self.parameters.wait_for;
            return profile_result(&self.app.reader, claim, &scope, namespace, name, format, wait_for).await;
        }
        let query = ProfileQuery::new(self.path.namespace.as_deref(), &self.parameters)?;
        let room = claim.share.reserve(SHORT_LIST_BYTES).await?;
        let coverage = CoverageTracker::new(&scope);
        let rows = profiles::profiles(&self.app.reader, &query, &scope, &coverage).await;
        self.listed(claim, room, name, &rows, &coverage)
    }

    async fn nodes(self, name: Option<String>) -> Result<Response, ApiError> {
        let claim = self.list_claim()?;
        let room = claim.share.reserve(SHORT_LIST_BYTES).await?;
        let coverage = CoverageTracker::new(&self.scope());
        let rows = node_answers(&self.app.reader, &self.parameters.fields, &coverage).await;
        self.listed(claim, room, name, &rows, &coverage)
    }

    /// All rows, or the one of this name.
    fn listed(
        &self,
        claim: Claim,
        room: Reservation,
        name: Option<String>,
        rows: &[Row],
        coverage: &CoverageTracker,
    ) -> Result<Response, ApiError> {
        let (resource, coverage) = (self.path.resource, coverage.coverage());
        match name {
            None => claim.answer(room, JSON, list(self.format, resource.kind(), "", rows, &coverage)),
            Some(name) => match rows.iter().find(|row| row.metadata.name == name) {
                Some(row) => claim.answer(room, JSON, self.single(row)),
                None => Err(ApiError::not_found(resource.plural(), &name, &coverage.shortfall())),
            },
        }
    }

    fn single(&self, row: &Row) -> Vec<u8> {
        let mut out = Vec::new();
        append_single(self.format, self.path.resource.kind(), row, true, &mut out);
        out
    }

    /// Asks again whether the user of a watch may still read.
    fn recheck(&self) -> Recheck {
        let (authorizer, user, attributes) =
            (Arc::clone(&self.app.authorizer), self.user.clone(), self.attributes.clone());
        Box::new(move || {
            let (authorizer, user, attributes) = (Arc::clone(&authorizer), user.clone(), attributes.clone());
            Box::pin(async move { authorizer.check(&user, &attributes).await })
        })
    }
}
