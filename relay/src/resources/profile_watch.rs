//! Answers a watch of profiles: agents are asked every two seconds, and what has changed is sent.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures::stream::unfold;
use tokio::time::{Instant, sleep};
use trilobite_api::read_scope::ReadScope;

use super::{
    byte_budget::Reservation,
    claim::Claim,
    coverage::{Coverage, CoverageTracker},
    object::{Kind, Row},
    permission::{Permission, Recheck},
    profiles::{ProfileQuery, profiles},
    table::{Format, append_bookmark, append_event, append_single},
    watch::{BOOKMARK_INTERVAL, Reader, error_line, json_response},
};
use crate::{api_error::ApiError, query::Parameters};

const INTERVAL: Duration = Duration::from_secs(2);

struct ProfileWatch {
    reader: Arc<Reader>,
    query: ProfileQuery,
    scope: ReadScope,
    format: Format,
    permission: Permission,
    /// The place of the watch among those of its tenant.
    claim: Claim,
    with_bookmarks: bool,
    /// What the client knows.
    sent: BTreeMap<(String, String), Row>,
    /// The memory of what was sent.
    room: Reservation,
    columns_sent: bool,
    next_bookmark: Instant,
    asked: bool,
    ended: bool,
}

/// Starts with the profiles that exist.
pub fn watch_profiles(
    reader: &Arc<Reader>,
    query: ProfileQuery,
    scope: ReadScope,
    parameters: &Parameters,
    format: Format,
    recheck: Recheck,
    claim: Claim,
) -> Response {
    reader.metrics.watchers.inc();
    let state = ProfileWatch {
        reader: Arc::clone(reader),
        query,
        scope,
        format,
        permission: Permission::new(reader.permission_times, parameters.timeout, recheck, claim.cut.clone()),
        room: claim.share.empty_reservation(),
        claim,
        with_bookmarks: parameters.allow_bookmarks,
        sent: BTreeMap::new(),
        columns_sent: false,
        next_bookmark: Instant::now(),
        asked: false,
        ended: false,
    };
    json_response(Body::from_stream(unfold(state, |mut state| async move {
        let chunk = state.next_chunk().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), state))
    })))
}

impl ProfileWatch {
    async fn next_chunk(&mut self) -> Option<Bytes> {
        loop {
            if self.ended {
                return None;
            }
            let is_first = !std::mem::replace(&mut self.asked, true);
            let (reader, query, scope) = (&self.reader, &self.query, &self.scope);
            let round = async {
                if !is_first {
                    sleep(INTERVAL).await;
                }
                let coverage = CoverageTracker::new(scope);
                let current = profiles(reader, query, scope, &coverage).await;
                (current, coverage.coverage())
            };
            let (current, coverage) = tokio::select! {
                biased;
                end = self.permission.ended() => {
                    self.ended = true;
                    return end.map(|error| error_line(&error));
                }
                asked = round => asked,
            };
            let now = Instant::now();
            let mut out = self.changes(current, &coverage);
            if !self.room.resize(self.sent.values().map(Row::size).sum()) {
                self.ended = true;
                return Some(error_line(&ApiError::gone(self.claim.share.no_room().message)));
            }
            if self.with_bookmarks && now >= self.next_bookmark {
                self.next_bookmark = now + BOOKMARK_INTERVAL;
                let bookmark = |out: &mut Vec<u8>| append_bookmark(self.format, Kind::Profile, "", &coverage, out);
                append_event("BOOKMARK", &mut out, bookmark);
            }
            if !out.is_empty() {
                return Some(out.into());
            }
        }
    }

    /// Lines for what is new, changed or gone since the last time.
    fn changes(&mut self, current: Vec<Row>, coverage: &Coverage) -> Vec<u8> {
        let mut out = Vec::new();
        let mut append = |event: &str, row: &Row| {
            let with_columns = !std::mem::replace(&mut self.columns_sent, true);
            append_event(event, &mut out, |out| append_single(self.format, Kind::Profile, row, with_columns, out));
        };
        let key = |row: &Row| (row.metadata.namespace.clone(), row.metadata.name.clone());
        let current: BTreeMap<_, _> = current.into_iter().map(|row| (key(&row), row)).collect();
        for (key, row) in &current {
            match self.sent.get(key) {
                None => append("ADDED", row),
                Some(known) if known.object != row.object => append("MODIFIED", row),
                Some(_) => {}
            }
        }
        // While a node does not answer, its profiles are not known to be gone.
        if coverage.nodes.answered == coverage.nodes.asked {
            let gone = self.sent.iter().filter(|(key, _)| !current.contains_key(*key));
            gone.for_each(|(_, row)| append("DELETED", row));
            self.sent = current;
        } else {
            self.sent.extend(current);
        }
        out
    }
}

impl Drop for ProfileWatch {
    fn drop(&mut self) {
        self.reader.metrics.watchers.dec();
    }
}
