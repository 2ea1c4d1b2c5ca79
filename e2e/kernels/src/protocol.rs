//! What a booted kernel says on its serial line, line by line. What is expected of it is in `smoke`.
//!
//! ```text
//! BOOT <release> <seconds since the kernel started>
//! # <a detail of the test that ends next>
//! TEST <name> ok|fail|refused <text>
//! DONE <seconds since the kernel started>
//! ```

use std::{fmt, str::FromStr};

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It did what it is for.
    Ok,
    /// It did not.
    Fail,
    /// The agent said that this kernel or this privilege does not allow it.
    Refused,
}

impl FromStr for Verdict {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "ok" => Ok(Self::Ok),
            "fail" => Ok(Self::Fail),
            "refused" => Ok(Self::Refused),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Refused => "refused",
        })
    }
}

/// One test's end, and what it said on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
    pub(crate) text: String,
    pub(crate) details: Vec<String>,
}

/// Everything that one boot said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Transcript {
    pub(crate) release: Option<String>,
    pub(crate) booted: Option<f64>,
    pub(crate) done: Option<f64>,
    pub(crate) outcomes: Vec<Outcome>,
    details: Vec<String>,
}

impl Transcript {
    /// Takes the next line; one that is not of the protocol (the kernel's own messages) changes nothing.
    pub(crate) fn record(&mut self, line: &str) {
        let line = line.trim_end();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "BOOT" => {
                let (release, seconds) = rest.split_once(' ').unwrap_or((rest, ""));
                self.release = Some(release.to_owned());
                self.booted = seconds.parse().ok();
            }
            "#" => self.details.push(rest.to_owned()),
            "TEST" => self.test(rest),
            "DONE" => self.done = rest.parse().ok(),
            _ => {}
        }
    }

    fn test(&mut self, rest: &str) {
        let mut words = rest.splitn(3, ' ');
        let (Some(name), Some(Ok(verdict))) = (words.next(), words.next().map(str::parse)) else { return };
        let text = words.next().unwrap_or("").to_owned();
        let details = std::mem::take(&mut self.details);
        self.outcomes.push(Outcome { name: name.to_owned(), verdict, text, details });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript_of(lines: &str) -> Transcript {
        let mut transcript = Transcript::default();
        lines.lines().for_each(|line| transcript.record(line));
        transcript
    }

    #[test]
    fn a_whole_boot_is_understood_among_the_kernels_own_messages() {
        let said = transcript_of(
            "[    0.1] random: crng init done\r\nBOOT 5.10.0-46-cloud-amd64 4.12\r\n# agent: loaded 3 programs\r\n\
             TEST exec ok 2 events\r\nTEST flows refused needs 6.6\r\nDONE 17.80\r\n",
        );
        assert_eq!(said.release.as_deref(), Some("5.10.0-46-cloud-amd64"));
        assert_eq!((said.booted, said.done), (Some(4.12), Some(17.80)));
        let outcome = |name: &str, verdict, text: &str, details: &[&str]| Outcome {
            name: name.into(),
            verdict,
            text: text.into(),
            details: details.iter().map(|&d| d.to_owned()).collect(),
        };
        let exec = outcome("exec", Verdict::Ok, "2 events", &["agent: loaded 3 programs"]);
        assert_eq!(said.outcomes, [exec, outcome("flows", Verdict::Refused, "needs 6.6", &[])]);
    }

    #[test]
    fn a_verdict_that_does_not_exist_is_no_verdict() {
        assert_eq!(transcript_of("TEST exec skipped later").outcomes, []);
        assert_eq!(transcript_of("TEST exec").outcomes, []);
        assert_eq!(transcript_of("xTEST exec ok").outcomes, []);
    }

    #[test]
    fn a_boot_that_stops_in_the_middle_has_no_end() {
        assert_eq!(transcript_of("BOOT 6.1 3.00\nTEST probe ok").done, None);
    }
}
