//! The parts of an ELF file that blazesym does not read: sections by name and by kind, read piece by piece, so that a table of any
//! size costs the memory of the piece that is looked at. The file is a pod's, and any of its numbers may be wrong.

use std::io::{Read, Seek, SeekFrom};

/// Bytes that are read at once at most.
const READ_MAX: usize = 64 << 10;
/// Sections and segments that are read.
const SECTIONS_MAX: usize = 1024;
const SEGMENTS_MAX: usize = 256;
const LOADED_SEGMENT: u32 = 1;
/// Bit in a segment's flags.
const EXECUTABLE: u32 = 1;

/// Processors whose registers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    X86_64,
    Aarch64,
}

/// What is in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SectionKind {
    /// Symbols that are for linkers and debuggers.
    Symbols,
    /// Symbols by which a program is loaded.
    DynamicSymbols,
    Other,
}

#[derive(Clone, Debug)]
pub(crate) struct Section {
    name: String,
    pub(crate) kind: SectionKind,
    /// Address of its first byte.
    pub(crate) address: u64,
    /// Where it lies in the file.
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// Of a section of symbols: the number of the section with their names.
    link: u32,
}

struct Segment {
    offset: u64,
    address: u64,
    file_size: u64,
    is_executable: bool,
}

impl Segment {
    fn offset_of(&self, address: u64) -> Option<u64> {
        let inside = address.checked_sub(self.address).filter(|inside| *inside < self.file_size)?;
        self.offset.checked_add(inside)
    }
}

/// A 64-bit little-endian ELF file.
pub(crate) struct ElfFile<R> {
    reader: R,
    pub(crate) machine: Machine,
    /// Address of the first instruction.
    pub(crate) entry: u64,
    sections: Vec<Section>,
    segments: Vec<Segment>,
}

impl<R: Read + Seek> ElfFile<R> {
    /// None if this is no such file.
    pub(crate) fn open(mut reader: R) -> Option<Self> {
        let header = read(&mut reader, 0, 64)?;
        if header[..6] != *b"\x7fELF\x02\x01" {
            return None;
        }
        let mut fields = Fields::new(&header);
        fields.skip(18);
        let machine = match fields.u16()? {
            62 => Machine::X86_64,
            183 => Machine::Aarch64,
            _ => return None,
        };
        fields.skip(4);
        let (entry, segments_at, sections_at) = (fields.u64()?, fields.u64()?, fields.u64()?);
        fields.skip(6);
        let (segment_size, segments) = (fields.u16()?, fields.u16()?);
        let (section_size, sections, names) = (fields.u16()?, fields.u16()?, fields.u16()?);
        let segments = table(&mut reader, segments_at, segment_size, usize::from(segments).min(SEGMENTS_MAX), segment);
        let raw = table(&mut reader, sections_at, section_size, usize::from(sections).min(SECTIONS_MAX), raw_section);
        let names = raw.get(usize::from(names)).map(|(_, section)| section.clone());
        // A section without a name stays: others refer to sections by their numbers.
        let sections = raw
            .into_iter()
            .map(|(name, section)| {
                let place = names.as_ref().and_then(|names| names.offset.checked_add(name.into()));
                let name = place.and_then(|place| read_text(&mut reader, place, 64)).unwrap_or_default();
                Section { name, ..section }
            })
            .collect();
        Some(Self { reader, machine, entry, sections, segments })
    }

    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The first section with symbols of a kind, and the one with their names.
    pub(crate) fn symbols(&self, kind: SectionKind) -> Option<(&Section, &Section)> {
        let symbols = self.sections.iter().find(|section| section.kind == kind)?;
        Some((symbols, self.sections.get(symbols.link as usize)?))
    }

    /// Where the code of an address lies in the file; none if nothing is mapped there, or no code.
    pub(crate) fn code_offset_of(&self, address: u64) -> Option<u64> {
        let segments = self.segments.iter().filter(|segment| segment.is_executable);
        segments.into_iter().find_map(|segment| segment.offset_of(address))
    }

    /// The address of a byte of the file that is mapped.
    pub(crate) fn address_of(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let inside = offset.checked_sub(segment.offset).filter(|inside| *inside < segment.file_size)?;
            segment.address.checked_add(inside)
        })
    }

    /// Where the byte of an address lies in the file.
    pub(crate) fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| segment.offset_of(address))
    }

    /// Exactly so many bytes of the file.
    pub(crate) fn read(&mut self, offset: u64, length: usize) -> Option<Vec<u8>> {
        read(&mut self.reader, offset, length)
    }

    /// At most so many bytes; fewer at the end of the file.
    pub(crate) fn read_up_to(&mut self, offset: u64, length: usize) -> Option<Vec<u8>> {
        read_up_to(&mut self.reader, offset, length)
    }

    /// A text that ends in a zero byte, or its first `length` bytes.
    pub(crate) fn text(&mut self, offset: u64, length: usize) -> Option<String> {
        read_text(&mut self.reader, offset, length)
    }
}

fn read(reader: &mut (impl Read + Seek), offset: u64, length: usize) -> Option<Vec<u8>> {
    read_up_to(reader, offset, length).filter(|bytes| bytes.len() == length)
}

fn read_up_to(reader: &mut (impl Read + Seek), offset: u64, length: usize) -> Option<Vec<u8>> {
    if length > READ_MAX {
        return None;
    }
    reader.seek(SeekFrom::Start(offset)).ok()?;
    let mut bytes = Vec::with_capacity(length);
    reader.take(length as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn read_text(reader: &mut (impl Read + Seek), offset: u64, length: usize) -> Option<String> {
    let bytes = read_up_to(reader, offset, length)?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(text).into_owned())
}

fn table<T>(
    reader: &mut (impl Read + Seek),
    offset: u64,
    entry_size: u16,
    count: usize,
    parse: fn(&[u8]) -> Option<T>,
) -> Vec<T> {
    let size = usize::from(entry_size);
    let entries = (0..count).filter_map(|at| parse(&read(reader, offset.checked_add((at * size) as u64)?, size)?));
    entries.collect()
}

fn segment(entry: &[u8]) -> Option<Segment> {
    let mut fields = Fields::new(entry);
    let (kind, flags) = (fields.u32()?, fields.u32()?);
    let (offset, address) = (fields.u64()?, fields.u64()?);
    fields.skip(8);
    let file_size = fields.u64()?;
    let is_executable = flags & EXECUTABLE != 0;
    (kind == LOADED_SEGMENT).then_some(Segment { offset, address, file_size, is_executable })
}

/// Offset of its name, and the section without it.
fn raw_section(entry: &[u8]) -> Option<(u32, Section)> {
    let mut fields = Fields::new(entry);
    let (name, kind) = (fields.u32()?, fields.u32()?);
    fields.skip(8);
    let (address, offset, size) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let kind = match kind {
        2 => SectionKind::Symbols,
        11 => SectionKind::DynamicSymbols,
        _ => SectionKind::Other,
    };
    Some((name, Section { name: String::new(), kind, address, offset, size, link: fields.u32()? }))
}

/// Reads numbers from bytes, little-endian.
#[derive(Clone)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Skips as many bytes as there are, at most `count`.
    pub(crate) fn skip(&mut self, count: usize) {
        self.0 = self.0.get(count..).unwrap_or_default();
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        Some(self.bytes(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(2)?.try_into().ok()?))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        Some(i32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    /// An unsigned LEB128 number.
    pub(crate) fn uleb(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Cursor};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn own_binary_has_code_at_its_entry() {
        let mut elf = ElfFile::open(File::open("/proc/self/exe").unwrap()).unwrap();
        let text = elf.section(".text").unwrap().clone();
        assert!((text.address..text.address + text.size).contains(&elf.entry));
        let offset = elf.offset_of(elf.entry).unwrap();
        assert_eq!(elf.address_of(offset), Some(elf.entry));
        assert_eq!(elf.read(offset, 16).unwrap().len(), 16);
    }

    #[test]
    fn longest_leb128_number_is_read_and_a_longer_one_is_not() {
        let longest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Fields::new(&longest).uleb(), Some(u64::MAX));
        assert_eq!(Fields::new(&[0x80; 11]).uleb(), None);
        assert_eq!(Fields::new(&[0xe5, 0x8e, 0x26]).uleb(), Some(624_485));
    }

    proptest! {
        #[test]
        fn wild_header_is_refused_or_read_within_its_limits(mut bytes in prop::collection::vec(any::<u8>(), 64..2048)) {
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            bytes[18..20].copy_from_slice(&62u16.to_le_bytes());
            let mut elf = ElfFile::open(Cursor::new(bytes)).unwrap();
            prop_assert!(elf.sections.len() <= SECTIONS_MAX && elf.segments.len() <= SEGMENTS_MAX);
            let _ = (elf.section(".text").cloned(), elf.address_of(7), elf.offset_of(7), elf.text(9, 64));
        }
    }
}
