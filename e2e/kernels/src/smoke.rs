//! The scripts that a boot runs, and what each says in its header about how it must end on which kernel.
//!
//! ```text
//! # Expect: ok
//! # Expect on 5.10 6.1: refused needs 6.6
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{kernels::Kernel, protocol::Verdict};

/// One script, one test; `40-flows.sh` is the test `flows`.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) script: String,
    expectations: Vec<(Vec<String>, Expected)>,
}

/// How a test must end: this verdict, and `text` in what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) verdict: Verdict,
    pub(crate) text: String,
}

/// A script that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScriptError {
    #[error("read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{}: its header has no line `# Expect: ok|refused ...` for every kernel", path.display())]
    NothingExpected { path: PathBuf },
    #[error("{}: cannot understand `{line}`", path.display())]
    Header { path: PathBuf, line: String },
}

impl Test {
    /// Reads one script from a file.
    pub(crate) fn read(path: &Path) -> Result<Self, ScriptError> {
        let script = fs::read_to_string(path).map_err(|error| ScriptError::Read { path: path.to_owned(), error })?;
        Self::parse(path, script)
    }

    /// A script that stands, or might stand, at `path`.
    pub(crate) fn parse(path: &Path, script: String) -> Result<Self, ScriptError> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = file.trim_end_matches(".sh").trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        let mut test = Self { name: name.to_owned(), file, script, expectations: Vec::new() };
        for line in test.script.lines().filter(|line| line.starts_with("# Expect")) {
            let unclear = || ScriptError::Header { path: path.to_owned(), line: line.to_owned() };
            test.expectations.push(expectation(line).ok_or_else(unclear)?);
        }
        match test.expectations.iter().any(|(kernels, _)| kernels.is_empty()) {
            true => Ok(test),
            false => Err(ScriptError::NothingExpected { path: path.to_owned() }),
        }
    }

    /// All `.sh` files of a directory, in the order of their numbers.
    pub(crate) fn read_all(directory: &Path) -> Result<Vec<Self>, ScriptError> {
        let failed = |error| ScriptError::Read { path: directory.to_owned(), error };
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "sh") {
                paths.push(path);
            }
        }
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// The line that names the kernel wins over the line that names none.
    pub(crate) fn expected_on(&self, kernel: Kernel) -> &Expected {
        let named = |kernels: &[String]| kernels.iter().any(|series| series == kernel.series);
        let mut found = self.expectations.iter().filter(|(kernels, _)| named(kernels));
        let mut general = self.expectations.iter().filter(|(kernels, _)| kernels.is_empty());
        &found.next().or_else(|| general.next()).expect("read() refuses a script without a general line").1
    }
}

fn expectation(line: &str) -> Option<(Vec<String>, Expected)> {
    let (left, right) = line.strip_prefix("# Expect")?.split_once(':')?;
    let kernels: Vec<String> = match left.trim().strip_prefix("on ") {
        Some(list) => list
            .split_whitespace()
            .map(|series| Some(series.parse::<Kernel>().ok()?.series.to_owned()))
            .collect::<Option<_>>()?,
        None if left.is_empty() => Vec::new(),
        None => return None,
    };
    let (verdict, text) = right.trim().split_once(' ').unwrap_or((right.trim(), ""));
    Some((kernels, Expected { verdict: verdict.parse().ok()?, text: text.trim().to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::KERNELS;

    fn parsed(line: &str) -> Option<(Vec<String>, Expected)> {
        expectation(line)
    }

    #[test]
    fn a_header_says_how_a_test_ends_on_which_kernel() {
        let ok = Expected { verdict: Verdict::Ok, text: String::new() };
        let old = Expected { verdict: Verdict::Refused, text: "needs 6.6".into() };
        assert_eq!(parsed("# Expect: ok"), Some((vec![], ok)));
        assert_eq!(parsed("# Expect on 5.10 6.1: refused needs 6.6"), Some((vec!["5.10".into(), "6.1".into()], old)));
    }

    #[test]
    fn a_header_that_names_no_kernel_or_no_verdict_of_ours_is_refused() {
        assert_eq!(parsed("# Expect on 4.19: ok"), None);
        assert_eq!(parsed("# Expect: perhaps"), None);
        assert_eq!(parsed("# Expected: ok"), None);
    }

    #[test]
    fn every_script_of_the_work_tree_says_what_is_expected_on_every_kernel() {
        for kind in ["harness", "smoke"] {
            let tests = Test::read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join(kind)).unwrap();
            assert!(!tests.is_empty());
            for kernel in KERNELS {
                assert!(tests.iter().all(|test| test.expected_on(kernel).verdict != Verdict::Fail));
            }
        }
    }
}
