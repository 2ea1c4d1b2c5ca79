//! Answers a watch of events, flows or requests: JSON lines, with bookmarks for clients that ask for them.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use futures::stream::unfold;
use parking_lot::Mutex;
use tokio::time::{Instant, Interval, interval, timeout};
use trilobite_api::read_scope::ReadScope;

use super::{
    byte_budget::{BudgetShare, ByteBudget},
    claim::Claim,
    coverage::CoverageTracker,
    follow::{ANSWER_TIMEOUT, Follow, FollowTasks, Framing, StartFrom},
    permission::{Permission, PermissionTimes, Recheck},
    recent_lists::RecentLists,
    row_queue::{Next, RowQueue},
    stream_item::now_nanoseconds,
    stream_query::StreamQuery,
    table::{Format, append_bookmark, append_event},
};
use crate::{
    agents::AgentPool,
    api_error::ApiError,
    metrics::Metrics,
    query::{Parameters, ResourceVersion},
};

/// Interval of bookmarks; a loss is reported within a second. The first comes when every node has answered, or after
/// `ANSWER_TIMEOUT`.
pub(super) const BOOKMARK_INTERVAL: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_secs(1);
/// Rows are written together up to this size.
const CHUNK: usize = 32 << 10;
/// A row may reach its agent's buffer so long after its time: a watch from a position repeats what came since then.
pub const OVERLAP_NANOSECONDS: u64 = 1_000_000_000;

/// What all answers share.
pub struct Reader {
    pub pool: AgentPool,
    pub metrics: Arc<Metrics>,
    pub budget: ByteBudget,
    pub recent: RecentLists,
    pub permission_times: PermissionTimes,
}

/// A watch, and what its permission is made of.
pub struct WatchRequest {
    pub query: StreamQuery,
    pub scope: ReadScope,
    pub parameters: Parameters,
    pub format: Format,
    pub recheck: Recheck,
    pub claim: Claim,
}

struct WatchStream {
    reader: Arc<Reader>,
    follow: Arc<Follow>,
    _tasks: FollowTasks,
    permission: Permission,
    /// The place of the watch among those of its tenant.
    _claim: Claim,
    with_bookmarks: bool,
    ticks: Interval,
    next_bookmark: Instant,
    is_bookmarked: bool,
    reported_lost: u64,
    ended: bool,
}

/// Starts a watch; an error if no node can give what is asked for.
pub async fn watch(reader: &Arc<Reader>, request: WatchRequest) -> Result<Response, ApiError> {
    let WatchRequest { query, scope, parameters, format, recheck, claim } = request;
    let with_bookmarks = parameters.allow_bookmarks;
    let position = match parameters.resource_version {
        ResourceVersion::After(_) if !query.has_positions() => {
            return Err(ApiError::gone(
                "events are not kept: what came after this resourceVersion is lost; watch without a resourceVersion",
            ));
        }
        ResourceVersion::After(position) => Some(position),
        ResourceVersion::Now => None,
    };
    let now = now_nanoseconds();
    let since = parameters.since.map(|ago| now.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)));
    let framing = Framing::Watch { losses_as_rows: !with_bookmarks };
    let after = position.map(|position| position.saturating_sub(OVERLAP_NANOSECONDS)).or(since);
    let (follow, tasks) =
        start(reader, claim.share.clone(), query, scope, format, framing, StartFrom { after, position });
    begun(&follow).await?;
    reader.metrics.watchers.inc();
    let state = WatchStream {
        reader: Arc::clone(reader),
        _tasks: tasks,
        permission: Permission::new(reader.permission_times, parameters.timeout, recheck, claim.cut.clone()),
        _claim: claim,
        with_bookmarks,
        ticks: interval(TICK),
        next_bookmark: Instant::now() + ANSWER_TIMEOUT,
        is_bookmarked: false,
        reported_lost: 0,
        ended: false,
        follow,
    };
    Ok(json_response(Body::from_stream(unfold(state, |mut state| async move {
        let chunk = state.next_chunk().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), state))
    }))))
}

/// Starts the streams of all nodes.
pub(super) fn start(
    reader: &Arc<Reader>,
    share: BudgetShare,
    query: StreamQuery,
    scope: ReadScope,
    format: Format,
    framing: Framing,
    from: StartFrom,
) -> (Arc<Follow>, FollowTasks) {
    let follow = Arc::new(Follow {
        pool: reader.pool.clone(),
        queue: RowQueue::new(share, reader.metrics.rows_of(query.resource())),
        repeated: from.position.and_then(|position| reader.recent.names(position)).unwrap_or_default(),
        query,
        coverage: CoverageTracker::new(&scope),
        scope,
        format,
        framing,
        from,
        columns_sent: AtomicBool::new(false),
        failure: Mutex::new(None),
    });
    let tasks = follow.start();
    (follow, tasks)
}

/// Waits for the first node; an error if all of them refuse, or if one has not kept what is asked for.
pub(super) async fn begun(follow: &Follow) -> Result<(), ApiError> {
    // Nodes that are late answer later, or never; the coverage says so. Whether all have kept what a position asks for is
    // known when all have answered.
    let _ = match follow.from.position {
        None => timeout(ANSWER_TIMEOUT, follow.coverage.decided()).await,
        Some(_) => timeout(ANSWER_TIMEOUT, follow.coverage.settled()).await,
    };
    if let Some(error) = follow.failure.lock().clone() {
        return Err(error);
    }
    match follow.coverage.invalid_query() {
        Some(message) => Err(ApiError::bad_request(format!("every node refuses: {message}"))),
        None => Ok(()),
    }
}

impl WatchStream {
    async fn next_chunk(&mut self) -> Option<Bytes> {
        loop {
            if self.ended {
                return None;
            }
            tokio::select! {
                biased;
                end = self.permission.ended() => {
                    self.ended = true;
                    return end.map(|error| error_line(&error));
                }
                _ = self.ticks.tick() => {
                    if let Some(chunk) = self.housekeep() {
                        return Some(chunk);
                    }
                }
                next = self.follow.queue.next() => match next {
                    Next::Row(row) => return Some(self.with_following(row)),
                    Next::Lost(lost) => return Some(self.report_overflow(lost)),
                },
            }
        }
    }

    /// The row, and those behind it, so that many are written at once.
    fn with_following(&self, row: Bytes) -> Bytes {
        let mut chunk: Option<Vec<u8>> = None;
        while chunk.as_ref().map_or(row.len(), Vec::len) < CHUNK
            && let Some(next) = self.follow.queue.try_next_row()
        {
            chunk.get_or_insert_with(|| row.to_vec()).extend_from_slice(&next);
        }
        chunk.map_or(row, Bytes::from)
    }

    /// Once a second: a failure that ends the watch, or a bookmark that is due.
    fn housekeep(&mut self) -> Option<Bytes> {
        let now = Instant::now();
        let failure = self.follow.failure.lock().clone();
        if let Some(error) = failure {
            return Some(self.end_with(&error));
        }
        let coverage = self.follow.coverage.coverage();
        let is_due = now >= self.next_bookmark
            || coverage.lost + coverage.interrupted > self.reported_lost
            || !self.is_bookmarked && coverage.nodes.is_decided();
        (self.with_bookmarks && is_due).then(|| self.bookmark())
    }

    /// The client reads too slowly.
    fn report_overflow(&mut self, lost: u64) -> Bytes {
        self.follow.coverage.add_lost(lost);
        if self.with_bookmarks {
            return self.bookmark();
        }
        self.end_with(&ApiError::gone(format!(
            "{lost} rows are lost because the client reads too slowly; watch again, select less, or set allowWatchBookmarks"
        )))
    }

    fn bookmark(&mut self) -> Bytes {
        let coverage = self.follow.coverage.coverage();
        (self.next_bookmark, self.is_bookmarked) = (Instant::now() + BOOKMARK_INTERVAL, true);
        self.reported_lost = coverage.lost + coverage.interrupted;
        let position = if self.follow.query.has_positions() { now_nanoseconds().to_string() } else { String::new() };
        let Follow { format, query, .. } = &*self.follow;
        let mut out = Vec::new();
        append_event("BOOKMARK", &mut out, |out| append_bookmark(*format, query.kind(), &position, &coverage, out));
        out.into()
    }

    fn end_with(&mut self, error: &ApiError) -> Bytes {
        self.ended = true;
        error_line(error)
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.reader.metrics.watchers.dec();
        let counts = self.follow.queue.close();
        tracing::debug!(
            received = counts.received,
            delivered = counts.delivered,
            lost = counts.lost,
            "a watch has ended"
        );
    }
}

/// The last line of a watch that cannot go on.
pub(super) fn error_line(error: &ApiError) -> Bytes {
    format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", error.status()).into()
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) fn json_response(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}
