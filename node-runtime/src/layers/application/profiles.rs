//! Every profile that this node knows, for those who read them: what runs, and what is kept.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use super::{Live, Meta, Results, results::KEPT_FOR};

/// A handle on both.
#[derive(Clone)]
pub struct Profiles {
    results: Results,
    running: Arc<Mutex<BTreeMap<String, Arc<Mutex<Live>>>>>,
}

/// Where a profile stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Samples are taken, or the result is being made.
    Running(Meta),
    /// The result is kept; it may be that there is nothing in it but a problem.
    Over(Meta),
}

impl Profiles {
    /// Nothing runs.
    pub fn new(results: Results) -> Self {
        Self { results, running: Arc::default() }
    }

    /// One more runs; an older one of the same name is forgotten here, not ended.
    pub fn began(&self, live: Arc<Mutex<Live>>) {
        let name = read(&live).meta.name;
        lock(&self.running).insert(name, live);
    }

    /// All of them, by name.
    pub fn all(&self, now: Timestamp) -> BTreeMap<String, Standing> {
        let kept = self.results.list(now).into_iter().map(|meta| (meta.name.clone(), Standing::Over(meta)));
        let mut all: BTreeMap<String, Standing> = kept.collect();
        let mut running = lock(&self.running);
        // One that could not be kept says why for as long as it would have been.
        let told = |live: &Live| !live.over || (!live.kept && now.duration_since(live.meta.ended) < KEPT_FOR);
        running.retain(|_, live| told(&read(live)));
        for (name, live) in running.iter() {
            let Live { meta, over, .. } = read(live);
            if over {
                all.entry(name.clone()).or_insert(Standing::Over(meta));
            } else {
                all.insert(name.clone(), Standing::Running(meta));
            }
        }
        all
    }

    /// One of them.
    pub fn one(&self, name: &str, now: Timestamp) -> Option<Standing> {
        self.all(now).remove(name)
    }

    /// The two files of a result.
    pub fn files(&self, name: &str, now: Timestamp) -> io::Result<Option<(Meta, File, File)>> {
        self.results.get(name, now)
    }

    /// Where results are kept.
    pub fn results(&self) -> &Results {
        &self.results
    }
}

fn read(live: &Mutex<Live>) -> Live {
    lock(live).clone()
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
