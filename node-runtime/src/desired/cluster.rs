//! The desired state of a node in a cluster: its own NodeRuntime, watched by name, and what it points at.
//! Nothing else of the user's is ever watched for this.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use trilobite_crds::node::NodeRuntime;
use trilobite_patience::Patience;

use super::{News, Update, fetch::Fetch};
use crate::report::Problem;

/// The first wait after a profile that could not be had, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(8));
/// So many times in a row it cannot be had before it is said: a part may be on its way.
const TRIES: u32 = 2;
/// How long the end of an agent waits to hear whether its node is still wanted.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Watches the NodeRuntime `node` and sends what it says, until the receiver is gone. While the API server is away,
/// or a part is still on its way, no other state is sent: what is in force stays.
pub async fn follow(client: Client, node: String, news: mpsc::Sender<News>) {
    let runtimes: Api<NodeRuntime> = Api::all(client.clone());
    let mut fetch = Fetch::new(client);
    let mut objects = watcher::watch_object(runtimes, &node).backoff(trilobite_patience::of_a_watch()).boxed();
    let mut course = Course::default();
    loop {
        let heard = tokio::select! {
            object = objects.next() => match object {
                Some(Ok(Some(runtime))) => {
                    course.heard(runtime, Instant::now());
                    continue;
                }
                Some(Ok(None)) => {
                    tracing::info!(%node, "this node has no NodeRuntime: nothing is wanted of it");
                    course = Course::default();
                    Some(News::Forgotten)
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "watching the NodeRuntime; what is in force stays");
                    continue;
                }
                None => return,
            },
            () = sleep_until(course.due), if course.waiting.is_some() => course.fetch(&mut fetch).await,
        };
        if let Some(heard) = heard
            && news.send(heard).await.is_err()
        {
            return;
        }
    }
}

/// Whether this node's object is gone, as far as the API server says so at once.
pub async fn is_gone(client: &Client, node: &str) -> bool {
    let runtimes: Api<NodeRuntime> = Api::all(client.clone());
    matches!(timeout(LAST_WORD, runtimes.get_opt(node)).await, Ok(Ok(None)))
}

/// What asks for something, by uid and generation: the agent's own writes of its status change neither.
type Version = (String, i64);

fn version(runtime: &NodeRuntime) -> Version {
    (runtime.metadata.uid.clone().unwrap_or_default(), runtime.metadata.generation.unwrap_or_default())
}

/// Where this node is between hearing of an object and having what it asks for.
struct Course {
    waiting: Option<NodeRuntime>,
    due: Instant,
    patience: Patience,
    failed: u32,
    resolved: Option<Version>,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            waiting: None,
            due: Instant::now(),
            patience: Patience::between(WAITS.0, WAITS.1),
            failed: 0,
            resolved: None,
        }
    }
}

impl Course {
    /// A newer object ends the wait for an older one, whose profile may be gone by now; the same one again ends nothing.
    fn heard(&mut self, runtime: NodeRuntime, now: Instant) {
        let version = version(&runtime);
        let known = self.waiting.as_ref().map(self::version).or_else(|| self.resolved.clone());
        if known.as_ref() == Some(&version) {
            return;
        }
        (self.waiting, self.due, self.failed) = (Some(runtime), now, 0);
        self.patience.reset();
    }

    async fn fetch(&mut self, fetch: &mut Fetch) -> Option<News> {
        let runtime = self.waiting.take()?;
        match fetch.resolve(&runtime).await {
            Ok(desired) => {
                let (uid, generation) = version(&runtime);
                self.resolved = Some((uid.clone(), generation));
                Some(News::Wanted(Update { desired: Arc::new(desired), generation, uid: Some(uid) }))
            }
            Err(error) => {
                tracing::warn!(%error, "the profile could not be had; what is in force stays");
                self.failed(runtime, error.to_string(), Instant::now())
            }
        }
    }

    /// It is said once, and not at the first try.
    fn failed(&mut self, runtime: NodeRuntime, detail: String, now: Instant) -> Option<News> {
        let (uid, _) = version(&runtime);
        self.waiting = Some(runtime);
        self.due = now + self.patience.wait();
        self.failed += 1;
        (self.failed == TRIES).then_some(News::Unavailable { uid, problem: Problem::PartUnavailable { detail } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, generation: i64) -> NodeRuntime {
        let mut object = NodeRuntime::default();
        (object.metadata.uid, object.metadata.generation) = (Some(uid.into()), Some(generation));
        object
    }

    /// Has what `object` asks for.
    fn resolved(object: &NodeRuntime) -> Course {
        Course { resolved: Some(version(object)), ..Course::default() }
    }

    #[test]
    fn the_agents_own_write_of_its_status_is_no_news() {
        let mut course = resolved(&object("a", 3));
        course.heard(object("a", 3), Instant::now());
        assert!(course.waiting.is_none());
        course.heard(object("a", 4), Instant::now());
        assert!(course.waiting.is_some());
    }

    #[test]
    fn an_object_that_was_made_again_is_news_at_the_same_generation() {
        let mut course = resolved(&object("a", 1));
        course.heard(object("b", 1), Instant::now());
        assert!(course.waiting.is_some());
    }

    #[test]
    fn going_back_to_what_was_resolved_before_ends_the_wait_for_what_was_between() {
        let mut course = resolved(&object("a", 1));
        course.heard(object("a", 2), Instant::now());
        course.heard(object("a", 3), Instant::now());
        assert_eq!(course.waiting.as_ref().map(version), Some(("a".into(), 3)));
    }

    #[test]
    fn a_profile_that_cannot_be_had_is_said_at_the_second_try_and_once() {
        let mut course = Course::default();
        let now = Instant::now();
        let told: Vec<bool> = (0..4).map(|_| course.failed(object("a", 1), "gone".into(), now).is_some()).collect();
        assert_eq!(told, [false, true, false, false]);
    }

    #[test]
    fn a_status_written_while_waiting_does_not_put_off_the_next_try() {
        let mut course = Course::default();
        let now = Instant::now();
        course.failed(object("a", 1), "gone".into(), now);
        let due = course.due;
        course.heard(object("a", 1), now + Duration::from_secs(1));
        assert_eq!((course.due, course.failed), (due, 1));
    }
}
