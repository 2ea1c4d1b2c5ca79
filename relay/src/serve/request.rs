//! One request: who asks, whether they may, and the answer.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use hyper::body::Incoming;
use serde_json::Value;
use trilobite_api::read_scope::ReadScope;

use super::{
    discovery, openapi,
    path::{Endpoint, Resource, ResourcePath},
    readiness::{Readiness, metrics_response},
    slots::{Slot, Slots},
};
use crate::{
    access::{Attributes, Authenticator, Authorizer, Peer, Target, User},
    api_error::ApiError,
    query::{FieldRequirement, InvalidQuery, Parameters},
    resources::{
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
        stream_query::StreamQuery,
        table::{Format, append_single, list},
        watch::{Reader, WatchRequest, json_response, watch},
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
    path: ResourcePath,
    user: User,
    attributes: Attributes,
    parameters: Parameters,
    format: Format,
}

pub async fn handle(app: &App, peer: &Peer, request: Request<Incoming>) -> Response {
    let (parts, _) = request.into_parts();
    let answered = match Endpoint::parse(parts.uri.path()) {
        // Whether a path exists is not told to strangers.
        None => app.authenticator.user(peer, &parts.headers).await.and(Err(ApiError::no_such_path())),
        Some(Endpoint::Alive) => Ok((StatusCode::OK, "ok\n").into_response()),
        Some(Endpoint::Ready) => Ok(app.readiness.response()),
        Some(Endpoint::Resource(path)) => return count_answer(app, peer, path, &parts).await,
        Some(endpoint) => answer_path(app, peer, &endpoint, &parts).await,
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

/// Answers a request of a resource, and counts it.
async fn count_answer(app: &App, peer: &Peer, path: ResourcePath, parts: &Parts) -> Response {
    let parameters = Parameters::parse(parts.uri.query().unwrap_or_default(), fields(path.resource));
    let is_watch = parameters.as_ref().is_ok_and(|parameters| parameters.watch);
    let (resource, verb) = (path.resource.plural(), verb(&path, is_watch));
    let answered = answer(app, peer, path, parameters, parts).await;
    let response = answered.unwrap_or_else(IntoResponse::into_response);
    app.reader.metrics.count_request(resource, verb, response.status().as_u16());
    response
}

async fn answer(
    app: &App,
    peer: &Peer,
    path: ResourcePath,
    parameters: Result<Parameters, InvalidQuery>,
    parts: &Parts,
) -> Result<Response, ApiError> {
    let user = reading_user(app, peer, parts).await?;
    let parameters = parameters?;
    let attributes = attributes(&path, parameters.watch);
    app.authorizer.check(&user, &attributes).await?;
    let format = match (Format::of_accept(accept(parts), parameters.include_object), path.subresource) {
        (Some(format), _) => format,
        // A picture is no JSON, and clients say so.
        (None, Some(_)) => Format::Objects,
        (None, None) => return Err(ApiError::not_acceptable()),
    };
    Granted { app, path, user, attributes, parameters, format }.answer().await
}

/// Answers a path that is no resource.
async fn answer_path(app: &App, peer: &Peer, endpoint: &Endpoint, parts: &Parts) -> Result<Response, ApiError> {
    let user = reading_user(app, peer, parts).await?;
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
async fn reading_user(app: &App, peer: &Peer, parts: &Parts) -> Result<User, ApiError> {
    let user = app.authenticator.user(peer, &parts.headers).await?;
    if parts.method == Method::GET { Ok(user) } else { Err(ApiError::method_not_allowed()) }
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
            (Resource::Events | Resource::Flows, None) => self.rows().await,
            (Resource::Flows, Some(name)) => self.one_flow(&name).await,
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

    fn list_slot(&self) -> Result<Slot, ApiError> {
        self.app.lists.acquire(&self.user.name)
    }

    fn stream_query(&self) -> Result<StreamQuery, ApiError> {
        let namespace = self.path.namespace.as_deref();
        let wants_tables = matches!(self.format, Format::Table(_));
        match self.path.resource {
            Resource::Events => EventQuery::new(namespace, &self.parameters, wants_tables).map(StreamQuery::Events),
            _ => FlowQuery::new(namespace, &self.parameters, wants_tables).map(StreamQuery::Flows),
        }
    }

    async fn rows(self) -> Result<Response, ApiError> {
        let (query, scope, reader) = (self.stream_query()?, self.scope(), &self.app.reader);
        if self.parameters.watch {
            let slot = Box::new(self.app.watches.acquire(&self.user.name)?);
            let (recheck, format, parameters) = (self.recheck(), self.format, self.parameters);
            return watch(reader, WatchRequest { query, scope, parameters, format, recheck, slot }).await;
        }
        let slot = self.list_slot()?;
        if query.has_positions() {
            list_past(reader, query, scope, &self.parameters, self.format).await
        } else {
            list_future(reader, query, scope, &self.parameters, self.format, Box::new(slot)).await
        }
    }

    async fn one_flow(mut self, name: &str) -> Result<Response, ApiError> {
        let _slot = self.list_slot()?;
        let by_name = FieldRequirement { field: "metadata.name", value: name.to_owned(), is_negated: false };
        self.parameters.fields.requirements.push(by_name);
        match past_row(&self.app.reader, &self.stream_query()?, &self.scope(), &self.parameters).await? {
            Ok(row) => Ok(self.single(&row)),
            Err(coverage) => Err(ApiError::not_found("flows", name, &coverage.shortfall())),
        }
    }

    fn watch_profiles(self) -> Result<Response, ApiError> {
        let query = ProfileQuery::new(self.path.namespace.as_deref(), &self.parameters)?;
        let slot = Box::new(self.app.watches.acquire(&self.user.name)?);
        let reader = &self.app.reader;
        Ok(watch_profiles(reader, query, self.scope(), &self.parameters, self.format, self.recheck(), slot))
    }

    async fn profiles(self, name: Option<String>) -> Result<Response, ApiError> {
        let _slot = self.list_slot()?;
        if let (Some(name), Some(namespace), Some(subresource)) = (&name, &self.path.namespace, self.path.subresource) {
            let format = ResultFormat::from_subresource(subresource).ok_or_else(ApiError::no_such_path)?;
            let wait_for = self.parameters.wait_for;
            return profile_result(&self.app.reader, &self.scope(), namespace, name, format, wait_for).await;
        }
        let query = ProfileQuery::new(self.path.namespace.as_deref(), &self.parameters)?;
        let coverage = CoverageTracker::default();
        let rows = profiles::profiles(&self.app.reader, &query, &self.scope(), &coverage).await;
        self.listed(name, &rows, &coverage)
    }

    async fn nodes(self, name: Option<String>) -> Result<Response, ApiError> {
        let _slot = self.list_slot()?;
        let coverage = CoverageTracker::default();
        let rows = node_answers(&self.app.reader, &self.parameters.fields, &coverage).await;
        self.listed(name, &rows, &coverage)
    }

    /// All rows, or the one of this name.
    fn listed(&self, name: Option<String>, rows: &[Row], coverage: &CoverageTracker) -> Result<Response, ApiError> {
        let (resource, coverage) = (self.path.resource, coverage.coverage());
        match name {
            None => Ok(json_response(list(self.format, resource.kind(), "", rows, &coverage).into())),
            Some(name) => match rows.iter().find(|row| row.metadata.name == name) {
                Some(row) => Ok(self.single(row)),
                None => Err(ApiError::not_found(resource.plural(), &name, &coverage.shortfall())),
            },
        }
    }

    fn single(&self, row: &Row) -> Response {
        let mut out = Vec::new();
        append_single(self.format, self.path.resource.kind(), row, true, &mut out);
        json_response(out.into())
    }

    /// Asks again whether the user of a watch may still read.
    fn recheck(&self) -> Recheck {
        let (authorizer, user, attributes) =
            (Arc::clone(&self.app.authorizer), self.user.clone(), self.attributes.clone());
        Box::new(move || {
            let (authorizer, user, attributes) = (Arc::clone(&authorizer), user.clone(), attributes.clone());
            Box::pin(async move {
                let check = authorizer.check(&user, &attributes);
                tokio::time::timeout(Duration::from_secs(5), check).await.unwrap_or(Ok(()))
            })
        })
    }
}
