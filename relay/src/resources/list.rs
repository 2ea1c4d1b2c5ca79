//! Answers a list of events, flows or requests. Agents keep flows and requests: a list is the latest of all nodes, by time. They
//! keep no events: a list collects for some seconds, and its items are written as they come.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, body::Bytes, response::Response};
use futures::{StreamExt, stream, stream::unfold};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};
use trilobite_api::read_scope::ReadScope;

use super::{
    ask_nodes::ask_nodes,
    claim::{AnswerHold, Claim, SEND_TIMEOUT},
    coverage::{Coverage, CoverageTracker},
    follow::{Follow, FollowTasks, Framing, StartFrom, open},
    latest::LatestRows,
    node_failure::{Cause, NodeFailure},
    object::{Kind, Row},
    row_queue::Next,
    stream_item::{Range, StreamItem, now_nanoseconds},
    stream_query::StreamQuery,
    table::{Format, append_item, append_list_head, append_list_tail},
    watch::{OVERLAP_NANOSECONDS, Reader, begun, json_response, start},
};
use crate::{api_error::ApiError, query::Parameters};

/// Limit for the whole answer of a node; what it has sent until then is in the list.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// Memory of the rows of one list: reserved before agents are asked.
const BYTES_OF_ROW: usize = 4 << 10;
const LEAST_BYTES: usize = 64 << 10;
const MAX_BYTES: usize = 2 << 20;

fn room_for(limit: usize) -> usize {
    limit.saturating_mul(BYTES_OF_ROW).clamp(LEAST_BYTES, MAX_BYTES)
}

/// A list of the past.
pub async fn list_past(
    reader: &Arc<Reader>,
    claim: Claim,
    query: StreamQuery,
    scope: ReadScope,
    parameters: &Parameters,
    format: Format,
) -> Result<Response, ApiError> {
    // Before any node is asked, so that a watch from here misses nothing.
    let position = now_nanoseconds();
    let mut room = claim.share.reserve(room_for(parameters.limit)).await?;
    let (rows, coverage) = past_rows(reader, &query, &scope, parameters, position).await?;
    room.resize(rows.iter().map(Row::size).sum());
    let from = position.saturating_sub(OVERLAP_NANOSECONDS);
    let repeated = rows.iter().rev().filter(|row| row.metadata.time >= from).map(|row| row.metadata.name.clone());
    reader.recent.record(position, repeated);
    Ok(json_response(written(format, query.kind(), position, rows, &coverage, claim.hold(room, SEND_TIMEOUT))))
}

/// The list row by row, so that it is not in memory twice.
fn written(format: Format, kind: Kind, position: u64, rows: Vec<Row>, coverage: &Coverage, hold: AnswerHold) -> Body {
    let mut head = Vec::new();
    append_list_head(format, kind, &position.to_string(), &mut head);
    let mut tail = Vec::new();
    append_list_tail(coverage, &mut tail);
    let items = rows.into_iter().enumerate().map(move |(at, row)| {
        let mut item = Vec::with_capacity(row.object.len() + 512);
        append_item(format, kind, &row, at == 0, &mut item);
        Bytes::from(item)
    });
    let chunks = [Bytes::from(head)].into_iter().chain(items).chain([hold.last_part(tail)]);
    Body::from_stream(stream::iter(chunks.map(Ok::<_, std::convert::Infallible>)))
}

/// The latest rows of all nodes, the oldest first.
async fn past_rows(
    reader: &Arc<Reader>,
    query: &StreamQuery,
    scope: &ReadScope,
    parameters: &Parameters,
    now: u64,
) -> Result<(Vec<Row>, Coverage), ApiError> {
    let coverage = CoverageTracker::new(scope);
    let latest = Mutex::new(LatestRows::new(parameters.limit, room_for(parameters.limit)));
    let since = parameters.since.map(|ago| now.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)));
    let range = Range::Past { limit: parameters.limit as u64, since };
    let deadline = Instant::now() + LIST_TIMEOUT;
    let rows = reader.metrics.rows_of(query.resource());
    let read = |node: String| {
        let (coverage, latest, rows) = (&coverage, &latest, &rows);
        async move {
            let (connected, mut stream) = match open(&reader.pool, query, scope, &node, range).await {
                Ok(opened) => opened,
                Err(failure) => return coverage.set_failed(&node, failure),
            };
            coverage.set_answered(&node);
            loop {
                match timeout_at(deadline, stream.items.next()).await {
                    Ok(Some(Ok(StreamItem::Row(row)))) => {
                        rows.count(crate::metrics::RowResult::Received, 1);
                        latest.lock().push(row);
                    }
                    Ok(Some(Ok(StreamItem::Lost(count, _)))) => coverage.add_lost(count),
                    Ok(Some(Err(status))) => {
                        reader.pool.report_failure(&node, &connected, &status).await;
                        return coverage.set_failed(&node, NodeFailure::from(&status));
                    }
                    Ok(None) => return,
                    Err(_) => {
                        let detail = format!("it did not end its answer within {LIST_TIMEOUT:?}");
                        return coverage.set_failed(&node, NodeFailure::new(Cause::Late, detail));
                    }
                }
            }
        }
    };
    ask_nodes(&reader.pool, &coverage, |node| query.wants_node(node), read).await;
    if let Some(message) = coverage.invalid_query() {
        return Err(ApiError::bad_request(format!("every node refuses: {message}")));
    }
    let listed = latest.into_inner();
    let omitted = listed.omitted;
    let sorted = listed.into_sorted();
    rows.count(crate::metrics::RowResult::Delivered, sorted.len() as u64);
    rows.count(crate::metrics::RowResult::Omitted, omitted);
    Ok((sorted, coverage.coverage()))
}

/// The latest row that is selected, or which nodes have none.
pub async fn past_row(
    reader: &Arc<Reader>,
    claim: &Claim,
    query: &StreamQuery,
    scope: &ReadScope,
    parameters: &Parameters,
) -> Result<Result<Row, Coverage>, ApiError> {
    let parameters = Parameters { limit: 1, ..parameters.clone() };
    let _room = claim.share.reserve(room_for(1)).await?;
    let (mut rows, coverage) = past_rows(reader, query, scope, &parameters, now_nanoseconds()).await?;
    Ok(rows.pop().ok_or(coverage))
}

/// A list of the events of the next seconds.
pub async fn list_future(
    reader: &Arc<Reader>,
    claim: Claim,
    query: StreamQuery,
    scope: ReadScope,
    parameters: &Parameters,
    format: Format,
) -> Result<Response, ApiError> {
    let deadline = Instant::now() + parameters.collect_for;
    let (follow, tasks) = start(reader, claim.share.clone(), query, scope, format, Framing::List, StartFrom::default());
    begun(&follow).await?;
    // Its rows are reserved by the queue.
    let nothing = claim.share.empty_reservation();
    let collecting = Collecting {
        follow,
        _tasks: tasks,
        hold: Some(claim.hold(nothing, parameters.collect_for + SEND_TIMEOUT)),
        deadline,
        left: parameters.limit,
        is_first: true,
        stage: Stage::Head,
    };
    Ok(json_response(Body::from_stream(unfold(collecting, |mut list| async move {
        let chunk = list.next_chunk().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), list))
    }))))
}

struct Collecting {
    follow: Arc<Follow>,
    _tasks: FollowTasks,
    /// Until the end of the list is written.
    hold: Option<AnswerHold>,
    deadline: Instant,
    left: usize,
    is_first: bool,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Items,
    Ended,
}

impl Collecting {
    async fn next_chunk(&mut self) -> Option<Bytes> {
        match self.stage {
            Stage::Ended => None,
            Stage::Head => {
                self.stage = Stage::Items;
                let mut out = Vec::new();
                append_list_head(self.follow.format, self.follow.query.kind(), "", &mut out);
                Some(out.into())
            }
            Stage::Items => Some(match self.next_item().await {
                Some(item) => item,
                None => {
                    self.stage = Stage::Ended;
                    let mut out = Vec::new();
                    append_list_tail(&self.follow.coverage.coverage(), &mut out);
                    match self.hold.take() {
                        Some(hold) => hold.last_part(out),
                        None => out.into(),
                    }
                }
            }),
        }
    }

    /// None at the end of the list.
    async fn next_item(&mut self) -> Option<Bytes> {
        while self.left > 0 {
            let next = tokio::select! {
                biased;
                next = self.follow.queue.next() => next,
                () = sleep_until(self.deadline) => return None,
            };
            match next {
                Next::Lost(lost) => self.follow.coverage.add_lost(lost),
                Next::Row(row) => {
                    self.left -= 1;
                    // Each item has a comma before it.
                    return Some(if std::mem::take(&mut self.is_first) { row.slice(1..) } else { row });
                }
            }
            if Instant::now() >= self.deadline {
                return None;
            }
        }
        None
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        self.follow.queue.close();
    }
}
