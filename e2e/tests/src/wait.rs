//! Waiting for something to become true, and saying what was seen instead.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::parameters::count;

/// So many seconds on a node of this machine, and more where a node's processor is emulated.
pub fn patience(seconds: u64) -> u64 {
    seconds * count("TRILOBITE_PATIENCE", 1) as u64
}

/// Asks until the answer is `Ok`, at most for `seconds` of `patience`; then fails with the last answer.
#[track_caller]
pub fn eventually<T>(what: &str, seconds: u64, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let (from, seconds) = (Instant::now(), patience(seconds));
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(seen) if from.elapsed() > Duration::from_secs(seconds) => {
                panic!("{what}: not within {seconds} s; last seen:\n{seen}")
            }
            Err(_) => sleep(Duration::from_millis(300)),
        }
    }
}

/// `Ok` where it holds, otherwise what was seen.
pub fn that(holds: bool, seen: impl ToString) -> Result<(), String> {
    if holds { Ok(()) } else { Err(seen.to_string()) }
}
