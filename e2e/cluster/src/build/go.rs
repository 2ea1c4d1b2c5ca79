//! Programs in Go: each is a folder of `e2e/programs`. One module holds all that agree on the versions of their libraries, which
//! are then compiled once; the others have a `go.mod` in their folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::entry;
use crate::build::inputs::Inputs;
use crate::cache::{Cache, workspace_root};
use crate::command::output;
use crate::error::Result;

/// A static program without symbols.
pub(super) struct GoProgram {
    name: &'static str,
    folder: &'static str,
    link_flags: String,
    tags: &'static str,
}

impl GoProgram {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, folder: name, link_flags: "-s -w".to_owned(), tags: "" }
    }

    /// A folder of another name, e.g. inside another program's module.
    pub(super) fn in_folder(mut self, folder: &'static str) -> Self {
        self.folder = folder;
        self
    }

    /// Sets a string variable of the program, e.g. the version that it prints.
    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.link_flags = format!("{} -X {name}={value}", self.link_flags);
        self
    }

    pub(super) fn tagged(mut self, tags: &'static str) -> Self {
        self.tags = tags;
        self
    }

    /// Builds it into `bin` of the cache and gives its entry in the store.
    pub(super) fn build(&self, cache: &Cache) -> Result<PathBuf> {
        let version = output(Command::new("go").args(["env", "GOVERSION"]))?;
        let inputs = Inputs::default().word(version.trim()).word(&self.link_flags).word(self.tags);
        let inputs = module_inputs(inputs, self.folder)?;
        let name = format!("bin/{}", self.name);
        entry::build(cache, &name, inputs, |path| output(&mut self.command(path)).map(|_| ()))
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("go");
        command.env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false");
        command.current_dir(folder(self.folder)).args(["build", "-trimpath", "-mod=readonly"]);
        command.args(["-tags", self.tags, "-ldflags", &self.link_flags, "-o"]).arg(program);
        command.arg(".");
        command
    }
}

pub(super) fn folder(name: &str) -> PathBuf {
    workspace_root().join("e2e/programs").join(name)
}

/// Adds the versions and the sources of a program.
pub(super) fn module_inputs(inputs: Inputs, name: &str) -> Result<Inputs> {
    let folder = folder(name);
    let inputs = inputs.folder(&folder)?;
    if folder.join("go.mod").exists() {
        return Ok(inputs);
    }
    ["go.mod", "go.sum"].iter().try_fold(inputs, |inputs, file| inputs.file(&folder.with_file_name(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_is_built_without_changing_its_checksums() {
        let program = GoProgram::new("kube").variable("a", "b");
        let command = program.command(Path::new("/cache/bin/kube"));
        let line = command.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert!(line.contains("-ldflags -s -w -X a=b"), "{line}");
        assert!(line.contains("-mod=readonly") && line.ends_with("-o /cache/bin/kube ."), "{line}");
    }
}
