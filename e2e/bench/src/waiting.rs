//! Waiting for something that can only be looked at.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Looks every `pause` until `done`; false when `patience` is over before.
pub(crate) fn poll(patience: Duration, pause: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(pause);
    }
}
