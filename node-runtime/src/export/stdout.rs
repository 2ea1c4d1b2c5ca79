//! Lines on standard output.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use super::sink::Sink;

/// The last write of any export stopped inside a line. Changed while standard output is locked.
static TORN: AtomicBool = AtomicBool::new(false);

pub(super) struct Stdout;

impl Sink for Stdout {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if TORN.swap(true, Ordering::Relaxed) {
            out.write_all(b"\n")?;
        }
        out.write_all(lines)?;
        out.flush()?;
        TORN.store(false, Ordering::Relaxed);
        Ok(())
    }
}
