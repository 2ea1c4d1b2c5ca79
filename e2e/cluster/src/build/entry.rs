//! One entry of the store: built unless an entry with the same inputs exists, and linked into this clone.
//!
//! `<store>/<folder>/<key>/<name>` is written beside and renamed, below a lock for each name: clones may build at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use crate::build::inputs::Inputs;
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::{files, progress};

/// An entry that no clone has asked for during this time is removed.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

/// Builds `name` (e.g. `bin/kube`) by `make`, which writes the path that it is given.
pub(super) fn build(
    cache: &Cache,
    name: &str,
    inputs: Inputs,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    let entry = cache.store().join(folder).join(inputs.key()).join(file);
    if entry.exists() {
        eprintln!("   there   {name}");
    } else {
        let _lock = lock(cache, name)?;
        build_once(name, &entry, make)?;
    }
    mark_as_used(&entry)?;
    link(&entry, &cache.links().join(name))?;
    Ok(entry)
}

/// Called below the entry's lock: another clone may have built it meanwhile.
fn build_once(name: &str, entry: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if entry.exists() {
        eprintln!("   there   {name}");
        return Ok(());
    }
    let partial = PathBuf::from(format!("{}.partial", entry.display()));
    files::remove(&partial)?;
    if let Some(folder) = entry.parent() {
        files::create_folder(folder)?;
    }
    eprintln!("          building {name}");
    progress::step(name, || make(&partial))?;
    std::fs::rename(&partial, entry).map_err(Error::file("rename", &partial))
}

/// One builder at a time for a name.
fn lock(cache: &Cache, name: &str) -> Result<File> {
    let path = cache.store().join("locks").join(name.replace('/', "-"));
    files::write(&path, "")?;
    let file = File::open(&path).map_err(Error::file("open", &path))?;
    if file.try_lock().is_err() {
        eprintln!("          waiting for: another build of {name} into {}", cache.store().display());
        file.lock().map_err(Error::file("lock", &path))?;
    }
    Ok(file)
}

fn mark_as_used(entry: &Path) -> Result<()> {
    let file = File::open(entry).map_err(Error::file("open", entry))?;
    file.set_modified(SystemTime::now()).map_err(Error::file("touch", entry))
}

/// Makes `link` lead to `target`; one that does is left alone, as programs may run through it.
pub(super) fn link(target: &Path, link: &Path) -> Result<()> {
    if std::fs::read_link(link).is_ok_and(|there| there == target) {
        return Ok(());
    }
    if let Some(folder) = link.parent() {
        files::create_folder(folder)?;
    }
    // Other processes and other threads may make the same link now.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let fresh = PathBuf::from(format!("{}.{}-{count}", link.display(), std::process::id()));
    files::remove(&fresh)?;
    std::os::unix::fs::symlink(target, &fresh).map_err(Error::file("link", &fresh))?;
    std::fs::rename(&fresh, link).map_err(Error::file("link", link))
}

/// Removes entries that no clone has asked for since `UNUSED`. What cannot be removed stays.
pub(super) fn prune(cache: &Cache) {
    for folder in ["bin", "images", "workloads", ""] {
        let Ok(keys) = std::fs::read_dir(cache.store().join(folder)) else { continue };
        for key in keys.flatten().map(|key| key.path()).filter(|key| is_unused(key)) {
            let _ = files::remove(&key);
        }
    }
}

/// True for the folder of a key with files all of which are old.
fn is_unused(key: &Path) -> bool {
    let is_key = |name: &str| name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let Ok(entries) = std::fs::read_dir(key) else { return false };
    let mut entries = entries.flatten().peekable();
    let old = |entry: std::fs::DirEntry| {
        let modified = entry.metadata().and_then(|about| about.modified());
        modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNUSED))
    };
    key.file_name().is_some_and(|name| is_key(&name.to_string_lossy())) && entries.peek().is_some() && entries.all(old)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn cache_at(folder: &Path) -> Cache {
        Cache::at(folder.join("clone"))
    }

    #[test]
    fn entry_is_built_again_only_for_other_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_at(folder.path());
        let made = Cell::new(0);
        let make = |word: &str| {
            build(&cache, "bin/thing", Inputs::default().word(word), |path| {
                made.set(made.get() + 1);
                files::write(path, word)
            })
            .unwrap();
            assert_eq!(files::read(&cache.bin().join("thing")).unwrap(), word);
            made.get()
        };
        // Both stay in the store: a clone of an older commit does not build its own again.
        assert_eq!([make("a"), make("a"), make("b"), make("b"), make("a")], [1, 1, 2, 2, 2]);
        files::remove(&cache.bin().join("thing")).unwrap();
        assert_eq!(make("b"), 2);
    }

    #[test]
    fn folder_is_an_entry_and_is_pruned_like_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_at(folder.path());
        let make = |path: &Path| files::write(&path.join("bin/server"), "x");
        let entry = build(&cache, "tree", Inputs::default(), make).unwrap();
        assert_eq!(files::read(&cache.links().join("tree/bin/server")).unwrap(), "x");
        prune(&cache);
        assert!(entry.exists());
        File::open(&entry).unwrap().set_modified(SystemTime::now() - UNUSED * 2).unwrap();
        prune(&cache);
        assert!(!entry.exists());
    }

    #[test]
    fn failed_build_leaves_no_entry_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_at(folder.path());
        let fail = |path: &Path| {
            files::write(path, "half")?;
            Err(Error::Refused("no".to_owned()))
        };
        assert!(build(&cache, "thing", Inputs::default(), fail).is_err());
        let entry = build(&cache, "thing", Inputs::default(), |path| files::write(path, "x")).unwrap();
        assert_eq!(files::read(&entry).unwrap(), "x");
    }

    #[test]
    fn two_clones_at_a_time_build_an_entry_once() {
        let folder = tempfile::tempdir().unwrap();
        let made = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    build(&cache_at(folder.path()), "bin/thing", Inputs::default(), |path| {
                        made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(50));
                        files::write(path, "x")
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn only_entries_without_use_for_long_are_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache_at(folder.path());
        let make = |word: &str| {
            build(&cache, "bin/thing", Inputs::default().word(word), |path| files::write(path, word)).unwrap()
        };
        let (old, new) = (make("old"), make("new"));
        File::open(&old).unwrap().set_modified(SystemTime::now() - UNUSED * 2).unwrap();
        prune(&cache);
        assert!(!old.exists() && new.exists());
    }
}
