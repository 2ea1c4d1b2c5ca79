//! Names for places in files, by blazesym, from the descriptors that the agent sent.
//! blazesym opens by path and reads lazily. So every file is opened first, by `/proc/self/fd/N`, and the way to open
//! anything is closed before the first byte of any of them is looked at.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
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
    sampled: HashSet<u32>,
    dropped: u64,
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
        self.sampled.insert(id);
    }

    /// Goes back to the limit, when the samples that waited for new files have been counted: most of what a process maps is
    /// never sampled, and goes without a loss.
    pub(super) fn shrink(&mut self) {
        let mut surplus = self.opened.len().saturating_sub(FILES_MAX);
        let sampled = &self.sampled;
        // Numbers go up: the first is the oldest.
        self.opened.retain(|id, _| {
            let goes = surplus > 0 && !sampled.contains(id);
            surplus -= usize::from(goes);
            !goes
        });
        while self.opened.len() > FILES_MAX && self.opened.pop_first().is_some() {
            self.dropped += 1;
        }
    }

    /// What a place in a file is called by whoever does not read the file.
    pub(super) fn called(&self, id: u32) -> String {
        called(&self.names, id)
    }

    /// Opens every file once more, the way blazesym wants it; none is read. And how many have no symbols because of us.
    pub(super) fn ready(self) -> (Ready, u64) {
        let mut dropped = self.dropped;
        let mut symbolizers = HashMap::new();
        for (id, fd) in self.opened {
            if !self.sampled.contains(&id) {
                continue;
            }
            let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
            let mut symbolizer = Symbolizer::builder().enable_auto_reload(false).build();
            let opened = blazesym::helper::ElfResolver::open(&path)
                .and_then(|resolver| symbolizer.register_elf_resolver(&path, Rc::new(resolver)));
            match opened {
                Ok(()) => drop(symbolizers.insert(id, (symbolizer, path))),
                // Without CAP_DAC_OVERRIDE a file that only its owner may read cannot be opened a second time.
                Err(_) => dropped += 1,
            }
        }
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
        assert_eq!((files.dropped, files.opened.len()), (0, FILES_MAX));
        assert!(files.opened.contains_key(&0) && !files.opened.contains_key(&10));
    }

    #[test]
    fn the_oldest_file_leaves_and_is_counted_when_samples_fell_into_all() {
        let mut files = some_files(FILES_MAX as u32 + 2);
        (0..=FILES_MAX as u32 + 1).for_each(|id| files.sampled(id));
        files.shrink();
        assert_eq!((files.dropped, files.opened.len()), (2, FILES_MAX));
        assert!(!files.opened.contains_key(&1) && files.opened.contains_key(&2));
    }
}
