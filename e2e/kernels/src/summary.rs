//! The last table of a run: every test in a line of its own, every kernel in a column.

use std::fmt::Write;

use crate::report::Report;

/// The table, in the order of `reports`; a verdict that was not expected is in capitals and marked.
pub(crate) fn summary(reports: &[Report]) -> String {
    let Some(first) = reports.first() else { return String::new() };
    let width = first.tests.iter().map(|test| test.name.len()).max().unwrap_or(0);
    let mut text = format!("  {:width$}", "");
    reports.iter().for_each(|report| _ = write!(text, "  {:10}", report.kernel.series));
    for (number, test) in first.tests.iter().enumerate() {
        let _ = write!(text, "\n  {:width$}", test.name);
        for judged in reports.iter().filter_map(|report| report.tests.get(number)) {
            let word = match judged.passed {
                true => judged.verdict.clone(),
                false => format!("!! {}", judged.verdict.to_uppercase()),
            };
            let _ = write!(text, "  {word:10}");
        }
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kernels::KERNELS, report::Judged};

    fn report_of(kernel: usize, verdicts: [(&str, &str, bool); 2]) -> Report {
        let judged =
            |(name, verdict, passed): (&str, &str, bool)| Judged { name: name.into(), verdict: verdict.into(), passed };
        Report { text: String::new(), kernel: KERNELS[kernel], tests: verdicts.map(judged).into() }
    }

    #[test]
    fn each_test_is_a_line_and_a_failure_stands_out() {
        let old = report_of(0, [("exec", "ok", true), ("flows", "refused", true)]);
        let new = report_of(3, [("exec", "missing", false), ("flows", "ok", true)]);
        assert_eq!(
            summary(&[old, new]),
            "         5.10        7.2\n  exec   ok          !! MISSING\n  flows  refused     ok\n"
        );
    }
}
