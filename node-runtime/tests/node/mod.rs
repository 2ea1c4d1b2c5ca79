//! A node for a test: a cgroup in which the test's processes run, and an agent that sees only that cgroup.

#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    process::{Child, Command},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use trilobite_crds::node::{
    PartContent, PolicyPart, ProcessesPart, ProfilePartSpec, Source, SourceKind, desired::Desired,
};
use trilobite_node::{
    identity::IdentityService,
    kernel::{Account, Facts, account, probe},
    layers::{
        LayerContext,
        security::{
            Security, SecurityEvent,
            event_bus::{EventBus, StreamItem, Subscription},
        },
    },
    loss::{Ledger, LossPoint},
    plan::plan,
    plan::{UnitKey, UnitState},
};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) struct Node {
    pub(crate) identity: IdentityService,
    pub(crate) security: Security,
    pub(crate) ledger: Ledger,
    pub(crate) reader: Subscription,
    facts: Arc<Facts>,
    cgroup: PathBuf,
    parts: Vec<ProfilePartSpec>,
    _alone: MutexGuard<'static, ()>,
}

impl Node {
    /// A node on which an agent has just started. Only one exists at a time.
    pub(crate) fn new(name: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test loads programs into the kernel: run it as root");
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // The runtime of the previous test ends a moment after its node is dropped.
        while account() != Account::default() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut facts = probe::facts(None);
        let cgroup = facts.cgroup_root.join(format!("trilobite-{name}-{}", std::process::id()));
        fs::create_dir_all(&cgroup).expect("the v2 tree of cgroups can be written");
        let level = cgroup_level(&facts, &cgroup);
        facts.node_cgroup = Some(fs::metadata(&cgroup).unwrap().ino());
        facts.node_cgroup_level = level;
        let facts = Arc::new(facts);
        let (identity, security, ledger, reader) = agent(&facts);
        Self { identity, security, ledger, reader, facts, cgroup, parts: Vec::new(), _alone: alone }
    }

    /// Stops the agent and starts another one.
    pub(crate) async fn restart_agent(&mut self) {
        self.security.apply(&plan(&Desired::default(), &self.facts, Timestamp::now())).await;
        (self.identity, self.security, self.ledger, self.reader) = agent(&self.facts);
    }

    /// Requests exec and exit.
    pub(crate) fn request_processes(&mut self, ring_bytes: u32) {
        let content = PartContent::Processes(ProcessesPart { pods: Default::default(), ring_bytes });
        self.request(SourceKind::ObservabilityStack, "default", content);
    }

    /// Requests a policy; replaces one of the same name.
    pub(crate) fn request_policy(&mut self, name: &str, part: PolicyPart) {
        self.request(SourceKind::TracingPolicy, name, PartContent::Policy(part));
    }

    /// Removes every request.
    pub(crate) fn request_nothing(&mut self) {
        self.parts.clear();
    }

    fn request(&mut self, kind: SourceKind, name: &str, content: PartContent) {
        let source = Source { kind, namespace: None, name: name.into(), generation: 1 };
        let digest = serde_json::to_string(&content).unwrap();
        self.parts.retain(|part| part.source != source);
        self.parts.push(ProfilePartSpec { source, digest, content });
    }

    /// Applies the requests.
    pub(crate) async fn apply(&mut self) -> BTreeMap<UnitKey, UnitState> {
        let desired = Desired { parts: self.parts.clone(), ..Desired::default() };
        self.security.apply(&plan(&desired, &self.facts, Timestamp::now())).await
    }

    /// Runs a shell script on the node; the shell is started by an exec inside of its cgroup.
    pub(crate) fn sh(&self, script: &str) -> Child {
        let enter = format!("echo $$ > {}/cgroup.procs; exec /bin/sh -c \"$0\"", self.cgroup.display());
        Command::new("/bin/sh").args(["-c", &enter, script]).spawn().unwrap()
    }

    /// The events of a period; without reading, the queue would overflow.
    pub(crate) async fn events_of(&mut self, time: Duration) -> Vec<Arc<SecurityEvent>> {
        let end = tokio::time::Instant::now() + time;
        self.events_until(|| end).await
    }

    /// All events until none has come for 1.5 s.
    pub(crate) async fn events(&mut self) -> Vec<Arc<SecurityEvent>> {
        self.events_until(|| tokio::time::Instant::now() + Duration::from_millis(1500)).await
    }

    /// All events; `end` gives the deadline for the next one.
    async fn events_until(&mut self, end: impl Fn() -> tokio::time::Instant) -> Vec<Arc<SecurityEvent>> {
        let mut events = Vec::new();
        while let Ok(next) = tokio::time::timeout_at(end(), self.reader.next()).await {
            match next {
                StreamItem::Event(event) => events.push(event),
                StreamItem::Lost(LossPoint::StreamReader, count) => panic!("the test read too slowly and lost {count}"),
                StreamItem::Lost(..) | StreamItem::Gap(_) => {}
                StreamItem::Closed => break,
            }
        }
        events
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for _ in 0..50 {
            if fs::remove_dir(&self.cgroup).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} was not removed", self.cgroup.display());
    }
}

fn agent(facts: &Arc<Facts>) -> (IdentityService, Security, Ledger, Subscription) {
    let ledger = Ledger::default();
    let bus = EventBus::new(ledger.clone());
    let reader = bus.subscribe();
    let identity = IdentityService::new(facts.clone(), ledger.clone(), false);
    let context = LayerContext {
        node_name: "test".into(),
        facts: facts.clone(),
        ledger: ledger.clone(),
        state_dir: std::env::temp_dir(),
    };
    (identity.clone(), Security::new(context, identity, bus), ledger, reader)
}

/// A parameter of a test that the environment may change, for a longer run.
pub(crate) fn parameter(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Prints a measurement, and keeps it in the file that `TRILOBITE_NOTES` names.
#[allow(clippy::print_stdout)]
pub(crate) fn note(measured: &str) {
    println!("{measured}");
    let Some(path) = std::env::var_os("TRILOBITE_NOTES") else { return };
    let mut notes = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    writeln!(notes, "- {measured}").unwrap();
}

/// Depth of a cgroup below the mounted root.
fn cgroup_level(facts: &Facts, cgroup: &std::path::Path) -> u32 {
    let below = cgroup.strip_prefix(&facts.cgroup_root).unwrap();
    u32::try_from(below.components().count()).unwrap()
}
