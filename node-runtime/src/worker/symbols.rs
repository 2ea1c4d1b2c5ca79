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

/// Files that are kept at a time; the oldest leaves.
pub(super) const FILES_MAX: usize = 256;
/// Characters of a name that are kept: names are a stranger's too.
const NAME_MAX: usize = 256;

/// Files by the numbers that the agent gave them.
#[derive(Default)]
pub(super) struct Files {
    names: HashMap<u32, String>,
    opened: BTreeMap<u32, OwnedFd>,
    dropped: u64,
}

/// Files that are ready to be read.
pub(super) struct Ready {
    names: HashMap<u32, String>,
    symbolizers: HashMap<u32, (Symbolizer, PathBuf)>,
}

impl Files {
    /// A file that was not known before.
    pub(super) fn add(&mut self, id: u32, name: String, fd: Option<OwnedFd>) {
        self.names.insert(id, clean(&name));
        if let Some(fd) = fd {
            // Numbers go up: the first is the oldest.
            if self.opened.len() >= FILES_MAX && self.opened.pop_first().is_some() {
                self.dropped += 1;
            }
            self.opened.insert(id, fd);
        }
    }

    /// Opens every file once more, the way blazesym wants it; none is read. And how many have no symbols because of us.
    pub(super) fn ready(self) -> (Ready, u64) {
        let mut dropped = self.dropped;
        let mut symbolizers = HashMap::new();
        for (id, fd) in self.opened {
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
    /// Names of places in one file, in order; the file is forgotten, so that one table of symbols is held at a time.
    pub(super) fn names(&mut self, file: u32, offsets: &[u64]) -> Vec<String> {
        let fallback =
            format!("[{}]", self.names.get(&file).map_or("unknown", String::as_str).trim_matches(['[', ']']));
        let Some((symbolizer, path)) = self.symbolizers.remove(&file) else {
            return vec![fallback; offsets.len()];
        };
        let mut elf = Elf::new(path);
        elf.debug_syms = false;
        match symbolizer.symbolize(&Source::Elf(elf), Input::FileOffset(offsets)) {
            Ok(symbols) => symbols
                .into_iter()
                .map(|symbol| match symbol {
                    Symbolized::Sym(symbol) => clean(&symbol.name),
                    Symbolized::Unknown(_) => fallback.clone(),
                })
                .collect(),
            Err(_) => vec![fallback; offsets.len()],
        }
    }
}

/// What can stand in a line of folded stacks: no separator, no line break, not without end.
pub(super) fn clean(name: &str) -> String {
    name.chars()
        .take(NAME_MAX)
        .map(|letter| match letter {
            ';' => ':',
            letter if letter.is_control() => '?',
            letter => letter,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_a_frame_or_a_line() {
        assert_eq!(clean("a;b\nc d"), "a:b?c d");
        assert_eq!(clean(&"x".repeat(1000)).len(), NAME_MAX);
    }

    #[test]
    fn a_file_that_was_never_opened_is_called_by_its_name() {
        let mut files = Files::default();
        files.add(1, "libc.so.6".into(), None);
        files.add(2, "[vdso]".into(), None);
        let (mut ready, _) = files.ready();
        assert_eq!(ready.names(1, &[1]), ["[libc.so.6]"]);
        assert_eq!(ready.names(2, &[1]), ["[vdso]"]);
        assert_eq!(ready.names(9, &[1]), ["[unknown]"]);
    }

    #[test]
    fn the_oldest_file_leaves_when_there_are_too_many() {
        let mut files = Files::default();
        for id in 0..=FILES_MAX as u32 {
            files.add(id, "x".into(), Some(std::fs::File::open("/dev/null").unwrap().into()));
        }
        assert_eq!(files.dropped, 1);
        assert!(!files.opened.contains_key(&0));
    }
}
