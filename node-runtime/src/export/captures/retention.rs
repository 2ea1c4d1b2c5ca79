//! Keeps the files of finished captures for an hour, for those who come to read them, within a limit for the node.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::{task::AbortHandle, time::sleep};

use crate::loss::{Ledger, LossPoint};

/// How long the files of a finished capture stay.
const KEEP_FOR: Duration = Duration::from_secs(60 * 60);
/// Bytes that the files of all finished captures may have together; those of one have 60 MiB at most.
const MAX_BYTES: u64 = 256 << 20;

pub(super) struct Retention {
    folder: PathBuf,
    ledger: Ledger,
    active: BTreeSet<String>,
    next_removal: Option<AbortHandle>,
}

struct FinishedCapture {
    name: String,
    age: Duration,
    bytes: u64,
}

impl Retention {
    /// `folder` has a folder for each capture.
    pub(super) fn new(folder: &Path, ledger: Ledger) -> Self {
        Self { folder: folder.to_owned(), ledger, active: BTreeSet::new(), next_removal: None }
    }

    /// Sets the folders of the active captures; all others are kept for their hour. Must run on the runtime.
    pub(super) fn set_active(&mut self, active: BTreeSet<String>) {
        for finished in self.active.difference(&active) {
            // The hour begins now, however long ago the last flow was.
            let touched = File::open(self.folder.join(finished)).and_then(|dir| dir.set_modified(SystemTime::now()));
            if let Err(error) = touched.or_else(ignore_missing) {
                tracing::debug!(%error, finished, "the end of a capture could not be noted; its last flow counts for it");
            }
        }
        self.active = active;
        if let Some(removal) = self.next_removal.take() {
            removal.abort();
        }
        let Some(mut next) = prune(&self.folder, &self.active, SystemTime::now(), &self.ledger) else { return };
        let (folder, active, ledger) = (self.folder.clone(), self.active.clone(), self.ledger.clone());
        let removal = async move {
            loop {
                sleep(next).await;
                match prune(&folder, &active, SystemTime::now(), &ledger) {
                    Some(more) => next = more,
                    None => return,
                }
            }
        };
        self.next_removal = Some(tokio::spawn(removal).abort_handle());
    }
}

impl Drop for Retention {
    fn drop(&mut self) {
        if let Some(removal) = &self.next_removal {
            removal.abort();
        }
    }
}

/// Removes files that are too old, then the oldest beyond the limit, which are counted. Returns when the next ones will be too
/// old; none if no finished capture is left.
fn prune(folder: &Path, active: &BTreeSet<String>, now: SystemTime, ledger: &Ledger) -> Option<Duration> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut finished: Vec<FinishedCapture> = entries.filter_map(|entry| inspect(&entry, now)).collect();
    finished.retain(|capture| !active.contains(&capture.name));
    finished.sort_by_key(|capture| capture.age);
    let mut bytes = 0;
    finished.retain(|capture| {
        bytes += capture.bytes;
        let (is_old, is_beyond) = (capture.age >= KEEP_FOR, bytes > MAX_BYTES);
        if !is_old && is_beyond {
            ledger.record_loss(LossPoint::ResultStore, &format!("FlowCapture/{}", capture.name), 1);
        }
        if (is_old || is_beyond)
            && let Err(error) = fs::remove_dir_all(folder.join(&capture.name)).or_else(ignore_missing)
        {
            tracing::warn!(%error, capture = capture.name, "the files of a finished capture could not be removed");
        }
        !is_old && !is_beyond
    });
    // A second later, so that they are old enough by then.
    finished.last().map(|oldest| KEEP_FOR - oldest.age + Duration::from_secs(1))
}

/// None if it is not a folder, or was removed meanwhile.
fn inspect(entry: &fs::DirEntry, now: SystemTime) -> Option<FinishedCapture> {
    let folder = entry.metadata().ok().filter(fs::Metadata::is_dir)?;
    let files = fs::read_dir(entry.path()).ok()?.flatten().filter_map(|file| file.metadata().ok());
    let (mut changed, mut bytes) = (folder.modified().ok()?, 0);
    for file in files {
        changed = changed.max(file.modified().unwrap_or(changed));
        bytes += file.len();
    }
    let name = entry.file_name().into_string().ok()?;
    Some(FinishedCapture { name, age: now.duration_since(changed).unwrap_or_default(), bytes })
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::{super::captures_folder, *};

    const MINUTE: Duration = Duration::from_secs(60);

    fn captures(files: &[(&str, u64)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
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
    fn files_of_a_finished_capture_stay_for_an_hour() {
        let folder = captures(&[("shop.over", 10), ("shop.runs", 10)]);
        let (active, ledger) = (BTreeSet::from(["shop.runs".to_owned()]), Ledger::default());
        let at = |minutes| prune(folder.path(), &active, SystemTime::now() + MINUTE * minutes, &ledger);
        let next = at(50).unwrap();
        assert!(next > MINUTE * 9 && next < MINUTE * 11, "{next:?}");
        assert_eq!(names(folder.path()), ["shop.over", "shop.runs"]);
        assert_eq!(at(61), None);
        assert_eq!((names(folder.path()), ledger.total_at(LossPoint::ResultStore)), (vec!["shop.runs".to_owned()], 0));
    }

    #[test]
    fn oldest_files_beyond_the_limit_are_removed_and_counted() {
        let folder = captures(&[("a.old", MAX_BYTES / 2), ("a.young", MAX_BYTES / 2), ("a.younger", 10)]);
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
        assert_eq!(ledger.total_at(LossPoint::ResultStore), 1);
    }

    #[tokio::test]
    async fn hour_begins_when_the_capture_ends() {
        let state_dir = tempfile::tempdir().unwrap();
        let mine = captures_folder(state_dir.path()).join("shop.quiet");
        fs::create_dir_all(&mine).unwrap();
        File::open(&mine).unwrap().set_modified(SystemTime::now() - MINUTE * 90).unwrap();
        let mut retention = Retention::new(&captures_folder(state_dir.path()), Ledger::default());
        retention.set_active(BTreeSet::from(["shop.quiet".to_owned()]));
        assert!(mine.exists() && retention.next_removal.is_none());
        retention.set_active(BTreeSet::new());
        assert!(mine.exists() && retention.next_removal.is_some());
    }
}
