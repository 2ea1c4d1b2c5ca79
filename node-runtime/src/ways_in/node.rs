//! A node's agent, assembled: facts, identity, layers, faces, and the loop that keeps them in line with what is wanted.
//! Where the desired state comes from is the caller's.

mod disk;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use self::disk::Due;
use super::upkeep::Upkeep;
use crate::{
    args::CommonArguments,
    desired::{
        InForce, News, Update, cluster,
        last_good::{self, KnownNamespaces, KnownPods, LastGood},
    },
    export::Export,
    identity::{Identity, Pod, slots::Namespaces},
    kernel::{self, clock::Booted},
    layers::{
        Context, Layers,
        application::{Application, Profiles},
        network::{Network, history::History},
        security::{Security, bus::EventBus},
    },
    report::{Ledger, Problem, gap::Gap, health, metrics, stack, status::Snapshot},
    runtime::{Matter, Runtime},
    serve::{
        self, hubble, router,
        socket::Socket,
        tetragon::{self, About, Scene},
    },
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

/// How often counters are read and the sign of life is given.
const TICK: Duration = Duration::from_secs(1);

/// How long the end of the agent waits for clients to take what is queued for them.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a profile that ends with everything else may still make its result.
const LAST_RESULTS: Duration = Duration::from_secs(2);

/// A node's agent before its loop.
pub(super) struct Node {
    /// What every layer is given.
    pub(super) context: Context,
    /// The loop's state.
    pub(super) runtime: Runtime,
    /// The last good state on this node's disk.
    pub(super) last_good: Upkeep<InForce, InForce>,
    /// The pods of this node, on its disk.
    pub(super) known_pods: Upkeep<Vec<Arc<Pod>>, Vec<Pod>>,
    /// Labels of namespaces, on its disk.
    pub(super) known_namespaces: Upkeep<Namespaces, Namespaces>,
    /// When an agent before this one was last alive; told as a gap when something is in force again.
    pub(super) unwatched_since: Option<SystemTime>,
    pods_changed: watch::Receiver<u64>,
    due: Due,
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
    flows_refused: watch::Sender<bool>,
    /// What goes on beside the loop, and what is wrong with it.
    pub(super) troubles: Vec<(Matter, watch::Receiver<Option<Problem>>)>,
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
        last_good::make_folder(&arguments.state_dir, cluster)
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
        let scene = Scene {
            node_name: context.node_name.as_str().into(),
            cluster_name: "".into(),
            booted: Arc::new(Booted::here()),
        };
        let (wrong, is_wrong) = watch::channel(None);
        let about = About { version: env!("CARGO_PKG_VERSION").into(), wrong: is_wrong };
        let application = Application::new(context.clone(), identity.clone());
        let profiles = application.profiles();
        let client = Arc::default();
        let network = Network::new(context.clone(), identity.clone(), Arc::clone(&client));
        let (trouble, metrics_trouble) = watch::channel(None);
        if let Some(address) = arguments.metrics_address {
            let seen = snapshots.subscribe();
            tokio::spawn(metrics::serve(address, trouble, ledger.clone(), seen, vec![network.metrics()]));
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
        let (flows_refused, are_refused) = watch::channel(false);
        let server = tokio::spawn(async move {
            if let Err(error) = router::serve(listener, faces, are_refused, ended).await {
                tracing::error!(%error, "serving the socket");
            }
        });
        let security = Security::new(context.clone(), identity.clone(), bus.clone());
        let layers = Layers::new(facts, security, network, application);
        Ok(Self {
            export: Export::new(bus.clone(), scene, ledger.clone(), arguments.state_dir.clone()),
            pods_changed: identity.changed(),
            identity,
            client,
            history,
            profiles,
            bus,
            runtime: Runtime::new(layers, ledger),
            last_good: Upkeep::new(LastGood::new(&arguments.state_dir), "what is in force"),
            known_pods: Upkeep::new(KnownPods::new(&arguments.state_dir), "the pods of this node"),
            known_namespaces: Upkeep::new(KnownNamespaces::new(&arguments.state_dir), "labels of namespaces"),
            due: Due::default(),
            unwatched_since: None,
            keeping: false,
            context,
            snapshots,
            wrong,
            flows_refused,
            troubles: vec![(Matter::Metrics, metrics_trouble)],
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
                    News::Wanted(update) => {
                        self.runtime.trouble(Matter::Profile, None);
                        self.take(update).await;
                    }
                    News::Unavailable { uid, problem } => {
                        self.runtime.is_of(uid);
                        self.runtime.trouble(Matter::Profile, Some(problem));
                    }
                    News::Forgotten => self.forget().await,
                },
                () = until(self.runtime.next_expiry(Timestamp::now())) => self.runtime.reconcile(Timestamp::now()).await,
                _ = tick.tick() => self.keep().await,
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
            self.report();
        }
        tracing::info!("stopping: everything is unloaded");
        if self.is_forgotten().await {
            self.forget().await;
        } else {
            self.runtime.end(LAST_RESULTS).await;
        }
        self.bus.close();
        self.history.close();
        self.export.finish().await;
        drop(self.end);
        if timeout(PATIENCE, self.server).await.is_err() {
            tracing::debug!("a client still reads; it is cut off");
        }
        Ok(())
    }

    /// At an uninstall SIGTERM may come before the news that nothing is wanted of this node; nobody would clear its disk later.
    async fn is_forgotten(&self) -> bool {
        match self.client.get() {
            Some(client) => cluster::is_gone(client, &self.context.node_name).await,
            None => false,
        }
    }

    /// Wakes those who read snapshots only where there is something new to read.
    fn report(&mut self) {
        for (matter, trouble) in &self.troubles {
            self.runtime.trouble(*matter, trouble.borrow().clone());
        }
        let mut snapshot = self.runtime.snapshot(Timestamp::now());
        let exports = self.export.problems();
        snapshot.node_problems.extend(exports.into_iter().map(|problem| (stack(), problem)));
        self.wrong.send_if_modified(|wrong| replace(wrong, health::wrong(&snapshot, &self.context.facts)));
        self.flows_refused.send_if_modified(|refused| replace(refused, health::flows_are_refused(&snapshot)));
        self.snapshots.send_if_modified(|told| replace(told, Some(snapshot)));
    }

    /// Takes a desired state into force, and keeps it on disk once that is done.
    pub(super) async fn take(&mut self, update: Update) {
        self.export.apply(&update.desired.export);
        self.runtime.take(update, Timestamp::now()).await;
        if let Some(gap) = Gap::since(self.unwatched_since.take(), Timestamp::now()) {
            tracing::warn!(from = %gap.from, to = %gap.to, "nobody watched this node for a while");
            self.bus.tell_gap(gap);
        }
        self.keeping = true;
        self.keep_state().await;
    }
}

/// Whether there was something to replace.
fn replace<T: PartialEq>(old: &mut T, new: T) -> bool {
    let differs = *old != new;
    *old = new;
    differs
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
