//! The small C programs that pods run in tests and in the demonstration.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::entry;
use crate::build::inputs::Inputs;
use crate::cache::{Cache, workspace_root};
use crate::command::output;
use crate::error::Result;

/// Each is one file of `e2e/workloads`.
pub(super) const PROGRAMS: [&str; 6] = ["pause", "burn_primes", "burn_matrix", "burn_hash", "netecho", "execstorm"];

/// Frame pointers and symbols, as profilers want them; static, so that an image needs nothing else.
const FLAGS: [&str; 7] = ["-static", "-O2", "-g", "-fno-omit-frame-pointer", "-Wall", "-Wextra", "-Werror"];

fn build_one(cache: &Cache, source: &Path, name: &str, compiler: &str) -> Result<PathBuf> {
    let inputs = FLAGS.iter().fold(Inputs::default().word(compiler).file(source)?, |inputs, flag| inputs.word(flag));
    entry::build(cache, &format!("workloads/{name}"), inputs, |program| {
        output(Command::new("cc").args(FLAGS).arg("-o").arg(program).arg(source)).map(|_| ())
    })
}

pub(super) fn build(cache: &Cache) -> Result<()> {
    let sources = workspace_root().join("e2e/workloads");
    let compiler = output(Command::new("cc").arg("--version"))?;
    PROGRAMS
        .iter()
        .try_for_each(|name| build_one(cache, &sources.join(format!("{name}.c")), name, &compiler).map(|_| ()))
}
