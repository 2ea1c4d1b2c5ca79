//! Answers a watch of profiles: agents are asked every two seconds, and what has changed is sent.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures::stream::unfold;
use tokio::time::{Instant, sleep};
use trilobite_api::read_scope::ReadScope;

use super::{
    coverage::{Coverage, CoverageTracker},
    object::{Kind, Row},
    profiles::{ProfileQuery, profiles},
    table::{Format, append_bookmark, append_single},
    watch::{Reader, Recheck, json_response},
};
use crate::query::Parameters;

const INTERVAL: Duration = Duration::from_secs(2);
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(30);
const RECHECK_INTERVAL: Duration = Duration::from_secs(60);

struct ProfileWatch {
    reader: Arc<Reader>,
    query: ProfileQuery,
    scope: ReadScope,
    format: Format,
    recheck: Recheck,
    with_bookmarks: bool,
    deadline: Option<Instant>,
    /// What the client knows.
    sent: BTreeMap<(String, String), Row>,
    columns_sent: std::sync::atomic::AtomicBool,
    next_bookmark: Instant,
    next_recheck: Instant,
    asked: bool,
    ended: bool,
    _slot: Box<dyn Send + Sync>,
}

/// Starts with the profiles that exist.
pub fn watch_profiles(
    reader: &Arc<Reader>,
    query: ProfileQuery,
    scope: ReadScope,
    parameters: &Parameters,
    format: Format,
    recheck: Recheck,
    slot: Box<dyn Send + Sync>,
) -> Response {
    reader.metrics.watchers.inc();
    let now = Instant::now();
    let state = ProfileWatch {
        reader: Arc::clone(reader),
        query,
        scope,
        format,
        recheck,
        with_bookmarks: parameters.allow_bookmarks,
        deadline: parameters.timeout.map(|timeout| now + timeout),
        sent: BTreeMap::new(),
        columns_sent: false.into(),
        next_bookmark: now,
        next_recheck: now + RECHECK_INTERVAL,
        asked: false,
        ended: false,
        _slot: slot,
    };
    json_response(Body::from_stream(unfold(state, |mut state| async move {
        let chunk = state.next_chunk().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), state))
    })))
}

impl ProfileWatch {
    async fn next_chunk(&mut self) -> Option<Bytes> {
        loop {
            if self.ended || self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            if std::mem::replace(&mut self.asked, true) {
                sleep(INTERVAL).await;
            }
            let now = Instant::now();
            if now >= self.next_recheck {
                self.next_recheck = now + RECHECK_INTERVAL;
                if let Err(error) = (self.recheck)().await
                    && error.code == 403
                {
                    self.ended = true;
                    return Some(format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", error.status()).into());
                }
            }
            let coverage = CoverageTracker::default();
            let current = profiles(&self.reader, &self.query, &self.scope, &coverage).await;
            let mut out = self.changes(current, &coverage.coverage());
            if self.with_bookmarks && now >= self.next_bookmark {
                self.next_bookmark = now + BOOKMARK_INTERVAL;
                out.extend_from_slice(b"{\"type\":\"BOOKMARK\",\"object\":");
                append_bookmark(self.format, Kind::Profile, "", &coverage.coverage(), &mut out);
                out.extend_from_slice(b"}\n");
            }
            if !out.is_empty() {
                return Some(out.into());
            }
        }
    }

    /// Lines for what is new, changed or gone since the last time.
    fn changes(&mut self, current: Vec<Row>, coverage: &Coverage) -> Vec<u8> {
        let mut out = Vec::new();
        let key = |row: &Row| (row.metadata.namespace.clone(), row.metadata.name.clone());
        let current: BTreeMap<_, _> = current.into_iter().map(|row| (key(&row), row)).collect();
        for (key, row) in &current {
            match self.sent.get(key) {
                None => self.append("ADDED", row, &mut out),
                Some(known) if known.object != row.object => self.append("MODIFIED", row, &mut out),
                Some(_) => {}
            }
        }
        // While a node does not answer, its profiles are not known to be gone.
        if coverage.nodes.answered == coverage.nodes.asked {
            let gone: Vec<_> = self.sent.iter().filter(|(key, _)| !current.contains_key(*key)).collect();
            gone.iter().for_each(|(_, row)| self.append("DELETED", row, &mut out));
            self.sent = current;
        } else {
            self.sent.extend(current);
        }
        out
    }

    fn append(&self, event: &str, row: &Row, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{{\"type\":\"{event}\",\"object\":").as_bytes());
        let with_columns = !self.columns_sent.swap(true, Ordering::Relaxed);
        append_single(self.format, Kind::Profile, row, with_columns, out);
        out.extend_from_slice(b"}\n");
    }
}

impl Drop for ProfileWatch {
    fn drop(&mut self) {
        self.reader.metrics.watchers.dec();
    }
}
