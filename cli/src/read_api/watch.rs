//! A watch that goes on after the API server or the relay has ended it, from where it was.

use std::{
    collections::{HashSet, VecDeque},
    pin::Pin,
    time::Duration,
};

use futures::{AsyncBufRead, AsyncBufReadExt, StreamExt, io::Lines};
use tokio::time::sleep;

use super::{
    ReadApi,
    answer::{Item, List, WatchLine},
    coverage::Coverage,
    query::Query,
};
use crate::{cluster::ClusterError, error_chain::error_chain};

/// Pause before a watch that has ended is opened again.
const REOPEN_PAUSE: Duration = if cfg!(test) { Duration::from_millis(5) } else { Duration::from_secs(1) };
/// Names of the last rows that are kept, to know them again: a watch from a position repeats the rows of the last second.
const RECENT_MAX: usize = 4096;
/// The annotation of a bookmark.
const COVERAGE_ANNOTATION: &str = "trilobite.dev/coverage";

/// What a watch says.
#[derive(Debug)]
pub(crate) enum WatchUpdate {
    Added(Box<Item>),
    /// How much the watch covers so far.
    Covered(Coverage),
    /// The watch could not go on from where it was, with the reason and what was lost; it starts again from now.
    Gap(String),
    /// The watch was interrupted, and goes on from where it was.
    Interrupted(String),
}

type Body = Pin<Box<dyn AsyncBufRead + Send>>;

/// Follows a list from a position on.
pub(crate) struct Watcher {
    api: ReadApi,
    query: Query,
    position: String,
    lines: Option<Lines<Body>>,
    recent: VecDeque<String>,
    /// Rows before the position, which may come once more.
    repeated: HashSet<String>,
    /// What the last failed attempt to open it again said.
    failure: Option<String>,
}

impl Watcher {
    /// Opens the watch, so that a refusal is known at once. It starts behind the list, or now.
    pub(crate) async fn open(api: &ReadApi, query: Query, after: Option<&List>) -> Result<Self, ClusterError> {
        let query = query.parameter("watch", true).parameter("allowWatchBookmarks", true);
        let position = after.map_or("", |list| &list.metadata.resource_version).to_owned();
        let items = after.map_or(&[][..], |list| &list.items);
        let recent = items.iter().map(|item| item.metadata.name.clone()).collect();
        let (api, lines, repeated) = (api.clone(), None, HashSet::new());
        let mut watcher = Self { api, query, position, lines, recent, repeated, failure: None };
        watcher.reopen().await?;
        Ok(watcher)
    }

    async fn reopen(&mut self) -> Result<(), ClusterError> {
        let query = match self.position.as_str() {
            "" => self.query.clone(),
            position => self.query.clone().parameter("resourceVersion", position),
        };
        let body: Body = Box::pin(self.api.stream(&query).await?);
        self.lines = Some(body.lines());
        self.failure = None;
        self.repeated = self.recent.iter().cloned().collect();
        Ok(())
    }

    /// The next update. Fails only where the API server refuses to go on; waits while it is away.
    pub(crate) async fn next(&mut self) -> Result<WatchUpdate, ClusterError> {
        loop {
            let Some(lines) = &mut self.lines else {
                sleep(REOPEN_PAUSE).await;
                match self.reopen().await {
                    Ok(()) => {}
                    Err(error @ (ClusterError::Forbidden { .. } | ClusterError::Unauthorized { .. })) => {
                        return Err(error);
                    }
                    // The relay, or the API server, is away.
                    Err(error) => {
                        let text = error.to_string();
                        if self.failure.as_ref() != Some(&text) {
                            self.failure = Some(text.clone());
                            return Ok(WatchUpdate::Interrupted(text));
                        }
                    }
                }
                continue;
            };
            match lines.next().await {
                Some(Ok(line)) if line.trim().is_empty() => {}
                Some(Ok(line)) => {
                    if let Some(update) = self.read(&line) {
                        return Ok(update);
                    }
                }
                // A server that ends a watch, as it does after 30 to 60 minutes.
                None => {
                    self.lines = None;
                    if self.position.is_empty() {
                        self.recent.clear();
                        let why =
                            "the server has ended the watch after its time; those until the next one are not shown";
                        return Ok(WatchUpdate::Gap(why.to_owned()));
                    }
                }
                Some(Err(error)) => {
                    self.lines = None;
                    return Ok(WatchUpdate::Interrupted(error_chain(&error)));
                }
            }
        }
    }

    fn read(&mut self, line: &str) -> Option<WatchUpdate> {
        let WatchLine { kind, object } = serde_json::from_str(line).ok()?;
        if kind == "ERROR" {
            self.lines = None;
            let message = object["message"].as_str().unwrap_or("the watch has failed").to_owned();
            if object["code"] == 410 {
                self.position.clear();
                self.recent.clear();
                return Some(WatchUpdate::Gap(message));
            }
            return Some(WatchUpdate::Interrupted(message));
        }
        let item: Item = serde_json::from_value(object).ok()?;
        if !item.metadata.resource_version.is_empty() {
            self.position.clone_from(&item.metadata.resource_version);
        }
        match kind.as_str() {
            "ADDED" => {
                let name = item.metadata.name.clone();
                if self.repeated.remove(&name) {
                    return None;
                }
                if self.recent.len() >= RECENT_MAX {
                    self.recent.pop_front();
                }
                self.recent.push_back(name);
                Some(WatchUpdate::Added(Box::new(item)))
            }
            "BOOKMARK" => {
                let coverage = item.metadata.annotations.get(COVERAGE_ANNOTATION)?;
                Some(WatchUpdate::Covered(serde_json::from_str(coverage).ok()?))
            }
            _ => None,
        }
    }
}
