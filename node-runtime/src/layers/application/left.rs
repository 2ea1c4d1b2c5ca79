//! What an agent before this one left in the folder of results: what is whole is kept, what is not goes and is counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::{
    making::{Mark, file_name},
    results::Meta,
};
use crate::report::{Ledger, Place};

/// What an agent left in the folder. What is not whole goes, and is counted; what says that a profile runs stays.
pub(super) fn found(folder: &Path, ledger: &Ledger, now: Timestamp) -> BTreeMap<String, Meta> {
    let paths = || fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut kept = BTreeMap::new();
    let mut belongs = BTreeSet::new();
    for path in paths().filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        let meta = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Meta>(&bytes).ok());
        let whole = ["folded", "svg"].map(|what| path.with_extension(what));
        if let Some(meta) = meta
            && path == folder.join(file_name(&meta.name)).with_extension("json")
            && whole.iter().all(|part| part.exists())
        {
            kept.insert(meta.name.clone(), meta);
            belongs.extend(whole);
            belongs.insert(path);
        }
    }
    let mut orphans: BTreeSet<PathBuf> = BTreeSet::new();
    for path in paths().filter(|path| !belongs.contains(path)) {
        let extension = path.extension().unwrap_or_default();
        if extension == "running" {
            // One whose end has come will not be run again, and its samples are nowhere.
            match fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Mark>(&bytes).ok()) {
                Some(mark) if mark.expires_at > now => continue,
                Some(mark) => ledger.lost(Place::Worker, &format!("AppProfile/{}", mark.name), mark.samples),
                None => {}
            }
            let _ = fs::remove_file(&path);
            continue;
        }
        let _ = fs::remove_file(&path);
        if extension != "part" {
            orphans.insert(path.with_extension(""));
        }
    }
    ledger.lost(Place::ResultStore, "", orphans.len() as u64);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::application::Results;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn files_that_a_crash_left_without_their_description_go_and_are_counted() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("profiles");
        let results = Results::open(state.path(), Ledger::default());
        for name in ["shop/cart", "shop/till"] {
            let meta = Meta { name: name.into(), ended: at(0), ..Meta::default() };
            results.keep(results.begin(name).unwrap(), meta, at(0)).unwrap();
        }
        fs::remove_file(folder.join("shop@cart.json")).unwrap();
        let ledger = Ledger::default();
        let kept = found(&folder, &ledger, at(1));
        assert_eq!(kept.into_keys().collect::<Vec<_>>(), ["shop/till"]);
        assert_eq!((fs::read_dir(folder).unwrap().count(), ledger.total(Place::ResultStore)), (3, 1));
    }

    #[test]
    fn samples_of_a_profile_whose_end_came_while_no_agent_ran_are_counted_as_lost() {
        let state = tempfile::tempdir().unwrap();
        let results = Results::open(state.path(), Ledger::default());
        results.mark("shop/cart", at(50), 70).unwrap();
        results.mark("shop/till", at(90), 8).unwrap();
        let ledger = Ledger::default();
        found(&state.path().join("profiles"), &ledger, at(60));
        assert_eq!(ledger.losses(), [(Place::Worker, "AppProfile/shop/cart".into(), 70)]);
        assert_eq!(results.starts("shop/till", Some(at(90))), 8);
    }
}
