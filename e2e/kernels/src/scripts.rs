//! The scripts that a boot runs, and the header of each: how its test must end on which kernel.
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

/// One file of shell in the initramfs; `40-flows.sh` has the test `flows`, a script of acts has a test for each.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) file: String,
    pub(crate) text: String,
    pub(crate) tests: Vec<Test>,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub(crate) name: String,
    /// The line of the table in docs that its verdict is part of.
    pub(crate) shows: Option<String>,
    expectations: Vec<(Vec<String>, Expected)>,
}

/// How a test must end: this verdict, and `text` in what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) verdict: Verdict,
    pub(crate) text: String,
}

/// A script or a file of acts that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScriptError {
    #[error("read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{}: its header has no line `# Expect: ok|refused ...` for every kernel", path.display())]
    NothingExpected { path: PathBuf },
    #[error("{}: cannot understand `{line}`", path.display())]
    Header { path: PathBuf, line: String },
    #[error("{}: {error}", path.display())]
    Acts { path: PathBuf, error: serde_yaml::Error },
}

impl Script {
    /// Reads one script from a file.
    pub(crate) fn read(path: &Path) -> Result<Self, ScriptError> {
        Self::parse(path, read(path)?)
    }

    /// A script with one test, which its header describes.
    fn parse(path: &Path, text: String) -> Result<Self, ScriptError> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("# Expect")).collect();
        let test = Test::parse(path, test_name(&file), &lines)?;
        Ok(Self { file, text, tests: vec![test] })
    }

    /// All `.sh` files of a directory, in the order of their numbers.
    pub(crate) fn read_all(directory: &Path) -> Result<Vec<Self>, ScriptError> {
        files(directory, "sh")?.iter().map(|path| Self::read(path)).collect()
    }
}

impl Test {
    /// `lines` are those of a header: `# Expect...`.
    pub(crate) fn parse(path: &Path, name: &str, lines: &[&str]) -> Result<Self, ScriptError> {
        let parse = |line: &&str| {
            let unclear = || ScriptError::Header { path: path.to_owned(), line: (*line).to_owned() };
            expectation(line).ok_or_else(unclear)
        };
        let expectations = lines.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        match expectations.iter().any(|(kernels, _)| kernels.is_empty()) {
            true => Ok(Self { name: name.to_owned(), shows: None, expectations }),
            false => Err(ScriptError::NothingExpected { path: path.to_owned() }),
        }
    }

    /// The same test, as a part of a line of the table in docs.
    pub(crate) fn shown_as(self, shows: Option<&str>) -> Self {
        Self { shows: shows.map(str::to_owned), ..self }
    }

    /// The line that names the kernel wins over the line that names none.
    pub(crate) fn expected_on(&self, kernel: Kernel) -> &Expected {
        let named = |kernels: &[String]| kernels.iter().any(|series| series == kernel.series);
        let mut found = self.expectations.iter().filter(|(kernels, _)| named(kernels));
        let mut general = self.expectations.iter().filter(|(kernels, _)| kernels.is_empty());
        &found.next().or_else(|| general.next()).expect("parse() refuses a test without a general line").1
    }
}

/// `40-flows.sh` and `40-flows.yaml` are called `flows`.
pub(crate) fn test_name(file: &str) -> &str {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    stem.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-')
}

/// The files of a directory with this extension, in the order of their names.
pub(crate) fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, ScriptError> {
    let failed = |error| ScriptError::Read { path: directory.to_owned(), error };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|own| own == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

pub(crate) fn read(path: &Path) -> Result<String, ScriptError> {
    fs::read_to_string(path).map_err(|error| ScriptError::Read { path: path.to_owned(), error })
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

    #[test]
    fn header_says_how_a_test_ends_on_which_kernel() {
        let ok = Expected { verdict: Verdict::Ok, text: String::new() };
        let old = Expected { verdict: Verdict::Refused, text: "needs 6.6".into() };
        assert_eq!(expectation("# Expect: ok"), Some((vec![], ok)));
        let line = "# Expect on 5.10 6.1: refused needs 6.6";
        assert_eq!(expectation(line), Some((vec!["5.10".into(), "6.1".into()], old)));
    }

    #[test]
    fn header_with_an_unknown_kernel_or_verdict_is_refused() {
        assert_eq!(expectation("# Expect on 4.19: ok"), None);
        assert_eq!(expectation("# Expect: perhaps"), None);
        assert_eq!(expectation("# Expected: ok"), None);
    }

    #[test]
    fn every_script_says_what_is_expected_on_every_kernel() {
        for kind in ["harness", "smoke"] {
            let scripts = Script::read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join(kind)).unwrap();
            assert!(!scripts.is_empty());
            for kernel in KERNELS {
                let mut tests = scripts.iter().flat_map(|script| &script.tests);
                assert!(tests.all(|test| test.expected_on(kernel).verdict != Verdict::Fail));
            }
        }
    }
}
