//! Looks at sampled processes: whose they are, what code they have mapped, and the files of it, opened. A process can make
//! a look last as long as it likes (a file system of its own that does not answer), so each is on a thread beside the
//! agent's, one at a time, and given up after a while.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs,
    future::pending,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, timeout_at},
};

use super::code::{self, FileKey, Piece};
use crate::{kernel::cgroup, worker::frame::Image};

/// How long one look may last.
const WITHIN: Duration = Duration::from_secs(2);
/// Looks that did not come back; above it nobody is looked at any more, so that they do not use up the agent's threads.
const STUCK_MAX: usize = 4;
/// Questions that wait.
const QUEUE_MAX: usize = 1024;
/// Files that one look opens; others are called by their names.
const OPENED_MAX: usize = 256;

/// Files that a worker has already.
pub(super) type Known = Arc<HashMap<FileKey, u32>>;

/// What a look has found; nothing where the process is gone, another's, or too slow.
#[derive(Default)]
pub(super) struct Found {
    /// Its code.
    pub(super) pieces: Vec<Piece>,
    /// Files of it that were not known.
    pub(super) opened: HashMap<FileKey, OwnedFd>,
}

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    /// The process.
    pub(super) image: Image,
    /// The cgroup that it is said to be in.
    pub(super) cgroup: u64,
}

type Look = Arc<dyn Fn(Question, &Known) -> Found + Send + Sync>;

struct Running {
    question: Question,
    until: Instant,
    task: JoinHandle<Found>,
}

/// All looks of a profile.
pub(super) struct Looks {
    look: Look,
    within: Duration,
    queue: VecDeque<Question>,
    running: Option<Running>,
    /// Every look that has not come back holds it.
    back: Arc<()>,
    /// The newest image of each process: mappings that are read now are no older one's.
    newest: HashMap<u32, u64>,
    given_up: u64,
}

impl Looks {
    /// Nothing is looked at yet. `cgroups` is the root of the host's v2 tree.
    pub(super) fn new(cgroups: PathBuf) -> Self {
        let paths = Paths { root: cgroups, found: Mutex::default() };
        Self::by(Arc::new(move |question, known| look(question, known, &paths)), WITHIN)
    }

    fn by(look: Look, within: Duration) -> Self {
        Self {
            look,
            within,
            queue: VecDeque::new(),
            running: None,
            back: Arc::default(),
            newest: HashMap::new(),
            given_up: 0,
        }
    }

    /// Puts a question; false where it will not be answered: too many wait, or the process runs another image by now.
    pub(super) fn ask(&mut self, question: Question) -> bool {
        if self.queue.contains(&question) {
            return true;
        }
        if self.queue.len() >= QUEUE_MAX {
            return false;
        }
        if self.newest.len() >= 8 * QUEUE_MAX {
            self.newest.clear();
        }
        let newest = self.newest.entry(question.image.pid).or_default();
        if question.image.ktime < *newest {
            return false;
        }
        *newest = question.image.ktime;
        self.queue.push_back(question);
        true
    }

    /// The next answer; never, where nothing is asked. Cancel-safe.
    pub(super) async fn answer(&mut self, known: Known) -> (Image, Found) {
        if self.running.is_none() {
            let Some(question) = self.queue.pop_front() else { return pending().await };
            if Arc::strong_count(&self.back) > STUCK_MAX {
                self.given_up += 1;
                return (question.image, Found::default());
            }
            let (look, held) = (self.look.clone(), self.back.clone());
            let task = spawn_blocking(move || {
                let found = look(question, &known);
                drop((known, held));
                found
            });
            self.running = Some(Running { question, until: Instant::now() + self.within, task });
        }
        let Some(Running { question, until, task }) = &mut self.running else { return pending().await };
        let image = question.image;
        let found = match timeout_at(*until, task).await {
            Ok(found) => found.unwrap_or_default(),
            Err(_) => {
                self.given_up += 1;
                tracing::warn!(pid = image.pid, "a process could not be looked at in time; it goes without names");
                Found::default()
            }
        };
        self.running = None;
        // It was sampled with a newer image meanwhile, and it may have been the code of that one that was seen.
        let replaced = self.newest.get(&image.pid).is_some_and(|newest| *newest > image.ktime);
        (image, if replaced { Found::default() } else { found })
    }

    /// Nobody waits for answers any more.
    pub(super) fn forget(&mut self) {
        self.queue.clear();
        self.running = None;
    }

    /// Looks that were given up so far.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up
    }
}

/// Where cgroups are, as far as somebody asked.
struct Paths {
    root: PathBuf,
    found: Mutex<HashMap<u64, PathBuf>>,
}

impl Paths {
    /// The process is in the cgroup.
    fn hold(&self, pid: u32, cgroup: u64) -> bool {
        let known = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&cgroup).cloned();
        let Some(path) = known.or_else(|| cgroup::path_of(&self.root, cgroup)) else { return false };
        let holds = holds(&self.root.join(&path), pid);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if holds && found.len() < QUEUE_MAX {
            found.insert(cgroup, path);
        }
        holds
    }
}

/// `cgroup.procs` of a threaded cgroup cannot be read; a process's first thread has its number.
fn holds(cgroup: &Path, pid: u32) -> bool {
    let pid = pid.to_string();
    ["cgroup.procs", "cgroup.threads"]
        .iter()
        .filter_map(|name| fs::read_to_string(cgroup.join(name)).ok())
        .any(|text| text.lines().any(|line| line == pid))
}

/// The worker, which asks, is not trusted: it could name any process of the node. The number may also change hands while
/// it is looked at.
fn look(question: Question, known: &Known, paths: &Paths) -> Found {
    let Image { pid, ktime } = question.image;
    if !code::started_at(pid, ktime) || !paths.hold(pid, question.cgroup) {
        return Found::default();
    }
    let found = read(pid, known);
    if code::started_at(pid, ktime) { found } else { Found::default() }
}

fn read(pid: u32, known: &Known) -> Found {
    let mut found = Found { pieces: code::pieces(pid).unwrap_or_default(), ..Found::default() };
    let Ok(root) = code::root(pid) else { return found };
    let mut tried = HashSet::new();
    for piece in &found.pieces {
        if found.opened.len() < OPENED_MAX
            && !known.contains_key(&piece.file)
            && tried.insert(&piece.file)
            && let Ok(file) = code::open_of(pid, &root, piece)
        {
            found.opened.insert(piece.file.clone(), file);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::MetadataExt, sync::mpsc};

    use super::*;

    fn question(pid: u32) -> Question {
        Question { image: Image { pid, ktime: 1 }, cgroup: 1 }
    }

    fn named(name: &str) -> Found {
        let file = FileKey::Named(name.into());
        let piece = Piece { start: 0, end: 1, offset: 0, file, path: name.into() };
        Found { pieces: vec![piece], ..Found::default() }
    }

    #[tokio::test]
    async fn a_look_that_does_not_come_back_is_given_up_and_the_next_is_answered() {
        let (stuck, ends) = mpsc::channel::<()>();
        let ends = Mutex::new(ends);
        let look = move |asked: Question, _: &Known| {
            if asked.image.pid == 1 {
                let _ = ends.lock().unwrap().recv();
            }
            named("answered")
        };
        let mut looks = Looks::by(Arc::new(look), Duration::from_millis(50));
        assert!(looks.ask(question(1)) && looks.ask(question(2)));
        let (first, nothing) = looks.answer(Known::default()).await;
        let (second, found) = looks.answer(Known::default()).await;
        assert_eq!((first.pid, nothing.pieces.len()), (1, 0));
        assert_eq!((second.pid, found.pieces.len(), looks.given_up()), (2, 1, 1));
        drop(stuck);
    }

    #[tokio::test]
    async fn looks_that_never_come_back_do_not_use_up_the_agents_threads() {
        let (stuck, ends) = mpsc::channel::<()>();
        let (started, count) = mpsc::channel();
        let ends = Mutex::new(ends);
        let look = move |_: Question, _: &Known| {
            started.send(()).unwrap();
            let _ = ends.lock().unwrap().recv();
            named("late")
        };
        let mut looks = Looks::by(Arc::new(look), Duration::from_millis(10));
        for pid in 1..=20 {
            assert!(looks.ask(question(pid)));
            assert!(looks.answer(Known::default()).await.1.pieces.is_empty());
        }
        assert_eq!((count.try_iter().count(), looks.given_up()), (STUCK_MAX, 20));
        drop(stuck);
    }

    #[test]
    fn an_image_that_was_replaced_by_exec_is_not_given_the_code_of_the_next() {
        let mut looks = Looks::new(PathBuf::new());
        let mut old = question(7);
        assert!(looks.ask(Question { image: Image { pid: 7, ktime: 2 }, cgroup: 1 }));
        old.cgroup = 2;
        assert!(!looks.ask(old));
    }

    #[tokio::test]
    async fn what_was_seen_of_a_process_that_has_run_exec_meanwhile_is_not_its_old_images() {
        let mut looks = Looks::by(Arc::new(|_, _: &Known| named("new")), Duration::from_secs(9));
        assert!(looks.ask(question(7)));
        assert!(looks.ask(Question { image: Image { pid: 7, ktime: 2 }, cgroup: 1 }));
        assert!(looks.answer(Known::default()).await.1.pieces.is_empty());
        assert_eq!(looks.answer(Known::default()).await.1.pieces.len(), 1);
    }

    #[test]
    fn a_process_that_is_not_in_the_cgroup_that_was_named_is_not_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let (mine, other) = (root.path().join("pod/mine"), root.path().join("pod/other"));
        for (cgroup, holds) in [(&mine, std::process::id()), (&other, 1)] {
            fs::create_dir_all(cgroup).unwrap();
            fs::write(cgroup.join("cgroup.procs"), format!("{holds}\n")).unwrap();
        }
        let id = |path: &Path| fs::metadata(path).unwrap().ino();
        let paths = Paths { root: root.path().to_owned(), found: Mutex::default() };
        assert!(paths.hold(std::process::id(), id(&mine)));
        assert!(!paths.hold(std::process::id(), id(&other)));
    }
}
