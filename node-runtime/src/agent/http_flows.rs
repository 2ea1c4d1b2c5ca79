//! Passes the HTTP requests of every AppProfile on to the network layer, as long as it wants flows. The layers know nothing of
//! each other; the agent joins them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{BoxStream, SelectAll, unfold},
};
use tokio::{sync::mpsc, time::Instant};
use trilobite_worker_wire::RowQuery;

use crate::{
    identity::{IdentityService, Owner},
    kernel::clock::boot_ns,
    layers::{
        application::requests::rows::{RequestRows, RowsAnswer, RowsReceiver},
        deadline::sleep_until_some,
        network::{HttpInbox, HttpMessage},
    },
};

/// Pause before a session that gave no more answers is asked again.
const RETRY_PAUSE: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(1) };
/// HTTP of every version, and gRPC.
const TABLE: &str = "http_events";

/// Runs until the agent ends; it asks for nothing while no flow is wanted.
pub(super) async fn pass_on_requests(rows: RequestRows, identity: IdentityService, mut inbox: HttpInbox) {
    loop {
        let receiver = inbox.borrow_and_update().clone();
        let pass_on = async {
            match receiver {
                Some(receiver) => Sessions::new(&rows, &identity).pass_on(&receiver).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pass_on => return,
            changed = inbox.changed() => if changed.is_err() { return },
        }
    }
}

/// What comes from a session.
struct FromSession {
    name: Arc<str>,
    item: Item,
}

enum Item {
    Answer(RowsAnswer),
    /// Rows that came faster than they were read.
    Lost(u64),
    /// The session gives no more answers, though it may go on.
    End,
}

/// The sessions that are followed.
struct Sessions<'a> {
    rows: &'a RequestRows,
    identity: &'a IdentityService,
    followed: BTreeSet<Arc<str>>,
    /// Of these the rows of the past are still to come, which are no flows.
    past: BTreeSet<Arc<str>>,
    /// When sessions gave no more answers: boot clock, nanoseconds.
    ended: BTreeMap<Arc<str>, u64>,
    /// When these are asked again.
    retry_at: Option<Instant>,
    live: SelectAll<BoxStream<'static, FromSession>>,
}

impl<'a> Sessions<'a> {
    fn new(rows: &'a RequestRows, identity: &'a IdentityService) -> Self {
        Self {
            rows,
            identity,
            followed: BTreeSet::new(),
            past: BTreeSet::new(),
            ended: BTreeMap::new(),
            retry_at: None,
            live: SelectAll::new(),
        }
    }

    /// Returns when the agent or the receiver ends.
    async fn pass_on(mut self, receiver: &mpsc::Sender<HttpMessage>) {
        let mut changed = self.rows.changed();
        self.follow(true).await;
        while !self.rows.is_closed() {
            let from = tokio::select! {
                biased;
                answer = changed.changed() => match answer {
                    Ok(()) => {
                        self.follow(false).await;
                        continue;
                    }
                    Err(_) => return,
                },
                () = sleep_until_some(self.retry_at) => {
                    self.retry_at = None;
                    self.follow(false).await;
                    continue;
                }
                Some(from) = self.live.next(), if !self.live.is_empty() => from,
            };
            if let Some(message) = self.message(from)
                && receiver.send(message).await.is_err()
            {
                return;
            }
        }
    }

    /// Asks the sessions that are not followed yet. Those that were there before flows were wanted have rows of the past.
    async fn follow(&mut self, has_past: bool) {
        for source in self.rows.profiles() {
            if self.followed.contains(source.name.as_str()) {
                continue;
            }
            let name: Arc<str> = source.name.as_str().into();
            let query = RowQuery {
                protocol: Some(TABLE.to_owned()),
                follow: true,
                // One row of the past shows where it ends.
                limit: u32::from(has_past),
                since_ns: self.ended.get(&name).copied().unwrap_or_default(),
                ..RowQuery::default()
            };
            let Some(answers) = self.rows.ask(&name, query).await else { continue };
            if has_past {
                self.past.insert(name.clone());
            }
            self.live.push(items(name.clone(), answers));
            self.followed.insert(name);
        }
    }

    fn message(&mut self, FromSession { name, item }: FromSession) -> Option<HttpMessage> {
        match item {
            Item::Answer(RowsAnswer::Row(_)) if self.past.contains(&name) => None,
            Item::Answer(RowsAnswer::Row(row)) => {
                let pod = match self.identity.owner(row.cgroup) {
                    Owner::Pod(found) => Some(found.pod.clone()),
                    _ => None,
                };
                Some(HttpMessage::from_row(&row, pod))
            }
            // What had left before it was asked for was not wanted.
            Item::Answer(RowsAnswer::Complete { evicted, .. }) => {
                let was_past = self.past.remove(&name);
                (evicted > 0 && !was_past).then_some(HttpMessage::Lost(evicted))
            }
            Item::Lost(count) => Some(HttpMessage::Lost(count)),
            Item::Answer(RowsAnswer::Gone(_)) | Item::End => {
                self.past.remove(&name);
                self.followed.remove(&name);
                self.ended.insert(name, boot_ns());
                self.retry_at.get_or_insert_with(|| Instant::now() + RETRY_PAUSE);
                None
            }
        }
    }
}

fn items(name: Arc<str>, receiver: RowsReceiver) -> BoxStream<'static, FromSession> {
    unfold(Some(receiver), move |open| {
        let name = name.clone();
        async move {
            let mut receiver = open?;
            let from = |item| FromSession { name, item };
            match receiver.take_lost() {
                0 => {}
                lost => return Some((from(Item::Lost(lost)), Some(receiver))),
            }
            match receiver.next().await {
                Some(answer @ RowsAnswer::Gone(_)) => Some((from(Item::Answer(answer)), None)),
                Some(answer) => Some((from(Item::Answer(answer)), Some(receiver))),
                None => Some((from(Item::End), None)),
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use tokio::{
        sync::{mpsc::Receiver, watch},
        task::JoinHandle,
        time::timeout,
    };
    use trilobite_worker_wire::RequestRow;

    use super::*;
    use crate::{
        layers::application::requests::rows::{RowSource, RowsQuestion, RowsRegistration, RowsSender, tests::row},
        loss::Ledger,
    };

    /// More than any answer takes on a busy machine.
    const DEADLINE: Duration = Duration::from_secs(20);

    struct Agent {
        rows: RequestRows,
        wanted: watch::Sender<Option<mpsc::Sender<HttpMessage>>>,
        task: JoinHandle<()>,
    }

    fn agent() -> Agent {
        let (rows, (wanted, inbox)) = (RequestRows::default(), watch::channel(None));
        let identity = IdentityService::new(Arc::default(), Ledger::default(), true);
        let task = tokio::spawn(pass_on_requests(rows.clone(), identity, inbox));
        Agent { rows, wanted, task }
    }

    impl Agent {
        fn want(&self) -> Receiver<HttpMessage> {
            let (sender, receiver) = mpsc::channel(8);
            self.wanted.send_replace(Some(sender));
            receiver
        }
    }

    /// A session that is asked by hand.
    fn session(rows: &RequestRows) -> (RowsRegistration, Receiver<RowsQuestion>) {
        let (sender, questions) = mpsc::channel(4);
        (rows.register(RowSource { name: "shop/slow".into(), namespace: "shop".into() }, sender), questions)
    }

    async fn next<T>(from: &mut Receiver<T>) -> T {
        timeout(DEADLINE, from.recv()).await.expect("in time").expect("open")
    }

    fn send(answers: &RowsSender, sequence: u64) {
        answers.send(RowsAnswer::Row(Box::new(row(sequence, 1000 + sequence))));
    }

    fn complete(answers: &RowsSender, evicted: u64) {
        answers.send(RowsAnswer::Complete { evicted, newest_sequence: 1, oldest_ns: 0 });
    }

    /// The message of `row(sequence, ...)`.
    fn exchange(sequence: u64) -> HttpMessage {
        let row: RequestRow = row(sequence, 1000 + sequence);
        HttpMessage::from_row(&row, None)
    }

    #[tokio::test]
    async fn sessions_are_asked_only_while_flows_are_wanted() {
        let agent = agent();
        let (_session, mut questions) = session(&agent.rows);
        let mut flows = agent.want();
        let question = next(&mut questions).await;
        assert_eq!((question.query.protocol.as_deref(), question.query.follow), (Some(TABLE), true));
        send(&question.answers, 1);
        complete(&question.answers, 70);
        send(&question.answers, 2);
        assert_eq!(next(&mut flows).await, exchange(2), "the first row was made before flows were wanted");
        complete(&question.answers, 4);
        assert_eq!(next(&mut flows).await, HttpMessage::Lost(4));
        agent.wanted.send_replace(None);
        let is_cancelled = async {
            while !question.answers.is_closed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, is_cancelled).await.expect("the question is cancelled");
    }

    #[tokio::test]
    async fn session_that_comes_later_has_no_past() {
        let agent = agent();
        let mut flows = agent.want();
        // The task has seen that flows are wanted.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let (_session, mut questions) = session(&agent.rows);
        let question = next(&mut questions).await;
        assert_eq!(question.query.limit, 0);
        send(&question.answers, 1);
        complete(&question.answers, 0);
        assert_eq!(next(&mut flows).await, exchange(1));
    }

    #[tokio::test]
    async fn session_whose_worker_died_is_asked_again_for_what_is_new() {
        let agent = agent();
        let mut flows = agent.want();
        let (_session, mut questions) = session(&agent.rows);
        let question = next(&mut questions).await;
        assert_eq!(question.query.since_ns, 0);
        question.answers.send(RowsAnswer::Gone("the worker ended".into()));
        let again = next(&mut questions).await;
        assert!(again.query.since_ns > 0 && again.query.limit == 0);
        send(&again.answers, 7);
        assert_eq!(next(&mut flows).await, exchange(7));
        agent.rows.close();
        timeout(DEADLINE, agent.task).await.expect("it ends with the agent").unwrap();
    }
}
