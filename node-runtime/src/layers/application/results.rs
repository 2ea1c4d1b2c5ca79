//! Finished profiles, on disk: an hour, and 64 MiB together. Nothing is held in memory but what each is about.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    left,
    making::{self, Making, Mark, file_name},
};
use crate::{
    report::{Ledger, Place},
    worker::frame::Counts,
};

/// How long a result is kept.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(1);
/// What all results may take together.
pub const KEPT_BYTES: u64 = 64 << 20;
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
    /// Lost: the ring was full, the budget was used up, what came out of it was no sample, or a worker or an agent died
    /// with them.
    pub lost: u64,
    /// Dropped: of a cgroup that turned out to be another's.
    pub others: u64,
    /// Dropped: of a cgroup whose pod did not become known.
    pub undecided: u64,
    /// Workers that died.
    pub worker_deaths: u64,
    /// Files in which samples fell, without names of functions: there were too many, or they could not be opened.
    #[serde(default)]
    pub files_dropped: u64,
}

impl Counted {
    /// What a worker says, and what it cannot know.
    pub fn of(counts: &Counts, lost: u64, worker_deaths: u64) -> Self {
        let Counts { samples, truncated, unmapped, others, undecided, files_dropped, .. } = *counts;
        Self { samples, truncated, unmapped, lost, others, undecided, worker_deaths, files_dropped }
    }
}

/// All results of a node; a handle.
#[derive(Clone)]
pub struct Results(Arc<Shared>);

struct Shared {
    inner: Mutex<Inner>,
    /// Apart, so that whoever is slow to listen holds up nobody who reads.
    told: Mutex<Option<Listener>>,
}

struct Inner {
    folder: PathBuf,
    ledger: Ledger,
    kept: BTreeMap<String, Meta>,
    /// Results that were begun.
    begun: u64,
    /// Nothing is written any more.
    closed: bool,
}

/// Whoever wants to hear of a result that is kept from now on.
pub type Listener = Box<dyn Fn(&Meta) + Send>;

impl Results {
    /// Those that an agent before this one left, and room for more; no folder is made before there is something to keep.
    pub fn open(state_dir: &Path, ledger: Ledger) -> Self {
        let folder = state_dir.join("profiles");
        let kept = left::found(&folder, &ledger, Timestamp::now());
        let inner = Mutex::new(Inner { folder, ledger, kept, begun: 0, closed: false });
        Self(Arc::new(Shared { inner, told: Mutex::default() }))
    }

    /// Tells of each result that is kept from now on.
    pub fn tell(&self, listener: Listener) {
        *self.0.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }

    /// Writes nothing more, until a profile starts; what is kept is not served any more. For whoever wants to clear the disk.
    pub fn close(&self) {
        let mut inner = self.inner();
        inner.closed = true;
        inner.kept.clear();
    }

    /// A profile starts. Samples that an agent before this one had taken for the same profile, and lost with its end.
    pub fn starts(&self, name: &str, expires_at: Option<Timestamp>) -> u64 {
        let mut inner = self.inner();
        inner.closed = false;
        let path = inner.folder.join(file_name(name)).with_extension("running");
        let mark = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Mark>(&bytes).ok());
        // A mark of another profile of the same name is of no use to anybody, nor is one of this that was read.
        let _ = fs::remove_file(path);
        mark.filter(|mark| mark.name == name && Some(mark.expires_at) == expires_at).map_or(0, |mark| mark.samples)
    }

    /// Says on disk how far a profile is.
    pub fn mark(&self, name: &str, expires_at: Timestamp, samples: u64) -> io::Result<()> {
        let inner = self.inner();
        if inner.closed {
            return Err(closed());
        }
        making::folder(&inner.folder)?;
        let mark = Mark { name: name.to_owned(), expires_at, samples };
        making::write(&inner.folder.join(file_name(name)).with_extension("running"), &serde_json::to_vec(&mark)?)
    }

    /// Takes the mark away: the profile is over.
    pub fn unmark(&self, name: &str) {
        let path = self.inner().folder.join(file_name(name)).with_extension("running");
        // There is none where a profile has no end, or the disk is full.
        let _ = fs::remove_file(path);
    }

    /// Begins to write a result.
    pub fn begin(&self, name: &str) -> io::Result<Making> {
        let mut inner = self.inner();
        if inner.closed {
            return Err(closed());
        }
        making::folder(&inner.folder)?;
        inner.begun += 1;
        Ok(Making::new(inner.folder.join(file_name(name)), inner.begun))
    }

    /// Keeps what was written, and says how much; a result of the same name before it is replaced.
    pub fn keep(&self, making: Making, mut meta: Meta, now: Timestamp) -> io::Result<Meta> {
        let mut inner = self.inner();
        if inner.closed {
            return Err(closed());
        }
        let path = inner.folder.join(file_name(&meta.name)).with_extension("json");
        // What it says must never stand beside files of another result.
        if inner.kept.remove(&meta.name).is_some() {
            let _ = fs::remove_file(&path);
        }
        (meta.folded_bytes, meta.svg_bytes) = making.settle()?;
        making::write(&path, &serde_json::to_vec(&meta)?)?;
        inner.kept.insert(meta.name.clone(), meta.clone());
        inner.purge(now);
        drop(inner);
        if let Some(told) = &*self.0.told.lock().unwrap_or_else(PoisonError::into_inner) {
            told(&meta);
        }
        Ok(meta)
    }

    /// What is too old goes now, whether or not somebody reads, and whichever agent kept it.
    pub fn purge(&self, now: Timestamp) {
        self.inner().purge(now);
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
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
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

fn closed() -> io::Error {
    io::Error::other("results are not kept any more")
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
        making.whole().unwrap();
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
        let mut half = results.begin("shop/half").unwrap();
        half.folded(b"half").unwrap();
        // As a kill would leave it.
        std::mem::forget(half);
        drop(results);
        let results = Results::open(&folder, ledger);
        let (meta, ..) = results.get("shop/cart.v2", at(1)).unwrap().unwrap();
        assert_eq!((meta.folded_bytes, meta.svg_bytes), (10, 6));
        assert_eq!(fs::read_dir(folder.join("profiles")).unwrap().count(), 3);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_an_agent_before_kept_leaves_the_disk_when_its_hour_is_over_though_nobody_reads() {
        let (folder, results, ledger) = store();
        made(&results, "shop/cart", 0, 10);
        drop(results);
        let results = Results::open(&folder, ledger);
        results.purge(at(59));
        assert_eq!(fs::read_dir(folder.join("profiles")).unwrap().count(), 3);
        results.purge(at(60));
        assert_eq!(fs::read_dir(folder.join("profiles")).unwrap().count(), 0);
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
    fn two_results_of_one_name_that_are_written_at_a_time_do_not_mix() {
        let (folder, results, _) = store();
        let mut both = [results.begin("a/b").unwrap(), results.begin("a/b").unwrap()];
        for (making, text) in both.iter_mut().zip(["one 1\n", "two 2\n"]) {
            making.folded(text.as_bytes()).unwrap();
            making.whole().unwrap();
        }
        for making in both {
            results.keep(making, Meta { name: "a/b".into(), ended: at(0), ..Meta::default() }, at(0)).unwrap();
        }
        assert_eq!(fs::read_to_string(folder.join("profiles/a@b.folded")).unwrap(), "two 2\n");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn only_the_agents_user_may_read_a_result() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, results, _) = store();
        made(&results, "a/b", 0, 10);
        let mode = |path: &str| fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("profiles"), 0o700);
        assert_eq!(["folded", "svg", "json"].map(|what| mode(&format!("profiles/a@b.{what}"))), [0o600; 3]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn samples_of_an_agent_that_died_are_told_to_the_next_that_starts_the_same_profile() {
        let (folder, results, ledger) = store();
        let end = Timestamp::now() + SignedDuration::from_mins(9);
        results.mark("shop/cart", end, 70).unwrap();
        drop(results);
        let results = Results::open(&folder, ledger);
        assert_eq!(results.starts("shop/cart", Some(end)), 70);
        assert_eq!(results.starts("shop/cart", Some(end)), 0);
        results.mark("shop/cart", end, 70).unwrap();
        assert_eq!(results.starts("shop/cart", Some(at(20))), 0);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn after_its_end_nothing_is_written_until_a_profile_starts() {
        let (folder, results, _) = store();
        let making = results.begin("a/b").unwrap();
        results.close();
        fs::remove_dir_all(&folder).unwrap();
        assert!(results.begin("a/b").is_err() && results.mark("a/b", at(1), 1).is_err());
        assert!(results.keep(making, Meta::default(), at(0)).is_err());
        assert!(!folder.exists());
        results.starts("a/b", None);
        assert!(results.begin("a/b").is_ok());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn whoever_is_told_of_a_result_may_ask_for_it() {
        let (folder, results, _) = store();
        let (told, heard) = std::sync::mpsc::channel();
        let asked = results.clone();
        results.tell(Box::new(move |_| told.send(asked.list(at(0)).len()).unwrap()));
        made(&results, "a/b", 0, 10);
        assert_eq!(heard.recv().unwrap(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn nothing_is_made_on_disk_before_there_is_something_to_keep() {
        let (folder, results, _) = store();
        assert!(results.list(at(0)).is_empty());
        assert!(!folder.exists());
    }
}
