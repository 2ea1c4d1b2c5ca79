//! The files of FlowCaptures, a folder for each name. What is over is kept for an hour, for whoever comes to read it, and
//! inside a limit for the node; then it goes.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::{task::AbortHandle, time::sleep};

use crate::report::{Ledger, Place};

/// How long the files stay when their capture is over.
const KEPT_FOR: Duration = Duration::from_secs(60 * 60);
/// What those that are over may hold together; one alone holds 60 MiB at most.
const KEPT_BYTES: u64 = 256 << 20;

/// Removes the files of captures that are over.
pub(super) struct Captured {
    folder: PathBuf,
    ledger: Ledger,
    in_force: BTreeSet<String>,
    waiting: Option<AbortHandle>,
}

/// What a capture that is over has left.
struct Left {
    name: String,
    age: Duration,
    bytes: u64,
}

/// Where the captures of a node have their files.
pub(super) fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("captures")
}

/// The folder of one capture, `namespace/name`.
pub(super) fn folder_name(capture: &str) -> String {
    capture.replace('/', ".")
}

impl Captured {
    /// Removes nothing yet.
    pub(super) fn new(state_dir: &Path, ledger: Ledger) -> Self {
        Self { folder: folder(state_dir), ledger, in_force: BTreeSet::new(), waiting: None }
    }

    /// These are in force now, and no others: those are kept until their hour is over. To be called where a task can be
    /// started.
    pub(super) fn are(&mut self, in_force: BTreeSet<String>) {
        for over in self.in_force.difference(&in_force) {
            // Its hour begins now, however long ago its last flow was.
            let touched = File::open(self.folder.join(over)).and_then(|dir| dir.set_modified(SystemTime::now()));
            if let Err(error) = touched.or_else(unless_gone) {
                tracing::debug!(%error, over, "the end of a capture could not be noted; its last flow counts for it");
            }
        }
        self.in_force = in_force;
        if let Some(waiting) = self.waiting.take() {
            waiting.abort();
        }
        let Some(mut next) = prune(&self.folder, &self.in_force, SystemTime::now(), &self.ledger) else { return };
        let (folder, in_force, ledger) = (self.folder.clone(), self.in_force.clone(), self.ledger.clone());
        let wait = async move {
            loop {
                sleep(next).await;
                match prune(&folder, &in_force, SystemTime::now(), &ledger) {
                    Some(more) => next = more,
                    None => return,
                }
            }
        };
        self.waiting = Some(tokio::spawn(wait).abort_handle());
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            waiting.abort();
        }
    }
}

/// What is too old goes; what is too much goes oldest first, and is counted. Gives when the next one will be too old; none
/// where nothing is left that can be.
fn prune(folder: &Path, in_force: &BTreeSet<String>, now: SystemTime, ledger: &Ledger) -> Option<Duration> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut left: Vec<Left> = entries.filter_map(|entry| left(&entry, now)).collect();
    left.retain(|one| !in_force.contains(&one.name));
    left.sort_by_key(|one| one.age);
    let mut bytes = 0;
    left.retain(|one| {
        bytes += one.bytes;
        let (is_old, is_much) = (one.age >= KEPT_FOR, bytes > KEPT_BYTES);
        if !is_old && is_much {
            ledger.lost(Place::ResultStore, &format!("FlowCapture/{}", one.name), 1);
        }
        if (is_old || is_much)
            && let Err(error) = fs::remove_dir_all(folder.join(&one.name)).or_else(unless_gone)
        {
            tracing::warn!(%error, capture = one.name, "the files of a capture that is over could not be removed");
        }
        !is_old && !is_much
    });
    // A moment more, so that the one that is waited for is too old by then.
    left.last().map(|oldest| KEPT_FOR - oldest.age + Duration::from_secs(1))
}

/// None for what is no folder, or is gone by now.
fn left(entry: &fs::DirEntry, now: SystemTime) -> Option<Left> {
    let folder = entry.metadata().ok().filter(fs::Metadata::is_dir)?;
    let files = fs::read_dir(entry.path()).ok()?.flatten().filter_map(|file| file.metadata().ok());
    let (mut changed, mut bytes) = (folder.modified().ok()?, 0);
    for file in files {
        changed = changed.max(file.modified().unwrap_or(changed));
        bytes += file.len();
    }
    let name = entry.file_name().into_string().ok()?;
    Some(Left { name, age: now.duration_since(changed).unwrap_or_default(), bytes })
}

fn unless_gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn captures(of: &[(&str, u64)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in of {
            fs::create_dir(folder.path().join(name)).unwrap();
            File::create(folder.path().join(name).join("events.log")).unwrap().set_len(*bytes).unwrap();
        }
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_capture_that_is_over_leaves_its_files_for_an_hour_and_one_in_force_keeps_them() {
        let folder = captures(&[("shop.over", 10), ("shop.runs", 10)]);
        let (in_force, ledger) = (BTreeSet::from(["shop.runs".to_owned()]), Ledger::default());
        let at = |minutes| prune(folder.path(), &in_force, SystemTime::now() + MINUTE * minutes, &ledger);
        let next = at(50).unwrap();
        assert!(next > MINUTE * 9 && next < MINUTE * 11, "{next:?}");
        assert_eq!(names(folder.path()), ["shop.over", "shop.runs"]);
        assert_eq!(at(61), None);
        assert_eq!((names(folder.path()), ledger.total(Place::ResultStore)), (vec!["shop.runs".to_owned()], 0));
    }

    #[test]
    fn what_is_too_much_goes_oldest_first_and_is_counted() {
        let folder = captures(&[("a.old", KEPT_BYTES / 2), ("a.young", KEPT_BYTES / 2), ("a.younger", 10)]);
        let aged = |name: &str, minutes| {
            let then = SystemTime::now() - MINUTE * minutes;
            File::open(folder.path().join(name)).unwrap().set_modified(then).unwrap();
            File::open(folder.path().join(name).join("events.log")).unwrap().set_modified(then).unwrap();
        };
        aged("a.old", 20);
        aged("a.young", 10);
        let ledger = Ledger::default();
        prune(folder.path(), &BTreeSet::new(), SystemTime::now(), &ledger);
        assert_eq!(names(folder.path()), ["a.young", "a.younger"]);
        assert_eq!(ledger.total(Place::ResultStore), 1);
    }

    #[tokio::test]
    async fn the_hour_begins_when_the_capture_ends() {
        let state_dir = tempfile::tempdir().unwrap();
        let mine = folder(state_dir.path()).join("shop.quiet");
        fs::create_dir_all(&mine).unwrap();
        File::open(&mine).unwrap().set_modified(SystemTime::now() - MINUTE * 90).unwrap();
        let mut captured = Captured::new(state_dir.path(), Ledger::default());
        captured.are(BTreeSet::from(["shop.quiet".to_owned()]));
        assert!(mine.exists() && captured.waiting.is_none());
        captured.are(BTreeSet::new());
        assert!(mine.exists() && captured.waiting.is_some());
    }
}
