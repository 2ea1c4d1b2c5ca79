//! Where a function returns to its caller. A probe replaces an instruction, so that a place which is not certain is not given:
//! code that cannot be decoded from its first byte to its last has no places at all.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};

use crate::elf::Machine;

/// Addresses of the instructions that return, and the number of jumps that leave the function.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Exits {
    pub(super) returns: Vec<u64>,
    pub(super) tail_jumps: u32,
}

/// None if some of the code is no instruction, or if a jump leads into the middle of one.
pub(super) fn find(machine: Machine, code: &[u8], address: u64) -> Option<Exits> {
    let end = address.checked_add(code.len() as u64)?;
    match machine {
        Machine::X86_64 => x86_64(code, address..end),
        Machine::Aarch64 => aarch64(code, address..end),
    }
}

fn x86_64(code: &[u8], function: Range<u64>) -> Option<Exits> {
    let mut decoder = Decoder::with_ip(64, code, function.start, DecoderOptions::NONE);
    let (mut exits, mut begins, mut targets) = (Exits::default(), vec![false; code.len()], Vec::new());
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            return None;
        }
        let at = instruction.ip();
        *begins.get_mut(usize::try_from(at - function.start).ok()?)? = true;
        match (instruction.mnemonic(), instruction.op0_kind()) {
            (Mnemonic::Ret, _) => exits.returns.push(at),
            (Mnemonic::Call, _) => {}
            (_, OpKind::NearBranch64) if function.contains(&instruction.near_branch_target()) => {
                targets.push(instruction.near_branch_target());
            }
            // An indirect jump goes through a table, or to another function.
            (_, OpKind::NearBranch64) | (Mnemonic::Jmp, _) => exits.tail_jumps += 1,
            _ => {}
        }
    }
    let is_instruction = |target: &u64| begins[(target - function.start) as usize];
    targets.iter().all(is_instruction).then_some(exits)
}

/// Each instruction has four bytes.
fn aarch64(code: &[u8], function: Range<u64>) -> Option<Exits> {
    /// `ret`, `retaa` and `retab`.
    const RETURNS: [u32; 3] = [0xd65f_03c0, 0xd65f_0bff, 0xd65f_0fff];
    let (words, rest) = code.as_chunks::<4>();
    if !rest.is_empty() || !function.start.is_multiple_of(4) {
        return None;
    }
    let mut exits = Exits::default();
    for (at, word) in words.iter().enumerate() {
        let (address, word) = (function.start + 4 * at as u64, u32::from_le_bytes(*word));
        // Distances in instructions, with a sign.
        let distance = match word {
            word if RETURNS.contains(&word) => {
                exits.returns.push(address);
                continue;
            }
            // b
            word if word >> 26 == 0b00_0101 => i64::from((word << 6).cast_signed() >> 6),
            // b.cond, cbz, cbnz
            word if word >> 24 == 0x54 || word >> 25 & 0x3f == 0b01_1010 => i64::from((word << 8).cast_signed() >> 13),
            // tbz, tbnz
            word if word >> 25 & 0x3f == 0b01_1011 => i64::from((word << 13).cast_signed() >> 18),
            // br, braa and braaz: of a table, or of a pointer
            word if word & 0xfeff_f000 == 0xd61f_0000 => i64::MAX / 8,
            _ => continue,
        };
        if !function.contains(&address.wrapping_add_signed(4 * distance)) {
            exits.tail_jumps += 1;
        }
    }
    Some(exits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn returns_and_jumps_out_of_the_function_are_found() {
        // test edi, edi; je +1 (over a ret); ret; xor eax, eax; ret; jmp far behind
        let code = [0x85, 0xff, 0x74, 0x01, 0xc3, 0x31, 0xc0, 0xc3, 0xe9, 0x00, 0x10, 0x00, 0x00];
        let exits = find(Machine::X86_64, &code, 0x1000);
        assert_eq!(exits, Some(Exits { returns: vec![0x1004, 0x1007], tail_jumps: 1 }));
    }

    #[test]
    fn byte_of_a_return_inside_an_instruction_is_no_place() {
        // mov eax, 0xc3c3c3c3; ret
        let exits = find(Machine::X86_64, &[0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3], 0x1000).unwrap();
        assert_eq!(exits.returns, [0x1005]);
    }

    #[test]
    fn code_with_data_in_it_has_no_places() {
        // jmp into the middle of the next instruction
        assert_eq!(find(Machine::X86_64, &[0xeb, 0x01, 0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3], 0x1000), None);
        // cut in the middle of the last instruction
        assert_eq!(find(Machine::X86_64, &[0xc3, 0xb8, 0xc3], 0x1000), None);
    }

    #[test]
    fn returns_of_arm64_are_found() {
        // cbz x0, +8; ret; b -4; b far before
        let words = [0xb400_0040u32, 0xd65f_03c0, 0x17ff_ffff, 0x16ff_ffff];
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let exits = find(Machine::Aarch64, &code, 0x1000);
        assert_eq!(exits, Some(Exits { returns: vec![0x1004], tail_jumps: 1 }));
    }

    proptest! {
        #[test]
        fn wild_code_is_refused_or_has_places_inside(code in prop::collection::vec(any::<u8>(), 0..256), address: u64) {
            for machine in [Machine::X86_64, Machine::Aarch64] {
                if let Some(exits) = find(machine, &code, address) {
                    let end = address + code.len() as u64;
                    prop_assert!(exits.returns.iter().all(|at| (address..end).contains(at)));
                }
            }
        }
    }
}
