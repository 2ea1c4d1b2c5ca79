//! The kernel of this machine.

use std::{cell::RefCell, collections::BTreeMap};

use super::{
    dimension::NamespaceKind,
    format::parse_format,
    kernel_view::{Architecture, Kernel, TracepointFormat},
};
use crate::kernel::{
    Facts, Release,
    btf::{CType, Function, KernelTypes, Member},
    symbols::{Symbol, Symbols},
    tracefs,
};

/// Files of several megabytes are read at the first question that needs one; `close_files` frees them and keeps the answers.
pub struct Machine {
    release: Release,
    types: KernelTypes,
    symbols: Symbols,
    ways: ProbedWays,
    functions: Answers<String, Function>,
    existing: Answers<String, Symbol>,
    raw_tracepoints: Answers<String, Vec<CType>>,
    formats: Answers<(String, String), TracepointFormat>,
    members: Answers<(String, String, Option<String>), Member>,
    sizes: Answers<(String, Option<String>), u32>,
}

/// Answers so far. What the kernel does not have may come with a module, so that it is asked for again.
type Answers<K, V> = RefCell<BTreeMap<K, V>>;

/// Ways to attach that a probe has seen work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbedWays {
    pub fentry: bool,
    pub kprobe_multi: bool,
    /// Ways that are not to be used although this kernel accepts them, for tests.
    pub avoided: AvoidedWays,
}

/// Ways to attach that a test avoids, to see that the next one does the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AvoidedWays {
    pub trampolines: bool,
    pub kprobe_multi: bool,
    pub tp_btf: bool,
}

impl AvoidedWays {
    /// Reads a list, e.g. `fentry,tp_btf`. None for a word that is no way.
    pub fn parse(text: &str) -> Option<Self> {
        let mut avoided = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match word {
                "fentry" => avoided.trampolines = true,
                "kprobe.multi" => avoided.kprobe_multi = true,
                "tp_btf" => avoided.tp_btf = true,
                // A way to packets: `kernel::probe::packet_attach`.
                "tcx" => {}
                _ => return None,
            }
        }
        Some(avoided)
    }
}

impl Machine {
    pub fn new(facts: &Facts, ways: ProbedWays) -> Self {
        Self {
            release: facts.release,
            types: KernelTypes::default(),
            symbols: Symbols::default(),
            ways,
            functions: Answers::default(),
            existing: Answers::default(),
            raw_tracepoints: Answers::default(),
            formats: Answers::default(),
            members: Answers::default(),
            sizes: Answers::default(),
        }
    }

    /// The ways that a later probe has seen work.
    pub fn set_ways(&mut self, ways: ProbedWays) {
        self.ways = ways;
    }

    /// Frees what was read, after a time of planning.
    pub fn close_files(&mut self) {
        self.types = KernelTypes::default();
        self.symbols = Symbols::default();
        self.existing.get_mut().retain(|_, symbol| *symbol == Symbol::Traceable);
    }
}

impl Kernel for Machine {
    fn release(&self) -> Release {
        self.release
    }

    fn architecture(&self) -> Architecture {
        if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 }
    }

    fn function(&self, name: &str) -> Option<Function> {
        remembered(&self.functions, name.to_owned(), || self.types.function(name))
    }

    fn symbol(&self, name: &str) -> Symbol {
        *self.existing.borrow_mut().entry(name.to_owned()).or_insert_with(|| self.symbols.symbol(name))
    }

    fn traceable_functions(&self, accepts: &dyn Fn(&str) -> bool) -> Option<Vec<String>> {
        self.symbols.traceable_functions(accepts)
    }

    fn raw_tracepoint(&self, event: &str) -> Option<Vec<CType>> {
        remembered(&self.raw_tracepoints, event.to_owned(), || self.types.raw_tracepoint(event))
    }

    fn tracepoint(&self, subsystem: &str, event: &str) -> TracepointFormat {
        let key = (subsystem.to_owned(), event.to_owned());
        if let Some(found) = self.formats.borrow().get(&key) {
            return found.clone();
        }
        match tracefs::format(subsystem, event) {
            Ok(Some(text)) => {
                let found = TracepointFormat::Fields(parse_format(&text));
                self.formats.borrow_mut().insert(key, found.clone());
                found
            }
            Ok(None) => TracepointFormat::Missing,
            Err(error) => TracepointFormat::Unreadable(error),
        }
    }

    fn member(&self, r#struct: &str, name: &str, module: Option<&str>) -> Option<Member> {
        let key = (r#struct.to_owned(), name.to_owned(), module.map(str::to_owned));
        remembered(&self.members, key, || self.types.member(r#struct, name, module))
    }

    fn size_of(&self, r#struct: &str, module: Option<&str>) -> Option<u32> {
        let key = (r#struct.to_owned(), module.map(str::to_owned));
        remembered(&self.sizes, key, || self.types.size_of(r#struct, module))
    }

    fn host_namespace(&self, kind: NamespaceKind) -> Option<u32> {
        kind.initial_inode().or_else(|| host_namespace_file(if kind == NamespaceKind::Mount { "mnt" } else { "net" }))
    }

    fn has_kprobe_multi(&self) -> bool {
        self.ways.kprobe_multi && !self.ways.avoided.kprobe_multi
    }

    fn has_fentry(&self) -> bool {
        self.ways.fentry && !self.ways.avoided.trampolines
    }

    fn has_tp_btf(&self) -> bool {
        !self.ways.avoided.tp_btf
    }
}

/// The answer that is known, else a new one.
fn remembered<K: Ord, V: Clone>(answers: &Answers<K, V>, key: K, ask: impl FnOnce() -> Option<V>) -> Option<V> {
    if let Some(found) = answers.borrow().get(&key) {
        return Some(found.clone());
    }
    let found = ask()?;
    answers.borrow_mut().insert(key, found.clone());
    Some(found)
}

/// Of the first process, which is the host's where the agent is in the host's pid namespace.
fn host_namespace_file(name: &str) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;

    u32::try_from(std::fs::metadata(format!("/proc/1/ns/{name}")).ok()?.ino()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avoided_ways_are_read_from_a_list() {
        let avoided = AvoidedWays::parse("fentry,tp_btf").unwrap();
        assert_eq!(avoided, AvoidedWays { trampolines: true, tp_btf: true, kprobe_multi: false });
        assert_eq!(AvoidedWays::parse("tcx"), Some(AvoidedWays::default()));
        assert_eq!(AvoidedWays::parse(""), Some(AvoidedWays::default()));
        assert_eq!(AvoidedWays::parse("fentry,kprobes"), None);
    }
}
