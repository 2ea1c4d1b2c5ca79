//! A log that nothing reads, or that has no room, must not end the agent by a panic: it exits as it would otherwise.

use std::{
    fs::OpenOptions,
    io::pipe,
    process::{Command, Stdio},
};

#[test]
fn log_that_cannot_be_written_ends_no_agent_by_a_signal() {
    let (reader, closed) = pipe().unwrap();
    drop(reader);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    for stderr in [Stdio::from(closed), Stdio::from(full)] {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_trilobite-node"));
        let status = agent.args(["run", "-f", "/missing"]).stdout(Stdio::null()).stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(1), "{status}");
    }
}
