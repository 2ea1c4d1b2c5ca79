//! The files in which samples fell while a profile runs. None is read here.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::OwnedFd,
};

use trilobite_flame_graph::frame_text;
use trilobite_worker_wire::{FileKind, names::sanitize_name};

use super::Symbolizers;

/// Files that stay open: those with the most samples.
pub(crate) const OPEN_FILES_MAX: usize = 256;

/// Files by the ids that the agent gave them.
#[derive(Default)]
pub(crate) struct SampledFiles {
    names: HashMap<u32, String>,
    opened: BTreeMap<u32, (FileKind, OwnedFd)>,
    samples: HashMap<u32, u64>,
}

impl SampledFiles {
    /// Records a file that the agent sent for the first time.
    pub(crate) fn add(&mut self, id: u32, name: &str, kind: FileKind, fd: Option<OwnedFd>) {
        self.names.insert(id, sanitize_name(name));
        if let Some(fd) = fd {
            self.opened.insert(id, (kind, fd));
        }
    }

    /// Counts a frame of a sample in a file.
    pub(crate) fn count_sample(&mut self, id: u32) {
        *self.samples.entry(id).or_default() += 1;
    }

    /// Closes the files above the limit, those with the fewest samples first. To be called when the samples that waited for new
    /// files are counted: most files that a process maps are never sampled, and closing them loses nothing.
    pub(crate) fn close_surplus(&mut self) {
        let surplus = self.opened.len().saturating_sub(OPEN_FILES_MAX);
        if surplus == 0 {
            return;
        }
        // Ids grow: of two files with equal counts the older is closed.
        let mut by_samples: Vec<u32> = self.opened.keys().copied().collect();
        by_samples.sort_by_key(|id| self.samples.get(id));
        for id in &by_samples[..surplus] {
            self.opened.remove(id);
        }
    }

    /// Name of a frame in a file whose symbols are not read.
    pub(crate) fn fallback_name(&self, id: u32) -> String {
        frame_text::without_name(self.names.get(&id).map_or("unknown", String::as_str))
    }

    /// Opens every sampled file for blazesym; reads none. Also returns the number of sampled files without symbols: there were too
    /// many files, the agent could not open them, or this process cannot.
    pub(crate) fn open_for_symbols(self) -> (Symbolizers, u64) {
        let sampled = self.opened.into_iter().filter(|(id, _)| self.samples.contains_key(id));
        let symbolizers = Symbolizers::open(self.names, sampled.map(|(id, (kind, fd))| (id, kind, fd)));
        // `[vdso]` and code that was made at run time are no files.
        let is_file = |id: &u32| !symbolizers.file_name(*id).starts_with('[');
        let dropped = self.samples.keys().filter(|id| is_file(id) && !symbolizers.has_symbols_of(**id)).count() as u64;
        (symbolizers, dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(count: u32) -> SampledFiles {
        let mut files = SampledFiles::default();
        for id in 0..count {
            files.add(id, "x", FileKind::Elf, Some(std::fs::File::open("/dev/null").unwrap().into()));
        }
        files
    }

    #[test]
    fn unsampled_file_is_closed_before_older_ones_and_is_no_loss() {
        let mut files = files(OPEN_FILES_MAX as u32 + 1);
        (0..10).for_each(|id| files.count_sample(id));
        files.close_surplus();
        assert_eq!(files.opened.len(), OPEN_FILES_MAX);
        assert!(files.opened.contains_key(&0) && !files.opened.contains_key(&10));
        assert_eq!(files.open_for_symbols().1, 0);
    }

    #[test]
    fn files_with_the_fewest_samples_are_closed_and_counted() {
        let mut files = files(OPEN_FILES_MAX as u32 + 2);
        for id in 0..OPEN_FILES_MAX as u32 + 2 {
            (0..if id == 7 || id == 9 { 1 } else { 2 }).for_each(|_| files.count_sample(id));
        }
        files.close_surplus();
        assert_eq!(files.opened.len(), OPEN_FILES_MAX);
        assert!(files.opened.contains_key(&0) && !files.opened.contains_key(&7) && !files.opened.contains_key(&9));
        assert_eq!(files.open_for_symbols().1, 2);
    }

    #[test]
    fn unreadable_file_is_counted_and_code_without_a_file_is_not() {
        let mut files = SampledFiles::default();
        files.add(1, "memfd:jit", FileKind::Elf, None);
        files.add(2, "[vdso]", FileKind::Elf, None);
        files.add(3, "never-ran.so", FileKind::Elf, None);
        (1..=2).for_each(|id| files.count_sample(id));
        assert_eq!(files.open_for_symbols().1, 1);
    }
}
