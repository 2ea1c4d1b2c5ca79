//! Reads the streams of all nodes for one client, whatever the client does: an unread stream would hold up the others of its
//! connection, unless it goes on after a moment. Nodes that come later are added, streams that break are opened again.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tonic::Status;
use trilobite_api::read_scope::ReadScope;
use trilobite_backoff::ExponentialBackoff;

use super::{
    coverage::CoverageTracker,
    node_failure::{Cause, NodeFailure},
    object::Row,
    row_queue::RowQueue,
    stream_item::{Range, StreamItem, now_nanoseconds},
    stream_query::{AgentStream, StreamQuery},
    table::{Format, append_event, append_item, append_single},
};
use crate::{
    agents::{Addresses, AgentPool, Connected},
    api_error::ApiError,
};

/// Limit for connecting to a node and for the beginning of its answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
pub const FIRST_RETRY: Duration = Duration::from_millis(500);
pub const LONGEST_RETRY: Duration = Duration::from_secs(8);

/// What rows are made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One event of a watch on a line; losses that agents report are rows, unless bookmarks report them.
    Watch { losses_as_rows: bool },
    /// Items of a list, each with a comma before it.
    List,
}

/// Where the streams of a client start; new rows alone by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct StartFrom {
    /// Rows of the past, after that time.
    pub after: Option<u64>,
    /// The client asked for everything after that time: a node that does not reach back is an error.
    pub position: Option<u64>,
}

/// The streams of one client.
pub struct Follow {
    pub pool: AgentPool,
    pub query: StreamQuery,
    pub scope: ReadScope,
    pub coverage: CoverageTracker,
    pub queue: RowQueue,
    pub format: Format,
    pub framing: Framing,
    pub from: StartFrom,
    /// Names of rows after the position that the client has from its list.
    pub repeated: HashSet<String>,
    /// Whether the columns of a table were sent.
    pub columns_sent: AtomicBool,
    /// Why the answer cannot go on.
    pub failure: Mutex<Option<ApiError>>,
}

/// The tasks of a client; they end when it is dropped.
pub struct FollowTasks {
    _tasks: JoinSet<()>,
}

impl Follow {
    /// Starts to read all nodes, now and whenever they change.
    pub fn start(self: &Arc<Self>) -> FollowTasks {
        let mut tasks = JoinSet::new();
        let mut addresses = self.pool.addresses();
        // Asked before the first wait, so that the coverage is complete at once.
        let first = addresses.borrow_and_update().clone();
        first.keys().filter(|node| self.query.wants_node(node)).for_each(|node| self.coverage.set_asked(node));
        let follow = Arc::clone(self);
        tasks.spawn(async move {
            let mut readers = JoinSet::new();
            let mut reading: HashMap<String, AbortHandle> = HashMap::new();
            let mut current = first;
            loop {
                follow.update_readers(&current, &mut readers, &mut reading);
                tokio::select! {
                    Ok(()) = addresses.changed() => current = addresses.borrow_and_update().clone(),
                    Some(ended) = readers.join_next_with_id() => {
                        // Not a node that has left or whose stream was refused: a fault of ours must not pass for silence.
                        if let Err(error) = ended
                            && error.is_panic()
                            && let Some(node) = reading.iter().find(|(_, task)| task.id() == error.id()).map(|(node, _)| node)
                        {
                            let detail = "the relay has failed to read it; see the relay's log";
                            follow.coverage.set_failed(node, NodeFailure::new(Cause::Refused, detail));
                        }
                    }
                    else => return std::future::pending().await,
                }
            }
        });
        FollowTasks { _tasks: tasks }
    }

    fn update_readers(
        self: &Arc<Self>,
        current: &Addresses,
        readers: &mut JoinSet<()>,
        reading: &mut HashMap<String, AbortHandle>,
    ) {
        reading.retain(|node, reader| {
            let stays = current.contains_key(node);
            if !stays {
                reader.abort();
                self.coverage.remove(node);
            }
            stays
        });
        for node in current.keys().filter(|node| self.query.wants_node(node)) {
            if !reading.contains_key(node) {
                self.coverage.set_asked(node);
                let (follow, name) = (Arc::clone(self), node.clone());
                reading.insert(node.clone(), readers.spawn(async move { follow.read_node(&name).await }));
            }
        }
    }

    /// Reads one node until the task is aborted.
    async fn read_node(&self, node: &str) {
        let mut backoff = ExponentialBackoff::between(FIRST_RETRY, LONGEST_RETRY);
        let mut after = self.from.after;
        let mut broken_since: Option<u64> = None;
        loop {
            let asked = now_nanoseconds();
            match open(&self.pool, &self.query, &self.scope, node, Range::Follow { after }).await {
                Ok((connected, stream)) => {
                    backoff.reset();
                    if self.query.has_positions() {
                        // If it breaks before its first row, the next stream begins where this one did.
                        after.get_or_insert(asked);
                    }
                    if !self.check_position(node, stream.complete_since) {
                        return;
                    }
                    self.coverage.set_answered(node);
                    if let Some(since) = broken_since.take() {
                        self.report_interruption(node, since);
                    }
                    let status = self.read_stream(stream, &mut after).await;
                    self.pool.report_failure(node, &connected, &status).await;
                    let detail = format!("its stream has ended: {}", status.message());
                    self.coverage.set_failed(node, NodeFailure::new(Cause::Unreachable, detail));
                    broken_since = Some(now_nanoseconds());
                }
                Err(failure) => self.coverage.set_failed(node, failure),
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Reads until the stream ends. Waits for the client for a moment where the agent can wait too.
    async fn read_stream(&self, mut stream: AgentStream, after: &mut Option<u64>) -> Status {
        loop {
            match stream.items.next().await {
                Some(Ok(StreamItem::Row(row))) => {
                    if row.metadata.is_position {
                        // A stream that is opened again continues behind this row.
                        *after = Some(row.metadata.time + 1).max(*after);
                    }
                    if self.repeated.contains(&row.metadata.name) {
                        continue;
                    }
                    match self.query.can_wait() {
                        true => self.queue.push_when_read(self.render(&row)).await,
                        false => self.queue.push(self.render(&row)),
                    }
                }
                Some(Ok(StreamItem::Lost(count, row))) => {
                    self.coverage.add_lost(count);
                    if self.framing == (Framing::Watch { losses_as_rows: true }) {
                        self.queue.push(self.render(&row));
                    }
                }
                Some(Err(status)) => return status,
                None => return Status::unavailable("the agent has stopped"),
            }
        }
    }

    /// Whether the node has kept everything since the client's position.
    fn check_position(&self, node: &str, complete_since: Option<u64>) -> bool {
        let Some((position, since)) =
            self.from.position.zip(complete_since).filter(|(position, since)| since > position)
        else {
            return true;
        };
        let text = |time| super::object::milliseconds(time);
        let message = format!(
            "node {node} has not kept its {} from {} to {}: list again, or watch without a resourceVersion",
            self.query.resource(),
            text(position),
            text(since)
        );
        self.coverage.set_failed(node, NodeFailure::new(Cause::Refused, message.clone()));
        self.failure.lock().get_or_insert_with(|| ApiError::gone(message));
        false
    }

    /// Events of the time without a stream are lost, and their number is not known.
    fn report_interruption(&self, node: &str, since: u64) {
        self.coverage.add_interruption();
        if self.framing == (Framing::Watch { losses_as_rows: true }) && !self.query.has_positions() {
            self.queue.push(self.render(&self.query.loss_row(node, 0, since)));
        }
    }

    pub fn render(&self, row: &Row) -> Bytes {
        let kind = self.query.kind();
        let mut out = Vec::with_capacity(row.object.len() + 512);
        match self.framing {
            Framing::List => append_item(self.format, kind, row, false, &mut out),
            Framing::Watch { .. } => {
                let with_columns = !self.columns_sent.swap(true, Ordering::Relaxed);
                append_event("ADDED", &mut out, |out| append_single(self.format, kind, row, with_columns, out));
            }
        }
        out.into()
    }
}

/// Connects to a node and asks it, within the time for an answer.
pub async fn open(
    pool: &AgentPool,
    query: &StreamQuery,
    scope: &ReadScope,
    node: &str,
    range: Range,
) -> Result<(Connected, AgentStream), NodeFailure> {
    call(pool, node, |connected| async move { query.open(connected.channel, scope, range).await }).await
}

/// Any call of a node's agent, within the time for an answer.
pub async fn call<T, F>(
    pool: &AgentPool,
    node: &str,
    ask: impl FnOnce(Connected) -> F,
) -> Result<(Connected, T), NodeFailure>
where
    F: Future<Output = Result<T, Status>>,
{
    let answered = async {
        let connected = pool.connected(node).await?;
        match ask(connected.clone()).await {
            Ok(answer) => Ok((connected, answer)),
            Err(status) => {
                pool.report_failure(node, &connected, &status).await;
                Err(NodeFailure::from(&status))
            }
        }
    };
    let late = || NodeFailure::new(Cause::Late, format!("no answer within {ANSWER_TIMEOUT:?}"));
    timeout(ANSWER_TIMEOUT, answered).await.unwrap_or_else(|_| Err(late()))
}
