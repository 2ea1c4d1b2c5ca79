//! The rows of this node's sessions, as the agent's services ask for them: a question goes to the driver of a session, which puts
//! it to the worker and passes the answers on.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{
    mpsc::{self, UnboundedReceiver, UnboundedSender, unbounded_channel},
    watch,
};
use trilobite_worker_wire::requests::{RequestRow, RowQuery};

use super::recording::RecordingWriter;

/// Bytes of rows that wait to be read by one caller.
const QUEUED_BYTES_MAX: usize = 4 << 20;

/// A session that has rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowSource {
    /// `namespace/name` of the AppProfile; the stack's name for the standing profile.
    pub name: String,
    /// Namespace of its pods; empty where they may be in several.
    pub namespace: String,
}

/// What comes for a question.
#[derive(Clone, Debug, PartialEq)]
pub enum RowsAnswer {
    Row(Box<RequestRow>),
    /// All rows of the past were sent; with `follow`, those of the future come next.
    Complete {
        /// Rows that have left the worker's memory, since it began.
        evicted: u64,
        newest_sequence: u64,
        /// Time of the oldest row that the worker keeps, boot clock; 0: not known, or it has none.
        oldest_ns: u64,
    },
    /// No more comes, with the reason.
    Gone(String),
}

/// A question for the driver of a session.
#[derive(Debug)]
pub struct RowsQuestion {
    pub query: RowQuery,
    pub answers: RowsSender,
}

/// Where the driver sends the answers: never waits for the caller.
#[derive(Debug)]
pub struct RowsSender {
    sender: UnboundedSender<RowsAnswer>,
    shared: Arc<Queue>,
}

/// The answers of one question.
#[derive(Debug)]
pub struct RowsReceiver {
    receiver: UnboundedReceiver<RowsAnswer>,
    shared: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: AtomicUsize,
    lost: AtomicU64,
}

impl RowsSender {
    /// Queues an answer. A row that does not fit is counted and lost.
    pub fn send(&self, answer: RowsAnswer) {
        if let RowsAnswer::Row(row) = &answer {
            let bytes = size(row);
            if self.shared.bytes.load(Ordering::Relaxed) + bytes > QUEUED_BYTES_MAX {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        // Without a reader the answer is of no use.
        let _ = self.sender.send(answer);
    }

    /// Bytes of rows that the caller has not read yet.
    pub fn unread_bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// The caller has gone: the question can be cancelled.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl RowsReceiver {
    /// The next answer; none when the driver has ended.
    pub async fn next(&mut self) -> Option<RowsAnswer> {
        let answer = self.receiver.recv().await?;
        if let RowsAnswer::Row(row) = &answer {
            self.shared.bytes.fetch_sub(size(row), Ordering::Relaxed);
        }
        Some(answer)
    }

    /// Rows that did not fit since the last call.
    pub fn take_lost(&self) -> u64 {
        self.shared.lost.swap(0, Ordering::Relaxed)
    }
}

/// Bytes that a row takes, about.
fn size(row: &RequestRow) -> usize {
    let texts = [&row.protocol, &row.table, &row.status, &row.operation, &row.target].map(String::len);
    let columns: usize =
        row.columns.iter().map(|(name, value)| name.len() + value.len() + 2 * size_of::<String>()).sum();
    size_of::<RequestRow>() + texts.iter().sum::<usize>() + columns
}

/// Both ends of the answers to one question.
pub fn answers() -> (RowsSender, RowsReceiver) {
    let (sender, receiver) = unbounded_channel();
    let shared = Arc::new(Queue::default());
    (RowsSender { sender, shared: Arc::clone(&shared) }, RowsReceiver { receiver, shared })
}

/// All sessions that have rows. Clones know the same.
#[derive(Clone, Debug, Default)]
pub struct RequestRows(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    sources: Mutex<Sources>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Sources {
    next: u64,
    by_name: BTreeMap<String, Registered>,
    is_closed: bool,
    recording: Option<RecordingWriter>,
}

#[derive(Debug)]
struct Registered {
    number: u64,
    namespace: String,
    questions: mpsc::Sender<RowsQuestion>,
}

/// A session can be asked while this lives.
#[derive(Debug)]
pub struct RowsRegistration {
    rows: RequestRows,
    name: String,
    number: u64,
}

impl RequestRows {
    /// A session that answers questions from now on; in place of one of the same name.
    pub fn register(&self, source: RowSource, questions: mpsc::Sender<RowsQuestion>) -> RowsRegistration {
        let RowSource { name, namespace } = source;
        let mut sources = self.0.sources.lock();
        sources.next += 1;
        let number = sources.next;
        sources.by_name.insert(name.clone(), Registered { number, namespace, questions });
        drop(sources);
        self.0.changed.send_replace(());
        RowsRegistration { rows: self.clone(), name, number }
    }

    /// The session that is started next is recorded too.
    pub fn record(&self, recording: RecordingWriter) {
        self.0.sources.lock().recording = Some(recording);
    }

    /// What a session that is started now is recorded to. It is given once.
    pub(super) fn recording(&self) -> Option<RecordingWriter> {
        self.0.sources.lock().recording.take()
    }

    /// All sessions, by name.
    pub fn profiles(&self) -> Vec<RowSource> {
        let sources = self.0.sources.lock();
        let source = |(name, registered): (&String, &Registered)| RowSource {
            name: name.clone(),
            namespace: registered.namespace.clone(),
        };
        sources.by_name.iter().map(source).collect()
    }

    /// Puts a question to a session; none if it has ended.
    pub async fn ask(&self, source: &str, query: RowQuery) -> Option<RowsReceiver> {
        let questions = self.0.sources.lock().by_name.get(source)?.questions.clone();
        let (answers, receiver) = answers();
        questions.send(RowsQuestion { query, answers }).await.ok()?;
        Some(receiver)
    }

    /// Changes whenever a session comes or goes, and at the end.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// The agent stops: streams end.
    pub fn close(&self) {
        self.0.sources.lock().is_closed = true;
        self.0.changed.send_replace(());
    }

    pub fn is_closed(&self) -> bool {
        self.0.sources.lock().is_closed
    }
}

impl Drop for RowsRegistration {
    fn drop(&mut self) {
        let mut sources = self.rows.0.sources.lock();
        if sources.by_name.get(&self.name).is_some_and(|registered| registered.number == self.number) {
            sources.by_name.remove(&self.name);
        }
        drop(sources);
        self.rows.0.changed.send_replace(());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use trilobite_worker_wire::ProcessImage;

    use super::*;

    /// `GET /cart`, which began `time_ns` after boot and took 12 ms.
    pub(crate) fn row(sequence: u64, time_ns: u64) -> RequestRow {
        RequestRow {
            sequence,
            time_ns,
            protocol: "http".into(),
            table: "http_events".into(),
            client: false,
            cgroup: 77,
            exec: ProcessImage { pid: 10, ktime: 5 },
            connection: 0x00c0_ffee,
            local: Some(([10, 0, 0, 7], 8080).into()),
            remote: Some(([10, 0, 1, 9], 41_000).into()),
            encrypted: false,
            latency_ns: 12_000_000,
            is_error: false,
            status: "200".into(),
            operation: "GET".into(),
            target: "/cart".into(),
            request_bytes: 83,
            response_bytes: 1200,
            mid_stream: false,
            columns: vec![("resp_message".into(), "OK".into())],
        }
    }

    fn source(name: &str) -> RowSource {
        RowSource { name: name.into(), namespace: "shop".into() }
    }

    #[test]
    fn session_is_known_while_its_registration_lives() {
        let rows = RequestRows::default();
        let mut changed = rows.changed();
        let (questions, _) = mpsc::channel(1);
        let old = rows.register(source("shop/slow"), questions.clone());
        let new = rows.register(source("shop/slow"), questions);
        drop(old);
        assert_eq!(rows.profiles(), [source("shop/slow")], "the newer one has taken its place");
        changed.mark_unchanged();
        drop(new);
        assert_eq!(rows.profiles(), []);
        assert!(changed.has_changed().unwrap());
    }

    #[tokio::test]
    async fn slow_caller_loses_rows_and_knows_how_many() {
        let (sender, mut receiver) = answers();
        let fits = QUEUED_BYTES_MAX / size(&row(1, 1));
        for sequence in 0..fits as u64 + 7 {
            sender.send(RowsAnswer::Row(Box::new(row(sequence, 1))));
        }
        sender.send(RowsAnswer::Complete { evicted: 0, newest_sequence: 9, oldest_ns: 0 });
        assert_eq!((receiver.take_lost(), receiver.take_lost()), (7, 0));
        let mut read = 0;
        while let Some(RowsAnswer::Row(_)) = receiver.next().await {
            read += 1;
        }
        assert_eq!(read, fits, "and the end of the past behind them");
        sender.send(RowsAnswer::Row(Box::new(row(1, 1))));
        assert_eq!(receiver.take_lost(), 0, "there is room again");
        drop(receiver);
        assert!(sender.is_closed());
    }

    #[tokio::test]
    async fn question_reaches_its_session() {
        let rows = RequestRows::default();
        let (questions, mut asked) = mpsc::channel(1);
        let registration = rows.register(source("shop/slow"), questions);
        let query = RowQuery { limit: 7, ..RowQuery::default() };
        let mut answers = rows.ask("shop/slow", query.clone()).await.unwrap();
        let question = asked.recv().await.unwrap();
        assert_eq!(question.query, query);
        question.answers.send(RowsAnswer::Gone("the worker has died".into()));
        assert_eq!(answers.next().await, Some(RowsAnswer::Gone("the worker has died".into())));
        drop(question);
        assert_eq!(answers.next().await, None);
        drop(registration);
        assert!(rows.ask("shop/slow", query).await.is_none());
    }
}
