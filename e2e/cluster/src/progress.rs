//! Says what is being done, what it waits for, and how long it took.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

const POLL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(3);
const TAIL_LINES: usize = 25;

/// Does a step and says how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let done = work();
    let word = if done.is_ok() { "" } else { " (failed)" };
    eprintln!("{:6.1} s  {what}{word}", start.elapsed().as_secs_f32());
    done
}

/// Something that is waited for, and who is asked to bring it.
pub(crate) struct Wait<'a> {
    pub what: &'a str,
    pub limit: Duration,
    /// The log whose end is shown when it does not come.
    pub log: Option<&'a Path>,
    /// The program that must be alive meanwhile, and its process.
    pub of: Option<(&'a str, u32)>,
}

impl Wait<'_> {
    /// Asks until it is there.
    pub(crate) fn until<T>(&self, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
        let start = Instant::now();
        let mut said = false;
        loop {
            if let Some(answer) = ask() {
                eprintln!("{:6.1} s  {}", start.elapsed().as_secs_f32(), self.what);
                return Ok(answer);
            }
            let what = self.what.to_owned();
            if let Some((name, process)) = self.of
                && !Path::new(&format!("/proc/{process}")).exists()
            {
                return Err(Error::Ended { name: name.to_owned(), what, tail: self.tail() });
            }
            if start.elapsed() > self.limit {
                return Err(Error::Timeout { what, seconds: self.limit.as_secs(), tail: self.tail() });
            }
            if start.elapsed() > PATIENCE && !said {
                eprintln!("          waiting for: {}", self.what);
                said = true;
            }
            sleep(POLL);
        }
    }

    fn tail(&self) -> String {
        let Some(log) = self.log else { return String::new() };
        let text = std::fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("the end of {}:\n{}", log.display(), last.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_is_named_with_the_end_of_the_log() {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(log.path(), "first\nbind: address already in use\n").unwrap();
        let wait = Wait { what: "etcd answers", limit: Duration::ZERO, log: Some(log.path()), of: None };
        let error = wait.until(|| None::<()>).unwrap_err().to_string();
        assert!(error.contains("etcd answers") && error.contains("address already in use"), "{error}");
    }

    #[test]
    fn a_program_that_has_ended_is_not_waited_for() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = child.id();
        child.wait().unwrap();
        let wait = Wait { what: "it answers", limit: Duration::from_secs(60), log: None, of: Some(("echo", process)) };
        assert!(matches!(wait.until(|| None::<()>), Err(Error::Ended { .. })));
    }
}
