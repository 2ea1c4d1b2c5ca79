//! Names of the frames of stack traces: of the kernel by `/proc/kallsyms`, of a process by the files that it has mapped.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    time::{Duration, Instant},
};

use trilobite_untrusted_text::decode;

use crate::layers::security::event::StackFrame;

/// How soon the table of the kernel is read again for an address that it does not have: a module may have been loaded.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);
/// Lines that are read of one process's mappings.
const MAPPINGS: usize = 65_536;
/// A function of the kernel is not longer; an address farther away from every symbol is of something else.
const FUNCTION_BYTES: u64 = 1 << 20;

/// The kernel's functions. The table takes some MiB, and is read with the first stack trace.
#[derive(Debug)]
pub(in crate::layers::security) struct Symbols {
    proc: PathBuf,
    /// By address; start and end of the name in `names`.
    functions: Vec<Function>,
    names: String,
    read_at: Option<Instant>,
}

impl Default for Symbols {
    fn default() -> Self {
        Self { proc: "/proc".into(), functions: Vec::new(), names: String::new(), read_at: None }
    }
}

impl Symbols {
    #[cfg(test)]
    pub(super) fn in_folder(proc: &std::path::Path) -> Self {
        Self { proc: proc.to_owned(), ..Self::default() }
    }

    /// The innermost frame first. An address without a name is left out, as Tetragon does.
    pub(super) fn kernel_frames(&mut self, addresses: &[u64]) -> Vec<StackFrame> {
        addresses.iter().filter_map(|address| self.kernel_frame(*address)).collect()
    }

    fn kernel_frame(&mut self, address: u64) -> Option<StackFrame> {
        if address == 0 {
            return None;
        }
        let found = self.lookup(address);
        if found.is_some() || self.read_at.is_some_and(|at| at.elapsed() < RELOAD_INTERVAL) {
            return found;
        }
        self.read_at = Some(Instant::now());
        match File::open(self.proc.join("kallsyms")).and_then(|file| read_functions(BufReader::new(file))) {
            Ok((functions, names)) => (self.functions, self.names) = (functions, names),
            Err(error) => {
                tracing::warn!(%error, "kernel symbols cannot be read: stack traces lack the kernel's frames")
            }
        }
        self.lookup(address)
    }

    fn lookup(&self, address: u64) -> Option<StackFrame> {
        let above = self.functions.partition_point(|(start, ..)| *start <= address);
        let (start, from, to) = *self.functions.get(above.checked_sub(1)?)?;
        let offset = address - start;
        let symbol = self.names.get(from as usize..to as usize)?.to_owned();
        (offset < FUNCTION_BYTES).then(|| StackFrame { symbol, offset, module: String::new() })
    }

    /// Frames by file and offset; those of no file, and all of a process that has ended, are left out.
    pub(super) fn user_frames(&self, pid: u32, addresses: &[u64]) -> Vec<StackFrame> {
        if addresses.is_empty() {
            return Vec::new();
        }
        let path = self.proc.join(pid.to_string()).join("maps");
        let Ok(file) = File::open(path) else { return Vec::new() };
        let mappings = read_mappings(BufReader::new(file));
        let frame = |address: &u64| {
            let mapping = mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(address))?;
            let offset = address - mapping.start + mapping.offset;
            Some(StackFrame { symbol: String::new(), offset, module: mapping.file.clone() })
        };
        addresses.iter().filter_map(frame).collect()
    }
}

/// Address of a function; start and end of its name in the text of all names.
type Function = (u64, u32, u32);

/// Functions by address, and the text of all names.
fn read_functions(mut table: impl BufRead) -> io::Result<(Vec<Function>, String)> {
    let (mut functions, mut names, mut line) = (Vec::new(), String::new(), String::new());
    loop {
        line.clear();
        if table.read_line(&mut line)? == 0 {
            break;
        }
        let mut words = line.split_whitespace();
        let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else { continue };
        let Ok(address) = u64::from_str_radix(address, 16) else { continue };
        // All are 0 for an agent without CAP_SYSLOG.
        if address == 0 || !matches!(kind, "t" | "T" | "w" | "W") {
            continue;
        }
        let start = names.len();
        names.push_str(name);
        if let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(names.len())) {
            functions.push((address, start, end));
        }
    }
    // Of two names for one address the first of the table stays in front.
    functions.sort_by_key(|(address, ..)| *address);
    functions.dedup_by_key(|(address, ..)| *address);
    functions.shrink_to_fit();
    names.shrink_to_fit();
    Ok((functions, names))
}

struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    file: String,
}

/// Mappings of code. The names are the workload's.
fn read_mappings(mut table: impl BufRead) -> Vec<Mapping> {
    let (mut mappings, mut line) = (Vec::new(), Vec::new());
    for _ in 0..MAPPINGS {
        line.clear();
        if table.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            break;
        }
        mappings.extend(parse_mapping(&decode(line.strip_suffix(b"\n").unwrap_or(&line))));
    }
    mappings
}

/// `5581a0-5581b0 r-xp 00001000 08:01 1234    /usr/bin/curl`
fn parse_mapping(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let (mode, offset) = (words.next()?, words.next()?);
    let file = words.nth(2)?.trim_start();
    if !mode.contains('x') || file.is_empty() {
        return None;
    }
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some(Mapping { start: hex(start)?, end: hex(end)?, offset: hex(offset)?, file: file.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TABLE: &str = "\
ffffffff81002000 T second
ffffffff81001000 T first
ffffffff81001000 T alias_of_first
ffffffff81001800 d data
ffffffffc0000000 t of_module\t[ext4]
";

    fn symbols(table: &str) -> (tempfile::TempDir, Symbols) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kallsyms"), table).unwrap();
        let symbols = Symbols::in_folder(folder.path());
        (folder, symbols)
    }

    #[test]
    fn kernel_frames_have_names_and_offsets() {
        let (_folder, mut symbols) = symbols(TABLE);
        let frames = symbols.kernel_frames(&[0xffff_ffff_8100_1804, 0, 0xffff_ffff_c000_0010, 0x1000, u64::MAX]);
        let shown: Vec<(&str, u64)> = frames.iter().map(|frame| (frame.symbol.as_str(), frame.offset)).collect();
        assert_eq!(shown, [("first", 0x804), ("of_module", 0x10)]);
    }

    #[test]
    fn hidden_addresses_name_nothing() {
        let (_folder, mut symbols) = symbols("0000000000000000 T first\n");
        assert_eq!(symbols.kernel_frames(&[0xffff_ffff_8100_1804]), []);
    }

    #[test]
    fn user_frames_have_file_and_offset() {
        let (folder, symbols) = symbols("");
        let process = folder.path().join("77");
        fs::create_dir(&process).unwrap();
        let maps = b"1000-2000 r--p 00000000 08:01 5                          /usr/bin/my tool\n\
            2000-3000 r-xp 00001000 08:01 5                          /usr/bin/my tool\n\
            4000-5000 r-xp 00000000 00:00 0 \n\
            nonsense\n\
            6000-7000 r-xp 00000000 08:01 6                          /lib/\xff.so\n";
        fs::write(process.join("maps"), maps).unwrap();
        let frames = symbols.user_frames(77, &[0x2010, 0x4010, 0x1010, 0x6001, 0]);
        let frame = |module: &str, offset| StackFrame { symbol: String::new(), offset, module: module.into() };
        assert_eq!(frames, [frame("/usr/bin/my tool", 0x1010), frame("/lib/\u{fffd}.so", 1)]);
        assert_eq!(symbols.user_frames(78, &[0x2010]), []);
    }
}
