//! One connection to each agent, made when it is first needed and dropped when nothing used it for a minute. A node that
//! cannot be reached is tried again by backoff; until then asking it fails at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    time::Instant,
};
use tonic::{Code, Status, transport::Channel};
use trilobite_backoff::ExponentialBackoff;

use super::{
    connection::{AgentError, SHARED, Windows, connect},
    discovery::Addresses,
};

const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(8);

#[derive(Clone)]
pub struct AgentPool(Arc<Shared>);

struct Shared {
    namespace: String,
    addresses: watch::Receiver<Addresses>,
    tls: watch::Receiver<Option<Arc<ClientConfig>>>,
    nodes: Mutex<HashMap<String, Arc<AsyncMutex<Node>>>>,
}

/// A node is locked while it is connected to, so that all callers share the connection.
struct Node {
    connection: Option<Connection>,
    failure: Option<(Instant, AgentError)>,
    backoff: ExponentialBackoff,
}

struct Connection {
    connected: Connected,
    tls: Arc<ClientConfig>,
    used: Instant,
}

/// A channel, and which connection it is.
#[derive(Clone, Debug)]
pub struct Connected {
    pub channel: Channel,
    number: u64,
}

impl AgentPool {
    pub fn new(
        namespace: impl Into<String>,
        addresses: watch::Receiver<Addresses>,
        tls: watch::Receiver<Option<Arc<ClientConfig>>>,
    ) -> Self {
        Self(Arc::new(Shared { namespace: namespace.into(), addresses, tls, nodes: Mutex::default() }))
    }

    /// The agents, now and whenever they change.
    pub fn addresses(&self) -> watch::Receiver<Addresses> {
        self.0.addresses.clone()
    }

    /// Namespace of the agents.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// A connection for one stream alone, which its reader may leave unread: the agent sends `window` bytes ahead.
    pub async fn connect_alone(&self, name: &str, window: u32) -> Result<Channel, AgentError> {
        let no_agent = || AgentError::NoAgent { node: name.to_owned() };
        let address = *self.0.addresses.borrow().get(name).ok_or_else(no_agent)?;
        let tls = self.0.tls.borrow().clone().ok_or(AgentError::NoCertificate)?;
        connect(name, &self.0.namespace, address, tls, Windows { connection: window, stream: window }).await
    }

    /// The connection of a node. After a renewal of the certificate it is a new one, while streams of the old go on.
    pub async fn connected(&self, name: &str) -> Result<Connected, AgentError> {
        let no_agent = || AgentError::NoAgent { node: name.to_owned() };
        let address = *self.0.addresses.borrow().get(name).ok_or_else(no_agent)?;
        let tls = self.0.tls.borrow().clone().ok_or(AgentError::NoCertificate)?;
        let node = Arc::clone(self.0.nodes.lock().entry(name.to_owned()).or_default());
        let mut node = node.lock().await;
        let now = Instant::now();
        if let Some(connection) = node.connection.as_mut().filter(|connection| Arc::ptr_eq(&connection.tls, &tls)) {
            connection.used = now;
            return Ok(connection.connected.clone());
        }
        if let Some((_, error)) = node.failure.as_ref().filter(|(until, _)| now < *until) {
            return Err(error.clone());
        }
        match connect(name, &self.0.namespace, address, Arc::clone(&tls), SHARED).await {
            Ok(channel) => {
                node.backoff.reset();
                node.failure = None;
                let connected = Connected { channel, number: fresh_number() };
                node.connection = Some(Connection { connected: connected.clone(), tls, used: now });
                Ok(connected)
            }
            Err(error) => {
                tracing::debug!(node = name, %error, "no connection");
                node.connection = None;
                node.failure = Some((Instant::now() + node.backoff.next_delay(), error.clone()));
                Err(error)
            }
        }
    }

    /// Drops a connection on which a call failed, if the failure is that of the connection.
    pub async fn report_failure(&self, name: &str, connected: &Connected, status: &Status) {
        if !matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled) {
            return;
        }
        let node = self.0.nodes.lock().get(name).cloned();
        if let Some(node) = node {
            let mut node = node.lock().await;
            if node.connection.as_ref().is_some_and(|current| current.connected.number == connected.number) {
                node.connection = None;
            }
        }
    }

    /// Closes connections that nothing used for a minute, and forgets nodes that have gone. Returns how many nodes are
    /// connected, and how many have failed.
    pub async fn drop_idle(&self) -> (usize, usize) {
        let addresses = self.0.addresses.borrow().clone();
        let nodes: BTreeMap<_, _> = {
            let mut nodes = self.0.nodes.lock();
            nodes.retain(|name, _| addresses.contains_key(name));
            nodes.iter().map(|(name, node)| (name.clone(), Arc::clone(node))).collect()
        };
        let (mut connected, mut failed) = (0, 0);
        for node in nodes.into_values() {
            // One that is being connected to is not idle.
            let Ok(mut node) = node.try_lock() else { continue };
            let is_idle = |connection: &Connection| connection.used.elapsed() > IDLE_TIMEOUT;
            if node.connection.as_ref().is_some_and(is_idle) {
                node.connection = None;
            }
            connected += usize::from(node.connection.is_some());
            failed += usize::from(node.failure.is_some());
        }
        (connected, failed)
    }
}

impl Default for Node {
    fn default() -> Self {
        Self { connection: None, failure: None, backoff: ExponentialBackoff::between(FIRST_RETRY, LONGEST_RETRY) }
    }
}

fn fresh_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
