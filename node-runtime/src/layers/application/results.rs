//! Finished profiles, on disk: an hour, and 64 MiB together. Nothing is held in memory but what each is about.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    report::{Ledger, Place},
    worker::frame::Counts,
};

/// How long a result is kept.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(1);
/// What all results may take together.
pub const KEPT_BYTES: u64 = 64 << 20;
/// What one result may take: more than a worker makes of the largest budget.
const RESULT_BYTES: u64 = 32 << 20;

/// What a result is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// `namespace/name` of the AppProfile.
    pub name: String,
    /// The node.
    pub node: String,
    /// Samples a second on each processor.
    pub frequency_hz: u32,
    /// When it began.
    pub started: Timestamp,
    /// When its last sample was taken.
    pub ended: Timestamp,
    /// Samples, truncated ones, and those that were dropped, by why.
    #[serde(flatten)]
    pub counts: Counted,
    /// Pods that were selected, as `namespace/name`.
    pub pods: Vec<String>,
    /// What went wrong; empty where nothing did.
    pub problem: String,
    /// Bytes of folded stacks.
    pub folded_bytes: u64,
    /// Bytes of the picture.
    pub svg_bytes: u64,
}

/// Sums of a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// In the result.
    pub samples: u64,
    /// Of them, with a stack that is not whole.
    pub truncated: u64,
    /// Of them, without names, because the process had ended.
    pub unmapped: u64,
    /// Lost: the ring was full, the budget was used up, or a worker died with them.
    pub lost: u64,
    /// Dropped: of a cgroup that turned out to be another's.
    pub others: u64,
    /// Dropped: of a cgroup whose pod did not become known.
    pub undecided: u64,
    /// Workers that died.
    pub worker_deaths: u64,
}

impl Counted {
    /// What a worker says, and what it cannot know.
    pub fn of(counts: &Counts, lost: u64, worker_deaths: u64) -> Self {
        let Counts { samples, truncated, unmapped, others, undecided, .. } = *counts;
        Self { samples, truncated, unmapped, lost, others, undecided, worker_deaths }
    }
}

/// All results of a node; a handle.
#[derive(Clone)]
pub struct Results(Arc<Mutex<Inner>>);

struct Inner {
    folder: PathBuf,
    ledger: Ledger,
    kept: BTreeMap<String, Meta>,
    told: Option<Listener>,
}

/// Whoever wants to hear of a result that is kept from now on.
pub type Listener = Box<dyn Fn(&Meta) + Send>;

/// A result that is being written.
pub struct Making {
    path: PathBuf,
    folded: File,
    svg: File,
    folded_bytes: u64,
    svg_bytes: u64,
}

impl Results {
    /// Those that an agent before this one left, and room for more; no folder is made before there is something to keep.
    pub fn open(state_dir: &Path, ledger: Ledger) -> Self {
        let folder = state_dir.join("profiles");
        let mut kept = BTreeMap::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let meta = (path.extension().is_some_and(|extension| extension == "json"))
                .then(|| fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Meta>(&bytes).ok()))
                .flatten();
            if let Some(meta) = meta {
                kept.insert(meta.name.clone(), meta);
            } else if path.extension().is_some_and(|extension| extension == "part") {
                // What an agent had begun when it died.
                let _ = fs::remove_file(path);
            }
        }
        Self(Arc::new(Mutex::new(Inner { folder, ledger, kept, told: None })))
    }

    /// Tells of each result that is kept from now on; it must not ask for results itself.
    pub fn tell(&self, listener: Listener) {
        self.inner().told = Some(listener);
    }

    /// Begins to write a result.
    pub fn begin(&self, name: &str) -> io::Result<Making> {
        let folder = self.inner().folder.clone();
        fs::create_dir_all(&folder)?;
        let path = folder.join(file_name(name));
        let part = |what| File::create(path.with_extension(format!("{what}.part")));
        Ok(Making { folded: part("folded")?, svg: part("svg")?, path, folded_bytes: 0, svg_bytes: 0 })
    }

    /// Keeps what was written; a result of the same name before it is replaced.
    pub fn keep(&self, making: Making, mut meta: Meta, now: Timestamp) -> io::Result<()> {
        let Making { path, folded_bytes, svg_bytes, .. } = making;
        (meta.folded_bytes, meta.svg_bytes) = (folded_bytes, svg_bytes);
        for what in ["folded", "svg"] {
            fs::rename(path.with_extension(format!("{what}.part")), path.with_extension(what))?;
        }
        fs::write(path.with_extension("json"), serde_json::to_vec(&meta)?)?;
        let mut inner = self.inner();
        if let Some(told) = &inner.told {
            told(&meta);
        }
        inner.kept.insert(meta.name.clone(), meta);
        inner.purge(now);
        Ok(())
    }

    /// What is kept.
    pub fn list(&self, now: Timestamp) -> Vec<Meta> {
        let mut inner = self.inner();
        inner.purge(now);
        inner.kept.values().cloned().collect()
    }

    /// One result: what it is about, and its two files, opened.
    pub fn get(&self, name: &str, now: Timestamp) -> io::Result<Option<(Meta, File, File)>> {
        let mut inner = self.inner();
        inner.purge(now);
        let Some(meta) = inner.kept.get(name).cloned() else { return Ok(None) };
        let path = inner.folder.join(file_name(name));
        let opened = File::open(path.with_extension("folded"))
            .and_then(|folded| Ok((folded, File::open(path.with_extension("svg"))?)));
        match opened {
            Ok((folded, svg)) => Ok(Some((meta, folded, svg))),
            // Somebody has cleared the folder.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                inner.remove(name);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What is too old goes; what is too much goes oldest first, and is counted.
    fn purge(&mut self, now: Timestamp) {
        let old = |meta: &Meta| now.duration_since(meta.ended) >= KEPT_FOR;
        let expired: Vec<String> = self.kept.values().filter(|meta| old(meta)).map(|meta| meta.name.clone()).collect();
        for name in expired {
            self.remove(&name);
        }
        while self.kept.values().map(|meta| meta.folded_bytes + meta.svg_bytes).sum::<u64>() > KEPT_BYTES {
            let oldest = self.kept.values().min_by_key(|meta| meta.ended).map(|meta| meta.name.clone());
            let Some(name) = oldest else { return };
            self.remove(&name);
            self.ledger.lost(Place::ResultStore, &format!("AppProfile/{name}"), 1);
        }
    }

    fn remove(&mut self, name: &str) {
        self.kept.remove(name);
        let path = self.folder.join(file_name(name));
        for what in ["folded", "svg", "json"] {
            // One that is gone already is what is wanted.
            let _ = fs::remove_file(path.with_extension(what));
        }
    }
}

impl Making {
    /// Some of the folded stacks.
    pub fn folded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.folded_bytes = within(self.folded_bytes + self.svg_bytes, self.folded_bytes, bytes)?;
        self.folded.write_all(bytes)
    }

    /// Some of the picture.
    pub fn svg(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.svg_bytes = within(self.folded_bytes + self.svg_bytes, self.svg_bytes, bytes)?;
        self.svg.write_all(bytes)
    }
}

fn within(all: u64, part: u64, more: &[u8]) -> io::Result<u64> {
    if all + more.len() as u64 > RESULT_BYTES {
        return Err(io::Error::other(format!("a result above {RESULT_BYTES} bytes")));
    }
    Ok(part + more.len() as u64)
}

/// `namespace/name` as a file's name; the last part stands for an extension, which is put in the place of it.
fn file_name(name: &str) -> String {
    let clean = |letter: char| if letter.is_ascii_alphanumeric() || "-._".contains(letter) { letter } else { '@' };
    format!("{}.x", name.chars().map(clean).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (PathBuf, Results, Ledger) {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("results-{}-{next}", std::process::id()));
        let ledger = Ledger::default();
        (folder.clone(), Results::open(&folder, ledger.clone()), ledger)
    }

    fn made(results: &Results, name: &str, minute: i64, bytes: usize) {
        let ended = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
        let mut making = results.begin(name).unwrap();
        making.folded(&vec![b'x'; bytes]).unwrap();
        making.svg(b"<svg/>").unwrap();
        results.keep(making, Meta { name: name.into(), ended, ..Meta::default() }, ended).unwrap();
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)
    }

    #[test]
    fn a_result_is_gone_after_an_hour_and_so_are_its_files() {
        let (folder, results, _) = store();
        made(&results, "shop/cart", 0, 10);
        assert_eq!(results.list(at(59)).len(), 1);
        assert!(results.list(at(60)).is_empty());
        assert_eq!(fs::read_dir(folder.join("profiles")).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_oldest_result_leaves_when_there_is_too_much_and_is_counted() {
        let (folder, results, ledger) = store();
        for (minute, name) in ["a/one", "a/two", "a/three"].into_iter().enumerate() {
            made(&results, name, minute as i64, 25 << 20);
        }
        let names: Vec<String> = results.list(at(3)).into_iter().map(|meta| meta.name).collect();
        assert_eq!(names, ["a/three", "a/two"]);
        assert_eq!(ledger.total(Place::ResultStore), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_agent_that_comes_back_finds_what_the_one_before_it_kept_and_clears_what_it_had_begun() {
        let (folder, results, ledger) = store();
        made(&results, "shop/cart.v2", 0, 10);
        let half = results.begin("shop/half").unwrap();
        drop((results, half));
        let results = Results::open(&folder, ledger);
        let (meta, ..) = results.get("shop/cart.v2", at(1)).unwrap().unwrap();
        assert_eq!((meta.folded_bytes, meta.svg_bytes), (10, 6));
        assert_eq!(fs::read_dir(folder.join("profiles")).unwrap().count(), 3);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_worker_cannot_fill_the_disk() {
        let (folder, results, _) = store();
        let mut making = results.begin("a/b").unwrap();
        let chunk = vec![0; 1 << 20];
        let written = (0..64).take_while(|_| making.folded(&chunk).is_ok()).count();
        assert_eq!(written, 32);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn nothing_is_made_on_disk_before_there_is_something_to_keep() {
        let (folder, results, _) = store();
        assert!(results.list(at(0)).is_empty());
        assert!(!folder.exists());
    }
}
