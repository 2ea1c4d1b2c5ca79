//! Compares what a boot said with what was expected of it, and writes the table. Decides nothing about booting.

use std::fmt::Write;

use crate::{
    kernels::Kernel,
    protocol::{Outcome, Transcript},
    scripts::{Expected, Test},
};

/// One line of the table.
#[derive(Debug, PartialEq)]
struct Row<'a> {
    name: &'a str,
    seen: Option<&'a Outcome>,
    expected: &'a Expected,
}

impl Row<'_> {
    fn verdict(&self) -> String {
        self.seen.map_or("missing".to_owned(), |seen| seen.verdict.to_string())
    }

    fn passes(&self) -> bool {
        self.seen.is_some_and(|seen| seen.verdict == self.expected.verdict && seen.text.contains(&self.expected.text))
    }
}

/// The judged boot of one kernel.
#[derive(Debug)]
pub(crate) struct Report {
    /// The table, the details of what did not pass, and the end of the console when the boot did not end by itself.
    pub(crate) text: String,
    pub(crate) kernel: Kernel,
    /// Each test with its verdict, or `missing`, and whether that is what was expected, in the tests' order.
    pub(crate) tests: Vec<Judged>,
}

/// One test on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) name: String,
    pub(crate) verdict: String,
    pub(crate) passed: bool,
}

impl Report {
    /// How many tests ended as expected, and how many did not.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let passed = self.tests.iter().filter(|test| test.passed).count();
        (passed, self.tests.len() - passed)
    }
}

/// Every test that was to run has a row: one that said nothing is `missing`, and fails.
pub(crate) fn report(kernel: Kernel, tests: &[Test], said: &Transcript, seconds: f64, console: &[String]) -> Report {
    let rows: Vec<Row<'_>> = tests
        .iter()
        .map(|test| Row {
            name: &test.name,
            seen: said.outcomes.iter().find(|outcome| outcome.name == test.name),
            expected: test.expected_on(kernel),
        })
        .collect();
    let judged = |row: &Row<'_>| Judged { name: row.name.to_owned(), verdict: row.verdict(), passed: row.passes() };
    let mut text = headline(kernel, said, seconds);
    table(&mut text, &rows);
    for row in rows.iter().filter(|row| !row.passes()) {
        for detail in row.seen.iter().flat_map(|seen| &seen.details) {
            let _ = writeln!(text, "  {}: {detail}", row.name);
        }
    }
    if said.done.is_none() {
        let _ = writeln!(text, "  the boot did not reach its end; the last of its console:");
        for line in console.iter().rev().take(25).rev() {
            let _ = writeln!(text, "  | {line}");
        }
    }
    Report { text, kernel, tests: rows.iter().map(judged).collect() }
}

fn headline(kernel: Kernel, said: &Transcript, seconds: f64) -> String {
    let release = said.release.as_deref().unwrap_or("did not boot");
    let booted = said.booted.map_or("-".to_owned(), |seconds| format!("{seconds:.1} s"));
    format!("kernel {} ({release}): init after {booted}, everything after {seconds:.1} s\n", kernel.series)
}

fn table(text: &mut String, rows: &[Row<'_>]) {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(4);
    let _ = writeln!(text, "       {:width$}  {:8} {:8} said", "test", "verdict", "expected");
    for row in rows {
        let mark = if row.passes() { "pass" } else { "FAIL" };
        let verdict = row.verdict();
        let said = row.seen.map_or("", |seen| &seen.text);
        let wanted = match row.passes() || row.expected.text.is_empty() {
            true => String::new(),
            false => format!(" (wanted: {})", row.expected.text),
        };
        let _ = writeln!(text, "  {mark} {:width$}  {verdict:8} {:8} {said}{wanted}", row.name, row.expected.verdict);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kernels::KERNELS;

    fn tests_called(names: &[(&str, &str)]) -> Vec<Test> {
        let parse = |(name, header): &(&str, &str)| {
            Test::parse(Path::new(name), name, &header.lines().collect::<Vec<_>>()).unwrap()
        };
        names.iter().map(parse).collect()
    }

    fn transcript_of(lines: &str) -> Transcript {
        let mut transcript = Transcript::default();
        lines.lines().for_each(|line| transcript.record(line));
        transcript
    }

    const FLOWS: &str = "# Expect: ok\n# Expect on 5.10 6.1: refused needs 6.6";

    #[test]
    fn the_table_shows_what_was_seen_beside_what_was_expected() {
        let tests = tests_called(&[("exec", "# Expect: ok"), ("flows", FLOWS)]);
        let said = transcript_of(
            "BOOT 5.10.0-9 4.12\nTEST exec ok 2 events\nTEST flows refused needs 6.6, this is 5.10\nDONE 9.0",
        );
        let report = report(KERNELS[0], &tests, &said, 12.34, &[]);
        assert_eq!(
            report.text,
            "kernel 5.10 (5.10.0-9): init after 4.1 s, everything after 12.3 s\n\
             \x20      test   verdict  expected said\n\
             \x20 pass exec   ok       ok       2 events\n\
             \x20 pass flows  refused  refused  needs 6.6, this is 5.10\n"
        );
        assert_eq!(report.counts(), (2, 0));
    }

    #[test]
    fn undocumented_refusal_fails_and_so_does_another_reason() {
        let tests = tests_called(&[("flows", FLOWS)]);
        let verdict = |kernel, line: &str| report(kernel, &tests, &transcript_of(line), 1.0, &[]).counts().1;
        assert_eq!(verdict(KERNELS[2], "TEST flows refused needs 6.6"), 1);
        assert_eq!(verdict(KERNELS[0], "TEST flows refused no memory"), 1);
        assert_eq!(verdict(KERNELS[0], "TEST flows ok 3 flows"), 1);
    }

    #[test]
    fn a_test_that_said_nothing_is_missing_and_fails_with_the_console_shown() {
        let tests = tests_called(&[("exec", "# Expect: ok")]);
        let console = ["Kernel panic - not syncing".to_owned()];
        let report = report(KERNELS[1], &tests, &transcript_of("BOOT 6.1 3.0"), 5.0, &console);
        assert_eq!(report.counts(), (0, 1));
        assert!(report.text.contains("FAIL exec  missing"), "{}", report.text);
        assert!(report.text.contains("| Kernel panic - not syncing"), "{}", report.text);
    }
}
