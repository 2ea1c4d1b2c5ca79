//! Tests of stored results: expiry, limits, replacement, and what a restart of the agent finds.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use jiff::{SignedDuration, Timestamp};

use super::{ProfileMeta, Results, recover::recover_results};
use crate::loss::{Ledger, LossPoint};

fn empty_results() -> (PathBuf, Results, Ledger) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("results-{}-{next}", std::process::id()));
    let ledger = Ledger::default();
    (folder.clone(), Results::open(&folder, ledger.clone()), ledger)
}

fn store(results: &Results, name: &str, minute: i64, bytes: usize) {
    let ended = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
    let mut writer = results.begin(name).unwrap();
    writer.write_folded(&vec![b'x'; bytes]).unwrap();
    writer.complete_folded().unwrap();
    writer.write_svg(b"<svg/>").unwrap();
    results.store(writer, ProfileMeta { name: name.into(), ended, ..ProfileMeta::default() }, ended).unwrap();
}

fn at_second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn at(minute: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)
}

#[test]
fn result_and_its_files_are_removed_after_an_hour() {
    let (folder, results, _) = empty_results();
    store(&results, "shop/cart", 0, 10);
    assert_eq!(results.list(at(59)).len(), 1);
    assert!(results.list(at(60)).is_empty());
    assert_eq!(fs::read_dir(folder.join("profiles")).unwrap().count(), 0);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn oldest_result_above_the_limit_is_removed_and_counted() {
    let (folder, results, ledger) = empty_results();
    for (minute, name) in ["a/one", "a/two", "a/three"].into_iter().enumerate() {
        store(&results, name, minute as i64, 25 << 20);
    }
    let names: Vec<String> = results.list(at(3)).into_iter().map(|meta| meta.name).collect();
    assert_eq!(names, ["a/three", "a/two"]);
    assert_eq!(ledger.total_at(LossPoint::ResultStore), 1);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn restarted_agent_finds_results_and_removes_unfinished_ones() {
    let (folder, results, ledger) = empty_results();
    store(&results, "shop/cart.v2", 0, 10);
    let mut half = results.begin("shop/half").unwrap();
    half.write_folded(b"half").unwrap();
    // As if the agent was killed.
    std::mem::forget(half);
    drop(results);
    let results = Results::open(&folder, ledger);
    let (meta, ..) = results.get("shop/cart.v2", at(1)).unwrap().unwrap();
    assert_eq!((meta.folded_bytes, meta.svg_bytes), (10, 6));
    assert_eq!(fs::read_dir(folder.join("profiles")).unwrap().count(), 3);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn results_of_a_previous_agent_expire_without_a_reader() {
    let (folder, results, ledger) = empty_results();
    store(&results, "shop/cart", 0, 10);
    drop(results);
    let results = Results::open(&folder, ledger);
    results.purge(at(59));
    assert_eq!(fs::read_dir(folder.join("profiles")).unwrap().count(), 3);
    results.purge(at(60));
    assert_eq!(fs::read_dir(folder.join("profiles")).unwrap().count(), 0);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn worker_cannot_fill_the_disk() {
    let (folder, results, _) = empty_results();
    let mut writer = results.begin("a/b").unwrap();
    let chunk = vec![0; 1 << 20];
    let written = (0..64).take_while(|_| writer.write_folded(&chunk).is_ok()).count();
    assert_eq!(written, 32);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn two_writers_of_one_name_do_not_mix() {
    let (folder, results, _) = empty_results();
    let mut both = [results.begin("a/b").unwrap(), results.begin("a/b").unwrap()];
    for (writer, text) in both.iter_mut().zip(["one 1\n", "two 2\n"]) {
        writer.write_folded(text.as_bytes()).unwrap();
        writer.complete_folded().unwrap();
    }
    for writer in both {
        results
            .store(writer, ProfileMeta { name: "a/b".into(), ended: at(0), ..ProfileMeta::default() }, at(0))
            .unwrap();
    }
    assert_eq!(fs::read_to_string(folder.join("profiles/a@b.folded")).unwrap(), "two 2\n");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn only_the_user_of_the_agent_may_read_a_result() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, results, _) = empty_results();
    store(&results, "a/b", 0, 10);
    let mode = |path: &str| fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("profiles"), 0o700);
    assert_eq!(["folded", "svg", "json"].map(|what| mode(&format!("profiles/a@b.{what}"))), [0o600; 3]);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn next_agent_learns_the_samples_that_a_dead_one_had_taken() {
    let (folder, results, ledger) = empty_results();
    let end = Timestamp::now() + SignedDuration::from_mins(9);
    results.write_marker("shop/cart", end, 70).unwrap();
    drop(results);
    let results = Results::open(&folder, ledger);
    assert_eq!(results.start_profile("shop/cart", Some(end)), 70);
    assert_eq!(results.start_profile("shop/cart", Some(end)), 0);
    results.write_marker("shop/cart", end, 70).unwrap();
    assert_eq!(results.start_profile("shop/cart", Some(at(20))), 0);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn closed_results_write_nothing_until_a_profile_starts() {
    let (folder, results, _) = empty_results();
    let writer = results.begin("a/b").unwrap();
    results.close();
    fs::remove_dir_all(&folder).unwrap();
    assert!(results.begin("a/b").is_err() && results.write_marker("a/b", at(1), 1).is_err());
    assert!(results.store(writer, ProfileMeta::default(), at(0)).is_err());
    assert!(!folder.exists());
    results.start_profile("a/b", None);
    assert!(results.begin("a/b").is_ok());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn listener_may_read_the_result_it_is_called_for() {
    let (folder, results, _) = empty_results();
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = results.clone();
    results.on_stored(move |_| sender.send(reader.list(at(0)).len()).unwrap());
    store(&results, "a/b", 0, 10);
    assert_eq!(receiver.recv().unwrap(), 1);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn folder_is_not_created_before_a_result() {
    let (folder, results, _) = empty_results();
    assert!(results.list(at(0)).is_empty());
    assert!(!folder.exists());
}

#[test]
fn files_without_metadata_are_removed_and_counted() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("profiles");
    let results = Results::open(state.path(), Ledger::default());
    for name in ["shop/cart", "shop/till"] {
        let meta = ProfileMeta { name: name.into(), ended: at_second(0), ..ProfileMeta::default() };
        results.store(results.begin(name).unwrap(), meta, at_second(0)).unwrap();
    }
    fs::remove_file(folder.join("shop@cart.json")).unwrap();
    let ledger = Ledger::default();
    let kept = recover_results(&folder, &ledger, at_second(1));
    assert_eq!(kept.into_keys().collect::<Vec<_>>(), ["shop/till"]);
    assert_eq!((fs::read_dir(folder).unwrap().count(), ledger.total_at(LossPoint::ResultStore)), (3, 1));
}

#[test]
fn samples_of_a_profile_that_expired_without_an_agent_are_lost() {
    let state = tempfile::tempdir().unwrap();
    let results = Results::open(state.path(), Ledger::default());
    results.write_marker("shop/cart", at_second(50), 70).unwrap();
    results.write_marker("shop/till", at_second(90), 8).unwrap();
    let ledger = Ledger::default();
    recover_results(&state.path().join("profiles"), &ledger, at_second(60));
    assert_eq!(ledger.losses(), [(LossPoint::Worker, "AppProfile/shop/cart".into(), 70)]);
    assert_eq!(results.start_profile("shop/till", Some(at_second(90))), 8);
}

/// A result as long as nothing can be written below `folder`, and then.
fn stored_in_memory(folder: &Path, results: &Results, repair: impl FnOnce()) {
    store(results, "shop/cart", 0, 10);
    let (meta, mut folded, _) = results.get("shop/cart", at_second(1)).unwrap().unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut folded, &mut text).unwrap();
    assert_eq!((meta.folded_bytes, text.as_str()), (10, "xxxxxxxxxx"));
    assert!(results.is_in_memory("shop/cart"));
    repair();
    assert_eq!(results.list(at_second(9)).len(), 1);
    assert!(!results.is_in_memory("shop/cart"));
    let reopened = Results::open(folder, Ledger::default());
    let (meta, mut folded, _) = reopened.get("shop/cart", at_second(9)).unwrap().unwrap();
    text.clear();
    std::io::Read::read_to_string(&mut folded, &mut text).unwrap();
    assert_eq!((meta.svg_bytes, text.as_str()), (6, "xxxxxxxxxx"));
}

#[test]
fn result_without_a_disk_is_kept_until_it_can_be_written() {
    let (folder, results, ledger) = empty_results();
    // No folder can be made below a file.
    fs::write(&folder, "").unwrap();
    stored_in_memory(&folder, &results, || fs::remove_file(&folder).unwrap());
    assert_eq!(ledger.total_at(LossPoint::ResultStore), 0);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn result_whose_metadata_cannot_be_written_is_kept_too() {
    let (folder, results, _) = empty_results();
    let meta = folder.join("profiles/shop@cart.json");
    fs::create_dir_all(&meta).unwrap();
    stored_in_memory(&folder, &results, || fs::remove_dir(meta).unwrap());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn results_in_memory_are_limited_and_counted() {
    let (folder, results, ledger) = empty_results();
    fs::write(&folder, "").unwrap();
    for (minute, name) in ["a/one", "a/two", "a/three"].into_iter().enumerate() {
        store(&results, name, minute as i64, 6 << 20);
    }
    let names: Vec<String> = results.list(at(3)).into_iter().map(|meta| meta.name).collect();
    assert_eq!((names, ledger.total_at(LossPoint::ResultStore)), (vec!["a/three".to_owned(), "a/two".to_owned()], 1));
    results.close();
    assert_eq!(ledger.total_at(LossPoint::ResultStore), 3);
    fs::remove_file(folder).unwrap();
}
