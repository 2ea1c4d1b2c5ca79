//! A log that nothing reads, or that has no room, must not end the operator by a panic: it exits as it would otherwise.

use std::{
    fs::OpenOptions,
    io::pipe,
    process::{Command, Stdio},
};

#[test]
fn log_that_cannot_be_written_ends_no_operator_by_a_signal() {
    let (reader, closed) = pipe().unwrap();
    drop(reader);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    for stderr in [Stdio::from(closed), Stdio::from(full)] {
        let mut operator = Command::new(env!("CARGO_BIN_EXE_trilobite-operator"));
        // There is no cluster; that is logged as it looks for one.
        operator.env_clear().env("KUBECONFIG", "/missing").env("RUST_LOG", "trace");
        let status = operator.stdout(Stdio::null()).stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(1), "{status}");
    }
}
