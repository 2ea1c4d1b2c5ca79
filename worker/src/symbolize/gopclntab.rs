//! Go's own table of functions, `.gopclntab`, which stays in stripped binaries because the runtime needs it: names of functions, and
//! how far the stack pointer is moved at an address. Formats of Go 1.16, 1.18 and 1.20, which is still that of 1.26.

use std::io::{Read, Seek};

use crate::elf::{ElfFile, Fields, Section};

/// Characters of a name that are read.
const NAME_MAX: usize = 2048;
/// Bytes of a function's table of stack positions that are read.
const POSITIONS_MAX: usize = 4 << 10;
/// Names of the table's section; the second is that of position-independent executables of older linkers.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// How names of the functions begin at which Go's own linker lets a program start.
const START: &str = "_rt0_";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Entries have absolute addresses, in 64 bits.
    Go116,
    /// Entries are relative to the start of the code, in 32 bits.
    Go118,
}

/// The table of one binary.
pub(super) struct GoFunctions {
    format: Format,
    section: Section,
    /// Bytes of an instruction.
    quantum: u64,
    functions: u64,
    text: u64,
    /// Offsets in the section: names, stack positions, functions.
    names: u64,
    positions: u64,
    table: u64,
}

impl GoFunctions {
    /// None if the binary has no such table, or one whose addresses cannot be known.
    pub(super) fn open<R: Read + Seek>(elf: &mut ElfFile<R>) -> Option<Self> {
        let section = SECTIONS.iter().find_map(|name| elf.section(name))?.clone();
        let header = elf.read(section.offset, 8 + 8 * 8)?;
        let mut fields = Fields::new(&header);
        let format = match fields.u32()? {
            0xffff_fffa => Format::Go116,
            0xffff_fff0 | 0xffff_fff1 => Format::Go118,
            _ => return None,
        };
        let (0, quantum @ (1 | 2 | 4), 8) = (fields.u16()?, fields.u8()?, fields.u8()?) else { return None };
        let functions = fields.u64()?;
        // Number of files, which is not needed.
        fields.u64()?;
        if format == Format::Go118 {
            // Start of the code; not filled in since Go 1.26, and not relocated in a position-independent file.
            fields.u64()?;
        }
        let names = fields.u64()?;
        fields.u64()?;
        fields.u64()?;
        let (positions, table) = (fields.u64()?, fields.u64()?);
        let text = elf.section(".text")?.address;
        let quantum = quantum.into();
        let go = Self { format, section, quantum, functions, text, names, positions, table };
        // Where the C linker has put other code before Go's, the start of Go's code is not known.
        let entry = elf.entry;
        let starts = go.function_at(elf, entry).and_then(|function| go.name(elf, &function));
        starts.filter(|name| name.starts_with(START)).map(|_| go)
    }

    /// Name of the function at an address.
    pub(super) fn name_at<R: Read + Seek>(&self, elf: &mut ElfFile<R>, address: u64) -> Option<String> {
        let function = self.function_at(elf, address)?;
        self.name(elf, &function).filter(|name| !name.is_empty())
    }

    /// The function at this address has no frame there, so that a walk along frame pointers misses its caller.
    pub(super) fn caller_is_missing<R: Read + Seek>(&self, elf: &mut ElfFile<R>, address: u64) -> Option<bool> {
        let function = self.function_at(elf, address)?;
        let table = self.positions.checked_add(function.positions.into())?;
        let bytes = elf.read_up_to(self.at(table)?, POSITIONS_MAX)?;
        let moved = stack_moved(&bytes, function.start, self.quantum, address)?;
        Some(moved == 0)
    }

    fn name<R: Read + Seek>(&self, elf: &mut ElfFile<R>, function: &Function) -> Option<String> {
        elf.text(self.at(self.names.checked_add(function.name.into())?)?, NAME_MAX)
    }

    fn function_at<R: Read + Seek>(&self, elf: &mut ElfFile<R>, address: u64) -> Option<Function> {
        let (mut low, mut high) = (0, self.functions);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(elf, middle)?.0 <= address { low = middle + 1 } else { high = middle }
        }
        // The entry behind the last function has the end of the code as its address.
        let at = low.checked_sub(1)?;
        let ((start, function), (end, _)) = (self.entry(elf, at)?, self.entry(elf, at.checked_add(1)?)?);
        if address >= end {
            return None;
        }
        let place = self.at(self.table.checked_add(function)?)?;
        let bytes = elf.read(place, if self.format == Format::Go116 { 24 } else { 20 })?;
        let mut fields = Fields::new(&bytes);
        fields.skip(bytes.len() - 16);
        let name = fields.u32()?;
        fields.skip(8);
        Some(Function { start, name, positions: fields.u32()? })
    }

    /// Address of a function, and the offset of its description behind the start of the table.
    fn entry<R: Read + Seek>(&self, elf: &mut ElfFile<R>, number: u64) -> Option<(u64, u64)> {
        let width = if self.format == Format::Go116 { 8 } else { 4 };
        let place = self.table.checked_add(number.checked_mul(2 * width)?)?;
        // The last entry has an address alone.
        let bytes = elf.read_up_to(self.at(place)?, 2 * width as usize)?;
        let mut fields = Fields::new(&bytes);
        Some(match self.format {
            Format::Go116 => (fields.u64()?, fields.u64().unwrap_or_default()),
            Format::Go118 => (self.text.checked_add(fields.u32()?.into())?, fields.u32().unwrap_or_default().into()),
        })
    }

    /// Where a byte of the section lies in the file.
    fn at(&self, offset: u64) -> Option<u64> {
        self.section.offset.checked_add(offset).filter(|_| offset < self.section.size)
    }
}

struct Function {
    start: u64,
    /// Offset of its name behind that of all names.
    name: u32,
    /// Offset of its stack positions behind that of all.
    positions: u32,
}

/// How far the stack pointer is moved at an address: pairs of a change in zigzag coding and the number of instructions for which
/// it holds.
fn stack_moved(table: &[u8], start: u64, quantum: u64, address: u64) -> Option<i64> {
    let mut fields = Fields::new(table);
    let (mut position, mut value, mut first) = (start, -1i64, true);
    loop {
        let change = fields.uleb()?;
        if change == 0 && !first {
            return None;
        }
        first = false;
        let change = (change >> 1).cast_signed() ^ -(change & 1).cast_signed();
        value = value.checked_add(change)?;
        position = position.checked_add(fields.uleb()?.checked_mul(quantum)?)?;
        if address < position {
            return Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Cursor, process::Command};

    use proptest::prelude::*;

    use super::*;

    const SOURCE: &str = "package main\n\nvar sink int\n\n//go:noinline\nfunc leaf(n int) int { for i := 0; i < n; i++ { sink += i }; return sink }\n\n//go:noinline\nfunc dig(n int) int { return leaf(n) + leaf(n+1) }\n\nfunc main() { println(dig(9)) }\n";

    struct Stripped {
        file: Vec<u8>,
        /// Addresses of some functions, by `go tool nm` of the same binary before.
        symbols: Vec<(String, u64)>,
    }

    /// None without Go.
    fn stripped() -> Option<Stripped> {
        let folder = std::env::temp_dir().join(format!("gopclntab-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("main.go"), SOURCE).unwrap();
        let build = |flags: &str, name: &str| {
            let mut go = Command::new("go");
            go.args(["build", "-ldflags", flags, "-o", name, "main.go"]).current_dir(&folder);
            go.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod").status().is_ok_and(|status| status.success())
        };
        let built = build("", "full") && build("-s -w", "stripped");
        let symbols = Command::new("go").args(["tool", "nm", "full"]).current_dir(&folder).output();
        let file = fs::read(folder.join("stripped"));
        fs::remove_dir_all(&folder).unwrap();
        let symbols = String::from_utf8(symbols.ok().filter(|_| built)?.stdout).unwrap();
        let wanted = ["main.leaf", "main.dig", "main.main", "runtime.mallocgc"];
        let address = |line: &str| {
            let mut words = line.split_whitespace();
            let (address, _, name) = (words.next()?, words.next()?, words.next()?);
            wanted.contains(&name).then(|| (name.to_owned(), u64::from_str_radix(address, 16).unwrap()))
        };
        Some(Stripped { file: file.ok()?, symbols: symbols.lines().filter_map(address).collect() })
    }

    #[test]
    fn stripped_go_has_names_and_leaves_without_a_frame() {
        let Some(Stripped { file, symbols }) = stripped() else { return };
        let mut elf = ElfFile::open(Cursor::new(&file)).unwrap();
        let go = GoFunctions::open(&mut elf).unwrap();
        assert_eq!(symbols.len(), 4, "{symbols:?}");
        for (name, address) in symbols {
            assert_eq!(go.name_at(&mut elf, address + 4).as_deref(), Some(name.as_str()));
            // A function without calls has no frame; the others have one, but for their first instructions.
            let missing = if name == "main.leaf" { address + 4 } else { address };
            assert_eq!(go.caller_is_missing(&mut elf, missing), Some(true), "{name}");
            if name == "main.dig" {
                assert_eq!(go.caller_is_missing(&mut elf, address + 24), Some(false));
            }
        }
        assert_eq!(go.name_at(&mut elf, u64::MAX), None);
        damaged_table_is_read_or_refused(file);
    }

    fn damaged_table_is_read_or_refused(file: Vec<u8>) {
        let elf = ElfFile::open(Cursor::new(&file)).unwrap();
        let (section, entry) = (elf.section(".gopclntab").unwrap().clone(), elf.entry);
        for round in 0..400usize {
            let mut damaged = file.clone();
            for step in 0..8 {
                let place = section.offset as usize + (round * 131 + step * step * 977) % 4096;
                damaged[place] = damaged[place].wrapping_add((round + step) as u8 | 1);
            }
            let mut elf = ElfFile::open(Cursor::new(damaged)).unwrap();
            if let Some(go) = GoFunctions::open(&mut elf) {
                let _ = (go.name_at(&mut elf, entry), go.caller_is_missing(&mut elf, entry));
            }
        }
    }

    #[test]
    fn binary_of_another_language_has_no_table() {
        let mut elf = ElfFile::open(fs::File::open("/proc/self/exe").unwrap()).unwrap();
        assert!(GoFunctions::open(&mut elf).is_none());
    }

    #[test]
    fn stack_positions_hold_for_so_many_instructions() {
        // +1 (to 0) for 4 bytes, +8 for 10, -8 for 2, end.
        let table = [2, 4, 16, 10, 15, 2, 0];
        let at = |address| stack_moved(&table, 0x100, 1, address);
        assert_eq!([0x100, 0x104, 0x10d, 0x10e].map(at), [Some(0), Some(8), Some(8), Some(0)]);
        assert_eq!(at(0x110), None);
    }

    proptest! {
        #[test]
        fn wild_positions_end(table in prop::collection::vec(any::<u8>(), 0..200), start: u64, address: u64) {
            let _ = stack_moved(&table, start, 4, address);
        }
    }
}
