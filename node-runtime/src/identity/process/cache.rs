//! The process cache: images of living processes, of the parents of living processes, and for some seconds of those that ended.
//! Pure: time is the boot clock; it comes with the events, and from the caller that reads them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use trilobite_node_ebpf::process_flag;

use super::{
    arguments::ArgumentMemory,
    image::{ExecKey, Process, UNKNOWN},
    init_tree,
};
use crate::identity::decode::{Exit, Fork, Image};

/// How long an ended image without children stays, in nanoseconds: its events may still be pending.
const KEPT_FOR: u64 = 10_000_000_000;
/// How many ended images stay at most.
const ENDED_MAX: usize = 2048;
/// How many images the cache holds. Beyond it the oldest ended ones leave, with children or not, and if none has ended a living one.
const IMAGES_MAX: usize = 20_480;

#[derive(Debug)]
struct Entry {
    process: Arc<Process>,
    children: u32,
    /// The process has ended, or a newer image has replaced this one.
    ended: bool,
    /// Listeners have seen the exit.
    exited: bool,
    /// The task iterator found it: listeners have not seen an exec of it, and a record may still come.
    listed: bool,
}

/// Images by key.
#[derive(Debug, Default)]
pub struct ProcessCache {
    entries: HashMap<ExecKey, Entry>,
    /// Numbers of children of images that are not here: they may come later than their children.
    absent_parents: HashMap<ExecKey, u32>,
    current: HashMap<u32, ExecKey>,
    ended: VecDeque<(u64, ExecKey)>,
    /// When the latest records were read.
    read_at: u64,
    evicted: u64,
    argument_memory: ArgumentMemory,
    cut_arguments: u64,
}

impl ProcessCache {
    pub fn get(&self, key: ExecKey) -> Option<Arc<Process>> {
        self.entries.get(&key).map(|entry| entry.process.clone())
    }

    /// The newest image of a living process.
    pub fn get_by_pid(&self, pid: u32) -> Option<Arc<Process>> {
        self.get(*self.current.get(&pid)?)
    }

    /// The newest images of living processes.
    pub fn living(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.current.values().filter_map(|key| self.entries.get(key)).map(|entry| &entry.process)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Records are read from now on at this time. What ended counts as ended when its record was read, however late that was: the
    /// records of other rings that refer to it are as late.
    pub fn set_read_time(&mut self, now: u64) {
        self.read_at = now;
    }

    /// Adds a forked process: the image of the process that forked it, under a key and with credentials of its own. None if the
    /// record is a repeated one.
    pub fn record_fork(&mut self, fork: &Fork) -> Option<Arc<Process>> {
        if self.entries.contains_key(&fork.key) {
            return None;
        }
        let forker = self.get(fork.forker).filter(|forker| forker.is_known());
        let image = match &forker {
            Some(forker) => Process {
                flags: "clone".into(),
                // Of the forker's exec.
                setuid: None,
                setgid: None,
                raised_by_file: false,
                ..Process::clone(forker)
            },
            None => Process::unknown(fork.key, fork.cgroup),
        };
        let process = Process {
            key: fork.key,
            parent: fork.parent,
            tid: fork.key.pid,
            uid: fork.credentials.uid[0],
            auid: fork.auid,
            credentials: fork.credentials,
            namespaces: fork.namespaces,
            started_ns: fork.time,
            cgroup: fork.cgroup,
            ns_pid: fork.ns_pid,
            ..image
        };
        let process = Arc::new(if process.is_known() { init_tree::mark(process, forker.as_deref()) } else { process });
        self.insert(process.clone(), fork.time);
        Some(process)
    }

    /// Adds an image that replaced another one. None if the record is a repeated one.
    pub fn record_exec(&mut self, mut image: Image) -> Option<Arc<Process>> {
        self.lease_arguments(&mut image);
        let is_cut = image.bits & process_flag::TRUNC_ARGS != 0;
        let before = self.entries.get(&image.replaced.unwrap_or(image.process.key)).map(|entry| &*entry.process);
        let process = Arc::new(init_tree::mark(image.process, before));
        match self.entries.get_mut(&process.key) {
            Some(entry) if !entry.listed && entry.process.flags != UNKNOWN => return None,
            Some(entry) => {
                entry.listed = false;
                self.replace(process.clone());
            }
            None => self.insert(process.clone(), process.started_ns),
        }
        self.cut_arguments += u64::from(is_cut);
        Some(process)
    }

    /// Leases memory for long arguments, or cuts them, before an image that was read from /proc is added with others.
    pub fn lease_arguments(&self, image: &mut Image) {
        if self.argument_memory.admit(&mut image.process.arguments) {
            image.add_flags(process_flag::TRUNC_ARGS);
        }
    }

    /// Adds an image that the task iterator found. Listeners do not see it; the record of its exec may still come.
    pub fn record_listed(&mut self, mut image: Image) {
        self.lease_arguments(&mut image);
        let parent = self.get(image.process.parent);
        self.record_known(Arc::new(init_tree::mark(image.process, parent.as_deref())));
    }

    /// Adds an image that an earlier agent has seen, in the same way.
    pub fn record_known(&mut self, process: Arc<Process>) {
        let key = process.key;
        match self.entries.get(&key) {
            Some(entry) if entry.process.is_known() => return,
            Some(_) => self.replace(process),
            None => self.insert(process.clone(), process.started_ns),
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.listed = true;
        }
    }

    /// Keys of images that are not here although they have children.
    pub fn absent_parents(&self) -> impl Iterator<Item = ExecKey> {
        self.absent_parents.keys().copied()
    }

    /// Adds the image of a process that is not followed, e.g. one outside of the node that has children on it. Its end will not be
    /// reported: it stays for as long as its children.
    pub fn record_outsider(&mut self, image: Image, now: u64) {
        let key = image.process.key;
        self.record_listed(image);
        self.mark_ended(key, now);
        self.remove_current(key);
    }

    /// Images of living processes that began before `time`, and of the parents of living processes.
    pub fn lasting(&self, time: u64) -> impl Iterator<Item = Arc<Process>> {
        let lasts = move |entry: &&Entry| {
            entry.process.is_known() && (entry.children > 0 || (!entry.ended && entry.process.started_ns < time))
        };
        self.entries.values().filter(lasts).map(|entry| entry.process.clone())
    }

    /// Number of living processes that were evicted since the last call.
    pub fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    /// Number of execs whose arguments are not whole.
    pub fn cut_arguments(&self) -> u64 {
        self.cut_arguments
    }

    /// Ends a process. Returns its last image, which is an unknown one where the exec was lost; none for a repeated record.
    pub fn record_exit(&mut self, exit: &Exit) -> Option<Arc<Process>> {
        if !self.entries.contains_key(&exit.key) {
            let process = Process { parent: exit.parent, ..Process::unknown(exit.key, exit.cgroup) };
            self.insert(Arc::new(process), exit.time);
        }
        let entry = self.entries.get_mut(&exit.key)?;
        if std::mem::replace(&mut entry.exited, true) {
            return None;
        }
        let process = entry.process.clone();
        self.mark_ended(exit.key, exit.time);
        self.remove_current(exit.key);
        Some(process)
    }

    /// Ends every process that began before `time` and is not among the living: its exit record was lost.
    pub fn retain_living(&mut self, living: &HashSet<ExecKey>, time: u64) {
        let lost: Vec<ExecKey> = self
            .entries
            .iter()
            .filter(|(key, entry)| !entry.ended && entry.process.started_ns < time && !living.contains(key))
            .map(|(key, _)| *key)
            .collect();
        for key in lost {
            self.mark_ended(key, time);
            self.remove_current(key);
        }
    }

    /// Removes images that ended long enough ago, and the oldest ones where the cache is too full.
    pub fn expire(&mut self, now: u64) {
        while let Some((time, key)) = self.ended.front().copied() {
            let old = time.saturating_add(KEPT_FOR) <= now;
            let crowded = self.ended.len() > ENDED_MAX || self.entries.len() > IMAGES_MAX;
            if !old && !crowded {
                break;
            }
            self.ended.pop_front();
            // An image with children returns to the queue when the last child is removed.
            let childless = self.entries.get(&key).is_some_and(|entry| entry.children == 0);
            if childless || self.entries.len() > IMAGES_MAX {
                self.remove(key, now);
            }
        }
        while self.entries.len() > IMAGES_MAX {
            // Any one will do: the kernel's own map was full long before.
            let Some(key) = self.entries.keys().next().copied() else { break };
            self.remove(key, now);
            self.remove_current(key);
            self.evicted += 1;
        }
    }

    /// Puts another image in the place of one with the same key; its parent may differ.
    fn replace(&mut self, process: Arc<Process>) {
        let parent = process.parent;
        let Some(entry) = self.entries.get_mut(&process.key) else { return };
        let time = process.started_ns;
        let before = std::mem::replace(&mut entry.process, process).parent;
        if before == parent {
            return;
        }
        self.add_child(parent);
        self.remove_child(before, time);
    }

    fn insert(&mut self, process: Arc<Process>, time: u64) {
        let key = process.key;
        self.add_child(process.parent);
        let children = self.absent_parents.remove(&key).unwrap_or_default();
        self.entries.insert(key, Entry { process, children, ended: false, exited: false, listed: false });
        match self.current.get(&key.pid).copied() {
            // Only the task iterator reports images out of order.
            Some(newer) if newer.ktime > key.ktime => self.mark_ended(key, time),
            Some(replaced) => {
                self.current.insert(key.pid, key);
                self.mark_ended(replaced, time);
            }
            None => drop(self.current.insert(key.pid, key)),
        }
        self.expire(time);
    }

    fn mark_ended(&mut self, key: ExecKey, time: u64) {
        if let Some(entry) = self.entries.get_mut(&key)
            && !std::mem::replace(&mut entry.ended, true)
        {
            self.ended.push_back((time.max(self.read_at), key));
        }
    }

    fn remove_current(&mut self, key: ExecKey) {
        if self.current.get(&key.pid) == Some(&key) {
            self.current.remove(&key.pid);
        }
    }

    fn remove(&mut self, key: ExecKey, now: u64) {
        if let Some(entry) = self.entries.remove(&key) {
            if entry.children > 0 {
                self.absent_parents.insert(key, entry.children);
            }
            self.remove_child(entry.process.parent, now);
        }
    }

    fn add_child(&mut self, parent: ExecKey) {
        match self.entries.get_mut(&parent) {
            Some(entry) => entry.children += 1,
            None if parent == ExecKey::default() => {}
            None => *self.absent_parents.entry(parent).or_default() += 1,
        }
    }

    fn remove_child(&mut self, parent: ExecKey, now: u64) {
        if let Some(entry) = self.entries.get_mut(&parent) {
            entry.children = entry.children.saturating_sub(1);
            if entry.children == 0 && entry.ended {
                self.ended.push_back((now.max(self.read_at), parent));
            }
        } else if let Some(children) = self.absent_parents.get_mut(&parent) {
            *children = children.saturating_sub(1);
            if *children == 0 {
                self.absent_parents.remove(&parent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Credentials, UserNamespace};

    fn key(pid: u32, ktime: u64) -> ExecKey {
        ExecKey { ktime, pid }
    }

    fn exec(key: ExecKey, parent: ExecKey, binary: &str, time: u64) -> Image {
        let process = Process {
            key,
            parent,
            binary: binary.into(),
            flags: "execve".into(),
            started_ns: time,
            ..Process::default()
        };
        Image { process, ..Image::default() }
    }

    fn fork(key: ExecKey, parent: ExecKey, time: u64) -> Fork {
        let credentials = Credentials::default();
        Fork { key, parent, forker: parent, time, cgroup: 7, credentials, auid: 0, namespaces: [0; 10], ns_pid: 0 }
    }

    fn exit(key: ExecKey, parent: ExecKey, time: u64) -> Exit {
        Exit { key, parent, time, cgroup: 7, tid: key.pid, code: 0 }
    }

    #[test]
    fn child_without_an_exec_has_its_parents_image() {
        let mut cache = ProcessCache::default();
        cache.record_exec(exec(key(1, 10), key(0, 0), "/bin/sh", 10));
        let child = cache.record_fork(&fork(key(2, 20), key(1, 10), 20)).unwrap();
        assert_eq!((child.binary.as_str(), child.flags.as_str()), ("/bin/sh", "clone"));
        assert_eq!(cache.record_exit(&exit(key(2, 20), key(1, 10), 30)).unwrap().binary, "/bin/sh");
    }

    #[test]
    fn sibling_made_with_clone_parent_has_its_forkers_image() {
        let mut cache = ProcessCache::default();
        let (create, init, stage) = (key(1, 10), key(2, 20), key(3, 30));
        cache.record_exec(exec(create, key(0, 0), "runc create", 10));
        cache.record_fork(&fork(init, create, 15));
        cache.record_exec(exec(key(2, 21), create, "runc init", 20));
        let made = cache.record_fork(&Fork { forker: key(2, 21), ..fork(stage, create, 30) }).unwrap();
        assert_eq!((made.binary.as_str(), made.parent), ("runc init", create));
        assert_eq!(cache.record_exit(&exit(stage, create, 40)).unwrap().binary, "runc init");
    }

    #[test]
    fn child_has_credentials_of_its_own() {
        let mut cache = ProcessCache::default();
        let mut sudo = exec(key(1, 10), key(0, 0), "/usr/bin/sudo", 10);
        (sudo.process.setuid, sudo.process.raised_by_file) = (Some(0), true);
        cache.record_exec(sudo);
        // Its forker has called setresuid after the exec, and made a user namespace for the child.
        let user_namespace = UserNamespace { level: 1, owner: 1000, group: 1000 };
        let credentials = Credentials { uid: [1000; 4], permitted: 0, user_namespace, ..Credentials::default() };
        let namespaces = [9; 10];
        let child = cache
            .record_fork(&Fork { credentials, auid: 1000, namespaces, ..fork(key(2, 20), key(1, 10), 20) })
            .unwrap();
        assert_eq!((child.uid, child.auid, child.credentials, child.namespaces), (1000, 1000, credentials, namespaces));
        assert_eq!((child.setuid, child.raised_by_file), (None, false));
    }

    #[test]
    fn child_of_an_unknown_forker_is_unknown_until_its_exec() {
        let mut cache = ProcessCache::default();
        cache.record_exec(exec(key(1, 10), key(0, 0), "/bin/sh", 10));
        let child = cache.record_fork(&Fork { forker: key(9, 90), ..fork(key(2, 20), key(1, 10), 20) }).unwrap();
        assert!(!child.is_known());
        let grandchild = cache.record_fork(&fork(key(3, 30), key(2, 20), 30)).unwrap();
        assert!(!grandchild.is_known(), "an unknown image passed for a known one: {grandchild:?}");
        assert!(cache.record_exec(exec(key(2, 21), key(1, 10), "/bin/true", 40)).unwrap().is_known());
    }

    #[test]
    fn parent_that_comes_after_its_children_stays_for_them() {
        let mut cache = ProcessCache::default();
        for child in [key(2, 20), key(3, 30)] {
            cache.record_exec(exec(child, key(1, 10), "/bin/true", 40));
        }
        cache.record_listed(exec(key(1, 10), key(0, 0), "/bin/sh", 10));
        cache.record_exit(&exit(key(2, 20), key(1, 10), 50));
        cache.record_exit(&exit(key(1, 10), key(0, 0), 50));
        cache.expire(50 + 2 * KEPT_FOR);
        assert!(cache.get(key(1, 10)).is_some());
        cache.record_exit(&exit(key(3, 30), key(1, 10), 60 + 2 * KEPT_FOR));
        cache.expire(70 + 4 * KEPT_FOR);
        cache.expire(80 + 6 * KEPT_FOR);
        assert!(cache.is_empty() && cache.absent_parents.is_empty(), "{cache:?}");
    }

    #[test]
    fn outsider_stays_as_long_as_its_children() {
        let mut cache = ProcessCache::default();
        cache.record_listed(exec(key(2, 20), key(1, 10), "/bin/sleep", 20));
        assert_eq!(cache.absent_parents().collect::<Vec<_>>(), [key(1, 10)]);
        cache.record_outsider(exec(key(1, 10), key(0, 0), "/sbin/init", 10), 30);
        assert_eq!(cache.absent_parents().count(), 0);
        cache.expire(30 + 2 * KEPT_FOR);
        assert_eq!(cache.get(key(1, 10)).unwrap().binary, "/sbin/init");
        cache.record_exit(&exit(key(2, 20), key(1, 10), 40 + 2 * KEPT_FOR));
        cache.expire(40 + 4 * KEPT_FOR);
        cache.expire(40 + 6 * KEPT_FOR);
        assert!(cache.is_empty());
    }

    #[test]
    fn late_record_keeps_its_image_as_long_as_one_in_time() {
        let mut cache = ProcessCache::default();
        let now = 90 * KEPT_FOR;
        cache.set_read_time(now);
        cache.record_exec(exec(key(1, 10), key(0, 0), "/bin/sh", 10));
        cache.record_exit(&exit(key(1, 10), key(0, 0), 20));
        cache.expire(now + KEPT_FOR - 1);
        assert!(cache.get(key(1, 10)).is_some());
        cache.expire(now + KEPT_FOR);
        assert!(cache.is_empty());
    }

    #[test]
    fn ended_parent_stays_while_a_child_lives() {
        let mut cache = ProcessCache::default();
        cache.record_exec(exec(key(1, 10), key(0, 0), "/bin/sh", 10));
        cache.record_fork(&fork(key(2, 20), key(1, 10), 20));
        cache.record_exit(&exit(key(1, 10), key(0, 0), 30));
        cache.expire(30 + 2 * KEPT_FOR);
        assert!(cache.get(key(1, 10)).is_some());
        cache.record_exit(&exit(key(2, 20), key(1, 10), 40 + 2 * KEPT_FOR));
        cache.expire(50 + 3 * KEPT_FOR);
        cache.expire(60 + 5 * KEPT_FOR);
        assert!(cache.is_empty());
    }

    #[test]
    fn same_exec_from_two_programs_counts_once() {
        let mut cache = ProcessCache::default();
        assert!(cache.record_exec(exec(key(1, 10), key(0, 0), "/bin/sh", 10)).is_some());
        assert!(cache.record_exec(exec(key(1, 10), key(0, 0), "/bin/sh", 10)).is_none());
    }

    #[test]
    fn exit_without_an_exec_is_reported_once() {
        let mut cache = ProcessCache::default();
        let gone = cache.record_exit(&exit(key(5, 50), key(1, 10), 60)).unwrap();
        assert_eq!((gone.key, gone.flags.as_str()), (key(5, 50), "unknown"));
        assert!(cache.record_exit(&exit(key(5, 50), key(1, 10), 60)).is_none());
    }

    #[test]
    fn older_image_found_late_does_not_replace_the_newer() {
        let mut cache = ProcessCache::default();
        cache.record_exec(exec(key(5, 51), key(1, 10), "/bin/new", 60));
        cache.record_exec(exec(key(5, 50), key(1, 10), "/bin/old", 50));
        assert_eq!(cache.get_by_pid(5).unwrap().binary, "/bin/new");
        assert!(cache.get(key(5, 50)).is_some());
    }

    #[test]
    fn exec_listed_first_is_reported_once_when_its_record_comes() {
        let mut cache = ProcessCache::default();
        cache.record_listed(exec(key(1, 10), key(0, 0), "/bin/sh", 10));
        cache.record_listed(exec(key(3, 12), key(0, 0), "/bin/other", 12));
        cache.record_listed(exec(key(2, 20), key(3, 12), "/proc/says", 20));
        let reported = cache.record_exec(exec(key(2, 20), key(1, 10), "/bin/kernel-says", 20)).unwrap();
        assert_eq!(reported.binary, "/bin/kernel-says");
        assert!(cache.record_exec(exec(key(2, 20), key(1, 10), "/bin/kernel-says", 20)).is_none());
        // Its parent is now the one in the record, which stays for as long as the child; the listed parent does not.
        cache.record_exit(&exit(key(1, 10), key(0, 0), 30));
        cache.record_exit(&exit(key(3, 12), key(0, 0), 30));
        cache.expire(30 + 2 * KEPT_FOR);
        assert!(cache.get(key(1, 10)).is_some());
        assert!(cache.get(key(3, 12)).is_none());
    }

    #[test]
    fn full_cache_counts_evictions_and_does_not_grow() {
        let mut cache = ProcessCache::default();
        for pid in 1..=IMAGES_MAX as u32 + 100 {
            cache.record_exec(exec(key(pid, 10 + u64::from(pid)), key(0, 0), "/bin/idle", 10));
        }
        assert_eq!((cache.len(), cache.take_evicted(), cache.take_evicted()), (IMAGES_MAX, 100, 0));
    }

    #[test]
    fn process_with_a_lost_exit_leaves_when_the_kernel_lists_it_no_more() {
        let mut cache = ProcessCache::default();
        cache.record_exec(exec(key(1, 10), key(0, 0), "/bin/a", 10));
        cache.record_exec(exec(key(2, 20), key(0, 0), "/bin/b", 20));
        cache.retain_living(&HashSet::from([key(2, 20)]), 100);
        cache.expire(100 + KEPT_FOR);
        assert!(cache.get(key(1, 10)).is_none());
        assert!(cache.get(key(2, 20)).is_some());
    }

    #[test]
    fn short_processes_do_not_last_and_parents_do() {
        let mut cache = ProcessCache::default();
        cache.record_exec(exec(key(1, 10), key(0, 0), "/bin/ended-parent", 10));
        cache.record_fork(&fork(key(2, 20), key(1, 10), 20));
        cache.record_exit(&exit(key(1, 10), key(0, 0), 30));
        cache.record_exec(exec(key(3, 90), key(0, 0), "/bin/young", 90));
        let lasting = |cache: &ProcessCache, time| {
            let mut keys: Vec<ExecKey> = cache.lasting(time).map(|process| process.key).collect();
            keys.sort();
            keys
        };
        assert_eq!(lasting(&cache, 50), [key(1, 10), key(2, 20)]);
        assert_eq!(lasting(&cache, 100).len(), 3);
        // As an earlier agent knew it: an exec that is still in the ring replaces it.
        cache.record_known(Arc::new(Process {
            key: key(4, 5),
            binary: "/bin/known".into(),
            flags: "execve".into(),
            ..Process::default()
        }));
        assert_eq!(cache.get(key(4, 5)).unwrap().binary, "/bin/known");
        assert!(cache.record_exec(exec(key(4, 5), key(0, 0), "/bin/exec", 5)).is_some());
    }

    #[test]
    fn execs_with_cut_arguments_are_counted_once() {
        let mut cache = ProcessCache::default();
        let cut = |pid| Image { bits: process_flag::TRUNC_ARGS, ..exec(key(pid, 10), key(0, 0), "/bin/sh", 10) };
        assert!(cache.record_exec(cut(1)).is_some());
        assert!(cache.record_exec(cut(1)).is_none(), "from two programs");
        cache.record_fork(&fork(key(2, 20), key(1, 10), 20));
        cache.record_exec(exec(key(3, 30), key(1, 10), "/bin/true", 30));
        assert_eq!(cache.cut_arguments(), 1);
        // The memory for long arguments is used up by what runs.
        for pid in 10..200 {
            let mut long = exec(key(pid, 40), key(0, 0), "/bin/long", 40);
            long.process.arguments = "x".repeat(64 << 10).into();
            cache.record_exec(long);
        }
        let held: usize = cache.lasting(u64::MAX).map(|process| process.arguments.len()).sum();
        assert!(held < 9 << 20, "{held} bytes");
        assert_eq!(cache.cut_arguments(), 1 + 190 - 128);
    }

    #[test]
    fn storm_of_short_processes_stays_within_the_limit() {
        let mut cache = ProcessCache::default();
        cache.record_exec(exec(key(1, 10), key(0, 0), "/bin/sh", 10));
        for pid in 2..30_000_u32 {
            let time = 100 + u64::from(pid);
            cache.record_fork(&fork(key(pid, time), key(1, 10), time));
            cache.record_exec(exec(key(pid, time + 1), key(1, 10), "/bin/true", time));
            cache.record_exit(&exit(key(pid, time + 1), key(1, 10), time));
        }
        assert!(cache.len() <= ENDED_MAX + 8, "{}", cache.len());
        assert!(cache.get(key(1, 10)).is_some());
    }
}
