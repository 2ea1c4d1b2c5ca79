//! Names for places in files, by blazesym, from the descriptors that the agent sent.
//! blazesym opens by path and reads lazily. So every file is opened first, by `/proc/self/fd/N`, and the way to open
//! anything is closed before the first byte of any of them is looked at.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    rc::Rc,
};

use blazesym::symbolize::{
    Input, Symbolized, Symbolizer,
    source::{Elf, Source},
};

use super::frame::{clean, clean_symbol};

/// Files that are kept: those in which most samples fell.
pub(super) const FILES_MAX: usize = 256;

/// Files by the numbers that the agent gave them.
#[derive(Default)]
pub(super) struct Files {
    names: HashMap<u32, String>,
    opened: BTreeMap<u32, OwnedFd>,
    sampled: HashMap<u32, u64>,
}

/// Files that are ready to be read.
pub(super) struct Ready {
    names: HashMap<u32, String>,
    symbolizers: HashMap<u32, (Symbolizer, PathBuf)>,
}

impl Files {
    /// A file that was not known before.
    pub(super) fn add(&mut self, id: u32, name: &str, fd: Option<OwnedFd>) {
        self.names.insert(id, clean(name));
        if let Some(fd) = fd {
            self.opened.insert(id, fd);
        }
    }

    /// A sample fell into a file.
    pub(super) fn sampled(&mut self, id: u32) {
        *self.sampled.entry(id).or_default() += 1;
    }

    /// Goes back to the limit, when the samples that waited for new files have been counted: most of what a process maps is
    /// never sampled, and goes without a loss. After it goes that in which the fewest fell.
    pub(super) fn shrink(&mut self) {
        let surplus = self.opened.len().saturating_sub(FILES_MAX);
        if surplus == 0 {
            return;
        }
        // Numbers go up: of two of the same, the older goes.
        let mut by_use: Vec<u32> = self.opened.keys().copied().collect();
        by_use.sort_by_key(|id| self.sampled.get(id));
        for id in &by_use[..surplus] {
            self.opened.remove(id);
        }
    }

    /// What a place in a file is called by whoever does not read the file.
    pub(super) fn called(&self, id: u32) -> String {
        called(&self.names, id)
    }

    /// Opens every file once more, the way blazesym wants it; none is read. And in how many samples fell that nobody can read:
    /// there were too many, or the agent could not open them, or this process cannot.
    pub(super) fn ready(self) -> (Ready, u64) {
        let mut symbolizers = HashMap::new();
        for (id, fd) in self.opened {
            if !self.sampled.contains_key(&id) {
                continue;
            }
            let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
            let mut symbolizer = Symbolizer::builder().enable_auto_reload(false).build();
            let opened = blazesym::helper::ElfResolver::open(&path)
                .and_then(|resolver| symbolizer.register_elf_resolver(&path, Rc::new(resolver)));
            // Without CAP_DAC_OVERRIDE a file that only its owner may read cannot be opened a second time.
            if opened.is_ok() {
                symbolizers.insert(id, (symbolizer, path));
            }
        }
        // `[vdso]` and code that was made at run time are no files.
        let is_file = |id: &u32| self.names.get(id).is_some_and(|name| !name.starts_with('['));
        let dropped = self.sampled.keys().filter(|id| is_file(id) && !symbolizers.contains_key(id)).count() as u64;
        (Ready { names: self.names, symbolizers }, dropped)
    }
}

impl Ready {
    /// What a file is called, where its bytes will be read for its symbols.
    pub(super) fn reads(&self, file: u32) -> Option<&str> {
        self.symbolizers.contains_key(&file).then(|| self.names.get(&file).map_or("unknown", String::as_str))
    }

    /// Names of places in one file, in order; the file is forgotten, so that one table of symbols is held at a time.
    pub(super) fn names(&mut self, file: u32, offsets: &[u64]) -> Vec<String> {
        let fallback = called(&self.names, file);
        let Some((symbolizer, path)) = self.symbolizers.remove(&file) else {
            return vec![fallback; offsets.len()];
        };
        let mut elf = Elf::new(path);
        elf.debug_syms = false;
        match symbolizer.symbolize(&Source::Elf(elf), Input::FileOffset(offsets)) {
            Ok(symbols) => symbols
                .into_iter()
                .map(|symbol| match symbol {
                    Symbolized::Sym(symbol) => clean_symbol(&symbol.name),
                    Symbolized::Unknown(_) => fallback.clone(),
                })
                .collect(),
            Err(_) => vec![fallback; offsets.len()],
        }
    }
}

fn called(names: &HashMap<u32, String>, file: u32) -> String {
    format!("[{}]", names.get(&file).map_or("unknown", String::as_str).trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_never_opened_is_called_by_its_name() {
        let mut files = Files::default();
        files.add(1, "libc.so.6", None);
        files.add(2, "[vdso]", None);
        let (mut ready, _) = files.ready();
        assert_eq!(ready.names(1, &[1]), ["[libc.so.6]"]);
        assert_eq!(ready.names(2, &[1]), ["[vdso]"]);
        assert_eq!(ready.names(9, &[1]), ["[unknown]"]);
    }

    fn some_files(count: u32) -> Files {
        let mut files = Files::default();
        for id in 0..count {
            files.add(id, "x", Some(std::fs::File::open("/dev/null").unwrap().into()));
        }
        files
    }

    #[test]
    fn a_file_in_which_no_sample_fell_leaves_before_older_ones_and_is_no_loss() {
        let mut files = some_files(FILES_MAX as u32 + 1);
        (0..10).for_each(|id| files.sampled(id));
        files.shrink();
        assert_eq!(files.opened.len(), FILES_MAX);
        assert!(files.opened.contains_key(&0) && !files.opened.contains_key(&10));
        assert_eq!(files.ready().1, 0);
    }

    #[test]
    fn the_files_in_which_the_fewest_samples_fell_leave_and_are_counted() {
        let mut files = some_files(FILES_MAX as u32 + 2);
        for id in 0..FILES_MAX as u32 + 2 {
            (0..if id == 7 || id == 9 { 1 } else { 2 }).for_each(|_| files.sampled(id));
        }
        files.shrink();
        assert_eq!(files.opened.len(), FILES_MAX);
        assert!(files.opened.contains_key(&0) && !files.opened.contains_key(&7) && !files.opened.contains_key(&9));
        assert_eq!(files.ready().1, 2);
    }

    #[test]
    fn a_sampled_file_that_the_agent_could_not_open_is_counted_and_code_without_a_file_is_not() {
        let mut files = Files::default();
        files.add(1, "memfd:jit", None);
        files.add(2, "[vdso]", None);
        files.add(3, "never-ran.so", None);
        (1..=2).for_each(|id| files.sampled(id));
        assert_eq!(files.ready().1, 1);
    }
}
