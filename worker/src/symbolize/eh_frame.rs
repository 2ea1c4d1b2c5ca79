//! Whether a function has made a frame of its own at an address, by the call frame information of that one function
//! (`.eh_frame`, DWARF 5 section 6.4). While it has not, a walk along frame pointers misses its caller.

use std::io::{Read, Seek};

use crate::elf::{ElfFile, Fields, Machine};

/// Bytes of one entry that are read; longer ones are left undecided.
const ENTRY_MAX: usize = 8 << 10;
/// States that may be remembered.
const REMEMBERED_MAX: usize = 16;
/// Instructions that are followed.
const INSTRUCTIONS_MAX: usize = 4096;

/// The encodings that every linker writes: relative to the place of the number, or of the table, in 32 bits with a sign.
const PC_RELATIVE: u8 = 0x1b;
const TABLE_RELATIVE: u8 = 0x3b;
const U32: u8 = 0x03;

/// Frame and stack pointer in DWARF's numbers.
struct Registers {
    frame: u64,
    stack: u64,
}

impl Machine {
    fn registers(self) -> Registers {
        match self {
            Self::X86_64 => Registers { frame: 6, stack: 7 },
            Self::Aarch64 => Registers { frame: 29, stack: 31 },
        }
    }
}

/// How the caller's frame is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rules {
    /// Register from which the frame's address is computed; none for an expression.
    base: Option<u64>,
    /// The caller's frame pointer is in the frame.
    frame_pointer_saved: bool,
}

/// Whether a walk along frame pointers from this address misses the function's caller. None if that is not known.
pub(super) fn caller_is_missing<R: Read + Seek>(elf: &mut ElfFile<R>, address: u64) -> Option<bool> {
    let entry = entry_of(elf, address)?;
    let rules = rules_at(elf, entry, address)?;
    let Registers { frame, stack } = elf.machine.registers();
    match rules.base? {
        base if base == frame => Some(false),
        // On x86-64 the frame pointer is still the caller's, or is used for something else.
        base if base == stack && elf.machine == Machine::X86_64 => Some(true),
        // gcc leaves the stack pointer as the base, though frame pointer and return address are saved side by side.
        base if base == stack => Some(!rules.frame_pointer_saved),
        _ => None,
    }
}

/// Address of the entry of the function around an address, by binary search in `.eh_frame_hdr`.
fn entry_of<R: Read + Seek>(elf: &mut ElfFile<R>, address: u64) -> Option<u64> {
    let table = elf.section(".eh_frame_hdr")?.clone();
    let header = elf.read(table.offset, 12)?;
    if header[..4] != [1, PC_RELATIVE, U32, TABLE_RELATIVE] {
        return None;
    }
    let count = u64::from(Fields::new(&header[8..]).u32()?).min(table.size.saturating_sub(12) / 8);
    let mut pair_at = |at: u64| {
        let bytes = elf.read(table.offset.checked_add(12 + 8 * at)?, 8)?;
        let mut fields = Fields::new(&bytes);
        let mut absolute = || Some(table.address.wrapping_add_signed(fields.i32()?.into()));
        Some((absolute()?, absolute()?))
    };
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if pair_at(middle)?.0 <= address { low = middle + 1 } else { high = middle }
    }
    Some(pair_at(low.checked_sub(1)?)?.1)
}

/// The rules at an address, by the entry of its function.
fn rules_at<R: Read + Seek>(elf: &mut ElfFile<R>, entry: u64, address: u64) -> Option<Rules> {
    let (body, body_address) = read_entry(elf, entry)?;
    let mut fields = Fields::new(&body);
    let common = body_address.checked_sub(u64::from(fields.u32()?))?;
    let pointer_address = body_address.checked_add(4)?;
    let (start, length) = (pointer_address.wrapping_add_signed(fields.i32()?.into()), u64::from(fields.u32()?));
    // Behind the last function that has an entry.
    if address.checked_sub(start)? >= length {
        return None;
    }
    let (common_body, _) = read_entry(elf, common)?;
    let common = Common::parse(&common_body)?;
    skip_block(&mut fields)?;
    let mut program = Program {
        code_alignment: common.code_alignment,
        frame_pointer: elf.machine.registers().frame,
        location: start,
        rules: Rules { base: None, frame_pointer_saved: false },
        initial: None,
        remembered: Vec::new(),
    };
    program.follow(common.instructions, u64::MAX)?;
    program.initial = Some(program.rules);
    program.follow(fields, address)?;
    Some(program.rules)
}

/// The bytes behind the length of an entry, and their address.
fn read_entry<R: Read + Seek>(elf: &mut ElfFile<R>, address: u64) -> Option<(Vec<u8>, u64)> {
    let offset = elf.offset_of(address)?;
    let length = Fields::new(&elf.read(offset, 4)?).u32()? as usize;
    // Also the mark of 64-bit entries, which no linker writes.
    if !(4..=ENTRY_MAX).contains(&length) {
        return None;
    }
    Some((elf.read(offset.checked_add(4)?, length)?, address.checked_add(4)?))
}

/// What entries of many functions have in common.
struct Common<'a> {
    code_alignment: u64,
    instructions: Fields<'a>,
}

impl<'a> Common<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(body);
        let (id, version) = (fields.u32()?, fields.u8()?);
        if id != 0 || version != 1 {
            return None;
        }
        let mut augmentation = Vec::new();
        loop {
            match fields.u8()? {
                0 => break,
                letter if augmentation.len() < 8 => augmentation.push(letter),
                _ => return None,
            }
        }
        let code_alignment = fields.uleb()?;
        // Data alignment; its sign does not matter here.
        fields.uleb()?;
        // Return address.
        fields.u8()?;
        // Addresses are encoded as every linker does it, which the letter R says.
        let (b'z', letters) = augmentation.split_first()? else { return None };
        if !letters.contains(&b'R') {
            return None;
        }
        let length = fields.uleb()?;
        let mut data = Fields::new(fields.bytes(usize::try_from(length).ok()?)?);
        for letter in letters {
            match letter {
                b'R' if data.u8()? == PC_RELATIVE => {}
                b'L' => data.skip(1),
                b'P' => match data.u8()? & 0x0f {
                    0x00 | 0x04 | 0x0c => data.skip(8),
                    0x03 | 0x0b => data.skip(4),
                    _ => return None,
                },
                b'S' | b'B' => {}
                _ => return None,
            }
        }
        Some(Self { code_alignment, instructions: fields })
    }
}

/// The instructions that say how the rules change from address to address.
struct Program {
    code_alignment: u64,
    frame_pointer: u64,
    location: u64,
    rules: Rules,
    /// The rules at the function's first address.
    initial: Option<Rules>,
    remembered: Vec<Rules>,
}

impl Program {
    /// Follows the instructions up to an address. None for one that is not known.
    fn follow(&mut self, mut code: Fields<'_>, address: u64) -> Option<()> {
        for _ in 0..INSTRUCTIONS_MAX {
            if code.is_empty() {
                return Some(());
            }
            let instruction = code.u8()?;
            let low = u64::from(instruction & 0x3f);
            match instruction & 0xc0 {
                0x40 => self.advance(low),
                0x80 => {
                    code.uleb()?;
                    self.set_saved(low, true);
                }
                0xc0 => self.restore(low),
                _ => self.follow_extended(instruction, &mut code)?,
            }
            if self.location > address {
                // The rules that the rest of the instructions change are those of later addresses: the last change of the
                // location is the only one behind the address.
                return Some(());
            }
        }
        None
    }

    fn follow_extended(&mut self, instruction: u8, code: &mut Fields<'_>) -> Option<()> {
        match instruction {
            0x00 | 0x2d => {}
            0x02 => {
                let delta = code.u8()?;
                self.advance(delta.into());
            }
            0x03 => {
                let delta = code.u16()?;
                self.advance(delta.into());
            }
            0x04 => {
                let delta = code.u32()?;
                self.advance(delta.into());
            }
            // A register is saved in the frame: offset, offset with a sign.
            0x05 | 0x11 => {
                let register = code.uleb()?;
                code.uleb()?;
                self.set_saved(register, true);
            }
            0x06 => {
                let register = code.uleb()?;
                self.restore(register);
            }
            // Undefined, unchanged.
            0x07 | 0x08 => {
                let register = code.uleb()?;
                self.set_saved(register, false);
            }
            // In another register, or the value itself is at an offset.
            0x09 | 0x14 | 0x15 => {
                let register = code.uleb()?;
                code.uleb()?;
                self.set_saved(register, false);
            }
            0x0a if self.remembered.len() < REMEMBERED_MAX => self.remembered.push(self.rules),
            0x0b => self.rules = self.remembered.pop()?,
            0x0c | 0x12 => {
                self.rules.base = Some(code.uleb()?);
                code.uleb()?;
            }
            0x0d => self.rules.base = Some(code.uleb()?),
            0x0e | 0x13 | 0x2e => {
                code.uleb()?;
            }
            0x0f => {
                skip_block(code)?;
                self.rules.base = None;
            }
            0x10 | 0x16 => {
                let register = code.uleb()?;
                skip_block(code)?;
                self.set_saved(register, instruction == 0x10);
            }
            _ => return None,
        }
        Some(())
    }

    fn advance(&mut self, delta: u64) {
        self.location = self.location.saturating_add(delta.saturating_mul(self.code_alignment));
    }

    fn set_saved(&mut self, register: u64, saved: bool) {
        if register == self.frame_pointer {
            self.rules.frame_pointer_saved = saved;
        }
    }

    fn restore(&mut self, register: u64) {
        self.set_saved(register, self.initial.is_some_and(|initial| initial.frame_pointer_saved));
    }
}

fn skip_block(code: &mut Fields<'_>) -> Option<()> {
    let length = code.uleb()?;
    code.bytes(usize::try_from(length).ok()?).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn program(initial: Option<Rules>) -> Program {
        Program {
            code_alignment: 1,
            frame_pointer: 6,
            location: 0x1000,
            rules: Rules { base: Some(7), frame_pointer_saved: false },
            initial,
            remembered: Vec::new(),
        }
    }

    /// As gcc writes it: push rbp; mov rbp, rsp; ...; leave; ret.
    const WITH_FRAME: [u8; 13] = [0x41, 0x0e, 0x10, 0x86, 0x02, 0x43, 0x0d, 0x06, 0x60, 0x0c, 0x07, 0x08, 0x00];

    fn base_at(address: u64) -> Option<u64> {
        let mut program = program(None);
        program.follow(Fields::new(&WITH_FRAME), address).unwrap();
        program.rules.base
    }

    #[test]
    fn frame_exists_between_prologue_and_return() {
        assert_eq!([0x1000, 0x1001, 0x1004, 0x1020, 0x1024].map(base_at), [7, 7, 6, 6, 7].map(Some));
    }

    #[test]
    fn remembered_rules_come_back() {
        let mut program = program(None);
        program.follow(Fields::new(&[0x0a, 0x0d, 0x06, 0x0b]), u64::MAX).unwrap();
        assert_eq!(program.rules.base, Some(7));
        assert_eq!(program.follow(Fields::new(&[0x0b]), u64::MAX), None);
    }

    #[test]
    fn expression_leaves_the_question_open() {
        let mut program = program(None);
        program.follow(Fields::new(&[0x0f, 0x03, 0x77, 0x08, 0x06]), u64::MAX).unwrap();
        assert_eq!(program.rules.base, None);
    }

    #[test]
    fn own_functions_are_decided() {
        let mut elf = ElfFile::open(std::fs::File::open("/proc/self/exe").unwrap()).unwrap();
        let text = elf.section(".text").unwrap().clone();
        let addresses = (0..200).map(|at| text.address + text.size / 200 * at);
        let decided = addresses.filter(|address| caller_is_missing(&mut elf, *address).is_some()).count();
        assert!(decided > 50, "{decided} of 200 addresses");
    }

    #[test]
    fn entries_with_addresses_of_another_form_are_left_alone() {
        let common = |letters: &[u8], data: &[u8]| {
            let mut body = vec![0, 0, 0, 0, 1];
            body.extend_from_slice(letters);
            // End of the letters, code alignment, data alignment, return address, length of the data.
            body.extend_from_slice(&[0, 1, 0x78, 16, data.len() as u8]);
            body.extend_from_slice(data);
            Common::parse(&body).map(|common| common.code_alignment)
        };
        assert_eq!(common(b"zR", &[0x1b]), Some(1));
        assert_eq!(common(b"zPLR", &[0x9b, 1, 2, 3, 4, 0x1b, 0x1b]), Some(1));
        assert_eq!((common(b"zR", &[0x00]), common(b"", &[]), common(b"z", &[])), (None, None, None));
    }

    proptest! {
        #[test]
        fn wild_instructions_end(code in prop::collection::vec(any::<u8>(), 0..300), address: u64) {
            let _ = program(None).follow(Fields::new(&code), address);
        }

        #[test]
        fn wild_common_part_is_refused_or_read(mut body in prop::collection::vec(any::<u8>(), 0..64), named: bool) {
            if named && body.len() > 8 {
                body[..8].copy_from_slice(&[0, 0, 0, 0, 1, b'z', b'R', 0]);
            }
            let _ = Common::parse(&body);
        }

        #[test]
        fn damaged_file_is_decided_or_not(bytes in prop::collection::vec(any::<u8>(), 1..64), at in 0usize..1 << 20) {
            let mut file = own_file();
            for (offset, byte) in bytes.iter().enumerate() {
                let place = (at + offset * 4099) % file.len();
                file[place] ^= byte;
            }
            if let Some(mut elf) = ElfFile::open(Cursor::new(file)) {
                let entry = elf.entry;
                let _ = caller_is_missing(&mut elf, entry);
            }
        }
    }

    /// The first mebibyte of this test's binary.
    fn own_file() -> Vec<u8> {
        let mut file = Vec::new();
        std::fs::File::open("/proc/self/exe").unwrap().take(1 << 20).read_to_end(&mut file).unwrap();
        file
    }
}
