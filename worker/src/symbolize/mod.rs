//! Names of functions for offsets in ELF files, by blazesym, from the descriptors that the agent sent.
//! blazesym opens by path and reads lazily. So every file is opened first, by `/proc/self/fd/N`; then the seccomp filter forbids
//! to open anything, and only then the first byte of a file is read.

mod sampled_files;

use std::{
    collections::HashMap,
    os::fd::{AsRawFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    rc::Rc,
};

use blazesym::{
    helper::ElfResolver,
    symbolize::{
        Input, Symbolized, Symbolizer,
        source::{Elf, Source},
    },
};
use trilobite_worker_wire::names::sanitize_symbol;

pub(crate) use sampled_files::SampledFiles;

/// Files that are ready to be read.
pub(crate) struct Symbolizers {
    names: HashMap<u32, String>,
    opened: HashMap<u32, (Symbolizer, PathBuf)>,
}

impl Symbolizers {
    /// Opens files as blazesym wants them, which is by path. Leaves out those that cannot be opened a second time.
    fn open(names: HashMap<u32, String>, files: impl Iterator<Item = (u32, OwnedFd)>) -> Self {
        let mut opened = HashMap::new();
        for (id, fd) in files {
            let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
            let mut symbolizer = Symbolizer::builder().enable_auto_reload(false).build();
            let registered = ElfResolver::open(&path)
                .and_then(|resolver| symbolizer.register_elf_resolver(&path, Rc::new(resolver)));
            // Without CAP_DAC_OVERRIDE a file that only its owner may read cannot be opened a second time.
            if registered.is_ok() {
                opened.insert(id, (symbolizer, path));
            }
        }
        Self { names, opened }
    }

    /// Last part of a file's path.
    fn file_name(&self, file: u32) -> Option<&str> {
        self.names.get(&file).map(String::as_str)
    }

    fn has_symbols_of(&self, file: u32) -> bool {
        self.opened.contains_key(&file)
    }

    /// Name of a file whose contents the next call of `function_names` reads; none if it reads nothing.
    pub(crate) fn name_if_read(&self, file: u32) -> Option<&str> {
        self.has_symbols_of(file).then(|| self.file_name(file).unwrap_or("unknown"))
    }

    /// Names for offsets in one file, in order. Closes the file, so that one symbol table is in memory at a time.
    pub(crate) fn function_names(&mut self, file: u32, offsets: &[u64]) -> Vec<String> {
        let fallback = bracketed_name(&self.names, file);
        let Some((symbolizer, path)) = self.opened.remove(&file) else {
            return vec![fallback; offsets.len()];
        };
        let mut elf = Elf::new(path);
        elf.debug_syms = false;
        let names = catch_panic(|| {
            let symbols = symbolizer.symbolize(&Source::Elf(elf), Input::FileOffset(offsets)).ok()?;
            Some(
                symbols
                    .into_iter()
                    .map(|symbol| match symbol {
                        Symbolized::Sym(symbol) => sanitize_symbol(&symbol.name),
                        Symbolized::Unknown(_) => fallback.clone(),
                    })
                    .collect(),
            )
        });
        names.unwrap_or_else(|| vec![fallback; offsets.len()])
    }
}

/// A file on which the parser panics costs the names of its own functions, and no others.
fn catch_panic<T>(parse: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(parse)).unwrap_or_default()
}

/// Name of a frame without a symbol: `[libc.so.6]`.
fn bracketed_name(names: &HashMap<u32, String>, file: u32) -> String {
    format!("[{}]", names.get(&file).map_or("unknown", String::as_str).trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_an_unopened_file_have_its_name() {
        let mut files = SampledFiles::default();
        files.add(1, "libc.so.6", None);
        files.add(2, "[vdso]", None);
        let (mut symbolizers, _) = files.open_for_symbols();
        assert_eq!(symbolizers.function_names(1, &[1]), ["[libc.so.6]"]);
        assert_eq!(symbolizers.function_names(2, &[1]), ["[vdso]"]);
        assert_eq!(symbolizers.function_names(9, &[1]), ["[unknown]"]);
    }

    #[test]
    fn panic_of_the_parser_gives_no_names() {
        assert_eq!(catch_panic(|| -> Option<u8> { panic!("as a hostile file would make it") }), None);
        assert_eq!(catch_panic(|| Some(1)), Some(1));
    }
}
