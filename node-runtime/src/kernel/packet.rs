//! Packet programs: replacing one on its interface without missing a packet, and running one from the agent (BPF_PROG_TEST_RUN)
//! with a request in the packet's payload.

use libbpf_rs::{ProgramInput, ProgramMut};

use super::Link;
use crate::problem::Problem;

/// The Ethernet header in front of the request: the experimental EtherType 0x88b5, which no program parses further.
const EXPERIMENTAL_ETHERNET: [u8; 14] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xb5];

/// Replaces the program of `link`.
pub fn replace_program(link: &mut Link, program: &ProgramMut<'_>) -> Result<(), Problem> {
    link.replace_program(program).map_err(|error| Problem::LoadFailed {
        what: format!("replacing {} on its interface", program.name().to_string_lossy()),
        detail: error.to_string(),
    })
}

/// Runs a program once on a packet with `payload` behind the Ethernet header, and returns its return value.
pub fn test_run(program: &ProgramMut<'_>, payload: &[u8]) -> Result<i32, Problem> {
    let packet = [&EXPERIMENTAL_ETHERNET, payload].concat();
    let input = ProgramInput { data_in: Some(&packet), repeat: 1, ..ProgramInput::default() };
    let output = program.test_run(input).map_err(|error| Problem::LoadFailed {
        what: format!("running {}", program.name().to_string_lossy()),
        detail: error.to_string(),
    })?;
    Ok(output.return_value.cast_signed())
}
