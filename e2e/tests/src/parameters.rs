//! How long a test goes on: `make test-long` asks for more than CI has time for, and keeps what was measured.

use std::{fs::OpenOptions, io::Write as _};

/// The value of an environment variable, or the number that CI uses.
pub fn count(variable: &str, in_ci: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")),
        Err(_) => in_ci,
    }
}

/// Prints a measurement, and keeps it in the file that `TRILOBITE_NOTES` names.
pub fn keep(note: &str) {
    eprintln!("{note}");
    let Some(path) = std::env::var_os("TRILOBITE_NOTES") else { return };
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| writeln!(file, "- {note}")).expect("the notes can be written");
}
