//! Which rows a call gets: its scope first, then what it asks for. What the worker can select it does; the rest is done here. Pure.

use std::time::Duration;

use jiff::Timestamp;
use tonic::Status;
use trilobite_api::{
    read_scope::ReadScope,
    requests::{GetRequestsRequest, Request},
};
use trilobite_worker_wire::requests::RowQuery;

use crate::{identity::Pod, layers::application::requests::rows::RowSource, serve::timestamps::time_in_request};

/// The most rows of the past in one answer.
pub(super) const LIMIT_MAX: usize = 5_000;

#[derive(Clone, Debug)]
pub(super) struct RowSelection {
    scope: ReadScope,
    namespaces: Vec<String>,
    /// Prefix of the pod's name.
    pod: String,
    protocol: Option<String>,
    slower_than_ns: u64,
    errors: bool,
    /// Boot clock; none of the past without it.
    since_ns: Option<u64>,
    pub(super) limit: usize,
    pub(super) follow: bool,
    /// Everything since a time and then new rows: each session in its own order, however many there are.
    pub(super) follows_past: bool,
}

impl RowSelection {
    /// `boot` is the wall clock at boot.
    pub(super) fn new(request: GetRequestsRequest, scope: ReadScope, boot: Timestamp) -> Result<Self, Box<Status>> {
        let GetRequestsRequest { namespaces, pod, protocol, slower_than, errors, since, limit, follow } = request;
        let slower_than = slower_than.map_or(Ok(Duration::ZERO), Duration::try_from);
        let slower_than = slower_than.map_err(|error| Status::invalid_argument(format!("slower_than: {error}")))?;
        let since = since.map(|time| time_in_request("since", time)).transpose()?;
        let since_boot = |since: Timestamp| {
            let after_boot = since.duration_since(boot).as_nanos();
            u64::try_from(after_boot.max(0)).unwrap_or(u64::MAX)
        };
        // The past is wanted unless only new rows are followed.
        let wants_past = !follow || since.is_some() || limit > 0;
        Ok(Self {
            scope,
            namespaces,
            pod,
            protocol: Some(protocol).filter(|protocol| !protocol.is_empty()),
            slower_than_ns: u64::try_from(slower_than.as_nanos()).unwrap_or(u64::MAX),
            errors,
            since_ns: wants_past.then(|| since.map_or(0, since_boot)),
            limit: if limit == 0 { LIMIT_MAX } else { usize::try_from(limit).unwrap_or(LIMIT_MAX).min(LIMIT_MAX) },
            follow,
            follows_past: follow && since.is_some() && limit == 0,
        })
    }

    /// Whether a session can have rows for the call at all.
    pub(super) fn wants_source(&self, source: &RowSource) -> bool {
        source.namespace.is_empty() || self.shows_namespace(&source.namespace)
    }

    /// Whether the session's rows may be of pods that the call does not get, so that the worker has to know which it gets.
    pub(super) fn is_narrower_than(&self, source: &RowSource) -> bool {
        let may_be_elsewhere =
            source.namespace.is_empty() && !(self.scope.is_everything() && self.namespaces.is_empty());
        !self.pod.is_empty() || may_be_elsewhere
    }

    pub(super) fn wants_pod(&self, pod: &Pod) -> bool {
        self.shows_namespace(&pod.namespace) && pod.name.starts_with(&self.pod)
    }

    fn shows_namespace(&self, namespace: &str) -> bool {
        self.scope.allows(namespace) && self.names_namespace(namespace)
    }

    fn names_namespace(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|wanted| wanted == namespace)
    }

    /// The scope does not allow the row: it is counted, and its filters do not see it.
    pub(super) fn withholds(&self, request: &Request) -> bool {
        !self.scope.allows(&request.namespace)
    }

    pub(super) fn wants(&self, request: &Request) -> bool {
        self.names_namespace(&request.namespace) && request.pod.starts_with(&self.pod)
    }

    /// What the scope shows of the other end: of another namespace the namespace and the pod's name, as flows do.
    pub(super) fn shows_name(&self, namespace: &str) -> bool {
        namespace.is_empty() || self.scope.allows(namespace)
    }

    /// The rows that a worker has now.
    pub(super) fn past_query(&self, cgroups: Option<Vec<u64>>) -> RowQuery {
        RowQuery {
            // Nothing began so late: the answer is the newest sequence alone.
            since_ns: self.since_ns.unwrap_or(u64::MAX),
            limit: u32::try_from(self.limit).unwrap_or(u32::MAX),
            cgroups,
            ..self.base()
        }
    }

    /// The rows that a worker makes after that sequence. Of new pods the cgroups are not known yet, so that all are asked for.
    pub(super) fn follow_query(&self, after_sequence: u64) -> RowQuery {
        let since_ns = if self.follows_past { self.since_ns.unwrap_or_default() } else { 0 };
        RowQuery { follow: true, after_sequence, since_ns, ..self.base() }
    }

    fn base(&self) -> RowQuery {
        RowQuery {
            protocol: self.protocol.clone(),
            slower_than_ns: self.slower_than_ns,
            errors: self.errors,
            ..RowQuery::default()
        }
    }
}
