//! The small C programs that pods run in tests and in the demonstration.

use std::path::Path;
use std::process::Command;

use crate::build::step::{self, Inputs};
use crate::cache::{Cache, workspace_root};
use crate::command::output;
use crate::error::Result;
use crate::files;

/// Each is one file of `e2e/workloads`.
pub(super) const PROGRAMS: [&str; 6] = ["pause", "burn_primes", "burn_matrix", "burn_hash", "netecho", "execstorm"];

/// Frame pointers and symbols, as profilers want them; static, so that an image needs nothing else.
const FLAGS: [&str; 7] = ["-static", "-O2", "-g", "-fno-omit-frame-pointer", "-Wall", "-Wextra", "-Werror"];

pub(super) fn build_one(cache: &Cache, source: &Path, name: &str) -> Result<()> {
    let program = cache.folder().join("workloads").join(name);
    let inputs = FLAGS.iter().fold(Inputs::default().file(source)?, |inputs, flag| inputs.word(flag));
    step::build(cache, &program, inputs, || {
        files::create_folder(&cache.folder().join("workloads"))?;
        output(Command::new("cc").args(FLAGS).arg("-o").arg(&program).arg(source)).map(|_| ())
    })
}

pub(super) fn build(cache: &Cache) -> Result<()> {
    let sources = workspace_root().join("e2e/workloads");
    PROGRAMS.iter().try_for_each(|name| build_one(cache, &sources.join(format!("{name}.c")), name))
}
