//! Process images by key: those that live, those whose children live, and for a moment those that have just ended.
//! Pure: time is the boot clock and comes in with the events.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use super::{
    ExecKey, Process,
    decode::{Exit, Fork, Image},
    descent,
};

/// An ended image without children stays so long, in nanoseconds: its events may still be held.
const KEPT_FOR: u64 = 10_000_000_000;
/// And so many of them at most.
const ENDED_MAX: usize = 2048;
/// Images in all; beyond it the oldest ended ones go, children or not, and where none has ended one that lives.
const IMAGES_MAX: usize = 20_480;
/// The word for an image of which nothing but its key is known.
const UNKNOWN: &str = "unknown";

#[derive(Debug)]
struct Entry {
    process: Arc<Process>,
    children: u32,
    ended: bool,
    exited: bool,
    /// The iterator found it: a record of its exec, if one comes, has not been told yet.
    listed: bool,
}

/// The table.
#[derive(Debug, Default)]
pub struct Processes {
    entries: HashMap<ExecKey, Entry>,
    current: HashMap<u32, ExecKey>,
    ended: VecDeque<(u64, ExecKey)>,
    evicted: u64,
}

impl Processes {
    /// The image of a key.
    pub fn get(&self, key: ExecKey) -> Option<Arc<Process>> {
        self.entries.get(&key).map(|entry| entry.process.clone())
    }

    /// The newest image of a process that lives.
    pub fn of_pid(&self, pid: u32) -> Option<Arc<Process>> {
        self.get(*self.current.get(&pid)?)
    }

    /// Images that are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A process was made: it is what its parent is, under a key of its own.
    pub fn fork(&mut self, fork: &Fork) -> Option<Arc<Process>> {
        if self.entries.contains_key(&fork.key) {
            return None;
        }
        let template = self
            .get(fork.parent)
            .map_or_else(unknown, |parent| Process { flags: "clone".into(), ..Process::clone(&parent) });
        let process = Process {
            key: fork.key,
            parent: fork.parent,
            tid: fork.key.pid,
            started_ns: fork.time,
            cgroup: fork.cgroup,
            ns_pid: fork.ns_pid,
            ..template
        };
        let process = Arc::new(if process.flags == UNKNOWN { process } else { descent::forked(process, fork) });
        self.insert(process.clone(), fork.time);
        Some(process)
    }

    /// An image was put in place; none if that has been told already.
    pub fn exec(&mut self, image: &Image) -> Option<Arc<Process>> {
        let before = self.get(image.replaced.unwrap_or(image.process.key));
        let process = Arc::new(descent::of(&image.process, before.as_deref()));
        match self.entries.get_mut(&process.key) {
            Some(entry) if !entry.listed && entry.process.flags != UNKNOWN => return None,
            Some(entry) => {
                entry.listed = false;
                self.replace(process.clone());
            }
            None => self.insert(process.clone(), process.started_ns),
        }
        Some(process)
    }

    /// An image that the iterator found. Nobody is told of it; the record of its exec may still be on its way.
    pub fn listed(&mut self, image: &Image) {
        let parent = self.get(image.process.parent);
        let process = Arc::new(descent::of(&image.process, parent.as_deref()));
        let key = process.key;
        match self.entries.get(&key) {
            Some(entry) if entry.process.flags != UNKNOWN => return,
            Some(_) => self.replace(process),
            None => self.insert(process.clone(), process.started_ns),
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.listed = true;
        }
    }

    /// Images of living processes that found no room since this was asked last.
    pub fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    /// A process ended; the image that it ended with, which is without a name where its exec was lost.
    pub fn exit(&mut self, exit: &Exit) -> Option<Arc<Process>> {
        if !self.entries.contains_key(&exit.key) {
            let process = Process {
                key: exit.key,
                parent: exit.parent,
                tid: exit.key.pid,
                started_ns: exit.key.ktime,
                cgroup: exit.cgroup,
                ..unknown()
            };
            self.insert(Arc::new(process), exit.time);
        }
        let entry = self.entries.get_mut(&exit.key)?;
        if std::mem::replace(&mut entry.exited, true) {
            return None;
        }
        let process = entry.process.clone();
        self.end(exit.key, exit.time);
        if self.current.get(&exit.key.pid) == Some(&exit.key) {
            self.current.remove(&exit.key.pid);
        }
        Some(process)
    }

    /// Forgets those that are not among the living any more: their exit was lost.
    pub fn only_living(&mut self, living: &HashSet<ExecKey>, time: u64) {
        let lost: Vec<ExecKey> = self
            .entries
            .iter()
            .filter(|(key, entry)| !entry.ended && entry.process.started_ns < time && !living.contains(key))
            .map(|(key, _)| *key)
            .collect();
        for key in lost {
            self.end(key, time);
            if self.current.get(&key.pid) == Some(&key) {
                self.current.remove(&key.pid);
            }
        }
    }

    /// Lets go of what ended long enough ago, and of the oldest where there is too much.
    pub fn expire(&mut self, now: u64) {
        while let Some((time, key)) = self.ended.front().copied() {
            let old = time.saturating_add(KEPT_FOR) <= now;
            let crowded = self.ended.len() > ENDED_MAX || self.entries.len() > IMAGES_MAX;
            if !old && !crowded {
                break;
            }
            self.ended.pop_front();
            // With children it comes back into the queue when the last of them goes.
            let childless = self.entries.get(&key).is_some_and(|entry| entry.children == 0);
            if childless || self.entries.len() > IMAGES_MAX {
                self.remove(key, now);
            }
        }
        while self.entries.len() > IMAGES_MAX {
            // Which one is not worth a list of all in their order: the kernel's own map was full long before.
            let Some(key) = self.entries.keys().next().copied() else { break };
            self.remove(key, now);
            if self.current.get(&key.pid) == Some(&key) {
                self.current.remove(&key.pid);
            }
            self.evicted += 1;
        }
    }

    /// Another image for a key that is there; its parent may be another one, too.
    fn replace(&mut self, process: Arc<Process>) {
        let parent = process.parent;
        let Some(entry) = self.entries.get_mut(&process.key) else { return };
        let time = process.started_ns;
        let before = std::mem::replace(&mut entry.process, process).parent;
        if before == parent {
            return;
        }
        if let Some(parent) = self.entries.get_mut(&parent) {
            parent.children += 1;
        }
        self.orphan(before, time);
    }

    fn insert(&mut self, process: Arc<Process>, time: u64) {
        let key = process.key;
        if let Some(parent) = self.entries.get_mut(&process.parent) {
            parent.children += 1;
        }
        self.entries.insert(key, Entry { process, children: 0, ended: false, exited: false, listed: false });
        match self.current.get(&key.pid).copied() {
            // Records of one process can come in the wrong order only from the iterator, which sees the past.
            Some(newer) if newer.ktime > key.ktime => self.end(key, time),
            Some(replaced) => {
                self.current.insert(key.pid, key);
                self.end(replaced, time);
            }
            None => drop(self.current.insert(key.pid, key)),
        }
        self.expire(time);
    }

    fn end(&mut self, key: ExecKey, time: u64) {
        if let Some(entry) = self.entries.get_mut(&key)
            && !std::mem::replace(&mut entry.ended, true)
        {
            self.ended.push_back((time, key));
        }
    }

    fn remove(&mut self, key: ExecKey, now: u64) {
        if let Some(entry) = self.entries.remove(&key) {
            self.orphan(entry.process.parent, now);
        }
    }

    /// One child less.
    fn orphan(&mut self, parent: ExecKey, now: u64) {
        if let Some(entry) = self.entries.get_mut(&parent) {
            entry.children = entry.children.saturating_sub(1);
            if entry.children == 0 && entry.ended {
                self.ended.push_back((now, parent));
            }
        }
    }
}

fn unknown() -> Process {
    Process { flags: UNKNOWN.into(), auid: u32::MAX, ..Process::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pid: u32, ktime: u64) -> ExecKey {
        ExecKey { ktime, pid }
    }

    fn exec(of: ExecKey, parent: ExecKey, binary: &str, time: u64) -> Image {
        let process = Process {
            key: of,
            parent,
            binary: binary.into(),
            flags: "execve".into(),
            started_ns: time,
            ..Process::default()
        };
        Image { process, ..Image::default() }
    }

    fn fork(of: ExecKey, parent: ExecKey, time: u64) -> Fork {
        Fork { key: of, parent, time, cgroup: 7, ns_pid: 0 }
    }

    fn exit(of: ExecKey, parent: ExecKey, time: u64) -> Exit {
        Exit { key: of, parent, time, cgroup: 7, tid: of.pid, code: 0 }
    }

    #[test]
    fn a_child_that_never_execs_is_what_its_parent_is() {
        let mut table = Processes::default();
        table.exec(&exec(key(1, 10), key(0, 0), "/bin/sh", 10));
        let child = table.fork(&fork(key(2, 20), key(1, 10), 20)).unwrap();
        assert_eq!((child.binary.as_str(), child.flags.as_str()), ("/bin/sh", "clone"));
        assert_eq!(table.exit(&exit(key(2, 20), key(1, 10), 30)).unwrap().binary, "/bin/sh");
    }

    #[test]
    fn a_parent_that_ended_is_kept_while_a_child_lives() {
        let mut table = Processes::default();
        table.exec(&exec(key(1, 10), key(0, 0), "/bin/sh", 10));
        table.fork(&fork(key(2, 20), key(1, 10), 20));
        table.exit(&exit(key(1, 10), key(0, 0), 30));
        table.expire(30 + 2 * KEPT_FOR);
        assert!(table.get(key(1, 10)).is_some());
        table.exit(&exit(key(2, 20), key(1, 10), 40 + 2 * KEPT_FOR));
        table.expire(50 + 3 * KEPT_FOR);
        table.expire(60 + 5 * KEPT_FOR);
        assert!(table.is_empty());
    }

    #[test]
    fn the_same_exec_from_two_programs_counts_once() {
        let mut table = Processes::default();
        assert!(table.exec(&exec(key(1, 10), key(0, 0), "/bin/sh", 10)).is_some());
        assert!(table.exec(&exec(key(1, 10), key(0, 0), "/bin/sh", 10)).is_none());
    }

    #[test]
    fn an_exit_whose_exec_was_lost_is_told_all_the_same_and_once() {
        let mut table = Processes::default();
        let gone = table.exit(&exit(key(5, 50), key(1, 10), 60)).unwrap();
        assert_eq!((gone.key, gone.flags.as_str()), (key(5, 50), "unknown"));
        assert!(table.exit(&exit(key(5, 50), key(1, 10), 60)).is_none());
    }

    #[test]
    fn an_image_that_the_iterator_finds_late_does_not_replace_a_newer_one() {
        let mut table = Processes::default();
        table.exec(&exec(key(5, 51), key(1, 10), "/bin/new", 60));
        table.exec(&exec(key(5, 50), key(1, 10), "/bin/old", 50));
        assert_eq!(table.of_pid(5).unwrap().binary, "/bin/new");
        assert!(table.get(key(5, 50)).is_some());
    }

    #[test]
    fn an_exec_that_the_iterator_saw_first_is_told_when_its_record_comes_and_once() {
        let mut table = Processes::default();
        table.listed(&exec(key(1, 10), key(0, 0), "/bin/sh", 10));
        table.listed(&exec(key(3, 12), key(0, 0), "/bin/other", 12));
        table.listed(&exec(key(2, 20), key(3, 12), "/proc/says", 20));
        let told = table.exec(&exec(key(2, 20), key(1, 10), "/bin/kernel-says", 20)).unwrap();
        assert_eq!(told.binary, "/bin/kernel-says");
        assert!(table.exec(&exec(key(2, 20), key(1, 10), "/bin/kernel-says", 20)).is_none());
        // Its parent is now the one of the record, which stays as long as it does; the other does not.
        table.exit(&exit(key(1, 10), key(0, 0), 30));
        table.exit(&exit(key(3, 12), key(0, 0), 30));
        table.expire(30 + 2 * KEPT_FOR);
        assert!(table.get(key(1, 10)).is_some());
        assert!(table.get(key(3, 12)).is_none());
    }

    #[test]
    fn more_processes_than_there_is_room_for_are_counted_and_do_not_grow_the_table() {
        let mut table = Processes::default();
        for pid in 1..=IMAGES_MAX as u32 + 100 {
            table.exec(&exec(key(pid, 10 + u64::from(pid)), key(0, 0), "/bin/idle", 10));
        }
        assert_eq!((table.len(), table.take_evicted(), table.take_evicted()), (IMAGES_MAX, 100, 0));
    }

    #[test]
    fn a_process_whose_exit_was_lost_goes_when_the_kernel_does_not_know_it() {
        let mut table = Processes::default();
        table.exec(&exec(key(1, 10), key(0, 0), "/bin/a", 10));
        table.exec(&exec(key(2, 20), key(0, 0), "/bin/b", 20));
        table.only_living(&HashSet::from([key(2, 20)]), 100);
        table.expire(100 + KEPT_FOR);
        assert!(table.get(key(1, 10)).is_none());
        assert!(table.get(key(2, 20)).is_some());
    }

    #[test]
    fn a_storm_of_short_processes_stays_inside_its_bound() {
        let mut table = Processes::default();
        table.exec(&exec(key(1, 10), key(0, 0), "/bin/sh", 10));
        for pid in 2..30_000_u32 {
            let time = 100 + u64::from(pid);
            table.fork(&fork(key(pid, time), key(1, 10), time));
            table.exec(&exec(key(pid, time + 1), key(1, 10), "/bin/true", time));
            table.exit(&exit(key(pid, time + 1), key(1, 10), time));
        }
        assert!(table.len() <= ENDED_MAX + 8, "{}", table.len());
        assert!(table.get(key(1, 10)).is_some());
    }
}
