//! The parts of an ELF file that blazesym does not read: sections by name, read piece by piece, so that a table of any size costs
//! the memory of the piece that is looked at. The file is a pod's, and any of its numbers may be wrong.

use std::io::{Read, Seek, SeekFrom};

/// Bytes that are read at once at most.
const READ_MAX: usize = 64 << 10;
/// Sections and segments that are read.
const SECTIONS_MAX: usize = 1024;
const SEGMENTS_MAX: usize = 256;
const LOADED_SEGMENT: u32 = 1;

/// Processors whose registers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

#[derive(Clone, Debug)]
pub(super) struct Section {
    name: String,
    /// Address of its first byte.
    pub(super) address: u64,
    /// Where it lies in the file.
    pub(super) offset: u64,
    pub(super) size: u64,
}

struct Segment {
    offset: u64,
    address: u64,
    file_size: u64,
}

/// A 64-bit little-endian ELF file.
pub(super) struct ElfFile<R> {
    reader: R,
    pub(super) machine: Machine,
    /// Address of the first instruction.
    pub(super) entry: u64,
    sections: Vec<Section>,
    segments: Vec<Segment>,
}

impl<R: Read + Seek> ElfFile<R> {
    /// None if this is no such file.
    pub(super) fn open(mut reader: R) -> Option<Self> {
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
        let sections = raw
            .into_iter()
            .filter_map(|(name, section)| {
                let name = read_text(&mut reader, names.as_ref()?.offset.checked_add(name.into())?, 64)?;
                Some(Section { name, ..section })
            })
            .collect();
        Some(Self { reader, machine, entry, sections, segments })
    }

    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The address of a byte of the file that is mapped.
    pub(super) fn address_of(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let inside = offset.checked_sub(segment.offset).filter(|inside| *inside < segment.file_size)?;
            segment.address.checked_add(inside)
        })
    }

    /// Where the byte of an address lies in the file.
    pub(super) fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address).filter(|inside| *inside < segment.file_size)?;
            segment.offset.checked_add(inside)
        })
    }

    /// Exactly so many bytes of the file.
    pub(super) fn read(&mut self, offset: u64, length: usize) -> Option<Vec<u8>> {
        read(&mut self.reader, offset, length)
    }

    /// At most so many bytes; fewer at the end of the file.
    pub(super) fn read_up_to(&mut self, offset: u64, length: usize) -> Option<Vec<u8>> {
        read_up_to(&mut self.reader, offset, length)
    }

    /// A text that ends in a zero byte, or its first `length` bytes.
    pub(super) fn text(&mut self, offset: u64, length: usize) -> Option<String> {
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
    let kind = fields.u32()?;
    fields.skip(4);
    let (offset, address) = (fields.u64()?, fields.u64()?);
    fields.skip(8);
    let file_size = fields.u64()?;
    (kind == LOADED_SEGMENT).then_some(Segment { offset, address, file_size })
}

/// Offset of its name, and the section without it.
fn raw_section(entry: &[u8]) -> Option<(u32, Section)> {
    let mut fields = Fields::new(entry);
    let name = fields.u32()?;
    fields.skip(12);
    let (address, offset, size) = (fields.u64()?, fields.u64()?, fields.u64()?);
    Some((name, Section { name: String::new(), address, offset, size }))
}

/// Reads numbers from bytes, little-endian.
#[derive(Clone)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Skips as many bytes as there are, at most `count`.
    pub(super) fn skip(&mut self, count: usize) {
        self.0 = self.0.get(count..).unwrap_or_default();
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        Some(self.bytes(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        Some(i32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    /// An unsigned LEB128 number.
    pub(super) fn uleb(&mut self) -> Option<u64> {
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
