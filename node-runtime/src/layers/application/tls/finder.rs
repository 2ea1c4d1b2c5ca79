//! Finds what can be read of the TLS of one session's processes. A task looks at each process when it is new, and again from time to
//! time, less and less often: a library may be loaded late. A file is probed while one of the processes has it mapped, or has it in
//! its file system where distributions have it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use trilobite_crds::node::{MAX_TLS_NOT_VISIBLE, TlsNotVisible};
use trilobite_worker_wire::{Inspection, TlsImplementation};

use super::{
    ask,
    attach::FileStamp,
    libraries,
    processes::{self, ListedProcess},
    programs,
    state::{TargetsState, TlsTargetsSpec},
};
use crate::{
    kernel::cgroup,
    layers::application::{
        mapped_code::{CodeMapping, FileKey},
        process_inspector::{InspectedProcess, ProcessInspector, SentFiles},
    },
};

/// Interval at which processes are listed.
const INTERVAL: Duration = Duration::from_millis(500);
/// Ages at which a process is looked at again; afterwards as often as the last two are apart.
const LOOK_AGAIN: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15), Duration::from_secs(60)];
/// Rounds between two looks for objects of libraries that are not used any more.
const FORGET_ROUNDS: u64 = 120;
/// How long listing may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);
/// Processes that are looked at before the others are listed again.
const LOOKS_PER_LIST: usize = 64;
/// Threads that may open libraries at a time.
const OPENING_MAX: usize = 4;
/// Files that are known by their place in processes.
const FILES_MAX: usize = 8192;
/// Parts of names of files that may contain TLS, beside programs themselves.
const NAMES: [&str; 12] =
    ["ssl", "tls", "nss", "jvm", "node", "boring", "aws_lc", "awslc", "grpc", "cronet", "conscrypt", "s2n"];

/// A file as far as this session is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileFinding {
    /// It has nothing to do with TLS.
    Nothing,
    Probed,
    NotVisible(TlsImplementation),
    /// The kernel refused the probes.
    Refused,
}

struct KnownProcess {
    started: u64,
    program: PathBuf,
    first_seen: Instant,
    looks: usize,
    next_look: Instant,
    /// Probed files that it has mapped.
    probed: Vec<FileKey>,
    /// Why its TLS is not visible, and its program.
    not_visible: Option<(String, String)>,
}

pub(super) struct Finder {
    spec: TlsTargetsSpec,
    state: Arc<Mutex<TargetsState>>,
    /// The folder of the cgroup above the node's processes.
    node_folder: PathBuf,
    inspector: ProcessInspector,
    files: HashMap<FileKey, FileFinding>,
    /// The same files, which need not be opened again.
    opened_before: SentFiles,
    processes: BTreeMap<u32, KnownProcess>,
    /// Probed libraries of the mount namespaces of processes.
    libraries: HashMap<u64, Vec<FileKey>>,
    /// Cloned by every thread that opens libraries, until it returns.
    opening: Arc<()>,
}

impl Finder {
    pub(super) fn new(spec: TlsTargetsSpec, state: Arc<Mutex<TargetsState>>) -> Self {
        let root = &spec.facts.cgroup_root;
        let below = spec.facts.node_cgroup.and_then(|inode| cgroup::path_of(root, inode)).unwrap_or_default();
        let (node_folder, inspector) = (root.join(below), ProcessInspector::new(root.clone()));
        Self {
            spec,
            state,
            node_folder,
            inspector,
            files: HashMap::new(),
            opened_before: SentFiles::default(),
            processes: BTreeMap::new(),
            libraries: HashMap::new(),
            opening: Arc::default(),
        }
    }

    /// Looks for as long as the session lives.
    pub(super) async fn follow(mut self) {
        let mut tick = interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for round in 1u64.. {
            tick.tick().await;
            if let Some(listed) = self.list().await {
                self.look_at_libraries(&listed).await;
                self.look_at_due(listed).await;
                self.publish();
            }
            if round.is_multiple_of(FORGET_ROUNDS) {
                programs::write(&self.spec.capture, programs::forget_idle_objects);
            }
        }
    }

    /// The processes of the selected pods; none if the file system does not answer.
    async fn list(&mut self) -> Option<BTreeMap<u32, ListedProcess>> {
        let TlsTargetsSpec { identity, scope, .. } = &self.spec;
        let (mut folders, mut opted_out) = (Vec::new(), Vec::new());
        if identity.has_cluster() {
            for pod in identity.pods().into_iter().filter(|pod| identity.pod_in_scope(scope, pod)) {
                let folder = identity.pod_folder(&pod.cgroup_uid);
                if pod.tls_capture_off { opted_out.extend(folder) } else { folders.extend(folder) }
            }
        } else {
            folders.push(self.node_folder.clone());
        }
        let (identity, scope) = (identity.clone(), scope.clone());
        let list = spawn_blocking(move || {
            let is_selected = |cgroup| identity.in_scope(&scope, &identity.owner(cgroup)) == Some(true);
            let excluded: HashSet<u64> =
                opted_out.iter().flat_map(|folder: &PathBuf| processes::cgroups_below(folder)).collect();
            (processes::list(&folders, is_selected), excluded)
        });
        let (listed, excluded) = timeout(LIST_TIMEOUT, list).await.ok()?.ok()?;
        self.state.lock().exclude(&self.spec, excluded);
        Some(listed)
    }

    /// Libraries of namespaces that are new, once for each.
    async fn look_at_libraries(&mut self, listed: &BTreeMap<u32, ListedProcess>) {
        let mounts: HashMap<u64, u32> = listed
            .iter()
            .filter(|(_, process)| process.mounts != 0)
            .map(|(pid, process)| (process.mounts, *pid))
            .collect();
        self.libraries.retain(|namespace, _| mounts.contains_key(namespace));
        let new: Vec<_> = mounts.into_iter().filter(|(namespace, _)| !self.libraries.contains_key(namespace)).collect();
        for (namespace, pid) in new.into_iter().take(LOOKS_PER_LIST) {
            // A file system that does not answer holds its thread for ever.
            if Arc::strong_count(&self.opening) > OPENING_MAX {
                return;
            }
            let opening = self.opening.clone();
            let open = spawn_blocking(move || {
                let opened = libraries::open_of_root(pid);
                drop(opening);
                opened
            });
            let opened = timeout(LIST_TIMEOUT, open).await.ok().and_then(Result::ok).unwrap_or_default();
            let mut probed = Vec::new();
            for (key, file) in opened {
                if self.finding(&key, file, true).await == FileFinding::Probed {
                    probed.push(key);
                }
            }
            self.libraries.insert(namespace, probed);
        }
    }

    /// The finding of a file; inspects it if it is new.
    async fn finding(&mut self, key: &FileKey, file: OwnedFd, is_candidate: bool) -> FileFinding {
        if let Some(finding) = self.files.get(key) {
            return *finding;
        }
        let finding = if is_candidate { self.inspect(key, file).await } else { FileFinding::Nothing };
        self.keep(key.clone(), finding);
        finding
    }

    async fn look_at_due(&mut self, listed: BTreeMap<u32, ListedProcess>) {
        let now = Instant::now();
        let is_same = |known: &KnownProcess, process: &ListedProcess| {
            (process.request.image.ktime, &process.program) == (known.started, &known.program)
        };
        self.processes.retain(|pid, known| listed.get(pid).is_some_and(|process| is_same(known, process)));
        let mut due = Vec::new();
        for (pid, ListedProcess { request, program, .. }) in listed {
            let known = self.processes.entry(pid).or_insert_with(|| KnownProcess {
                started: request.image.ktime,
                program,
                first_seen: now,
                looks: 0,
                next_look: now,
                probed: Vec::new(),
                not_visible: None,
            });
            if known.next_look <= now && due.len() < LOOKS_PER_LIST {
                due.push(request);
            }
        }
        for request in due {
            if self.inspector.request(request) {
                let (image, process) = self.inspector.next_result(self.opened_before.clone()).await;
                self.look_at(image.pid, process).await;
            }
        }
    }

    async fn look_at(&mut self, pid: u32, mut process: InspectedProcess) {
        let program = program_of(&process.mappings).cloned();
        let (mut probed, mut reasons, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for mapping in &process.mappings {
            if !matches!(mapping.file, FileKey::Inode { .. }) || !seen.insert(&mapping.file) {
                continue;
            }
            let is_program = program.as_ref().is_some_and(|program| program.file == mapping.file);
            let finding = match self.files.get(&mapping.file) {
                Some(finding) => *finding,
                None => {
                    let Some(file) = process.opened.remove(&mapping.file) else { continue };
                    let is_candidate = is_program || may_contain_tls(&mapping.file_name());
                    self.finding(&mapping.file, file, is_candidate).await
                }
            };
            match finding {
                FileFinding::Nothing => {}
                FileFinding::Probed => probed.push(mapping.file.clone()),
                FileFinding::NotVisible(library) => reasons.push(library.to_string()),
                FileFinding::Refused => reasons.push("UprobeRefused".to_owned()),
            }
        }
        let Some(known) = self.processes.get_mut(&pid) else { return };
        known.next_look = known.first_seen + look_again_at(known.looks);
        known.looks += 1;
        if process.mappings.is_empty() {
            // It has ended, or could not be inspected.
            return;
        }
        let binary = program.map(|program| program.file_name()).unwrap_or_default();
        known.not_visible = reasons.into_iter().next().filter(|_| probed.is_empty()).map(|reason| (reason, binary));
        known.probed = probed;
    }

    fn keep(&mut self, file: FileKey, finding: FileFinding) {
        if self.files.len() >= FILES_MAX {
            self.forget_files(|_, finding| finding == FileFinding::Probed);
        }
        Arc::make_mut(&mut self.opened_before).insert(file.clone(), 0);
        self.files.insert(file, finding);
    }

    /// Forgets all files but those to keep: they are opened again where a process has them.
    fn forget_files(&mut self, keep: impl Fn(&FileKey, FileFinding) -> bool) {
        self.files.retain(|file, finding| keep(file, *finding));
        if self.files.len() < self.opened_before.len() {
            let files = &self.files;
            Arc::make_mut(&mut self.opened_before).retain(|file, _| files.contains_key(file));
        }
    }

    /// Inspects a file, and probes it if it can be.
    async fn inspect(&mut self, key: &FileKey, file: OwnedFd) -> FileFinding {
        let (stamp, inspection) = match self.inspection(&file).await {
            Ok(inspected) => inspected,
            Err(error) => {
                tracing::warn!(file = ?key, %error, "a file of a pod could not be inspected; its TLS is not visible");
                return FileFinding::Nothing;
            }
        };
        if !inspection.is_visible() {
            return inspection.tls.map_or(FileFinding::Nothing, FileFinding::NotVisible);
        }
        let TlsTargetsSpec { probes, capture, .. } = &self.spec;
        let attached = probes.attach(capture, file.as_fd(), stamp, &inspection);
        let mut state = self.state.lock();
        match attached {
            Ok(_) if state.is_closed => FileFinding::Nothing,
            Ok(probed) => {
                state.probed.insert(key.clone(), probed);
                FileFinding::Probed
            }
            Err(problem) => {
                tracing::warn!(file = ?key, problem = %problem.message(), "a TLS library could not be probed");
                state.problem = Some(problem);
                FileFinding::Refused
            }
        }
    }

    async fn inspection(&self, file: &OwnedFd) -> io::Result<(FileStamp, Inspection)> {
        let stamp = FileStamp::read(file)?;
        let probes = &self.spec.probes;
        if let Some(inspection) = probes.inspection(stamp) {
            return Ok((stamp, inspection));
        }
        let inspection = ask::inspect(&self.spec.worker, file.try_clone()?).await?;
        // Written to meanwhile: the places are not certain.
        if FileStamp::read(file)? != stamp {
            return Err(io::Error::other("it changes while it is read"));
        }
        probes.keep_inspection(stamp, inspection.clone());
        Ok((stamp, inspection))
    }

    /// Drops the probes of files that no process has mapped any more, and says what is not visible.
    fn publish(&mut self) {
        let mapped = self.processes.values().flat_map(|known| &known.probed);
        let used: HashSet<&FileKey> = mapped.chain(self.libraries.values().flatten()).collect();
        let probed: HashSet<FileKey> = {
            let mut state = self.state.lock();
            state.probed.retain(|file, _| used.contains(file));
            state.not_visible = summary(self.processes.values().filter_map(|known| known.not_visible.as_ref()));
            state.probed.keys().cloned().collect()
        };
        self.forget_files(|file, finding| finding != FileFinding::Probed || probed.contains(file));
    }
}

/// The mapping of the program itself: the kernel maps it below all libraries.
fn program_of(mappings: &[CodeMapping]) -> Option<&CodeMapping> {
    mappings.iter().find(|mapping| matches!(mapping.file, FileKey::Inode { .. }))
}

fn may_contain_tls(file_name: &str) -> bool {
    NAMES.iter().any(|name| file_name.contains(name))
}

/// Age of a process at its next look.
fn look_again_at(looks: usize) -> Duration {
    match LOOK_AGAIN.get(looks) {
        Some(age) => *age,
        None => {
            let [.., before, last] = LOOK_AGAIN;
            last + (last - before) * u32::try_from(looks - LOOK_AGAIN.len() + 1).unwrap_or(u32::MAX)
        }
    }
}

/// The most frequent ones first.
fn summary<'a>(processes: impl Iterator<Item = &'a (String, String)>) -> Vec<TlsNotVisible> {
    let mut counts: BTreeMap<&(String, String), u32> = BTreeMap::new();
    for process in processes {
        *counts.entry(process).or_default() += 1;
    }
    let mut summary: Vec<TlsNotVisible> = counts
        .into_iter()
        .map(|((reason, binary), processes)| TlsNotVisible {
            reason: reason.clone(),
            binary: binary.clone(),
            processes,
        })
        .collect();
    summary.sort_by_key(|entry| std::cmp::Reverse(entry.processes));
    summary.truncate(MAX_TLS_NOT_VISIBLE);
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_is_looked_at_less_and_less_often() {
        let ages: Vec<u64> = (0..6).map(|looks| look_again_at(looks).as_secs()).collect();
        assert_eq!(ages, [1, 4, 15, 60, 105, 150]);
    }

    #[test]
    fn libraries_with_tls_are_inspected_and_others_are_not() {
        let bundled = "libssl-2a1e5e0b.so.1.1.1k";
        for name in ["libssl.so.3", bundled, "libnode.so.115", "libjvm.so", "libnss3.so", "libgnutls.so.30"] {
            assert!(may_contain_tls(name), "{name}");
        }
        for name in ["libc.so.6", "libcrypto.so.3", "libstdc++.so.6", "libz.so.1"] {
            assert!(!may_contain_tls(name), "{name}");
        }
    }

    #[test]
    fn most_frequent_reasons_are_named_within_the_limit() {
        let process = |reason: &str, binary: &str| (reason.to_owned(), binary.to_owned());
        let mut processes: Vec<_> = (0..9).map(|number| process("go", &format!("server{number}"))).collect();
        processes.extend([process("jsse", "java"), process("jsse", "java")]);
        let summary = summary(processes.iter());
        assert_eq!(summary.len(), MAX_TLS_NOT_VISIBLE);
        assert_eq!(summary[0], TlsNotVisible { reason: "jsse".into(), binary: "java".into(), processes: 2 });
    }

    #[test]
    fn program_is_the_lowest_file() {
        let mapping =
            |start, file, path: &str| CodeMapping { start, end: start + 1, offset: 0, file, path: path.into() };
        let made = mapping(1, FileKey::Named("[anon]".into()), "[anon]");
        let program = mapping(2, FileKey::Inode { device: (8, 1), inode: 3 }, "/usr/sbin/nginx");
        let library = mapping(9, FileKey::Inode { device: (8, 1), inode: 4 }, "/usr/lib/libssl.so.3");
        assert_eq!(program_of(&[made, program.clone(), library]), Some(&program));
    }
}
