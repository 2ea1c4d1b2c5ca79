//! A node's agent, assembled: facts, identity, layers, faces, and the loop that keeps them in line with what is wanted.
//! Where the desired state comes from is the caller's.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use jiff::Timestamp;
use kube::Client;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tonic::service::Routes;
use trilobite_crds::{
    STACK_NAME,
    node::{Source, SourceKind},
};

use crate::{
    args::CommonArguments,
    desired::{
        News, Update,
        last_good::{KnownPods, LastGood},
    },
    export::Export,
    identity::{Identity, Pod},
    kernel::{self, clock},
    layers::{
        Context, Layers,
        application::{Application, Profiles},
        network::{Network, history::History},
        security::{Security, bus::EventBus},
    },
    report::{Ledger, Problem, metrics, status::Snapshot},
    runtime::Runtime,
    serve::{
        self, hubble, router,
        socket::Socket,
        tetragon::{self, About, Scene},
    },
};

/// How often counters are read and the sign of life is given.
const TICK: Duration = Duration::from_secs(1);

/// How long the end of the agent waits for clients to take what is queued for them.
const PATIENCE: Duration = Duration::from_secs(1);

/// A node's agent before its loop.
pub(super) struct Node {
    /// What every layer is given.
    pub(super) context: Context,
    /// The loop's state.
    pub(super) runtime: Runtime,
    /// The last good state on this node's disk.
    pub(super) last_good: LastGood,
    /// The pods of this node, on its disk.
    pub(super) known_pods: KnownPods,
    pods_changed: watch::Receiver<u64>,
    /// Something is wanted of this node: its disk is used.
    keeping: bool,
    /// Who is who.
    pub(super) identity: Identity,
    /// The way to the API server, once there is one.
    pub(super) client: Arc<OnceLock<Client>>,
    /// The flows of the last while.
    history: History,
    /// Profiles that run or are kept.
    pub(super) profiles: Profiles,
    /// Where events are written.
    pub(super) export: Export,
    /// From the security layer to its readers.
    pub(super) bus: EventBus,
    snapshots: watch::Sender<Option<Snapshot>>,
    /// What health says.
    wrong: watch::Sender<Option<String>>,
    server: JoinHandle<()>,
    /// Dropping it ends the server.
    end: oneshot::Sender<()>,
    _socket: Socket,
}

impl Node {
    /// Looks at the machine, listens on the socket, and loads nothing. `cluster` says whether pods can be known at all.
    pub(super) async fn assemble(arguments: &CommonArguments, cluster: bool) -> anyhow::Result<Self> {
        let facts = Arc::new(kernel::probe::facts(arguments.host.cgroup_root.as_deref()));
        let ledger = Ledger::default();
        std::fs::create_dir_all(&arguments.state_dir)
            .with_context(|| format!("the state directory {}", arguments.state_dir.display()))?;
        let context = Context {
            node_name: node_name(arguments)?,
            facts: facts.clone(),
            ledger: ledger.clone(),
            state_dir: arguments.state_dir.clone(),
        };
        let (socket, listener) = Socket::listen(&arguments.socket.socket)?;
        let (snapshots, _) = watch::channel(None);
        let identity = Identity::new(facts.clone(), ledger.clone(), cluster);
        let bus = EventBus::new(ledger.clone());
        let scene =
            Scene { node_name: context.node_name.as_str().into(), cluster_name: "".into(), booted: clock::wall(0) };
        let (wrong, is_wrong) = watch::channel(None);
        let about = About { version: env!("CARGO_PKG_VERSION").into(), wrong: is_wrong };
        let application = Application::new(context.clone(), identity.clone());
        let profiles = application.profiles();
        let client = Arc::default();
        let network = Network::new(context.clone(), identity.clone(), Arc::clone(&client));
        if let Some(address) = arguments.metrics_address {
            let listener =
                tokio::net::TcpListener::bind(address).await.with_context(|| format!("/metrics on {address}"))?;
            tokio::spawn(metrics::serve(listener, ledger.clone(), snapshots.subscribe(), vec![network.metrics()]));
        }
        let about_flows = hubble::About {
            node: context.node_name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            address: format!("unix://{}", arguments.socket.socket.display()),
            started: Instant::now(),
        };
        let history = network.history();
        let (observer, peer) = hubble::services(history.clone(), ledger.clone(), about_flows);
        let faces = Routes::new(tetragon::service(bus.clone(), scene.clone(), about))
            .add_service(observer)
            .add_service(peer)
            .add_service(serve::profiles::service(profiles.clone()));
        let (end, ended) = oneshot::channel();
        let server = tokio::spawn(async move {
            if let Err(error) = router::serve(listener, faces, ended).await {
                tracing::error!(%error, "serving the socket");
            }
        });
        let security = Security::new(context.clone(), identity.clone(), bus.clone());
        let layers = Layers { facts, security, network, application };
        Ok(Self {
            export: Export::new(bus.clone(), scene, ledger.clone(), arguments.state_dir.clone()),
            pods_changed: identity.changed(),
            identity,
            client,
            history,
            profiles,
            bus,
            runtime: Runtime::new(layers, ledger),
            last_good: LastGood::new(&arguments.state_dir),
            known_pods: KnownPods::new(&arguments.state_dir),
            keeping: false,
            context,
            snapshots,
            wrong,
            server,
            end,
            _socket: socket,
        })
    }

    /// What a status is made of, each time it changes.
    pub(super) fn snapshots(&self) -> watch::Receiver<Option<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// Keeps what is in force in line with `news` until SIGTERM or SIGINT; then unloads everything.
    pub(super) async fn run(mut self, mut news: mpsc::Receiver<News>) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(heard) = news.recv() => match heard {
                    News::Wanted(update) => self.take(update).await,
                    News::Forgotten => self.forget().await,
                },
                () = until(self.runtime.next_expiry(Timestamp::now())) => self.runtime.reconcile(Timestamp::now()).await,
                _ = tick.tick() => self.keep(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
            self.report();
        }
        tracing::info!("stopping: everything is unloaded");
        self.runtime.unload().await;
        self.bus.close();
        self.history.close();
        self.export.finish().await;
        drop(self.end);
        if timeout(PATIENCE, self.server).await.is_err() {
            tracing::debug!("a client still reads; it is cut off");
        }
        Ok(())
    }

    fn report(&mut self) {
        let mut snapshot = self.runtime.snapshot();
        let exports = self.export.problems();
        self.wrong.send_replace(exports.first().map(Problem::message));
        snapshot.node_problems.extend(exports.into_iter().map(|problem| (stack(), problem)));
        self.snapshots.send_replace(Some(snapshot));
    }

    /// Takes a desired state into force, and keeps it on disk once that is done.
    pub(super) async fn take(&mut self, update: Update) {
        let desired = update.desired.clone();
        self.export.apply(&desired.export);
        self.runtime.take(update, Timestamp::now()).await;
        self.keeping = true;
        if let Err(error) = self.last_good.write(&desired) {
            tracing::warn!(%error, "the state could not be kept on disk; a restart without the API server would begin empty");
        }
    }

    /// Gives the sign of life, and keeps the pods on disk where they changed.
    fn keep(&mut self) {
        self.last_good.touch();
        if !self.keeping || !self.pods_changed.has_changed().unwrap_or_default() {
            return;
        }
        self.pods_changed.mark_unchanged();
        let pods = self.identity.pods().iter().map(|pod| Pod::clone(pod)).collect();
        if let Err(error) = self.known_pods.write(&pods) {
            tracing::warn!(%error, "the pods could not be kept on disk; a restart without the API server would not know them");
        }
    }

    /// Unloads everything and leaves nothing on this node's disk.
    async fn forget(&mut self) {
        let nothing = Update { desired: Arc::default(), generation: 0 };
        self.keeping = false;
        self.export.finish().await;
        self.runtime.take(nothing, Timestamp::now()).await;
        for entry in std::fs::read_dir(&self.context.state_dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            if let Err(error) = removed {
                tracing::warn!(%error, path = %path.display(), "could not be removed from this node's disk");
            }
        }
    }
}

/// Whose the problems of the whole node are.
pub(super) fn stack() -> Source {
    Source { kind: SourceKind::ObservabilityStack, namespace: None, name: STACK_NAME.into(), generation: 0 }
}

/// Sleeps until `end`; forever where there is none.
async fn until(end: Option<Timestamp>) {
    match end {
        Some(end) => sleep(Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default()).await,
        None => std::future::pending().await,
    }
}

fn node_name(arguments: &CommonArguments) -> anyhow::Result<String> {
    if let Some(name) = &arguments.node_name {
        return Ok(name.clone());
    }
    let path = PathBuf::from("/proc/sys/kernel/hostname");
    let name = std::fs::read_to_string(&path)
        .with_context(|| format!("{}; name the node with --node-name", path.display()))?;
    Ok(name.trim().to_owned())
}
