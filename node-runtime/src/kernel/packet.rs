//! Programs that look at packets: one takes another's place on an interface with no packet unseen between them, and one
//! is run by the agent itself on a packet that holds an order.

use libbpf_rs::ProgramInput;

use super::{Link, Loaded};
use crate::report::Problem;

/// A program that the agent runs gets an Ethernet header of no protocol in front of its order.
const EXPERIMENTAL_ETHERNET: [u8; 14] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xb5];

impl Loaded {
    /// Puts a program of this object in the place of the one that `link` holds.
    pub fn take_over(&mut self, program: &str, link: &mut Link) -> Result<(), Problem> {
        let found = self.program(program)?;
        link.take(&found).map_err(|error| Problem::LoadFailed {
            what: format!("replacing {program} on its interface"),
            detail: error.to_string(),
        })
    }

    /// Runs a program once, on a packet with these bytes behind the Ethernet header, and gives what it answers.
    pub fn run_on_packet(&mut self, program: &str, payload: &[u8]) -> Result<i32, Problem> {
        let found = self.program(program)?;
        let packet = [&EXPERIMENTAL_ETHERNET, payload].concat();
        let input = ProgramInput { data_in: Some(&packet), repeat: 1, ..ProgramInput::default() };
        let output = found
            .test_run(input)
            .map_err(|error| Problem::LoadFailed { what: format!("running {program}"), detail: error.to_string() })?;
        Ok(output.return_value.cast_signed())
    }
}
