//! The symbols of an ELF file that are of interest, found without the rest of its tables in memory: first where their names are in
//! the table of texts, then which symbols have these names.

use std::{
    collections::HashMap,
    io::{Read, Seek},
};

use crate::elf::{ElfFile, Fields, Section, SectionKind};

/// Bytes of a table of texts, and symbols, that are read.
const TEXTS_BYTES_MAX: u64 = 256 << 20;
const SYMBOLS_MAX: u64 = 8 << 20;
/// Bytes that are read at once: of texts, and whole symbols.
const PIECE: usize = 32 << 10;
const SYMBOL_BYTES: usize = 24;
const SYMBOLS_PIECE: usize = SYMBOL_BYTES << 10;
/// No name of interest is longer.
const NAME_BYTES_MAX: usize = 64;
/// Places of all names together. A file has a name once, or a few times as the end of longer ones.
const PLACES_MAX: usize = 1024;

/// A symbol of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) is_function: bool,
}

/// Symbols of interest that a file defines itself, by name.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    defined: HashMap<&'static str, Symbol>,
}

impl Symbols {
    /// The symbols of these names.
    pub(super) fn read<R: Read + Seek>(elf: &mut ElfFile<R>, kind: SectionKind, names: &[&'static str]) -> Self {
        let Some((symbols, texts)) = elf.symbols(kind) else { return Self::default() };
        let (symbols, texts) = (symbols.clone(), texts.clone());
        let places = places_of_names(elf, &texts, names);
        if places.is_empty() { Self::default() } else { Self { defined: defined(elf, &symbols, &places) } }
    }

    pub(super) fn add(&mut self, more: Self) {
        self.defined.extend(more.defined);
    }

    pub(super) fn defined(&self, name: &str) -> Option<Symbol> {
        self.defined.get(name).copied()
    }
}

/// Where each name of interest stands. Linkers store a name once that is also the end of a longer one.
fn places_of_names<R: Read + Seek>(
    elf: &mut ElfFile<R>,
    texts: &Section,
    names: &[&'static str],
) -> HashMap<u32, &'static str> {
    let mut places = HashMap::new();
    let (mut position, mut name) = (0, Vec::new());
    while position < texts.size.min(TEXTS_BYTES_MAX) && places.len() < PLACES_MAX {
        let piece = texts.offset.checked_add(position).and_then(|at| elf.read_up_to(at, PIECE)).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        let mut end = position;
        for part in piece.split_inclusive(|byte| *byte == 0) {
            end += part.len() as u64;
            let Some(last) = part.strip_suffix(&[0]) else {
                name.extend_from_slice(&part[part.len().saturating_sub(NAME_BYTES_MAX)..]);
                continue;
            };
            name.extend_from_slice(&last[last.len().saturating_sub(NAME_BYTES_MAX)..]);
            for wanted in names.iter().filter(|wanted| name.ends_with(wanted.as_bytes())) {
                if let Ok(place) = u32::try_from(end - 1 - wanted.len() as u64) {
                    places.insert(place, *wanted);
                }
            }
            name.clear();
        }
        name.drain(..name.len().saturating_sub(NAME_BYTES_MAX));
        position = end;
    }
    places
}

fn defined<R: Read + Seek>(
    elf: &mut ElfFile<R>,
    symbols: &Section,
    places: &HashMap<u32, &'static str>,
) -> HashMap<&'static str, Symbol> {
    let mut found = HashMap::new();
    let size = symbols.size.min(SYMBOLS_MAX * SYMBOL_BYTES as u64);
    for start in (0..size).step_by(SYMBOLS_PIECE) {
        let length = (size - start).min(SYMBOLS_PIECE as u64) as usize;
        let piece = symbols.offset.checked_add(start).and_then(|at| elf.read_up_to(at, length)).unwrap_or_default();
        for entry in piece.chunks_exact(SYMBOL_BYTES) {
            if let Some((name, symbol)) = symbol(entry)
                && let Some(name) = places.get(&name)
            {
                found.entry(*name).or_insert(symbol);
            }
        }
        if piece.len() < length {
            break;
        }
    }
    found
}

/// The place of its name, and a symbol; none if another file defines it.
fn symbol(entry: &[u8]) -> Option<(u32, Symbol)> {
    const UNDEFINED: u16 = 0;
    const FUNCTION: u8 = 2;
    let mut fields = Fields::new(entry);
    let (name, info) = (fields.u32()?, fields.u8()?);
    fields.skip(1);
    let (section, address, size) = (fields.u16()?, fields.u64()?, fields.u64()?);
    let symbol = Symbol { address, size, is_function: info & 15 == FUNCTION };
    (section != UNDEFINED && address != 0).then_some((name, symbol))
}
