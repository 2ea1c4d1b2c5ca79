//! Programs in Go: a module of ours that names versions and checksums, or a program of another module at a version.

use std::path::PathBuf;
use std::process::Command;

use crate::build::step::{Inputs, build};
use crate::cache::{Cache, workspace_root};
use crate::command::output;
use crate::error::Result;

enum Source {
    /// A folder of this repository.
    Module(&'static str),
    /// A package and its version; Go checks it against its public log.
    Version(&'static str, &'static str),
}

/// A static program without symbols.
pub(super) struct GoProgram {
    name: &'static str,
    source: Source,
    link_flags: String,
    tags: &'static str,
}

impl GoProgram {
    pub(super) fn of_module(name: &'static str, folder: &'static str) -> Self {
        Self { name, source: Source::Module(folder), link_flags: "-s -w".to_owned(), tags: "" }
    }

    pub(super) fn of_version(name: &'static str, package: &'static str, version: &'static str) -> Self {
        Self { name, source: Source::Version(package, version), link_flags: "-s -w".to_owned(), tags: "" }
    }

    pub(super) fn linked_with(mut self, flags: &str) -> Self {
        self.link_flags = format!("{} {flags}", self.link_flags);
        self
    }

    pub(super) fn tagged(mut self, tags: &'static str) -> Self {
        self.tags = tags;
        self
    }

    pub(super) fn build(&self, cache: &Cache) -> Result<()> {
        let output_path = cache.bin().join(self.name);
        let inputs = self.inputs()?;
        build(cache, &output_path, inputs, || {
            // A link of an earlier cache must not be written through.
            crate::files::remove(&output_path)?;
            output(&mut self.command(cache)).map(|_| ())
        })
    }

    fn inputs(&self) -> Result<Inputs> {
        let version = output(Command::new("go").args(["env", "GOVERSION"]))?;
        let inputs = Inputs::default().word(version.trim()).word(&self.link_flags).word(self.tags);
        match self.source {
            Source::Module(folder) => inputs.folder(&workspace_root().join(folder)),
            Source::Version(package, version) => Ok(inputs.word(package).word(version)),
        }
    }

    fn command(&self, cache: &Cache) -> Command {
        let mut command = Command::new("go");
        let bin: PathBuf = cache.bin();
        command.env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false");
        let flags = ["-tags", self.tags, "-ldflags", &self.link_flags];
        match self.source {
            // Not trimmed of paths: they name the version that was asked for and not the one that took its place, and then
            // modules that have the same library do not share what was compiled.
            Source::Module(folder) => {
                command.current_dir(workspace_root().join(folder)).arg("build").args(flags);
                command.args(["-mod=readonly", "-o"]).arg(bin.join(self.name)).arg(".");
            }
            Source::Version(package, version) => {
                command
                    .env("GOBIN", bin)
                    .args(["install", "-trimpath"])
                    .args(flags)
                    .arg(format!("{package}@{version}"));
            }
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(program: &GoProgram) -> String {
        let command = program.command(&Cache::at("/cache"));
        command.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_module_of_ours_is_built_without_changing_its_checksums() {
        let line = line(&GoProgram::of_module("kube", "e2e/cluster/kube").linked_with("-X a=b"));
        assert!(line.contains("-ldflags -s -w -X a=b"), "{line}");
        assert!(line.contains("-mod=readonly -o /cache/bin/kube"), "{line}");
    }

    #[test]
    fn another_modules_program_is_installed_at_its_version() {
        let line = line(&GoProgram::of_version("helm", "helm.sh/helm/v4/cmd/helm", "v4.3.1"));
        assert!(line.ends_with("helm.sh/helm/v4/cmd/helm@v4.3.1"), "{line}");
    }
}
