//! Inspects sampled processes for a worker: checks their cgroup, reads their executable mappings and opens the mapped files.
//! A process can make an inspection block for ever (by a file system of its own that does not answer), so each runs on another
//! thread than the agent's, one at a time, with a timeout.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs,
    future::pending,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, timeout_at},
};

use trilobite_worker_wire::ProcessImage;

use super::{
    made_code,
    mapped_code::{self, CodeMapping, FileKey},
};
use crate::kernel::cgroup;

/// How long one inspection may last.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Inspections that may still run after their timeout. Above it no process is inspected, so that the agent does not run out of
/// threads.
const STUCK_MAX: usize = 4;
/// Requests that may wait.
const QUEUE_MAX: usize = 1024;
/// Files that one inspection opens; frames in other files have the name of the file.
const OPENED_MAX: usize = 256;

/// Files that a worker has been sent, with the ids that it knows them by.
pub(super) type SentFiles = Arc<HashMap<FileKey, u32>>;

/// The result of an inspection. Empty if the process has ended, is in another cgroup, or did not answer in time.
#[derive(Default)]
pub(super) struct InspectedProcess {
    pub(super) mappings: Vec<CodeMapping>,
    /// Mapped files that the worker has not been sent.
    pub(super) opened: HashMap<FileKey, OwnedFd>,
    /// Mappings that were left out, because there are too many.
    pub(super) dropped: u32,
}

/// A worker's request to inspect a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct InspectionRequest {
    pub(super) image: ProcessImage,
    /// The cgroup of the process, as the worker says.
    pub(super) cgroup: u64,
}

type Inspect = Arc<dyn Fn(InspectionRequest, &SentFiles) -> InspectedProcess + Send + Sync>;

struct Running {
    request: InspectionRequest,
    deadline: Instant,
    task: JoinHandle<InspectedProcess>,
}

/// All inspections of a profile.
pub(super) struct ProcessInspector {
    inspect: Inspect,
    timeout: Duration,
    queue: VecDeque<InspectionRequest>,
    running: Option<Running>,
    /// Cloned by every inspection until its thread returns.
    unreturned: Arc<()>,
    /// The newest image of each process: mappings that are read now belong to no older one.
    newest: HashMap<u32, u64>,
    given_up: u64,
}

impl ProcessInspector {
    /// `cgroup_root` is the root of the host's cgroup v2 tree.
    pub(super) fn new(cgroup_root: PathBuf) -> Self {
        let paths = CgroupPaths { root: cgroup_root, known: Mutex::default() };
        Self::with(Arc::new(move |request, sent| inspect(request, sent, &paths)), TIMEOUT)
    }

    fn with(inspect: Inspect, timeout: Duration) -> Self {
        Self {
            inspect,
            timeout,
            queue: VecDeque::new(),
            running: None,
            unreturned: Arc::default(),
            newest: HashMap::new(),
            given_up: 0,
        }
    }

    /// Queues a request. False if there will be no result: the queue is full, or the process runs a newer image.
    pub(super) fn request(&mut self, request: InspectionRequest) -> bool {
        if self.queue.contains(&request) {
            return true;
        }
        if self.queue.len() >= QUEUE_MAX {
            return false;
        }
        if self.newest.len() >= 8 * QUEUE_MAX {
            self.newest.clear();
        }
        let newest = self.newest.entry(request.image.pid).or_default();
        if request.image.ktime < *newest {
            return false;
        }
        *newest = request.image.ktime;
        self.queue.push_back(request);
        true
    }

    /// The next result; pending for ever without requests. Cancel-safe.
    pub(super) async fn next_result(&mut self, sent: SentFiles) -> (ProcessImage, InspectedProcess) {
        if self.running.is_none() {
            let Some(request) = self.queue.pop_front() else { return pending().await };
            if Arc::strong_count(&self.unreturned) > STUCK_MAX {
                self.given_up += 1;
                return (request.image, InspectedProcess::default());
            }
            let (inspect, unreturned) = (self.inspect.clone(), self.unreturned.clone());
            let task = spawn_blocking(move || {
                let process = inspect(request, &sent);
                drop((sent, unreturned));
                process
            });
            self.running = Some(Running { request, deadline: Instant::now() + self.timeout, task });
        }
        let Some(Running { request, deadline, task }) = &mut self.running else { return pending().await };
        let image = request.image;
        let process = match timeout_at(*deadline, task).await {
            Ok(process) => process.unwrap_or_default(),
            Err(_) => {
                self.given_up += 1;
                tracing::warn!(pid = image.pid, "inspecting a process timed out; its samples have no function names");
                InspectedProcess::default()
            }
        };
        self.running = None;
        // If a newer image was sampled meanwhile, the mappings may be of that one.
        let replaced = self.newest.get(&image.pid).is_some_and(|newest| *newest > image.ktime);
        (image, if replaced { InspectedProcess::default() } else { process })
    }

    /// Drops all requests: their worker has died.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.running = None;
    }

    /// Inspections that timed out or were not started, so far.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up
    }
}

/// Paths of cgroups by their ids, as far as they were needed.
struct CgroupPaths {
    root: PathBuf,
    known: Mutex<HashMap<u64, PathBuf>>,
}

impl CgroupPaths {
    /// The process is in the cgroup.
    fn has_process(&self, cgroup: u64, pid: u32) -> bool {
        let known = self.known.lock().get(&cgroup).cloned();
        let Some(path) = known.or_else(|| cgroup::path_of(&self.root, cgroup)) else { return false };
        let has_process = has_process(&self.root.join(&path), pid);
        let mut known = self.known.lock();
        if has_process && known.len() < QUEUE_MAX {
            known.insert(cgroup, path);
        }
        has_process
    }
}

/// `cgroup.procs` of a threaded cgroup cannot be read; the first thread of a process has the process's number.
fn has_process(cgroup: &Path, pid: u32) -> bool {
    let pid = pid.to_string();
    ["cgroup.procs", "cgroup.threads"]
        .iter()
        .filter_map(|name| fs::read_to_string(cgroup.join(name)).ok())
        .any(|text| text.lines().any(|line| line == pid))
}

/// The worker is not trusted: it could name any process of the node. And the pid may be reused during the inspection.
fn inspect(request: InspectionRequest, sent: &SentFiles, paths: &CgroupPaths) -> InspectedProcess {
    let ProcessImage { pid, ktime } = request.image;
    if !mapped_code::process_started_at(pid, ktime) || !paths.has_process(request.cgroup, pid) {
        return InspectedProcess::default();
    }
    let process = read_mappings(request.image, sent);
    if mapped_code::process_started_at(pid, ktime) { process } else { InspectedProcess::default() }
}

fn read_mappings(image: ProcessImage, sent: &SentFiles) -> InspectedProcess {
    let Ok(mut code) = mapped_code::code_mappings(image.pid) else { return InspectedProcess::default() };
    let mut opened = HashMap::new();
    if let Ok(root) = mapped_code::open_root(&code.folder) {
        let perf_map = FileKey::PerfMap { pid: image.pid, ktime: image.ktime };
        if code.mappings.iter().any(CodeMapping::is_made_at_run_time) {
            let has_map = sent.contains_key(&perf_map) || {
                // It may come later: the compiler writes it when it is asked to.
                let map = made_code::open_perf_map(&code.folder, &root);
                map.map(|map| opened.insert(perf_map.clone(), map)).is_ok()
            };
            if has_map {
                name_by_map(&mut code.mappings, &perf_map);
            }
        }
        let mut tried = HashSet::new();
        for mapping in &code.mappings {
            if opened.len() < OPENED_MAX
                && !opened.contains_key(&mapping.file)
                && !sent.contains_key(&mapping.file)
                && tried.insert(&mapping.file)
            {
                let file = if made_code::is_vdso(&mapping.file) {
                    made_code::open_vdso(mapping)
                } else {
                    mapped_code::open_mapped_file(&code.folder, &root, mapping)
                };
                if let Ok(file) = file {
                    opened.insert(mapping.file.clone(), file);
                }
            }
        }
    }
    InspectedProcess { mappings: code.mappings, opened, dropped: code.dropped }
}

/// Names code that was made at run time by the process's map, in which functions have addresses.
fn name_by_map(mappings: &mut [CodeMapping], perf_map: &FileKey) {
    for mapping in mappings.iter_mut().filter(|mapping| mapping.is_made_at_run_time()) {
        (mapping.file, mapping.offset, mapping.path) = (perf_map.clone(), mapping.start, "[anon]".into());
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::MetadataExt, sync::mpsc};

    use super::*;

    fn request(pid: u32) -> InspectionRequest {
        InspectionRequest { image: ProcessImage { pid, ktime: 1 }, cgroup: 1 }
    }

    fn process_with(name: &str) -> InspectedProcess {
        let file = FileKey::Named(name.into());
        let mapping = CodeMapping { start: 0, end: 1, offset: 0, file, path: name.into() };
        InspectedProcess { mappings: vec![mapping], ..InspectedProcess::default() }
    }

    #[tokio::test]
    async fn stuck_inspection_is_given_up_and_the_next_one_succeeds() {
        let (stuck, ends) = mpsc::channel::<()>();
        let ends = Mutex::new(ends);
        let inspect = move |request: InspectionRequest, _: &SentFiles| {
            if request.image.pid == 1 {
                let _ = ends.lock().recv();
            }
            process_with("answered")
        };
        let mut inspector = ProcessInspector::with(Arc::new(inspect), Duration::from_millis(50));
        assert!(inspector.request(request(1)) && inspector.request(request(2)));
        let (first, empty) = inspector.next_result(SentFiles::default()).await;
        let (second, process) = inspector.next_result(SentFiles::default()).await;
        assert_eq!((first.pid, empty.mappings.len()), (1, 0));
        assert_eq!((second.pid, process.mappings.len(), inspector.given_up()), (2, 1, 1));
        drop(stuck);
    }

    #[tokio::test]
    async fn stuck_inspections_do_not_use_up_the_threads() {
        let (stuck, ends) = mpsc::channel::<()>();
        let (started, count) = mpsc::channel();
        let ends = Mutex::new(ends);
        let inspect = move |_: InspectionRequest, _: &SentFiles| {
            started.send(()).unwrap();
            let _ = ends.lock().recv();
            process_with("late")
        };
        let mut inspector = ProcessInspector::with(Arc::new(inspect), Duration::from_millis(10));
        for pid in 1..=20 {
            assert!(inspector.request(request(pid)));
            assert!(inspector.next_result(SentFiles::default()).await.1.mappings.is_empty());
        }
        // A thread may begin after its inspection was given up.
        (0..STUCK_MAX).for_each(|_| count.recv_timeout(Duration::from_secs(30)).unwrap());
        assert_eq!((count.try_iter().count(), inspector.given_up()), (0, 20));
        drop(stuck);
    }

    #[test]
    fn image_replaced_by_exec_does_not_get_the_next_ones_code() {
        let mut inspector = ProcessInspector::new(PathBuf::new());
        let mut old = request(7);
        assert!(inspector.request(InspectionRequest { image: ProcessImage { pid: 7, ktime: 2 }, cgroup: 1 }));
        old.cgroup = 2;
        assert!(!inspector.request(old));
    }

    #[tokio::test]
    async fn result_of_an_image_replaced_meanwhile_is_empty() {
        let mut inspector =
            ProcessInspector::with(Arc::new(|_, _: &SentFiles| process_with("new")), Duration::from_secs(9));
        assert!(inspector.request(request(7)));
        assert!(inspector.request(InspectionRequest { image: ProcessImage { pid: 7, ktime: 2 }, cgroup: 1 }));
        assert!(inspector.next_result(SentFiles::default()).await.1.mappings.is_empty());
        assert_eq!(inspector.next_result(SentFiles::default()).await.1.mappings.len(), 1);
    }

    #[test]
    fn code_made_at_run_time_is_named_by_addresses() {
        let library = CodeMapping {
            start: 0x5000,
            end: 0x6000,
            offset: 0x100,
            file: FileKey::Inode { device: (1, 2), inode: 3 },
            path: "/lib/libv8.so".into(),
        };
        let made = CodeMapping {
            start: 0x7000,
            end: 0x8000,
            offset: 0,
            file: FileKey::Named("[anon:v8]".into()),
            path: "[anon:v8]".into(),
        };
        let in_memory = CodeMapping { path: "/memfd:doublemapper (deleted)".into(), start: 0x9000, ..library.clone() };
        let perf_map = FileKey::PerfMap { pid: 7, ktime: 1 };
        let mut mappings = [library.clone(), made, in_memory];
        name_by_map(&mut mappings, &perf_map);
        assert_eq!(mappings[0], library);
        let named: Vec<(&FileKey, u64)> = mappings[1..].iter().map(|mapping| (&mapping.file, mapping.offset)).collect();
        assert_eq!(named, [(&perf_map, 0x7000), (&perf_map, 0x9000)]);
    }

    #[test]
    fn process_of_another_cgroup_is_not_inspected() {
        let root = tempfile::tempdir().unwrap();
        let (mine, other) = (root.path().join("pod/mine"), root.path().join("pod/other"));
        for (cgroup, pid) in [(&mine, std::process::id()), (&other, 1)] {
            fs::create_dir_all(cgroup).unwrap();
            fs::write(cgroup.join("cgroup.procs"), format!("{pid}\n")).unwrap();
        }
        let id = |path: &Path| fs::metadata(path).unwrap().ino();
        let paths = CgroupPaths { root: root.path().to_owned(), known: Mutex::default() };
        assert!(paths.has_process(id(&mine), std::process::id()));
        assert!(!paths.has_process(id(&other), std::process::id()));
    }
}
