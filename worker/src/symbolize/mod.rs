//! Names of functions for offsets in the files of pods, from the descriptors that the agent sent, and whether a function has made
//! its frame. ELF files are named by blazesym, stripped Go binaries by Go's own table, code compiled at run time by perf maps.
//! blazesym opens by path and reads lazily. So every file is opened first, by `/proc/self/fd/N`; then the seccomp filter forbids
//! to open anything, and only then the first byte of a file is read.

mod demangle;
mod eh_frame;
mod gopclntab;
mod perf_map;
mod sampled_files;

use std::{
    collections::HashMap,
    fs::File,
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
use trilobite_flame_graph::frame_text;
use trilobite_worker_wire::{FileKind, names::sanitize_symbol};

use self::gopclntab::GoFunctions;
use crate::elf::ElfFile;
pub(crate) use sampled_files::SampledFiles;

/// A place in a file at which samples were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodePlace {
    /// Offset in the file, or the address in a perf map.
    pub(crate) offset: u64,
    /// It is the innermost function of a stack.
    pub(crate) innermost: bool,
}

/// What is known of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedPlace {
    /// Text of its frame.
    pub(crate) frame: String,
    /// The function had no frame of its own there, so that a stack misses its caller. False if that is not known.
    pub(crate) caller_missing: bool,
}

impl NamedPlace {
    pub(crate) fn without_caller_information(frame: String) -> Self {
        Self { frame, caller_missing: false }
    }
}

/// Files that are ready to be read.
pub(crate) struct Symbolizers {
    names: HashMap<u32, String>,
    opened: HashMap<u32, OpenedFile>,
}

enum OpenedFile {
    /// blazesym's reader with its path, and ours.
    Elf(Box<Symbolizer>, PathBuf, File),
    PerfMap(File),
}

impl Symbolizers {
    /// Opens files as blazesym wants them, which is by path. Leaves out those that cannot be opened a second time.
    fn open(names: HashMap<u32, String>, files: impl Iterator<Item = (u32, FileKind, OwnedFd)>) -> Self {
        let mut opened = HashMap::new();
        for (id, kind, fd) in files {
            if kind == FileKind::PerfMap {
                opened.insert(id, OpenedFile::PerfMap(fd.into()));
                continue;
            }
            let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
            let mut symbolizer = Symbolizer::builder().enable_auto_reload(false).enable_demangling(false).build();
            let registered = ElfResolver::open(&path)
                .and_then(|resolver| symbolizer.register_elf_resolver(&path, Rc::new(resolver)));
            // Without CAP_DAC_OVERRIDE a file that only its owner may read cannot be opened a second time.
            if registered.is_ok() {
                opened.insert(id, OpenedFile::Elf(Box::new(symbolizer), path, fd.into()));
            }
        }
        Self { names, opened }
    }

    /// Last part of a file's path.
    fn file_name(&self, file: u32) -> &str {
        self.names.get(&file).map_or("unknown", String::as_str)
    }

    fn has_symbols_of(&self, file: u32) -> bool {
        self.opened.contains_key(&file)
    }

    /// Name of a file whose contents the next call of `name_places` reads; none if it reads nothing.
    pub(crate) fn name_if_read(&self, file: u32) -> Option<&str> {
        self.has_symbols_of(file).then(|| self.file_name(file))
    }

    /// What is known of places in one file, in order. Closes the file, so that one symbol table is in memory at a time.
    pub(crate) fn name_places(&mut self, file: u32, places: &[CodePlace]) -> Vec<NamedPlace> {
        let name = self.file_name(file).to_owned();
        let nameless = || vec![NamedPlace::without_caller_information(frame_text::without_name(&name)); places.len()];
        // A file on which a parser panics costs the names of its own functions, and no others.
        let named = match self.opened.remove(&file) {
            Some(OpenedFile::Elf(symbolizer, path, file)) => {
                let names = catch_panic(|| elf_symbols(&symbolizer, path, places)).unwrap_or(vec![None; places.len()]);
                drop(symbolizer);
                catch_panic(|| Some(complete(&name, names.clone(), places, file)))
                    .or_else(|| Some(complete_without_file(&name, names)))
            }
            Some(OpenedFile::PerfMap(map)) => catch_panic(|| Some(jit_names(&name, map, places))),
            None => None,
        };
        named.unwrap_or_else(nameless)
    }
}

/// The symbols that blazesym knows.
fn elf_symbols(symbolizer: &Symbolizer, path: PathBuf, places: &[CodePlace]) -> Option<Vec<Option<String>>> {
    let mut elf = Elf::new(path);
    elf.debug_syms = false;
    let offsets: Vec<u64> = places.iter().map(|place| place.offset).collect();
    let symbols = symbolizer.symbolize(&Source::Elf(elf), Input::FileOffset(&offsets)).ok()?;
    let name = |symbol| match symbol {
        Symbolized::Sym(symbol) => Some(demangle::demangle(&symbol.name)),
        Symbolized::Unknown(_) => None,
    };
    Some(symbols.into_iter().map(name).collect())
}

/// Adds what blazesym does not know: names of Go's functions, and whether the innermost functions have made their frames.
fn complete(file_name: &str, symbols: Vec<Option<String>>, places: &[CodePlace], file: File) -> Vec<NamedPlace> {
    let Some(mut elf) = ElfFile::open(file) else { return complete_without_file(file_name, symbols) };
    let go = GoFunctions::open(&mut elf);
    let mut named = Vec::with_capacity(places.len());
    for (symbol, place) in symbols.into_iter().zip(places) {
        let address = elf.address_of(place.offset);
        let of_go = |elf: &mut ElfFile<File>| go.as_ref()?.name_at(elf, address?);
        let symbol = symbol.or_else(|| of_go(&mut elf));
        let missing = address.filter(|_| place.innermost).and_then(|address| match &go {
            Some(go) => go.caller_is_missing(&mut elf, address),
            None => eh_frame::caller_is_missing(&mut elf, address),
        });
        named.push(NamedPlace { frame: frame_of(file_name, symbol), caller_missing: missing.unwrap_or(false) });
    }
    named
}

fn complete_without_file(file_name: &str, symbols: Vec<Option<String>>) -> Vec<NamedPlace> {
    symbols.into_iter().map(|symbol| NamedPlace::without_caller_information(frame_of(file_name, symbol))).collect()
}

fn jit_names(file_name: &str, map: File, places: &[CodePlace]) -> Vec<NamedPlace> {
    let addresses: Vec<u64> = places.iter().map(|place| place.offset).collect();
    let names = perf_map::names(map, &addresses);
    let frame = |address| match names.get(address) {
        Some(name) => frame_text::jit(&sanitize_symbol(name)),
        None => frame_text::without_name(file_name),
    };
    addresses.iter().map(frame).map(NamedPlace::without_caller_information).collect()
}

fn frame_of(file_name: &str, symbol: Option<String>) -> String {
    match symbol {
        Some(symbol) => frame_text::in_file(file_name, &sanitize_symbol(&symbol)),
        None => frame_text::without_name(file_name),
    }
}

fn catch_panic<T>(parse: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(parse)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(symbolizers: &mut Symbolizers, file: u32, offsets: &[u64]) -> Vec<String> {
        let places: Vec<CodePlace> =
            offsets.iter().map(|offset| CodePlace { offset: *offset, innermost: true }).collect();
        symbolizers.name_places(file, &places).into_iter().map(|place| place.frame).collect()
    }

    #[test]
    fn frames_of_an_unopened_file_have_its_name() {
        let mut files = SampledFiles::default();
        files.add(1, "libc.so.6", FileKind::Elf, None);
        files.add(2, "[vdso]", FileKind::Elf, None);
        let (mut symbolizers, _) = files.open_for_symbols();
        assert_eq!(frames(&mut symbolizers, 1, &[1]), ["[libc.so.6]"]);
        assert_eq!(frames(&mut symbolizers, 2, &[1]), ["[vdso]"]);
        assert_eq!(frames(&mut symbolizers, 9, &[1]), ["[unknown]"]);
    }

    #[test]
    fn code_compiled_at_run_time_has_the_names_of_its_map() {
        let folder = std::env::temp_dir().join(format!("perf-map-{}", std::process::id()));
        std::fs::write(&folder, "7f00 10 LazyCompile:~fetch;cart.js\n").unwrap();
        let mut files = SampledFiles::default();
        files.add(1, "[anon]", FileKind::PerfMap, Some(File::open(&folder).unwrap().into()));
        std::fs::remove_file(&folder).unwrap();
        files.count_sample(1);
        let (mut symbolizers, _) = files.open_for_symbols();
        assert_eq!(frames(&mut symbolizers, 1, &[0x7f04, 0x9000]), ["LazyCompile:~fetch:cart.js_[j]", "[anon]"]);
    }

    #[test]
    fn panic_of_the_parser_gives_no_names() {
        assert_eq!(catch_panic(|| -> Option<u8> { panic!("as a hostile file would make it") }), None);
        assert_eq!(catch_panic(|| Some(1)), Some(1));
    }
}
