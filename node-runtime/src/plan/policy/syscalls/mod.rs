//! System calls by name: their functions in the kernel, and their numbers.

use super::kernel_view::Architecture;

/// Bit of a system call's number for a 32-bit task; `SYSCALL_COMPAT` of the kernel side.
pub const COMPAT: u64 = 1 << 63;

const X86_64: &str = include_str!("x86_64.txt");
const I386: &str = include_str!("i386.txt");
const AARCH64: &str = include_str!("aarch64.txt");

/// What stands in front of a system call's name in kallsyms.
const PREFIXES: [&str; 6] =
    ["__x64_sys_", "__arm64_sys_", "__ia32_compat_sys_", "__ia32_sys_", "__arm64_compat_sys_", "sys_"];

/// A system call as policies name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SyscallName<'a> {
    /// E.g. `openat`.
    pub(super) name: &'a str,
    /// That of 32-bit tasks.
    pub(super) is_compat: bool,
}

/// Reads `sys_dup`, `dup`, `__x64_sys_dup`, `i386/sys_dup` or `x64/sys_dup`.
pub(super) fn parse(text: &str) -> SyscallName<'_> {
    let (abi, symbol) = text.split_once('/').unwrap_or(("", text));
    let prefix = PREFIXES.iter().find(|prefix| symbol.starts_with(**prefix));
    let name = prefix.map_or(symbol, |prefix| &symbol[prefix.len()..]);
    let of_symbol = prefix.is_some_and(|prefix| prefix.contains("ia32") || prefix.contains("compat"));
    SyscallName { name, is_compat: matches!(abi, "i386" | "ia32" | "arm32" | "compat") || of_symbol }
}

/// Names in kallsyms, the usual one first.
pub(super) fn symbols(call: SyscallName<'_>, architecture: Architecture) -> Vec<String> {
    let prefixes: &[&str] = match (architecture, call.is_compat) {
        (Architecture::X86_64, false) => &["__x64_sys_"],
        (Architecture::X86_64, true) => &["__ia32_compat_sys_", "__ia32_sys_"],
        (Architecture::Aarch64, false) => &["__arm64_sys_"],
        (Architecture::Aarch64, true) => &["__arm64_compat_sys_", "__arm64_sys_"],
    };
    prefixes.iter().map(|prefix| format!("{prefix}{}", call.name)).collect()
}

/// Whether a function of kallsyms is that of a system call of 32-bit tasks of x86, whose registers have other meanings.
pub fn is_compat(symbol: &str) -> bool {
    symbol.starts_with("__ia32_")
}

/// Whether a name is that of a system call's function in kallsyms, of any architecture.
pub(super) fn is_syscall_symbol(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| prefix.starts_with("__") && name.starts_with(prefix))
}

/// Whether a function of kallsyms is that of a system call of 64-bit tasks.
pub(super) fn is_function(symbol: &str, architecture: Architecture) -> bool {
    let prefix = match architecture {
        Architecture::X86_64 => "__x64_sys_",
        Architecture::Aarch64 => "__arm64_sys_",
    };
    // The function of all numbers that have none.
    symbol.strip_prefix(prefix).is_some_and(|name| name != "ni_syscall")
}

/// Number of a system call, with `COMPAT` for one of 32-bit tasks.
pub(super) fn number(call: SyscallName<'_>, architecture: Architecture) -> Option<u64> {
    let table = match (architecture, call.is_compat) {
        (Architecture::X86_64, false) => X86_64,
        (Architecture::X86_64, true) => I386,
        (Architecture::Aarch64, false) => AARCH64,
        (Architecture::Aarch64, true) => return None,
    };
    let number = lines(table).find(|(_, name)| *name == call.name).map(|(number, _)| number)?;
    Some(if call.is_compat { number | COMPAT } else { number })
}

/// Every number of 64-bit tasks.
pub(super) fn all(architecture: Architecture) -> impl Iterator<Item = (u64, &'static str)> {
    lines(match architecture {
        Architecture::X86_64 => X86_64,
        Architecture::Aarch64 => AARCH64,
    })
}

fn lines(table: &'static str) -> impl Iterator<Item = (u64, &'static str)> {
    table.lines().filter_map(|line| {
        let (number, name) = line.split_once(' ')?;
        Some((number.parse().ok()?, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_call_name_the_same_function() {
        for text in ["sys_openat", "openat", "__x64_sys_openat", "x64/sys_openat"] {
            assert_eq!(symbols(parse(text), Architecture::X86_64), ["__x64_sys_openat"], "{text}");
        }
        assert_eq!(symbols(parse("i386/sys_openat"), Architecture::X86_64)[0], "__ia32_compat_sys_openat");
        assert_eq!(symbols(parse("sys_openat"), Architecture::Aarch64), ["__arm64_sys_openat"]);
    }

    #[test]
    fn numbers_are_those_of_the_machine() {
        let number_of = |text| number(parse(text), Architecture::X86_64);
        assert_eq!(number_of("sys_openat"), Some(257));
        assert_eq!(number_of("i386/sys_dup"), Some(41 | COMPAT));
        assert_eq!(number_of("sys_no_such_call"), None);
        assert_eq!(number(parse("sys_openat"), Architecture::Aarch64), Some(56));
    }
}
