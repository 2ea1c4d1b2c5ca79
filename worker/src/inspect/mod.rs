//! The job `inspect`: one ELF file of a pod, of which the agent learns where the functions of its TLS library begin and return.
//! The file is the pod's, and any of its numbers may be wrong, so that the worker that reads it can do nothing else, and ends.

mod exits;
mod library;
mod symbols;

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::{BorrowedFd, OwnedFd},
};

use trilobite_worker_wire::{
    InspectedFunction, Inspection, Message, TlsFunction,
    channel::send,
    inspection::{FUNCTIONS_MAX, RETURNS_MAX},
};

use self::symbols::{Symbol, Symbols};
use crate::{
    confine::{self, Phase},
    elf::{ElfFile, SectionKind},
};

/// Memory of the worker: a piece of the file, and what is found.
const MEMORY_BYTES: u64 = 16 << 20;
/// Bytes of the longest function whose code is read.
const FUNCTION_BYTES_MAX: u64 = 16 << 10;

/// Confines the process, reads the file, and answers the agent.
pub(crate) fn answer(socket: BorrowedFd<'_>, file: OwnedFd) -> io::Result<()> {
    confine::limit_resources(MEMORY_BYTES)?;
    confine::filter_system_calls(Phase::Parse)?;
    let message = Message::Inspected(inspect(File::from(file)));
    send(socket, &message.encode().map_err(io::Error::other)?, &[], true)
}

/// What is known of a file; nothing if it is no ELF file of this kind of processor.
fn inspect(file: impl Read + Seek) -> Inspection {
    let Some(mut elf) = ElfFile::open(file) else { return Inspection::default() };
    let is_stripped = elf.symbols(SectionKind::Symbols).is_none();
    let names: Vec<&str> = TlsFunction::ALL.into_iter().map(TlsFunction::symbol).chain(library::markers()).collect();
    let mut symbols = Symbols::read(&mut elf, SectionKind::DynamicSymbols, &names);
    let mut functions = find_functions(&mut elf, &symbols);
    if functions.is_empty() && !is_stripped {
        symbols.add(Symbols::read(&mut elf, SectionKind::Symbols, &names));
        functions = find_functions(&mut elf, &symbols);
    }
    let tls = library::implementation(&mut elf, &symbols, !functions.is_empty());
    Inspection { functions, tls, is_stripped }
}

fn find_functions<R: Read + Seek>(elf: &mut ElfFile<R>, symbols: &Symbols) -> Vec<InspectedFunction> {
    const { assert!(TlsFunction::ALL.len() <= FUNCTIONS_MAX) };
    let inspected = |function: TlsFunction| inspect_function(elf, function, symbols.defined(function.symbol())?);
    TlsFunction::ALL.into_iter().filter_map(inspected).collect()
}

/// None if there is no code where the symbol says.
fn inspect_function<R: Read + Seek>(
    elf: &mut ElfFile<R>,
    function: TlsFunction,
    symbol: Symbol,
) -> Option<InspectedFunction> {
    let entry = elf.code_offset_of(symbol.address).filter(|_| symbol.is_function)?;
    let code = (1..=FUNCTION_BYTES_MAX).contains(&symbol.size).then(|| elf.read(entry, symbol.size as usize)).flatten();
    let exits = code.and_then(|code| exits::find(elf.machine, &code, symbol.address));
    let exits = exits.filter(|exits| exits.returns.len() <= RETURNS_MAX).unwrap_or_default();
    let returns = exits.returns.iter().filter_map(|address| elf.code_offset_of(*address)).collect();
    Some(InspectedFunction { function, entry, returns, tail_jumps: exits.tail_jumps })
}

#[cfg(test)]
mod tests;
