//! Lines on standard output.

use std::io::{self, Write};

use super::writer::Sink;

/// Remembers whether the last write stopped inside a line.
#[derive(Default)]
pub(super) struct Stdout {
    torn: bool,
}

impl Sink for Stdout {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.torn {
            out.write_all(b"\n")?;
        }
        self.torn = true;
        out.write_all(lines)?;
        out.flush()?;
        self.torn = false;
        Ok(())
    }
}
