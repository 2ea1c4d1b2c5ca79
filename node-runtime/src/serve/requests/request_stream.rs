//! The stream of one GetRequests call: the past of every session in the order of time, then new rows as they come. Sessions that
//! come later are asked as well.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{BoxStream, SelectAll, unfold},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use trilobite_api::requests::GetRequestsResponse;
use trilobite_worker_wire::requests::{CGROUPS_MAX, RequestRow, RowQuery};

use super::{
    RequestNames, address_book::AddressBook, latest::LatestRequests, request_message::ended, selection::RowSelection,
};
use crate::{
    kernel::clock::boot_ns,
    layers::{
        application::requests::rows::{RequestRows, RowSource, RowsAnswer, RowsReceiver},
        deadline::sleep_until_some,
    },
    loss::{Ledger, LossPoint},
    serve::read_rows::{ReadResource, ReadRows},
};

/// How long the workers have for the rows of the past.
const PAST_TIMEOUT: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(5) };
/// Pause before a session that gave no more answers is asked again.
const RETRY_PAUSE: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(1) };
/// Places of `LostRequests`.
const READER: &str = "reader";
const WORKER: &str = "worker";
const BUDGET: &str = "budget";

pub(super) struct RequestStream {
    rows: RequestRows,
    changed: watch::Receiver<()>,
    names: RequestNames,
    book: AddressBook,
    ledger: Ledger,
    counts: ReadRows,
    selection: RowSelection,
    phase: Phase,
    ready: VecDeque<GetRequestsResponse>,
    /// Sessions that are followed.
    followed: BTreeSet<String>,
    /// When sessions gave no answer, or no more, boot clock.
    gone: BTreeMap<String, u64>,
    /// When these sessions are asked again.
    retry_at: Option<Instant>,
    live: SelectAll<BoxStream<'static, FromSource>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Past,
    Live,
    Ended,
}

/// What comes from a session.
type FromSource = (Arc<RowSource>, SourceItem);

enum SourceItem {
    Row(Box<RequestRow>),
    Complete {
        evicted: u64,
        newest_sequence: u64,
        oldest_ns: u64,
    },
    /// The call was too slow for so many rows.
    Lost(u64),
    /// The session gives no more answers, though it may go on.
    Gone,
    /// It has ended.
    End,
}

impl RequestStream {
    pub(super) fn new(
        rows: RequestRows,
        names: RequestNames,
        ledger: Ledger,
        counts: ReadRows,
        selection: RowSelection,
    ) -> Self {
        Self {
            changed: rows.changed(),
            rows,
            book: names.address_book(),
            names,
            ledger,
            counts,
            selection,
            phase: Phase::Past,
            ready: VecDeque::new(),
            followed: BTreeSet::new(),
            gone: BTreeMap::new(),
            retry_at: None,
            live: SelectAll::new(),
        }
    }

    /// The next message; none at the end.
    pub(super) async fn next(&mut self) -> Option<GetRequestsResponse> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            match self.phase {
                Phase::Past => {
                    let newest = if self.selection.follows_past { BTreeMap::new() } else { self.read_past().await };
                    self.phase = if self.selection.follow { Phase::Live } else { Phase::Ended };
                    if self.phase == Phase::Live {
                        self.follow_new_sources(&newest).await;
                    }
                }
                Phase::Live => self.read_live().await,
                Phase::Ended => return None,
            }
        }
    }

    /// Collects the rows of the past. Returns the newest sequence of each session that has answered.
    async fn read_past(&mut self) -> BTreeMap<String, u64> {
        let mut unanswered = BTreeSet::new();
        let mut answers = SelectAll::new();
        for source in self.wanted_sources() {
            let query = self.selection.past_query(self.wanted_cgroups(&source));
            let name = source.name.clone();
            if let Some(stream) = ask(&self.rows, source, query).await {
                answers.push(stream);
                unanswered.insert(name);
            }
        }
        let mut latest = LatestRequests::new(self.selection.limit);
        let (mut newest, mut given_up, mut lost) = (BTreeMap::new(), Vec::new(), 0);
        let deadline = Instant::now() + PAST_TIMEOUT;
        while !unanswered.is_empty() {
            let Ok(Some((source, item))) = timeout_at(deadline, answers.next()).await else { break };
            let name = &source.name;
            match item {
                SourceItem::Row(row) => {
                    let ended = ended(&row);
                    if let Some(response) = self.select(*row, &source) {
                        latest.add(ended, response);
                    }
                }
                SourceItem::Complete { evicted, newest_sequence, oldest_ns } => {
                    unanswered.remove(name);
                    newest.insert(name.clone(), newest_sequence);
                    if evicted > 0 {
                        self.ready.push_back(self.names.retained(name, oldest_ns, evicted));
                    }
                }
                SourceItem::Lost(count) => lost += count,
                SourceItem::Gone => {
                    unanswered.remove(name);
                    given_up.push(name.clone());
                }
                SourceItem::End => {
                    unanswered.remove(name);
                }
            }
        }
        self.ready.extend(latest.into_sorted().inspect(|_| self.counts.count_sent(ReadResource::Requests)));
        self.report_lost("", lost);
        for name in unanswered.into_iter().chain(given_up) {
            self.ready.push_back(self.names.lost(&name, WORKER, 0));
            self.gone.insert(name, boot_ns());
        }
        newest
    }

    /// Asks the sessions that are not followed yet for what they have made after the newest row that is known.
    async fn follow_new_sources(&mut self, newest: &BTreeMap<String, u64>) {
        self.changed.mark_unchanged();
        let new = self.wanted_sources().into_iter().filter(|source| !self.followed.contains(&source.name));
        for source in new.collect::<Vec<_>>() {
            let after = newest.get(&source.name).copied().unwrap_or_default();
            let mut query = self.selection.follow_query(after);
            // Another worker counts from 1 again.
            query.since_ns = query.since_ns.max(self.gone.get(&source.name).copied().unwrap_or_default());
            let name = source.name.clone();
            if let Some(stream) = ask(&self.rows, source, query).await {
                self.live.push(stream);
                self.followed.insert(name);
            }
        }
    }

    async fn read_live(&mut self) {
        let (source, item) = tokio::select! {
            biased;
            changed = self.changed.changed() => {
                if changed.is_err() || self.rows.is_closed() {
                    self.phase = Phase::Ended;
                    return;
                }
                return self.follow_new_sources(&BTreeMap::new()).await;
            }
            () = sleep_until_some(self.retry_at) => {
                self.retry_at = None;
                return self.follow_new_sources(&BTreeMap::new()).await;
            }
            Some(item) = self.live.next(), if !self.live.is_empty() => item,
        };
        let name = &source.name;
        match item {
            SourceItem::Row(row) => {
                if let Some(response) = self.select(*row, &source) {
                    self.counts.count_sent(ReadResource::Requests);
                    self.ready.push_back(response);
                }
            }
            SourceItem::Lost(count) => self.report_lost(name, count),
            // Rows that had left before this slow reader came to them.
            SourceItem::Complete { evicted, .. } if evicted > 0 => {
                self.ready.push_back(self.names.lost(name, BUDGET, evicted));
            }
            SourceItem::Complete { .. } => {}
            SourceItem::Gone | SourceItem::End => {
                self.followed.remove(name);
                // The rows of a profile that has ended are not missing.
                if matches!(item, SourceItem::Gone) && self.rows.profiles().iter().any(|source| source.name == *name) {
                    self.ready.push_back(self.names.lost(name, WORKER, 0));
                }
                self.gone.insert(name.clone(), boot_ns());
                self.retry_at = Some(Instant::now() + RETRY_PAUSE);
            }
        }
    }

    fn wanted_sources(&self) -> Vec<RowSource> {
        self.rows.profiles().into_iter().filter(|source| self.selection.wants_source(source)).collect()
    }

    /// The cgroups that the worker selects by; none for all, also where they are too many to be named.
    fn wanted_cgroups(&self, source: &RowSource) -> Option<Vec<u64>> {
        if !self.selection.is_narrower_than(source) || !self.names.identity.has_cluster() {
            return None;
        }
        let cgroups = self.names.identity.cgroups_of(|pod| self.selection.wants_pod(pod));
        (cgroups.len() <= CGROUPS_MAX).then_some(cgroups)
    }

    /// The message of a row that the call gets.
    fn select(&mut self, row: RequestRow, source: &RowSource) -> Option<GetRequestsResponse> {
        let ended = ended(&row);
        let mut request = self.names.request(row, source, &mut self.book);
        if self.selection.withholds(&request) {
            self.counts.count_withheld(ReadResource::Requests);
            return None;
        }
        if let Some(remote) = &mut request.remote
            && !self.selection.shows_name(&remote.namespace)
        {
            remote.name.clear();
        }
        self.selection.wants(&request).then(|| self.names.response(request, ended))
    }

    fn report_lost(&mut self, profile: &str, count: u64) {
        if count > 0 {
            self.ledger.record_loss(LossPoint::StreamReader, "", count);
            self.ready.push_back(self.names.lost(profile, READER, count));
        }
    }
}

async fn ask(rows: &RequestRows, source: RowSource, query: RowQuery) -> Option<BoxStream<'static, FromSource>> {
    let receiver = rows.ask(&source.name, query).await?;
    Some(source_items(Arc::new(source), receiver))
}

fn source_items(source: Arc<RowSource>, receiver: RowsReceiver) -> BoxStream<'static, FromSource> {
    unfold(Some((source, receiver)), |open| async move {
        let (source, mut receiver) = open?;
        let lost = receiver.take_lost();
        if lost > 0 {
            return Some(((source.clone(), SourceItem::Lost(lost)), Some((source, receiver))));
        }
        let item = match receiver.next().await {
            Some(RowsAnswer::Row(row)) => SourceItem::Row(row),
            Some(RowsAnswer::Complete { evicted, newest_sequence, oldest_ns }) => {
                SourceItem::Complete { evicted, newest_sequence, oldest_ns }
            }
            Some(RowsAnswer::Gone(_)) => return Some(((source, SourceItem::Gone), None)),
            None => return Some(((source, SourceItem::End), None)),
        };
        Some(((source.clone(), item), Some((source, receiver))))
    })
    .boxed()
}
