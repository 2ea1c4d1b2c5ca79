//! What the compiler asks of a kernel: types, symbols, formats, numbers. `machine.rs` reads BTF, kallsyms and tracefs; `facts.rs`
//! reads a file, for tests and `policy explain --kernel`.

use super::{dimension::NamespaceKind, format::TracepointField};
use crate::kernel::{
    Release,
    btf::{CType, Function, Member},
    symbols::Symbol,
};

/// A kernel, as a policy sees it.
pub trait Kernel {
    fn release(&self) -> Release;

    fn architecture(&self) -> Architecture;

    /// A function of BTF, with its parameters; none where BTF does not have it.
    fn function(&self, name: &str) -> Option<Function>;

    /// Whether kallsyms has a function, and whether it can be traced.
    fn symbol(&self, name: &str) -> Symbol;

    /// Names of functions that can be traced and that `accepts` takes, sorted; none where they cannot be listed.
    fn traceable_functions(&self, accepts: &dyn Fn(&str) -> bool) -> Option<Vec<String>>;

    /// Arguments of a raw tracepoint, of the kernel or of a loaded module.
    fn raw_tracepoint(&self, event: &str) -> Option<Vec<CType>>;

    /// Fields of a tracepoint's record, with the common ones.
    fn tracepoint(&self, subsystem: &str, event: &str) -> TracepointFormat;

    /// A member of a struct or union by name, also one inside an anonymous member.
    fn member(&self, r#struct: &str, name: &str, module: Option<&str>) -> Option<Member>;

    /// Bytes of a struct.
    fn size_of(&self, r#struct: &str, module: Option<&str>) -> Option<u32>;

    /// Inode of a namespace of the host's first process.
    fn host_namespace(&self, kind: NamespaceKind) -> Option<u32>;

    /// Whether hooks of a `list:` share one plan, attached by kprobe.multi.
    fn has_kprobe_multi(&self) -> bool;

    /// Whether trampolines are possible: BTF is there, and a probe has loaded one.
    fn has_fentry(&self) -> bool;

    /// Whether raw tracepoints are attached with their types.
    fn has_tp_btf(&self) -> bool {
        true
    }
}

/// Architectures whose system calls' functions have names that are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Architecture {
    #[default]
    X86_64,
    Aarch64,
}

/// The format of a classic tracepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TracepointFormat {
    Fields(Vec<TracepointField>),
    Missing,
    /// Why tracefs cannot be read.
    Unreadable(String),
}
