//! What the kernels said about the acts that docs show: a run keeps it in `verdicts.tsv`, of which the table of
//! docs/which-kernels.md is made.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs, io,
    path::Path,
};

use crate::{report::Report, scripts::Test};

/// Verdicts by test and kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Verdicts(BTreeMap<(String, String), String>);

impl Verdicts {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let line = |line: &str| {
            let mut columns = line.split('\t').map(str::to_owned);
            Some(((columns.next()?, columns.next()?), columns.next()?))
        };
        Self(lines.filter_map(line).collect())
    }

    /// The same with the verdicts of a run. `tests` are those of all acts: what is known of others is left out.
    pub(crate) fn with(mut self, reports: &[Report], tests: &[Test]) -> Self {
        for report in reports {
            for judged in &report.tests {
                self.0.insert((judged.name.clone(), report.kernel.series.to_owned()), judged.verdict.clone());
            }
        }
        let shown: BTreeSet<&str> =
            tests.iter().filter(|test| test.shows.is_some()).map(|test| test.name.as_str()).collect();
        self.0.retain(|(test, _), _| shown.contains(test.as_str()));
        self
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text =
            String::from("# What the last run on each kernel said about the acts that docs/which-kernels.md shows.\n");
        for ((test, kernel), verdict) in &self.0 {
            let _ = writeln!(text, "{test}\t{kernel}\t{verdict}");
        }
        text
    }

    /// A line for each text that tests show, in their order; `yes` where all tests of a line ended with ok.
    #[cfg(test)]
    fn table(&self, tests: &[Test]) -> String {
        use crate::kernels::KERNELS;

        let kernels = KERNELS.map(|kernel| kernel.series);
        let mut text = format!("| | {} |\n|---|{}\n", kernels.join(" | "), "---|".repeat(kernels.len()));
        let mut seen = BTreeSet::new();
        for shows in tests.iter().filter_map(|test| test.shows.as_deref()).filter(|shows| seen.insert(*shows)) {
            let _ = write!(text, "| {shows} |");
            for kernel in kernels {
                let of_line = tests.iter().filter(|test| test.shows.as_deref() == Some(shows));
                let verdicts: BTreeSet<&str> = of_line
                    .map(|test| self.0.get(&(test.name.clone(), kernel.to_owned())).map_or("not run", String::as_str))
                    .collect();
                let cell = if verdicts == BTreeSet::from(["ok"]) { "yes".to_owned() } else { joined(&verdicts) };
                let _ = write!(text, " {cell} |");
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
fn joined(verdicts: &BTreeSet<&str>) -> String {
    verdicts.iter().copied().collect::<Vec<_>>().join(", ")
}

/// Keeps the verdicts of a run.
pub(crate) fn keep(path: &Path, reports: &[Report], tests: &[Test]) -> io::Result<()> {
    let known = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let text = Verdicts::parse(&known).with(reports, tests).to_text();
    if text == known { Ok(()) } else { fs::write(path, text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{acts, kernels::KERNELS, report::Judged};

    fn test(name: &str, shows: Option<&str>) -> Test {
        Test::parse(Path::new("x.yaml"), name, &["# Expect: ok"]).unwrap().shown_as(shows)
    }

    fn report(kernel: usize, verdicts: &[(&str, &str)]) -> Report {
        let judged =
            |(name, verdict): &(&str, &str)| Judged { name: (*name).into(), verdict: (*verdict).into(), passed: true };
        Report { text: String::new(), kernel: KERNELS[kernel], tests: verdicts.iter().map(judged).collect() }
    }

    #[test]
    fn line_says_yes_where_all_its_tests_were_ok() {
        let tests = [test("kill", Some("actions")), test("kill-by-probes", Some("actions")), test("harness", None)];
        let first = report(0, &[("kill", "ok"), ("kill-by-probes", "refused"), ("harness", "ok")]);
        let second = report(1, &[("kill", "ok"), ("kill-by-probes", "ok")]);
        let verdicts = Verdicts::default().with(&[first, second], &tests);
        assert_eq!(Verdicts::parse(&verdicts.to_text()), verdicts);
        assert_eq!(
            verdicts.table(&tests),
            "| | 5.10 | 6.1 | 6.12 | 7.2 |\n|---|---|---|---|---|\n| actions | ok, refused | yes | not run | not run |\n"
        );
    }

    #[test]
    fn docs_show_what_the_kernels_said() {
        const BEGIN: &str =
            "<!-- Of e2e/kernels/verdicts.tsv, which `make test-kernels` writes; UPDATE_GOLDEN=1 rewrites it. -->\n";
        const END: &str = "<!-- end -->\n";
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let scripts = acts::read_all(&root.join("acts")).unwrap();
        let tests: Vec<Test> = scripts.into_iter().flat_map(|script| script.tests).collect();
        let verdicts = Verdicts::parse(&fs::read_to_string(root.join("verdicts.tsv")).unwrap());
        let path = root.join("../../docs/which-kernels.md");
        let page = fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let fresh = format!("{before}{BEGIN}{}{END}{after}", verdicts.table(&tests));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &fresh).unwrap();
        } else {
            assert!(page == fresh, "UPDATE_GOLDEN=1 rewrites {}", path.display());
        }
    }
}
